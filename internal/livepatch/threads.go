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

// meet gets to know the threads that have come. It reports whether there were any that
// could not be met.
func (t *transition) meet(ctx context.Context) (late int, err error) {
	fresh, err := t.p.Fresh()
	if err != nil {
		return 0, err
	}
	fresh = append(t.late, fresh...)
	t.late = nil
	for i, th := range fresh {
		switch err := t.meetOne(ctx, th); {
		case err == nil, errors.Is(err, tracee.ErrExited) && t.alive():
		case errors.Is(err, tracee.ErrBusy):
			t.late = append(t.late, th)
		default:
			t.late = append(t.late, fresh[i:]...)
			return len(t.late), err
		}
	}
	return len(t.late), nil
}

func (t *transition) alive() bool {
	_, err := tracee.Status(t.pid)
	return err == nil && t.p.Execs() == 0
}

// meetOne stops a thread and enters which way it takes.
func (t *transition) meetOne(ctx context.Context, th *tracee.Thread) error {
	if err := th.Hold(ctx, holdPatience); err != nil {
		return err
	}
	began := time.Now()
	defer func() {
		th.Release()
		t.stood(time.Since(began))
	}()
	tp, err := th.TLS()
	if err != nil {
		return err
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
		if !there[tid] {
			delete(t.threads, tid)
		}
	}
}

// move lets a group of threads go over if none of them is in a function that is being
// replaced.
func (t *transition) move(ctx context.Context, group []*thread) (moved bool, err error) {
	held := group[:0:0]
	var began time.Time
	defer func() {
		for _, n := range held {
			n.th.Release()
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
			n.why = "does not stop: it is in an uninterruptible sleep, or waits for the child of a vfork"
			return false, nil
		default:
			return false, err
		}
	}
	for _, n := range held {
		tp, err := n.th.TLS()
		if err != nil {
			return false, err
		}
		if n.key != keyOf(tp) { // it has changed its thread pointer: it is another group's
			n.key = keyOf(tp)
			n.way, _, err = t.tables.wayOf(n.key)
			return false, err
		}
		regs, err := n.th.Regs()
		if err != nil {
			return false, err
		}
		var leave uint64
		if n.why, leave = t.where(n.th.Tid(), tp, &regs); n.why != "" {
			if len(group) > 1 {
				leave = 0
			}
			return false, t.tables.setLeave(n.key, leave)
		}
	}
	if err := t.tables.set(group[0].key, t.to); err != nil {
		return false, err
	}
	for _, n := range held {
		n.way = t.to
	}
	return true, nil
}

// stackOf unwinds a stopped thread.
func (p *process) stackOf(regs *tracee.Regs) ([]unwind.Frame, error) {
	p.unwinder()
	return p.unwind.Stack(unwindRegs(regs))
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
