package livepatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nopal/internal/tracee"
	"nopal/internal/unwind"
)

// thread is a thread in a transition.
type thread struct {
	th  *tracee.Thread
	key uint64
	way way
	why string // why it has not gone over when it was last looked at
}

// group are the threads that have one thread pointer: they go over together. It is more
// than one thread only if a program makes threads without a C library.
func (t *transition) group(k uint64) []*thread {
	var list []*thread
	for _, th := range t.threads {
		if th.key == k {
			list = append(list, th)
		}
	}
	return list
}

// How long a thread may take to stop. It takes microseconds, but in an uninterruptible
// sleep; then it is asked again later.
const holdPatience = 20 * time.Millisecond

// window is how many threads are asked to stop at once. Each is looked at and let go as it
// comes: where there are more threads than processors it is the wait for a processor that
// takes long, and not the look.
const window = 8

// each stops threads, for themselves, and calls f with each as it stands. It returns those
// that do not stop.
func (t *transition) each(ctx context.Context, threads []*tracee.Thread, f func(*tracee.Thread) error) (late []*tracee.Thread, err error) {
	for len(threads) > 0 {
		batch := threads[:min(window, len(threads))]
		th, err := t.p.HoldNext(ctx, batch, holdPatience)
		switch {
		case errors.Is(err, tracee.ErrBusy):
			late = append(late, batch...)
			threads = threads[len(batch):]
			continue
		case errors.Is(err, tracee.ErrExited) && th != nil && t.alive():
			t.ended[th.Tid()] = true // a first thread stays in the list
		case err == nil:
			began := time.Now()
			err = f(th)
			t.release(th)
			t.stood(time.Since(began))
			if errors.Is(err, tracee.ErrExited) && t.alive() { // killed meanwhile
				err = nil
			}
			if err == nil {
				break
			}
			fallthrough
		default:
			for _, th := range batch {
				t.release(th)
			}
			return append(late, threads...), err
		}
		rest := make([]*tracee.Thread, 0, len(threads))
		for _, other := range threads {
			if other != th {
				rest = append(rest, other)
			}
		}
		threads = rest
	}
	return late, nil
}

// meet gets to know the threads that have come. It returns how many could not be met.
func (t *transition) meet(ctx context.Context) (late int, err error) {
	fresh, err := t.p.Fresh()
	if err != nil {
		return 0, err
	}
	t.born = len(fresh) > 0
	t.late, err = t.each(ctx, append(t.late, fresh...), t.meetOne)
	t.warmUp()
	return len(t.late), err
}

// warmUp unwinds from where threads were, as they run, for what the unwinder keeps: objects
// and functions that it meets for the first time take it long, and no thread is to stand
// still for that.
func (t *transition) warmUp() {
	for _, regs := range t.seen {
		_, _ = t.stackOf(&regs)
	}
	t.seen = nil
}

// warmMost is of how many threads that is done: most are at the same places.
const warmMost = 16

func (t *transition) alive() bool {
	_, err := tracee.Status(t.pid)
	return err == nil && t.p.Execs() == 0
}

// meetOne enters which way a stopped thread takes.
func (t *transition) meetOne(th *tracee.Thread) error {
	tp, err := th.TLS()
	if err != nil {
		return err
	}
	if t.warmed < warmMost {
		if regs, err := th.Regs(); err == nil {
			t.seen = append(t.seen, regs)
			t.warmed++
		}
	}
	n := &thread{th: th, key: keyOf(tp)}
	way, listed, err := t.tables.wayOf(n.key)
	if err != nil {
		return err
	}
	n.way = way
	// Born since all others were gathered, it takes the new way without being listed; one
	// that came by before nopal met it is listed now, since the second table may be
	// emptied.
	if listed {
		if err := t.tables.setLeave(n.key, 0); err != nil { // it was another thread's
			return err
		}
	} else if way == t.tables.base {
		if err := t.tables.set(n.key, way); err != nil {
			return err
		}
	}
	t.threads[th.Tid()] = n
	return nil
}

// forgetEnded drops threads that have ended.
func (t *transition) forgetEnded() {
	there := map[int]bool{}
	for _, th := range t.p.Threads() {
		there[th.Tid()] = true
	}
	for tid := range t.threads {
		if !there[tid] || t.ended[tid] {
			delete(t.threads, tid)
		}
	}
}

// moveAll lets a group of threads go over at once if none of them is in a function that is
// being replaced.
func (t *transition) moveAll(ctx context.Context, group []*thread) error {
	held := group[:0:0]
	var began time.Time
	defer func() {
		for _, n := range held {
			t.release(n.th)
			t.stood(time.Since(began))
		}
	}()
	for _, n := range group {
		switch err := n.th.Hold(ctx, holdPatience); {
		case err == nil:
			if len(held) == 0 {
				began = time.Now()
			}
			held = append(held, n)
		case errors.Is(err, tracee.ErrBusy):
			n.why = doesNotStop
			return nil
		default:
			return err
		}
	}
	return t.move(held)
}

const doesNotStop = "does not stop: it is in an uninterruptible sleep, or waits for the child of a vfork"

// move lets stopped threads, all that have one thread pointer, go over if they can.
func (t *transition) move(held []*thread) error {
	for _, n := range held {
		tp, err := n.th.TLS()
		if err != nil {
			return err
		}
		if n.key != keyOf(tp) { // it has changed its thread pointer: it is another group's
			n.key = keyOf(tp)
			n.way, _, err = t.tables.wayOf(n.key)
			return err
		}
		regs, err := n.th.Regs()
		if err != nil {
			return err
		}
		var leave uint64
		if n.why, leave = t.where(n.th.Tid(), tp, &regs); n.why != "" {
			if len(held) > 1 {
				leave = 0
			}
			return t.tables.setLeave(n.key, leave)
		}
	}
	if err := t.tables.set(held[0].key, t.to); err != nil {
		return err
	}
	for _, n := range held {
		n.way = t.to
	}
	return nil
}

// stackOf unwinds a stopped thread.
func (p *process) stackOf(regs *tracee.Regs) ([]unwind.Frame, error) {
	p.unwinder()
	return p.unwind.Stack(unwindRegs(p.behindHook(regs)))
}

// where tells where a stopped thread is that cannot go over, "" if it can. leave is sp
// as it was when the outermost of the functions that are being replaced was called, 0 if
// that does not tell when the thread has left them.
func (t *transition) where(tid int, tp uint64, regs *tracee.Regs) (why string, leave uint64) {
	const atRedirect = "is at the redirect of a function"
	if t.inIsland(regs.PC()) {
		return atRedirect, 0
	}
	frames, err := t.stackOf(regs)
	for _, f := range frames {
		if t.inIsland(f.Lookup()) {
			return atRedirect, 0
		}
		if o := t.occupiedAt(f.Lookup()); o != nil {
			if why == "" {
				why = "is in " + o.name
			}
			leave = 0
			if !o.tail {
				leave = f.CFA
			}
		}
	}
	if err != nil || len(frames) == 0 {
		if why != "" {
			return why, 0
		}
		return fmt.Sprintf("has a stack that is not known: %v", err), 0
	}
	if last := frames[len(frames)-1].CFA; !t.ownStack(tid, tp, last) {
		if why != "" {
			return why, 0
		}
		return "is not on the stack that it was made with: it runs a coroutine", 0
	}
	return why, leave
}

func (t *transition) occupiedAt(pc uint64) *occupied {
	for i := range t.occupied {
		if t.occupied[i].contains(pc) {
			return &t.occupied[i]
		}
	}
	return nil
}
