package trace

import (
	"fmt"
	"math"
	"slices"
)

// maxPending is how many bytes of chunks Events holds while it waits for a
// ROUND. A recording that has none for longer is still read, but events of
// different threads may then come out of order.
const maxPending = 512 << 20

// maxTicks is more than the ticks of any event: a TIME word has 37 bits.
const maxTicks = 1 << 62

// EventKind says what an Event is.
type EventKind uint8

const (
	Entry     EventKind = iota // a function was entered
	LostCount                  // events were lost
	FuncExit                   // a function was left
	MarkText                   // something happened to the recording
	Injection                  // something was done to a call: Text says what, Args with which values
)

// Event is an event of any thread.
type Event struct {
	Kind    EventKind
	Ticks   uint64
	Time    int64 // CLOCK_MONOTONIC, ns
	Program *Program
	Task    *Task
	Depth   int    // calls around this one
	Site    *Site  // what was entered or left
	Addr    uint64 // of the function in the process
	IP      uint64 // of the instruction after the call in its entry; 0 for exits
	Count   uint64 // events lost
	Text    string // of a mark, or the rule of an injection

	// Duration in ns. Of an exit: since its entry, or -1 if that is not
	// known. Of an entry with Leaf: of the call. Otherwise 0.
	Duration int64
	// Leaf is set of an entry that its own exit follows as the next event of
	// the thread, and of that exit. Not all such calls are noticed.
	Leaf bool
	// Inferred is set of an exit, and of an entry with Leaf, if no exit was
	// recorded: it follows from the event after it.
	Inferred bool
	// Resumed is set of an exit whose call had been taken for over, so that an
	// inferred exit was delivered before: the thread had gone on on another stack.
	Resumed bool
	// Joined is set of an entry with Leaf that stands for its exit as well,
	// see JoinLeaves.
	Joined bool

	Regs  []uint64 // those of Recording.Machine, or nil
	Stack []uint64 // return addresses, the innermost first; nil if not recorded

	Args []Arg  // what was recorded of the arguments, or injected; valid as long as the event
	Ret  *Value // what was recorded of the result by an exit, which an entry with Leaf has too; likewise
}

// Events delivers the events of a recording in the order of time over all
// threads.
//
// Chunks are collected until a ROUND; the events up to the ROUND before it
// are then merged. (One round of slack: a thread may be interrupted between
// reading the time and writing the event.) Events that come too late are
// delivered at once.
type Events struct {
	r       *Reader
	rec     *Recording
	heap    []heapEntry // by time of the next event
	head    *stream     // the first of heap while that may run
	limit   uint64      // the first of heap may run up to here; 0: the heap is not in order
	bound   uint64      // events before this may be delivered
	round   uint64      // the last watermark
	latest  uint64      // ticks of what was delivered
	pending int         // bytes of chunks that wait
	maximum int         // of pending
	orders  int
	end     error // why nothing more is read
	closed  bool  // the calls that were open then have been ended
	join    bool  // see JoinLeaves

	decoder wordDecoder
	event   Event
	regs    [MaxRegs]uint64
	stack   []uint64
	args    []Arg
	ret     Value
	payload []byte // of the two
	extra   bool   // the event has what only some have
	free    [bufClasses][][]byte
}

// NewEvents reads the blocks of r from here on.
func NewEvents(r *Reader) *Events {
	return &Events{r: r, rec: NewRecording(r.Machine()), maximum: maxPending, head: new(stream)}
}

// Recording returns what has been read so far about all but the events.
func (e *Events) Recording() *Recording { return e.rec }

// Next returns the next event, which is valid until the next call. At the end
// the error is io.EOF.
func (e *Events) Next() (*Event, error) {
	s := e.head
	if s.ticks >= e.limit || !s.quick {
		var err error
		if s, err = e.first(); err != nil {
			return nil, err
		}
	}
	if s.quick && !e.extra && e.quick(s) {
		return &e.event, nil
	}
	ev := &e.event
	ev.Ticks = s.ticks
	ev.Time = e.rec.conv.ns(s.ticks)
	ev.Text, ev.Joined = "", false
	e.latest = max(e.latest, s.ticks)
	ev.Program, ev.Task = s.cur.task.Program, s.cur.task
	if s.cur.lost != 0 {
		e.lost(s)
		return ev, nil
	}
	if s.cur.mark != nil {
		e.mark(s)
		return ev, nil
	}
	if s.cur.end {
		e.closing(s)
		return ev, nil
	}
	c := &s.cursor
	site := s.cur.layout.sites.lookup(c.Index)
	if site == nil {
		var err error
		if site, err = s.cur.layout.find(e.rec, c.Index); err != nil {
			return nil, fmt.Errorf("read recording: %w", err)
		}
	}
	if c.injected() {
		e.injection(s, site)
		return ev, nil
	}
	if e.rec.exits {
		e.graph(s, site)
		e.settle(s)
		return ev, nil
	}
	ev.Kind, ev.Count = Entry, 0
	ev.Site, ev.Addr, ev.IP = site.site, site.addr, site.ip
	ev.Depth = s.depth.enter(c.SP)
	if e.special(s) {
		e.extras(s, false)
	}
	e.step(s)
	e.settle(s)
	return ev, nil
}

// first returns the stream of the next event.
func (e *Events) first() (*stream, error) {
	for {
		for len(e.heap) == 0 || e.heap[0].stream.ticks >= e.limit {
			if err := e.more(); err != nil {
				return nil, err
			}
		}
		s := e.heap[0].stream
		if s.prev != nil {
			s.inherit()
		}
		if !s.cur.end || s.calls.unfinished() {
			return s, nil
		}
		// Another stream has taken over what was open.
		e.advance(s)
	}
}

// step goes on to the next event of the first stream of the heap.
func (e *Events) step(s *stream) {
	if !s.cursor.Next() {
		e.advance(s)
	} else {
		s.ticks = s.cursor.Ticks
	}
}

// bare makes the event one that is of no function.
func (e *Events) bare(k EventKind) {
	ev := &e.event
	*ev = Event{Kind: k, Ticks: ev.Ticks, Time: ev.Time, Program: ev.Program, Task: ev.Task}
	e.extra = true
}

// lost delivers the count of lost events that stands before s's next event.
func (e *Events) lost(s *stream) {
	e.bare(LostCount)
	s.calls.lose()
	e.event.Count, s.cur.lost = s.cur.lost, 0
	if s.cursor.idle() {
		e.advance(s)
	}
}

// more makes the first of the heap deliverable, by reordering the heap or by
// reading on.
func (e *Events) more() error {
	if len(e.heap) > 0 {
		e.heap[0].ticks = e.heap[0].stream.ticks
		e.down()
	}
	for len(e.heap) == 0 || e.heap[0].ticks >= e.bound {
		if e.end == nil {
			e.fill()
		} else if !e.closed {
			e.closed = true
			e.closeAll()
		} else {
			return e.end
		}
	}
	h := e.heap
	e.head, e.limit = h[0].stream, e.bound
	if len(h) > 1 {
		e.limit = min(e.limit, h[1].ticks+1)
	}
	if len(h) > 2 {
		e.limit = min(e.limit, h[2].ticks+1)
	}
	return nil
}

// stop ends reading. What is pending is still delivered, then err.
func (e *Events) stop(err error) {
	if e.end == nil {
		e.end = err
	}
	e.bound = math.MaxUint64
}

// fill reads up to the next ROUND and moves the bound.
func (e *Events) fill() {
	for e.end == nil {
		if e.pending > e.maximum {
			e.force()
			return
		}
		t, payload, err := e.r.next(e.buffer)
		if err != nil {
			e.stop(err)
			return
		}
		if t == TypeChunk {
			if err := e.chunk(payload); err != nil {
				e.stop(e.r.corrupt(err.Error()))
			}
			continue
		}
		b, err := e.r.block(t, payload)
		e.recycle(payload)
		if err == nil {
			err = e.block(b)
		}
		if err != nil {
			e.stop(e.r.corrupt(err.Error()))
		}
		if r, ok := b.(*Round); ok {
			e.bound = max(e.bound, e.round)
			e.round = min(r.Ticks, maxTicks)
			return
		}
	}
}

func (e *Events) block(b Block) error {
	switch b := b.(type) {
	case nil:
		return nil
	case *Lost:
		return e.lostBlock(b)
	case *Mark:
		return e.markBlock(b)
	case *Exit:
		e.exit(b)
		return nil
	}
	return e.rec.Apply(b)
}

// force moves the bound so that about half of what is pending is delivered.
func (e *Events) force() {
	var bases []uint64
	for i := range e.heap {
		s := e.heap[i].stream
		bases = append(bases, s.cur.base)
		for _, g := range s.queue {
			bases = append(bases, g.base)
		}
	}
	slices.Sort(bases)
	e.bound = max(e.bound, bases[len(bases)/2])
	if e.heap[0].ticks >= e.bound {
		e.bound = e.heap[0].ticks + 1<<TimeBits
	}
}

// segmentCost is the memory of a segment without its words.
const segmentCost = 256

// segment is a chunk that waits.
type segment struct {
	buf     []byte
	words   []byte
	encoded bool
	task    *Task
	layout  *layout
	base    uint64
	lost    uint64
	off     int64 // in the file
	cost    int   // in pending
	mark    *Mark // instead of words
	end     bool  // no words: the open calls end here
}

// stream is the sequence of the chunks of one thread.
type stream struct {
	order  int
	ticks  uint64 // of the next event
	cursor Cursor
	live   bool // in the heap
	gone   bool // the thread has ended
	depth  depthStack
	calls  callStack
	quick  bool       // the next event is one for quick
	site   *siteEntry // of the next event, if its code position is the same
	looked bool       // for the calls that the next event ends, with this result:
	found  int        // the call whose exit it is, or -1
	low    int        // those from here on are over
	other  int        // those from here on look as if on another stack
	passed bool       // another stream of the thread takes over
	prev   *stream    // an earlier one of the thread, whose open calls are to be taken over
	cur    segment
	queue  []segment

	attached attached
	charged  int // of depth, to the recording's state
}

func (e *Events) newStream() *stream {
	e.orders++
	s := &stream{order: e.orders}
	s.cursor.attached = &s.attached
	return s
}

// inherit takes over the open calls of the thread's stream before. A thread
// may get another one in the middle.
func (s *stream) inherit() {
	s.calls, s.depth = s.prev.calls, s.prev.depth
	s.prev.calls, s.prev.depth = callStack{}, depthStack{}
	s.attached.inherit(&s.prev.attached)
	s.prev = nil
}

// chunk queues a chunk.
func (e *Events) chunk(payload []byte) error {
	var c Chunk
	if err := c.decode(payload); err != nil {
		return err
	}
	p, err := e.rec.Program(c.Proc)
	if err != nil {
		return err
	}
	task, err := e.rec.taskOf(p, c.TID)
	if err != nil {
		return err
	}
	s := p.streams[c.Stream]
	if s == nil {
		s = e.newStream()
		if n, ok := p.current[c.TID]; ok {
			if s.prev = p.streams[n]; s.prev != nil {
				s.prev.passed, s.prev.quick = true, false
			}
		}
		p.streams[c.Stream] = s
		if err := e.rec.spend(streamCost); err != nil {
			return err
		}
	}
	p.current[c.TID] = c.Stream
	cost := segmentCost + cap(payload)
	e.pending += cost
	e.queue(s, segment{buf: payload, cost: cost, words: c.Words, encoded: c.Flags&chunkEncoded != 0, task: task, layout: p.layout, base: c.Base, lost: c.Lost, off: e.r.block0})
	return nil
}

func (e *Events) queue(s *stream, g segment) {
	s.queue = append(s.queue, g)
	if s.live {
		return
	}
	if e.open(s); s.live {
		e.heap = append(e.heap, heapEntry{s.ticks, s})
		e.up(len(e.heap) - 1)
	}
}

func (e *Events) lostBlock(b *Lost) error {
	if b.Count == 0 {
		return nil
	}
	p, err := e.rec.Program(b.Proc)
	if err != nil {
		return err
	}
	task, err := e.rec.taskOf(p, b.TID)
	if err != nil {
		return err
	}
	if p.lost == nil {
		p.lost = e.newStream()
	}
	e.pending += segmentCost
	ticks := b.Ticks
	if ticks == 0 {
		ticks = max(e.round, e.rec.Clock.Ticks)
	}
	e.queue(p.lost, segment{cost: segmentCost, task: task, base: min(ticks, maxTicks), lost: b.Count})
	return nil
}

// exit forgets what ended. Chunks that still wait hold on to what they need.
func (e *Events) exit(b *Exit) {
	p := e.rec.procs[b.Proc]
	if p == nil {
		return
	}
	if b.TID == 0 {
		for _, s := range inOrder(p.streams) {
			e.close(s, b.Ticks)
			s.gone = true
			e.rec.spent -= streamCost + s.charged
		}
		e.rec.spent -= taskCost * len(p.threads)
		clear(p.streams)
		clear(p.threads)
		clear(p.current)
		return
	}
	if n, ok := p.current[b.TID]; ok {
		delete(p.current, b.TID)
		if s := p.streams[n]; s != nil {
			delete(p.streams, n)
			e.close(s, b.Ticks)
			s.gone = true
			e.rec.spent -= streamCost + s.charged
		}
	}
	if p.threads[b.TID] != nil {
		delete(p.threads, b.TID)
		e.rec.spent -= taskCost
	}
}

// open makes s's next event the current one, from the chunks that wait. If
// there is none, s is not live.
func (e *Events) open(s *stream) {
	last := s.cursor.last
	s.live, s.site = false, nil
	for len(s.queue) > 0 {
		prev := s.cur.task
		if prev != nil && prev.TID != s.queue[0].task.TID && s.calls.unfinished() {
			s.cur = segment{task: prev, end: true}
			s.ticks, s.live = last, true
			return
		}
		s.cur = s.queue[0]
		s.queue[0] = segment{}
		if s.queue = s.queue[1:]; len(s.queue) == 0 {
			s.queue = nil
		}
		if prev != nil && prev.TID != s.cur.task.TID {
			s.depth.sp = s.depth.sp[:0]
			s.attached.clear()
		}
		if s.cur.lost != 0 {
			// A record must not be taken for that of a later call.
			s.attached.clear()
		}
		s.attached.probes = s.cur.task.Program.probes
		if s.cur.encoded {
			if err := e.decode(&s.cur); err != nil {
				s.cursor.err = err
				e.broken(s)
				return
			}
		}
		s.cursor.Machine = e.rec.Machine
		s.cursor.Reset(&Chunk{Words: s.cur.words, Base: s.cur.base}, last)
		switch {
		case s.cur.end && s.calls.unfinished():
			s.ticks = max(last, s.cur.base)
			s.cursor.last = s.ticks
		case s.cur.mark != nil:
			s.ticks = max(last, s.cur.base)
			s.cursor.last = s.ticks
		case s.cursor.Next():
			s.ticks = s.cursor.Ticks
		case s.cursor.Err() != nil:
			e.broken(s)
			return
		case s.cur.lost != 0:
			s.ticks = max(last, s.cur.base)
			s.cursor.last = s.ticks
		default:
			e.release(s)
			continue
		}
		s.live = true
		return
	}
	s.cursor = Cursor{last: last, attached: &s.attached}
}

// decode decodes a chunk's words. Chunks that wait are not decoded: it saves
// their memory.
func (e *Events) decode(g *segment) error {
	n := encodedWords(g.words)
	if n > maxWords {
		return errEncoding
	}
	buf := e.buffer(8 * n)
	words, err := e.decoder.decode(&Chunk{Base: g.base, Words: g.words}, buf)
	if err != nil {
		return err
	}
	e.recycle(g.buf)
	e.pending += cap(buf) - cap(g.buf)
	g.cost += cap(buf) - cap(g.buf)
	g.buf, g.words, g.encoded = buf, words, false
	return nil
}

// advance goes on to the next chunk of the first stream of the heap.
func (e *Events) advance(s *stream) {
	s.live, s.quick = false, false
	if s.cursor.Err() != nil {
		e.broken(s)
	} else {
		e.release(s)
		e.open(s)
	}
	// Out of order until more has looked at it, which the limit sees to.
	e.limit = 0
	if !s.live {
		n := len(e.heap) - 1
		e.heap[0] = e.heap[n]
		e.heap[n] = heapEntry{}
		e.heap = e.heap[:n]
	}
	// Frames are looked after by the chunk, not by the event.
	s.calls.shed()
	if grown := 2 * cap(s.depth.sp); grown > s.charged && !s.gone {
		if err := e.rec.spend(grown - s.charged); err != nil {
			e.stop(fmt.Errorf("read recording: %w", err))
		}
		s.charged = grown
	}
}

// broken gives up on a stream, and on reading further.
func (e *Events) broken(s *stream) {
	e.stop(&CorruptError{s.cur.off, fmt.Sprintf("CHUNK block of thread %d: %v", s.cur.task.TID, s.cursor.Err())})
	s.queue = nil
}
