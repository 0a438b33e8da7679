package trace

import (
	"cmp"
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

// Batch is a number of calls of one thread, in the order of their ends; those
// whose end is inferred may come later. It is valid until the next one.
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
	walk    callWalk // of the chunk that is being read
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
	task    *Task
	last    uint64   // ticks of the last event
	active  []uint32 // open calls, by site, and exitBit; see activeOf
	charged int
}

// activeOf is the place of a site in callStream.active. Unknown sites share
// the first one.
func activeOf(site int32) int { return int(max(site, -1)) + 1 }

// exitBit in callStream.active says that there was an exit of the site.
const exitBit = 1 << 31

// batchCalls is how many calls a batch has, or hardly more. That many stay in
// the processor's cache until they are used.
const batchCalls = 2048

// endedStream has calls that were open at its end.
type endedStream struct {
	*callStream
	ticks uint64
}

// NewCalls reads the blocks of r from here on.
func NewCalls(r *Reader, o CallsOptions) *Calls {
	c := &Calls{r: r, rec: NewRecording(r.Machine()), streams: map[streamKey]*callStream{}, current: map[streamKey]*callStream{}}
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
	b.Task, b.Calls, b.Lost = nil, b.Calls[:0], 0
	for len(b.Calls) == 0 && b.Lost == 0 {
		if err := c.more(); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// more goes on until there is something to deliver, perhaps.
func (c *Calls) more() error {
	var err error
	if c.walk.stream != nil {
		err = c.run()
	} else if n := len(c.ended); n > 0 {
		s := c.ended[n-1]
		c.ended = c.ended[:n-1]
		c.finish(s.callStream, max(s.ticks, s.last))
		return nil
	} else if c.err != nil {
		return c.err
	} else {
		var t Type
		var payload []byte
		if t, payload, err = c.r.next(c.r.reuse); err == nil {
			err = c.block(t, payload)
		} else {
			c.stop(err)
			return nil
		}
	}
	if err != nil {
		c.stop(c.r.corrupt(err.Error()))
	}
	return nil
}

// stop ends reading. What is open is still delivered, then err.
func (c *Calls) stop(err error) {
	c.walk.stream = nil
	c.err = err
	c.forget(func(*callStream) bool { return true }, c.latest)
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
		// Another thread has the stream: what was open stays so no longer.
		old := *s
		c.ended = append(c.ended, endedStream{&old, s.last})
		s.calls, s.active = callStack{}, nil
	}
	s.task = task
	thread := streamKey{ch.Proc, ch.TID}
	if prev := c.current[thread]; prev != nil && prev != s && s.calls.len() == 0 {
		// A thread may get another stream in the middle.
		s.calls, s.active = prev.calls, prev.active
		prev.calls, prev.active = callStack{}, nil
	}
	c.current[thread] = s
	c.batch.Task, c.batch.Lost = task, ch.Lost
	if ch.Lost != 0 {
		for _, l := range s.calls.lose() {
			c.deliverLeft(&l)
		}
	}
	return c.begin(s, p.layout, ch)
}

// finish delivers what is known of the calls of a stream that has ended.
func (c *Calls) finish(s *callStream, ticks uint64) {
	c.batch.Task = s.task
	if c.rec.exits {
		for s.calls.len() > 0 {
			c.leave(s, ticks)
		}
	}
	if l := s.calls.left; l != nil {
		for i := range l.calls {
			c.deliverLeft(&l.calls[i])
		}
	}
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
	if s.calls.len() > 0 || s.calls.left != nil {
		c.ended = append(c.ended, endedStream{s, ticks})
	}
	delete(c.streams, s.key)
	c.rec.spent -= streamCost + s.charged
}
