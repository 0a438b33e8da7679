package trace

import (
	"encoding/binary"
	"fmt"
	"slices"
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
	open     int     // the innermost calls that the encoder knew of
	spare    callDef // one that is used but once
}

// callDef is a definition as it is used here.
type callDef struct {
	site   int32
	sp     uint16 // less the caller's
	exit   bool   // it has one
	parent int32  // context that it was last entered in, and the resulting one
	node   int32
}

// begin begins a chunk.
func (c *Calls) begin(s *callStream, l *layout, ch *Chunk) error {
	w := &c.walk
	w.stream, w.layout, w.planes = s, l, nil
	words := ch.Words
	if ch.Flags&chunkEncoded != 0 {
		p, err := w.expander.expand(words, false)
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
	w.cursor.Machine = c.rec.Machine
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

// runPlanes is where the time goes: the state is in local variables, and
// structures are filled in where they stay (a copy would have to wait for the
// stores of their fields). Everything that is not frequent is done by others,
// with the state stored and loaded again.
func (c *Calls) runPlanes() (bool, error) {
	w, s := &c.walk, c.walk.stream
	tokens, times := w.planes.plane[planeTokens], w.planes.plane[planeTimes]
	end := len(times)
	times = times[:end+planePad]
	countOnly, nodes := !c.rec.exits, c.nodes.wanted
	if cap(c.batch.Calls) < 2*batchCalls {
		c.batch.Calls = make([]Call, 0, 2*batchCalls)
	}
	out, frames, active, last, time := c.batch.Calls, s.calls.frames, s.active, s.last, w.time
	open, high, serial := w.open, w.high, s.calls.serial
	i, at := w.token, w.at
	for i < len(tokens) && len(out) < batchCalls {
		tok := tokens[i]
		i++
		if tok == tokenExit {
			n := len(frames) - 1
			if open == 0 || at >= end {
				return false, errEncoding
			}
			open--
			diff := uint64(times[at])
			if diff < timeFar {
				at++
			} else {
				diff, at = nextTime(times, at)
			}
			time += diff
			last = max(last, high|time&timeMask)
			f := &frames[n]
			total := last - f.start
			out = out[:len(out)+1]
			call := &out[len(out)-1]
			call.Site = f.site
			call.Parent = -1
			call.Node = f.node
			call.Depth = int32(n)
			call.Flags = uint32(f.flags) & CallRecursive
			call.Start = f.start
			call.Total = total
			call.Self = total - min(f.child, total)
			if n > 0 {
				p := &frames[n-1]
				p.child += total
				call.Parent = p.site
			}
			a := &active[activeOf(f.site)]
			*a = (*a - 1) | exitBit
			frames = frames[:n]
			if n < s.calls.suspect {
				s.calls.suspect = n
			}
			s.calls.keeping = false
			continue
		}
		var d *callDef
		leaf := false
		switch {
		case tok >= tokenEnter:
			k := int(tok) - tokenEnter
			if tok >= tokenLeaf {
				if k, leaf = int(tok)-tokenLeaf, true; tok >= tokenFarEnter {
					k, leaf, i = farNumber(tokens, i-1)
					i++
				}
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
			active = s.active
		case tok == tokenDrop:
			if open == 0 || at >= end {
				return false, errEncoding
			}
			open--
			// The next event shows that the call is over.
			diff, _ := nextTime(times, at)
			c.batch.Calls, s.calls.frames = out, frames
			c.leave(s, max(last, high|(time+diff)&timeMask))
			out, frames = c.batch.Calls, s.calls.frames
			continue
		default:
			c.batch.Calls, s.calls.frames, s.calls.serial, s.last, w.time, w.open = out, frames, serial, last, time, open
			if err := c.literal(tok); err != nil {
				return false, err
			}
			out, frames, serial, last, time, open = c.batch.Calls, s.calls.frames, s.calls.serial, s.last, w.time, w.open
			active, high = s.active, w.high
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
		last = max(last, high|time&timeMask)
		sp, n := d.sp, len(frames)
		if open == 0 {
			// Calls from before the chunk may be over.
			c.batch.Calls, s.calls.frames = out, frames
			for s.calls.over(sp) {
				c.leave(s, last)
			}
			out, frames = c.batch.Calls, s.calls.frames
			n = len(frames)
		} else {
			sp += frames[n-1].sp
		}
		if leaf {
			if at >= end || !d.exit {
				return false, errEncoding
			}
			start := last
			diff := uint64(times[at])
			if diff < timeFar {
				at++
			} else {
				diff, at = nextTime(times, at)
			}
			time += diff
			last = max(last, high|time&timeMask)
			total := last - start
			out = out[:len(out)+1]
			call := &out[len(out)-1]
			call.Site = d.site
			call.Parent = -1
			call.Node = -1
			call.Depth = int32(n)
			call.Flags = 0
			call.Start = start
			call.Total = total
			call.Self = total
			if n > 0 {
				p := &frames[n-1]
				p.child += total
				call.Parent = p.site
			}
			a := &active[activeOf(d.site)]
			if *a&^exitBit != 0 && d.site >= 0 {
				call.Flags = CallRecursive
			}
			*a |= exitBit
			if nodes {
				parent := int32(-1)
				if n > 0 {
					parent = frames[n-1].node
				}
				if d.parent != parent || d.node < 0 {
					var err error
					if d.node, err = c.nodes.child(c.rec, parent, d.site); err != nil {
						return false, err
					}
					d.parent = parent
				}
				call.Node = d.node
			}
			s.calls.keeping = false
			continue
		}
		open++
		if n == cap(frames) {
			frames = slices.Grow(frames, 1)
		}
		frames = frames[:n+1]
		f := &frames[n]
		f.start = last
		f.child = 0
		f.site = d.site
		f.node = -1
		f.sp = sp & spMask
		f.flags = 0
		serial++
		f.serial = serial
		a := &active[activeOf(d.site)]
		if *a&^exitBit != 0 && d.site >= 0 {
			f.flags = frameRecursive
		}
		*a++
		if nodes {
			parent := int32(-1)
			if n > 0 {
				parent = frames[n-1].node
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
		s.calls.keeping = false
		if countOnly {
			c.batch.Calls, s.calls.frames = out, frames
			c.count(s)
			out = c.batch.Calls
		}
	}
	c.batch.Calls, s.calls.frames, s.calls.serial, s.last = out, frames, serial, last
	w.time, w.open = time, open
	// As push does it.
	s.calls.credit = min(s.calls.credit+8*(i-w.token)/2, maxFrames)
	w.token, w.at = i, at
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
		d.exit = true
	}
	w.stream.grow(c.rec)
	if len(w.defs) >= maxDefs {
		w.spare = d // lest every definition is allocated
		return &w.spare, nil
	}
	w.defs = append(w.defs, d)
	return &w.defs[len(w.defs)-1], nil
}

// literal takes in literal words.
func (c *Calls) literal(tok byte) error {
	w, s := &c.walk, c.walk.stream
	n := uint64(1)
	if tok == tokenLiteral {
		if n = w.reader.uvarint(); n == 0 {
			w.reader.skipRecord()
			return nil
		}
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
		c.rec.exited(site)
		c.exitEvent(s, site, sp, ticks)
		return nil
	}
	for s.calls.over(sp) {
		c.leave(s, ticks)
	}
	f := frame{start: ticks, site: site, node: -1, sp: sp}
	a := &s.active[activeOf(site)]
	if *a&^exitBit != 0 && site >= 0 {
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
	for k >= 0 && s.calls.len() > k+1 || k < 0 && s.calls.suspect > 0 && s.calls.over(sp) {
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
	a := &s.active[activeOf(f.site)]
	*a--
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
	if *a&exitBit != 0 {
		c.rec.exited(f.site)
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
