package tracee

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nopal/internal/sys"
)

// Seize takes control of a running process without stopping it: its threads run on, and
// each can be stopped for itself by [Thread.Hold]. [Process.Fresh] tells of the threads
// that there are and of those that come, which are stopped before their first
// instruction until they are released. [Tracer.Close] lets them all go as they run.
func (t *Tracer) Seize(pid int) (*Process, error) {
	fail := func(err error) (*Process, error) {
		return nil, fmt.Errorf("attach to process %d: %w", pid, err)
	}
	if err := attachable(pid); err != nil {
		return fail(err)
	}
	var p *Process
	var err error
	if doErr := t.do(func() {
		if t.procs[pid] != nil {
			err = fmt.Errorf("%w by this nopal", ErrTraced)
			return
		}
		p = t.newProcess(pid)
		p.attached, p.single = true, true
		if err = p.seizeRunning(); err != nil {
			t.forget(p)
		}
	}); doErr != nil {
		return fail(doErr)
	}
	if err != nil {
		return fail(err)
	}
	return p, nil
}

// seizeRunning seizes all threads of p, until two looks at the list find nobody new: the
// kernel may skip entries of a list that shrinks while it is read (fs/proc/base.c,
// first_tid).
func (p *Process) seizeRunning() error {
	for clean := 0; clean < 2; clean++ {
		n, err := p.t.seizeAll(p)
		if err != nil {
			return err
		}
		if n > 0 {
			clean = -1
		}
	}
	return nil
}

// Fresh returns the threads of a seized process that have come since it was last
// asked, after it has looked for those that the kernel does not tell of (they were born
// with CLONE_UNTRACED). New-born ones wait, stopped, to be released.
func (p *Process) Fresh() ([]*Thread, error) {
	var list []*Thread
	var err error
	if doErr := p.t.do(func() {
		if err = p.usable(); err != nil {
			return
		}
		if err = p.seizeRunning(); err != nil {
			return
		}
		for _, th := range p.fresh {
			if th.state != threadGone {
				list = append(list, th)
			}
		}
		p.fresh = nil
	}); doErr != nil {
		return nil, doErr
	}
	if err != nil {
		return nil, fmt.Errorf("list threads of process %d: %w", p.pid, err)
	}
	return list, nil
}

// ErrBusy says that a thread did not stop in time: it is in an uninterruptible sleep.
var ErrBusy = errors.New("thread does not stop")

// starved is how long a thread may go without a processor.
const starved = 5 * time.Second

// Hold stops one thread and returns when it stands, until Release. The thread finishes
// nothing first: a system call that it waits in is interrupted and begun again. A thread
// that could run but does not get a processor is waited for longer than patience.
func (th *Thread) Hold(ctx context.Context, patience time.Duration) error {
	p := th.p
	err := ErrExited
	if doErr := p.t.do(func() {
		if err = errors.Join(context.Cause(ctx), p.usable()); err != nil {
			return
		}
		th.held = true
		if th.state == threadRuns || th.state == threadListens {
			_ = sys.PtraceInterrupt(th.tid) // ESRCH: it has just ended
		}
		begun := time.Now()
		end := begun.Add(patience)
		p.t.pumpUntil(th, func() bool {
			if th.state == threadHeld || th.state == threadGone {
				return true
			}
			now := time.Now()
			if now.Before(end) {
				return false
			}
			end = now.Add(patience)
			switch taskState(p.pid, th.tid) {
			case 'D', 'Z', 'X', 0:
				return true
			}
			return now.Sub(begun) > starved || ctx.Err() != nil
		})
		switch {
		case th.state == threadHeld:
		case th.state == threadGone:
			err = ErrExited
		default:
			// It goes on by itself when it stops.
			th.held = false
			err = ErrBusy
			if th.tid == p.pid && taskState(p.pid, th.tid) == 'Z' {
				th.zombie = true
				err = ErrExited
			}
		}
	}); doErr != nil {
		return doErr
	}
	if err != nil {
		return fmt.Errorf("stop thread %d: %w", th.tid, err)
	}
	return nil
}

// HoldNext asks some threads to stop and returns one that stands. The others may stop
// meanwhile; who calls it again with them gets them one after another, as they come. All
// that were asked have to be released in the end. ErrBusy: none stops, and none is asked any
// more. ErrExited: the thread that is returned has ended.
func (p *Process) HoldNext(ctx context.Context, threads []*Thread, patience time.Duration) (*Thread, error) {
	var next *Thread
	var err error
	if doErr := p.t.do(func() { next, err = p.holdNext(ctx, threads, patience) }); doErr != nil {
		return nil, doErr
	}
	if err != nil {
		err = fmt.Errorf("stop threads of process %d: %w", p.pid, err)
	}
	return next, err
}

func (p *Process) holdNext(ctx context.Context, threads []*Thread, patience time.Duration) (*Thread, error) {
	if err := errors.Join(context.Cause(ctx), p.usable()); err != nil {
		return nil, err
	}
	for _, th := range threads {
		if !th.asked && (th.state == threadRuns || th.state == threadListens) {
			_ = sys.PtraceInterrupt(th.tid) // ESRCH: it has just ended
		}
		th.held, th.asked = true, true
	}
	begun := time.Now()
	end := begun.Add(patience)
	const spins = 100
	for n := 0; ; n++ {
		for _, th := range threads {
			switch th.state {
			case threadHeld:
				return th, nil
			case threadGone:
				return th, ErrExited
			}
		}
		now := time.Now()
		if now.After(end) {
			end = now.Add(patience)
			if p.asleep(threads) || now.Sub(begun) > starved || ctx.Err() != nil {
				break
			}
		}
		if !p.t.reap() && n > spins {
			p.t.bell.Wait(time.Millisecond)
		}
	}
	for _, th := range threads {
		th.held, th.asked = false, false // it goes on by itself when it stops
		if th.tid == p.pid && taskState(p.pid, th.tid) == 'Z' {
			th.zombie = true
			return th, ErrExited
		}
	}
	return nil, ErrBusy
}

// asleep reports whether none of the threads can stop soon.
func (p *Process) asleep(threads []*Thread) bool {
	for _, th := range threads {
		switch taskState(p.pid, th.tid) {
		case 'D', 'Z', 'X', 0:
		default:
			return false
		}
	}
	return true
}

// Release undoes Hold.
func (th *Thread) Release() {
	_ = th.p.t.do(func() {
		th.held, th.asked = false, false
		if th.state == threadHeld && !th.p.wantStop {
			th.resume()
		}
	})
}

// stays reports whether the thread is to stay in a stop.
func (th *Thread) stays() bool { return th.p.wantStop || th.held }
