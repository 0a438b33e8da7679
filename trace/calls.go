package trace

import (
	"cmp"
	"fmt"
	"slices"
)

// Call is a call that has ended. Times are in ticks.
type Call struct {
	Site   int32 // Site.ID of the function
	Parent int32 // Site.ID of its caller, -1 at the top of the stack
	Node   int32 // calling context, see Calls.Node; -1 if not asked for
	Depth  int32
	Flags  uint32
	Start  uint64
	Total  uint64
	Self   uint64 // without the calls that it made
}

// Flags of a Call.
const (
	CallInferred  = 1 << iota // no exit was recorded: it follows from a later event
	CallNoEntry               // only the exit was recorded: the times are not known
	CallCountOnly             // of a recording without exits: there are no times
	CallRecursive             // an outer call of the same function has not ended
)

// Batch is a number of calls of one thread, in the order of their ends. It is
// valid until the next one.
type Batch struct {
	Task  *Task
	Calls []Call
	Lost  uint64 // events that were lost before them
}

// CallsOptions says what is wanted of Calls.
type CallsOptions struct {
	Nodes bool // calling contexts
}

// Node is a calling context: a function, called from another context.
type Node struct {
	Parent int32 // -1 at the top of the stack
	Site   int32
}

// Calls delivers the calls of a recording thread by thread as they stand in
// the file: in order within a thread, but not over all threads, which saves
// merging them. Its memory does not grow with the length of the file.
type Calls struct {
	r       *Reader
	rec     *Recording
	batch   Batch
	streams map[streamKey]*callStream
	current map[streamKey]*callStream // by thread id
	ended   []endedStream
	nodes   nodeTable
	latest  uint64
	err     error
}

type streamKey struct{ proc, n uint32 }

// callStream is the state of one stream.
type callStream struct {
	key     streamKey
	calls   callStack
	depth   depthStack // of a recording without exits
	sites   []int32    // parallel to depth
	task    *Task
	last    uint64
	active  []uint32 // open calls, by site
	charged int
}

// endedStream has calls that were open at its end.
type endedStream struct {
	*callStream
	ticks uint64
}

// NewCalls reads the blocks of r from here on.
func NewCalls(r *Reader, o CallsOptions) *Calls {
	c := &Calls{r: r, rec: NewRecording(), streams: map[streamKey]*callStream{}, current: map[streamKey]*callStream{}}
	c.nodes.wanted = o.Nodes
	return c
}

// Recording returns what has been read so far about all but the calls.
func (c *Calls) Recording() *Recording { return c.rec }

// Node returns a calling context.
func (c *Calls) Node(id int32) Node { return c.nodes.list[id] }

// Next returns the next calls. At the end the error is io.EOF; calls that were
// still open at the end of their thread or of the recording are inferred to
// have ended there.
func (c *Calls) Next() (*Batch, error) {
	b := &c.batch
	for {
		b.Task, b.Calls, b.Lost = nil, b.Calls[:0], 0
		if err := c.more(); err != nil {
			return nil, err
		}
		if len(b.Calls) > 0 || b.Lost > 0 {
			return b, nil
		}
	}
}

func (c *Calls) more() error {
	if n := len(c.ended); n > 0 {
		s := c.ended[n-1]
		c.ended = c.ended[:n-1]
		c.batch.Task = s.task
		for s.calls.len() > 0 {
			c.pop(s.callStream, max(s.ticks, s.last), CallInferred)
		}
		return nil
	}
	if c.err != nil {
		return c.err
	}
	t, payload, err := c.r.next(c.r.reuse)
	if err == nil {
		err = c.block(t, payload)
		if err != nil {
			err = c.r.corrupt(err.Error())
		}
	}
	if err != nil {
		c.err = err
		c.forget(func(*callStream) bool { return true }, c.latest)
	}
	return nil
}

func (c *Calls) block(t Type, payload []byte) error {
	if t == TypeChunk {
		var ch Chunk
		if err := ch.decode(payload); err != nil {
			return err
		}
		return c.chunk(&ch)
	}
	b, err := c.r.block(t, payload)
	if err != nil || b == nil {
		return err
	}
	switch b := b.(type) {
	case *Lost:
		p, err := c.rec.Program(b.Proc)
		if err != nil {
			return err
		}
		c.batch.Lost = b.Count
		c.batch.Task, err = c.rec.taskOf(p, b.TID)
		return err
	case *Round:
		c.latest = max(c.latest, min(b.Ticks, maxTicks))
	case *Exit:
		c.exit(b)
		return nil
	}
	return c.rec.Apply(b)
}

func (c *Calls) chunk(ch *Chunk) error {
	p, err := c.rec.Program(ch.Proc)
	if err != nil {
		return err
	}
	task, err := c.rec.taskOf(p, ch.TID)
	if err != nil {
		return err
	}
	key := streamKey{ch.Proc, ch.Stream}
	s := c.streams[key]
	if s == nil {
		s = &callStream{key: key}
		c.streams[key] = s
		if err := c.rec.spend(streamCost); err != nil {
			return err
		}
	}
	if s.task != nil && s.task.TID != task.TID {
		s.calls.frames = s.calls.frames[:0]
		s.depth.sp = s.depth.sp[:0]
		clear(s.active)
	}
	s.task = task
	c.current[streamKey{ch.Proc, ch.TID}] = s
	c.batch.Task, c.batch.Lost = task, ch.Lost
	var cur Cursor
	cur.Reset(ch, s.last)
	for cur.Next() {
		site := p.layout.sites.lookup(cur.Index)
		if site == nil {
			if site, err = p.layout.find(c.rec, cur.Index); err != nil {
				return err
			}
		}
		id, sp := int32(site.site.ID), uint16(cur.SP)
		switch {
		case !c.rec.exits:
			c.count(s, id, sp, cur.Ticks)
		case site.exit:
			c.exitEvent(s, id, sp, cur.Ticks)
		default:
			if err := c.entry(s, id, sp, cur.Ticks); err != nil {
				return err
			}
		}
	}
	s.last = cur.last
	c.latest = max(c.latest, s.last)
	if err := cur.Err(); err != nil {
		return fmt.Errorf("CHUNK block of thread %d: %w", ch.TID, err)
	}
	if grown := frameSize*cap(s.calls.frames) + 4*cap(s.active) + 6*cap(s.depth.sp); grown > s.charged {
		err = c.rec.spend(grown - s.charged)
		s.charged = grown
	}
	return err
}

// count delivers an entry of a recording without exits.
func (c *Calls) count(s *callStream, site int32, sp uint16, ticks uint64) {
	depth := s.depth.enter(uint32(sp))
	parent := int32(-1)
	s.sites = s.sites[:min(depth, len(s.sites))]
	if depth > 0 {
		parent = s.sites[len(s.sites)-1]
	}
	s.sites = append(s.sites, site)
	c.batch.Calls = append(c.batch.Calls, Call{
		Site: site, Parent: parent, Node: -1, Depth: int32(depth), Flags: CallCountOnly, Start: ticks,
	})
}

func (c *Calls) entry(s *callStream, site int32, sp uint16, ticks uint64) error {
	for s.calls.over(sp) {
		c.pop(s, ticks, CallInferred)
	}
	f := frame{start: ticks, site: site, node: -1, sp: sp}
	if site >= 0 {
		if int(site) >= len(s.active) {
			s.active = append(s.active, make([]uint32, len(c.rec.sites)-len(s.active))...)
		}
		if s.active[site] > 0 {
			f.flags = frameRecursive
		}
	}
	if c.nodes.wanted {
		parent := int32(-1)
		if s.calls.len() > 0 {
			parent = s.calls.top().node
		}
		var err error
		if f.node, err = c.nodes.child(c.rec, parent, site); err != nil {
			return err
		}
	}
	if s.calls.push(f) && site >= 0 {
		s.active[site]++
	}
	return nil
}

func (c *Calls) exitEvent(s *callStream, site int32, sp uint16, ticks uint64) {
	k := s.calls.find(site, sp)
	if k < 0 {
		parent := int32(-1)
		if n := s.calls.len(); n > 0 {
			parent = s.calls.top().site
		}
		c.batch.Calls = append(c.batch.Calls, Call{
			Site: site, Parent: parent, Node: -1, Depth: int32(s.calls.len()), Flags: CallNoEntry, Start: ticks,
		})
		return
	}
	for s.calls.len() > k+1 {
		c.pop(s, ticks, CallInferred)
	}
	c.pop(s, ticks, 0)
}

// pop delivers the innermost call, which ended at ticks.
func (c *Calls) pop(s *callStream, ticks uint64, flags uint32) {
	f := *s.calls.top()
	s.calls.pop()
	total := ticks - f.start
	call := Call{Site: f.site, Parent: -1, Node: f.node, Depth: int32(s.calls.len()), Flags: flags, Start: f.start, Total: total}
	call.Self = total - min(f.child, total)
	if f.flags&frameRecursive != 0 {
		call.Flags |= CallRecursive
	}
	if s.calls.len() > 0 {
		p := s.calls.top()
		p.child += total
		call.Parent = p.site
	}
	if f.site >= 0 {
		s.active[f.site]--
	}
	c.batch.Calls = append(c.batch.Calls, call)
}

func (c *Calls) exit(b *Exit) {
	ticks := min(b.Ticks, maxTicks)
	if b.TID != 0 {
		key := streamKey{b.Proc, b.TID}
		if s := c.current[key]; s != nil {
			delete(c.current, key)
			c.forgetOne(s, ticks)
		}
		return
	}
	c.forget(func(s *callStream) bool { return s.key.proc == b.Proc }, ticks)
	for key := range c.current {
		if key.proc == b.Proc {
			delete(c.current, key)
		}
	}
}

// forget forgets streams that have ended, in the order of their numbers.
func (c *Calls) forget(which func(*callStream) bool, ticks uint64) {
	var list []*callStream
	for _, s := range c.streams {
		if which(s) {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *callStream) int {
		return -cmp.Or(cmp.Compare(a.key.proc, b.key.proc), cmp.Compare(a.key.n, b.key.n))
	})
	for _, s := range list {
		c.forgetOne(s, ticks)
	}
}

func (c *Calls) forgetOne(s *callStream, ticks uint64) {
	if s.calls.len() > 0 {
		c.ended = append(c.ended, endedStream{s, ticks})
	}
	delete(c.streams, s.key)
	c.rec.spent -= streamCost + s.charged
}
