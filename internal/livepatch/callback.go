package livepatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"nopal/internal/tracee"
)

// How long a callback may run, and how long nopal waits for a place to call it from.
const (
	callbackPatience = 5 * time.Second
	placePatience    = 5 * time.Second
)

// callback calls a function of a patch in the process's first thread, while that waits in a
// system call; or in the one that loads the object of the patch.
func (p *process) callback(ctx context.Context, name string, fn uint64) (int32, error) {
	if fn == 0 {
		return 0, nil
	}
	if p.keep != nil {
		// It stands in the loader, which calls functions of others, too.
		word, err := p.keep.Call(fn, callbackPatience)
		if err != nil {
			return 0, fmt.Errorf("call %s: %w", name, err)
		}
		return int32(word), nil
	}
	var first *tracee.Thread
	for _, th := range p.p.Threads() {
		if th.Tid() == p.pid {
			first = th
		}
	}
	if first == nil {
		return 0, fmt.Errorf("call %s: the first thread has ended", name)
	}
	end := time.Now().Add(placePatience)
	for pause := pauseFirst; ; pause = min(2*pause, pauseMost) {
		ret, done, err := p.tryCallback(ctx, first, fn)
		if done || err != nil && !errors.Is(err, tracee.ErrBusy) {
			if err != nil {
				err = fmt.Errorf("call %s: %w", name, err)
			}
			return ret, err
		}
		if time.Now().After(end) {
			return 0, fmt.Errorf("call %s: the first thread is never at a place from which it can be called", name)
		}
		if err := sleep(ctx, pause); err != nil {
			return 0, fmt.Errorf("call %s: %w", name, err)
		}
	}
}

func (p *process) tryCallback(ctx context.Context, first *tracee.Thread, fn uint64) (ret int32, done bool, err error) {
	if err := first.Hold(ctx, holdPatience); err != nil {
		return 0, false, err
	}
	defer p.release(first)
	regs, err := first.Regs()
	if err != nil {
		return 0, false, err
	}
	if !p.quiet(&regs) {
		return 0, false, nil
	}
	word, err := first.Call(fn, callbackPatience)
	return int32(word), true, err
}

// quiet reports whether a stopped thread waits in a system call that programs wait in, and
// not one by which the C library manages memory or locks.
func (p *process) quiet(regs *tracee.Regs) bool {
	frames, err := p.stackOf(regs)
	if err != nil || len(frames) == 0 || p.own(regs.PC()) {
		return false
	}
	const svc0 = 0xd4000001
	for _, at := range []uint64{regs.PC(), regs.PC() - 4} {
		if insn, err := p.text().Load(at); err == nil && insn == svc0 {
			return slices.Contains(waitingCalls, syscallOf(regs))
		}
	}
	return false
}

// waitingCalls are the numbers of read, readv, pread64, pselect6, ppoll, waitid,
// nanosleep, clock_nanosleep, rt_sigsuspend, rt_sigtimedwait, accept, recvfrom, recvmsg,
// accept4, recvmmsg, wait4, epoll_pwait, epoll_pwait2 and io_getevents on arm64
// (include/uapi/asm-generic/unistd.h).
var waitingCalls = []uint64{63, 65, 67, 72, 73, 95, 101, 115, 133, 137, 202, 207, 212, 242, 243, 260, 22, 441, 4}
