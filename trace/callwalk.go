package trace

import (
	"encoding/binary"
	"fmt"
)

// callWalk is where Calls is in a chunk. Chunks of events without records are
// read from their planes: there a token says which call ends, so that neither
// code positions nor stack pointers are looked at, save for the calls that
// were open at the beginning of the chunk. Others are read word by word.
type callWalk struct {
	stream   *callStream
	layout   *layout
	expander expander
	decoder  wordDecoder
	words    []byte

	planes   *planes // nil: cursor has the words
	cursor   Cursor
	defs     []callDef
	reader   defReader
	literals []byte
	token    int    // offset of the next one
	at       int    // offset of the next time
	time     uint64 // its low bits count
	high     uint64
	open     int // the innermost calls that the encoder knew of
}

// callDef is a definition as it is used here.
type callDef struct {
	site   int32
	sp     uint16 // less the caller's
	parent int32  // context that it was last entered in, and the resulting one
	node   int32
}

// begin begins a chunk.
func (c *Calls) begin(s *callStream, l *layout, ch *Chunk) error {
	w := &c.walk
	w.stream, w.layout, w.planes = s, l, nil
	words := ch.Words
	if ch.Flags&chunkEncoded != 0 {
		p, err := w.expander.expand(words)
		if err != nil {
			return err
		}
		if p.plain {
			w.planes = p
			w.defs, w.reader, w.literals = w.defs[:0], defReader{b: p.plane[planeDefs]}, p.plane[planeLiterals]
			w.token, w.at, w.open = 0, 0, 0
			w.time, w.high = ch.Base, ch.Base>>TimeBits<<TimeBits
			return c.run()
		}
		if w.words, err = w.decoder.decode(ch, w.words[:0]); err != nil {
			return err
		}
		words = w.words
	}
	w.cursor.Reset(&Chunk{Words: words, Base: ch.Base}, s.last)
	return c.run()
}

// run reads on until the batch is full or the chunk is at its end.
func (c *Calls) run() error {
	w := &c.walk
	s := w.stream
	c.batch.Task = s.task
	var done bool
	var err error
	if w.planes != nil {
		done, err = c.runPlanes()
	} else {
		done, err = c.runWords()
	}
	if err != nil {
		return fmt.Errorf("CHUNK block of thread %d: %w", s.task.TID, err)
	}
	if !done {
		return nil
	}
	w.stream = nil
	c.latest = max(c.latest, s.last)
	s.calls.shed()
	if grown := s.calls.size() + 4*cap(s.active); grown > s.charged {
		err = c.rec.spend(grown - s.charged)
		s.charged = grown
	}
	return err
}

func (c *Calls) runWords() (bool, error) {
	w := &c.walk
	cur := &w.cursor
	for cur.Next() {
		if err := c.event(w.stream, cur.Index, uint16(cur.SP), cur.Ticks); err != nil {
			return false, err
		}
		if len(c.batch.Calls) >= batchCalls {
			return false, nil
		}
	}
	w.stream.last = cur.last
	return true, cur.Err()
}

// runPlanes is where the time goes.
func (c *Calls) runPlanes() (bool, error) {
	w, s := &c.walk, c.walk.stream
	tokens, times := w.planes.plane[planeTokens], w.planes.plane[planeTimes]
	end := len(times)
	times = times[:end+planePad]
	countOnly, nodes := !c.rec.exits, c.nodes.wanted
	out := c.batch.Calls
	i, at, time, last := w.token, w.at, w.time, s.last
	for i < len(tokens) && len(out) < batchCalls {
		tok := tokens[i]
		i++
		if tok == tokenExit {
			n := len(s.calls.frames) - 1
			if w.open == 0 || at >= end || countOnly {
				return false, errEncoding
			}
			w.open--
			diff := uint64(times[at])
			if diff < timeFar {
				at++
			} else {
				diff, at = nextTime(times, at)
			}
			time += diff
			last = max(last, w.high|time&timeMask)
			f := &s.calls.frames[n]
			total := last - f.start
			out = append(out, Call{
				Site: f.site, Parent: -1, Node: f.node, Depth: int32(n), Flags: uint32(f.flags) & CallRecursive,
				Start: f.start, Total: total, Self: total - min(f.child, total),
			})
			if n > 0 {
				p := &s.calls.frames[n-1]
				p.child += total
				out[len(out)-1].Parent = p.site
			}
			s.active[activeOf(f.site)]--
			s.calls.frames = s.calls.frames[:n]
			s.calls.keeping, s.calls.lossy = false, false
			continue
		}
		var d *callDef
		switch {
		case tok >= tokenEnter:
			k := int(tok) - tokenEnter
			if tok >= tokenFar {
				if i >= len(tokens) {
					return false, errEncoding
				}
				k = farBase + int(tok-tokenFar)<<8 + int(tokens[i])
				i++
			}
			if k >= len(w.defs) {
				return false, errEncoding
			}
			d = &w.defs[k]
		case tok == tokenDefine:
			var err error
			if d, err = c.define(); err != nil {
				return false, err
			}
		case tok == tokenDrop:
			if w.open == 0 || at >= end {
				return false, errEncoding
			}
			w.open--
			// The next event shows that the call is over.
			diff, _ := nextTime(times, at)
			c.batch.Calls = out
			c.leave(s, max(last, w.high|(time+diff)&timeMask))
			out = c.batch.Calls
			continue
		default:
			c.batch.Calls, s.last, w.time = out, last, time
			if err := c.literal(tok); err != nil {
				return false, err
			}
			out, last, time = c.batch.Calls, s.last, w.time
			continue
		}
		if at >= end {
			return false, errEncoding
		}
		diff := uint64(times[at])
		if diff < timeFar {
			at++
		} else {
			diff, at = nextTime(times, at)
		}
		time += diff
		last = max(last, w.high|time&timeMask)
		sp, n := d.sp, len(s.calls.frames)
		if w.open == 0 {
			// Calls from before the chunk may be over.
			for s.calls.over(sp) {
				c.batch.Calls = out
				c.leave(s, last)
				out = c.batch.Calls
			}
			n = len(s.calls.frames)
		} else {
			sp += s.calls.frames[n-1].sp
		}
		w.open++
		f := frame{start: last, site: d.site, node: -1, sp: sp & spMask}
		a := &s.active[activeOf(d.site)]
		if *a > 0 && d.site >= 0 {
			f.flags = frameRecursive
		}
		*a++
		parent := int32(-1)
		if nodes {
			if n > 0 {
				parent = s.calls.frames[n-1].node
			}
			if d.parent != parent || d.node < 0 {
				var err error
				if d.node, err = c.nodes.child(c.rec, parent, d.site); err != nil {
					return false, err
				}
				d.parent = parent
			}
			f.node = d.node
		}
		s.calls.push(f)
		if countOnly {
			c.batch.Calls = out
			c.count(s)
			out = c.batch.Calls
		}
	}
	c.batch.Calls = out
	w.token, w.at, w.time, s.last = i, at, time, last
	if i < len(tokens) {
		return false, nil
	}
	if w.reader.bad || at != end || len(w.literals) != 0 {
		return false, errEncoding
	}
	return true, nil
}

// define reads a definition.
func (c *Calls) define() (*callDef, error) {
	w := &c.walk
	def, ok := w.reader.next()
	if !ok {
		return nil, errEncoding
	}
	e, err := w.layout.find(c.rec, uint32(def.entry>>indexShift))
	if err != nil {
		return nil, err
	}
	d := callDef{site: int32(e.site.ID), sp: uint16(def.sp >> TimeBits), parent: -1, node: -1}
	if e.exit {
		return nil, errEncoding
	}
	if exit := uint32(def.exit >> indexShift); exit != noExit {
		x, err := w.layout.find(c.rec, exit)
		if err != nil {
			return nil, err
		}
		if !x.exit || int32(x.site.ID) != d.site {
			return nil, errEncoding
		}
	}
	w.stream.grow(c.rec)
	if len(w.defs) >= maxDefs {
		return &d, nil
	}
	w.defs = append(w.defs, d)
	return &w.defs[len(w.defs)-1], nil
}

// literal takes in literal words.
func (c *Calls) literal(tok byte) error {
	w, s := &c.walk, c.walk.stream
	n := uint64(1)
	if tok == tokenLiteral {
		n = w.reader.uvarint()
	}
	if n > uint64(len(w.literals)/8) {
		return errEncoding
	}
	for ; n > 0; n-- {
		word := binary.LittleEndian.Uint64(w.literals)
		w.literals = w.literals[8:]
		switch {
		case tok == tokenEvent && word >= MinIndex<<indexShift:
			w.open = 0
			w.time = word
			s.last = max(s.last, w.high|word&timeMask)
			if err := c.event(s, uint32(word>>indexShift), uint16(word>>TimeBits)&spMask, s.last); err != nil {
				return err
			}
		case tok == tokenLiteral && word>>indexShift == WordTime:
			w.high = word & payloadMask << TimeBits
		case tok != tokenLiteral || word != 0:
			return errEncoding
		}
	}
	return nil
}

// grow makes room for all sites there are.
func (s *callStream) grow(rec *Recording) {
	if n := len(rec.sites) + 1 - len(s.active); n > 0 {
		s.active = append(s.active, make([]uint32, n)...)
	}
}

// event takes in any event.
func (c *Calls) event(s *callStream, index uint32, sp uint16, ticks uint64) error {
	e, err := c.walk.layout.find(c.rec, index)
	if err != nil {
		return err
	}
	s.grow(c.rec)
	site := int32(e.site.ID)
	if e.exit {
		c.exitEvent(s, site, sp, ticks)
		return nil
	}
	for s.calls.over(sp) {
		c.leave(s, ticks)
	}
	f := frame{start: ticks, site: site, node: -1, sp: sp}
	a := &s.active[activeOf(site)]
	if *a > 0 && site >= 0 {
		f.flags = frameRecursive
	}
	*a++
	if c.nodes.wanted {
		parent := int32(-1)
		if s.calls.len() > 0 {
			parent = s.calls.top().node
		}
		if f.node, err = c.nodes.child(c.rec, parent, site); err != nil {
			return err
		}
	}
	s.calls.push(f)
	if !c.rec.exits {
		c.count(s)
	}
	return nil
}

// count delivers the innermost call, of a recording without exits.
func (c *Calls) count(s *callStream) {
	f, parent := s.calls.top(), int32(-1)
	if n := s.calls.len(); n > 1 {
		parent = s.calls.frames[n-2].site
	}
	c.batch.Calls = append(c.batch.Calls, Call{
		Site: f.site, Parent: parent, Node: f.node, Depth: int32(s.calls.len() - 1), Flags: CallCountOnly, Start: f.start,
	})
}

// exitEvent takes in an exit.
func (c *Calls) exitEvent(s *callStream, site int32, sp uint16, ticks uint64) {
	k := s.calls.find(site, sp)
	for k < 0 {
		i := s.calls.findLeft(site, sp)
		if i < 0 {
			break
		}
		list, depth := s.calls.chain(i)
		if s.calls.len() > depth {
			c.leave(s, ticks)
			continue
		}
		for _, i := range list {
			s.active[activeOf(s.calls.left.calls[i].site)]++
		}
		s.calls.revive(list)
		k = s.calls.len() - 1
	}
	for k >= 0 && s.calls.len() > k+1 || k < 0 && s.calls.lossy && s.calls.over(sp) {
		c.leave(s, ticks)
	}
	if k < 0 {
		call := Call{Site: site, Parent: -1, Node: -1, Depth: int32(s.calls.depthOf(sp)), Flags: CallNoEntry, Start: ticks}
		if call.Depth > 0 {
			call.Parent = s.calls.frames[call.Depth-1].site
		}
		c.batch.Calls = append(c.batch.Calls, call)
		return
	}
	f := *s.calls.top()
	s.calls.pop()
	s.active[activeOf(site)]--
	parent := int32(-1)
	if s.calls.len() > 0 {
		p := s.calls.top()
		p.child += ticks - f.start
		parent = p.site
	}
	c.deliver(&f, s.calls.len(), parent, ticks, 0)
}

// leave ends the innermost call without an exit. It is delivered at once if
// it cannot come back.
func (c *Calls) leave(s *callStream, ticks uint64) {
	f, n := *s.calls.top(), s.calls.len()-1
	s.active[activeOf(f.site)]--
	if !c.rec.exits {
		s.calls.frames = s.calls.frames[:n]
		return
	}
	parent := int32(-1)
	if n > 0 {
		p := &s.calls.frames[n-1]
		p.child += ticks - min(f.start, ticks)
		parent = p.site
	}
	kept, evicted := s.calls.leave(c.rec, ticks)
	if !kept {
		c.deliver(&f, n, parent, ticks, CallInferred)
	}
	for i := range evicted {
		c.deliverLeft(&evicted[i])
	}
}

// deliverLeft delivers a call that was over without an exit.
func (c *Calls) deliverLeft(l *leftCall) {
	if l.valid {
		c.deliver(&l.frame, l.depth, l.caller, l.ticks, CallInferred)
	}
}

func (c *Calls) deliver(f *frame, depth int, parent int32, ticks uint64, flags uint32) {
	total := ticks - min(f.start, ticks)
	flags |= uint32(f.flags) & CallRecursive
	c.batch.Calls = append(c.batch.Calls, Call{
		Site: f.site, Parent: parent, Node: f.node, Depth: int32(depth), Flags: flags,
		Start: f.start, Total: total, Self: total - min(f.child, total),
	})
}
