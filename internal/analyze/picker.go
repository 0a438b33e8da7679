package analyze

import (
	"slices"

	"nopal/trace"
)

// picker lets through the events that a Selection selects, in the order in
// which they come.
//
// A call that is too short is known as such only at its end. So entries wait
// until they have lasted long enough, and what comes after them waits too. That
// takes little memory: short calls leave the queue at their end, and long ones
// cannot be many, since each takes its thread as long as anything waits.
type picker struct {
	sel     *Selection
	names   *names
	exits   bool // the recording has exits
	rebase  bool // depths count from the functions of Only
	join    bool // an entry and an exit that follow one another become a leaf
	emit    func(*trace.Event)
	from    int64
	to      int64
	ranged  bool // from and to are set
	minimum int64

	threads map[threadID]*threadPick
	last    *trace.Task
	current *threadPick

	queue []*held // in the order of time
	head  int
	dead  int // of them, those that are too short
	free  []*held
	joint *held // an entry whose exit may follow
}

type threadID struct {
	program *trace.Program
	tid     uint32
}

// threadPick is the state of one thread.
type threadPick struct {
	position
	waiting []*held // entries that are not proven to be long enough, outermost first
}

// held is an event that waits.
type held struct {
	trace.Event
	state  heldState
	regs   []uint64
	args   []trace.Arg
	ret    trace.Value
	values []byte // of the two
}

// result keeps a call's result.
func (h *held) result(v *trace.Value) {
	h.ret, h.values = v.Clone(h.values)
	h.Ret = &h.ret
}

type heldState uint8

const (
	waits heldState = iota
	shown
	tooShort
)

// maxThreadPicks bounds the state of threads that have long ended. Forgetting
// it costs those that still run their place within -F.
const maxThreadPicks = 1 << 16

func newPicker(sel *Selection, n *names, exits bool, emit func(*trace.Event)) *picker {
	return &picker{sel: sel, names: n, exits: exits, emit: emit, threads: map[threadID]*threadPick{}}
}

func (p *picker) thread(t *trace.Task) *threadPick {
	if t == p.last {
		return p.current
	}
	id := threadID{t.Program, t.TID}
	th := p.threads[id]
	if th == nil {
		if len(p.threads) >= maxThreadPicks {
			clear(p.threads)
		}
		th = &threadPick{position: newPosition()}
		p.threads[id] = th
	}
	p.last, p.current = t, th
	return th
}

// event takes the next event of the recording.
func (p *picker) event(ev *trace.Event) {
	if !p.ranged {
		p.from, p.to = p.sel.Range.Between(ev.Time)
		p.ranged = true
	}
	p.prove(ev.Time)
	if p.sel.TID != 0 && (ev.Task == nil || ev.Task.TID != p.sel.TID) {
		return
	}
	if ev.Kind != trace.Entry && ev.Kind != trace.FuncExit {
		if ev.Kind == trace.Injection && !p.injection(ev) {
			return
		}
		if ev.Time >= p.from && ev.Time < p.to {
			p.put(ev, shown)
		}
		return
	}
	th := p.thread(ev.Task)
	v := p.names.site(ev.Site).verdict
	base, selected := 0, true
	switch {
	case !p.exits:
		selected = v.only && !v.not && (p.sel.Depth == 0 || ev.Depth < p.sel.Depth)
	case !p.sel.nested():
	case ev.Kind == trace.Entry:
		base, selected = th.enter(p.sel, v, ev.Site, ev.Depth)
	case ev.Duration < 0:
		// It was not seen to begin, so it ends nothing that was.
		base, selected = th.selected(p.sel, ev.Depth)
	default:
		base, selected = th.exit(p.sel, ev.Site, ev.Depth)
	}
	if !selected || ev.Time < p.from || ev.Time >= p.to {
		return
	}
	depth := ev.Depth
	if p.rebase {
		ev.Depth -= base
	}
	p.pick(th, ev)
	ev.Depth = depth
}

// injection reports that an injection is selected: it comes before the entry
// of its call, or instead of it.
func (p *picker) injection(ev *trace.Event) bool {
	v := p.names.site(ev.Site).verdict
	if p.exits && p.sel.nested() {
		th := p.thread(ev.Task)
		if _, selected := th.selected(p.sel, ev.Depth); selected || th.not >= 0 {
			return selected
		}
	}
	return v.only && !v.not
}

// pick applies the minimum to an event that is selected otherwise.
func (p *picker) pick(th *threadPick, ev *trace.Event) {
	switch {
	case p.minimum == 0 || !p.exits:
		p.put(ev, shown)
	case ev.Leaf:
		if ev.Duration >= p.minimum {
			p.proveAll(th)
			p.put(ev, shown)
		}
	case ev.Kind == trace.Entry:
		th.waiting = append(th.waiting, p.put(ev, waits))
	default:
		p.exit(th, ev)
	}
}

// exit shows an exit if its entry was shown.
func (p *picker) exit(th *threadPick, ev *trace.Event) {
	i := len(th.waiting) - 1
	for ; i >= 0; i-- {
		if w := th.waiting[i]; w.Depth == ev.Depth && w.Site == ev.Site {
			break
		}
	}
	switch {
	case ev.Duration < 0 || ev.Duration >= p.minimum:
		if i >= 0 {
			for _, w := range th.waiting[:i+1] {
				w.state = shown
			}
			th.waiting = slices.Delete(th.waiting, 0, i+1)
		}
		p.put(ev, shown)
	case i >= 0:
		p.drop(th.waiting[i])
		th.waiting = slices.Delete(th.waiting, i, i+1)
	case ev.Time-ev.Duration >= p.from:
		p.put(ev, shown) // its entry was shown because too many waited
	}
}

// proveAll shows the entries around something that is long enough.
func (p *picker) proveAll(th *threadPick) {
	for _, w := range th.waiting {
		w.state = shown
	}
	th.waiting = th.waiting[:0]
}

// maxHeld is how many events wait at most. Beyond it, which takes a recursion
// as deep as that, calls are shown that may turn out to be too short.
const maxHeld = 1 << 18

// slack is by how much a duration may be less than the difference of the
// times, as each is rounded by itself.
const slack = 2

// prove shows the entries that have lasted long enough by now, and what waited for them.
func (p *picker) prove(now int64) {
	for p.head < len(p.queue) {
		h := p.queue[p.head]
		if h.state == waits {
			// now may be before it: what comes too late is delivered at once.
			if len(p.queue)-p.head < maxHeld && (now < h.Time || now-h.Time < p.minimum+slack) {
				break
			}
			p.release(h)
		}
		p.next()
	}
}

// release shows an entry.
func (p *picker) release(h *held) {
	h.state = shown
	th := p.thread(h.Task)
	if i := slices.Index(th.waiting, h); i >= 0 {
		th.waiting = slices.Delete(th.waiting, i, i+1)
	}
}

// next takes the first of the queue out of it.
func (p *picker) next() {
	h := p.queue[p.head]
	p.queue[p.head] = nil
	if p.head++; p.head == len(p.queue) {
		p.queue, p.head = p.queue[:0], 0
	}
	if h.state == shown {
		p.show(&h.Event)
	} else {
		p.dead--
	}
	p.free = append(p.free, h)
}

// put shows an event, or queues it behind those that wait.
func (p *picker) put(ev *trace.Event, s heldState) *held {
	if s == shown {
		for p.head < len(p.queue) && p.queue[p.head].state != waits {
			p.next()
		}
		if p.head == len(p.queue) {
			p.show(ev)
			return nil
		}
	}
	if p.head > 64 && p.head > len(p.queue)/2 {
		p.queue = slices.Delete(p.queue, 0, p.head)
		p.head = 0
	}
	h := p.hold(ev)
	h.state = s
	p.queue = append(p.queue, h)
	return h
}

// hold copies an event.
func (p *picker) hold(ev *trace.Event) *held {
	var h *held
	if n := len(p.free); n > 0 {
		h = p.free[n-1]
		p.free = p.free[:n-1]
	} else {
		h = new(held)
	}
	stack, args, values := append(h.Stack[:0], ev.Stack...), h.args[:0], h.values[:0]
	h.Event = *ev
	if h.args, h.values = trace.CloneArgs(args, values, ev.Args); len(ev.Args) > 0 {
		h.Args = h.args
	}
	if ev.Ret != nil {
		h.result(ev.Ret)
	}
	if ev.Regs != nil {
		h.regs = append(h.regs[:0], ev.Regs...)
		h.Regs = h.regs
	}
	if h.Stack = stack; ev.Stack == nil {
		h.Stack = nil
	}
	return h
}

// drop takes an entry that was too short out of the queue: at once if it is
// the last, and otherwise together with others.
func (p *picker) drop(h *held) {
	h.state = tooShort
	p.dead++
	for n := len(p.queue); n > p.head && p.queue[n-1].state == tooShort; n-- {
		p.free = append(p.free, p.queue[n-1])
		p.queue[n-1] = nil
		p.queue = p.queue[:n-1]
		p.dead--
	}
	if p.dead > 64 && p.dead > (len(p.queue)-p.head)/2 {
		p.queue = slices.Delete(p.queue, 0, p.head)
		p.head = 0
		p.queue = slices.DeleteFunc(p.queue, func(h *held) bool {
			if h.state == tooShort {
				p.free = append(p.free, h)
			}
			return h.state == tooShort
		})
		p.dead = 0
	}
	if p.head == len(p.queue) {
		p.queue, p.head = p.queue[:0], 0
	}
}

// show hands an event on, or keeps an entry to see whether its exit is next.
func (p *picker) show(ev *trace.Event) {
	if !p.join {
		p.emit(ev)
		return
	}
	if j := p.joint; j != nil {
		p.joint = nil
		if ev.Kind == trace.FuncExit && ev.Task.TID == j.Task.TID && ev.Program == j.Program && ev.Depth == j.Depth && ev.Site == j.Site {
			j.Leaf, j.Duration, j.Inferred = true, ev.Duration, ev.Inferred
			if ev.Ret != nil {
				j.result(ev.Ret)
			}
			p.emit(&j.Event)
			p.free = append(p.free, j)
			leaf := ev.Leaf
			ev.Leaf = true
			p.emit(ev)
			ev.Leaf = leaf
			return
		}
		p.emit(&j.Event)
		p.free = append(p.free, j)
	}
	if ev.Kind == trace.Entry && !ev.Leaf {
		p.joint = p.hold(ev)
		return
	}
	p.emit(ev)
}

// end shows what still waits: calls that were open at the end.
func (p *picker) end() {
	for p.head < len(p.queue) {
		if h := p.queue[p.head]; h.state == waits {
			p.release(h)
		}
		p.next()
	}
	if j := p.joint; j != nil {
		p.joint = nil
		p.emit(&j.Event)
	}
}
