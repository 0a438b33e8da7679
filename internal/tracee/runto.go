package tracee

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"nopal/internal/sys"
)

// breakpoint is the one that RunTo sets, for as long as it lasts.
type breakpoint struct {
	addr uint64
	old  []byte  // the instruction that was replaced
	hard *Thread // or the only thread, whose processor watches for addr
	hit  *Thread
}

// plant sets the breakpoint. In a process with one thread, as every program is that
// starts, it is one of the processor's: the kernel takes it away when nopal is killed,
// which an instruction that we have written would survive.
func (b *breakpoint) plant(p *Process) error {
	if threads := p.Threads(); len(threads) == 1 {
		if err := threads[0].onHeld("set breakpoint", func() error {
			return setHardwareBreakpoint(threads[0].tid, b.addr)
		}); err == nil {
			b.hard = threads[0]
			return nil
		}
	}
	if _, err := p.ReadAt(b.old, int64(b.addr)); err != nil {
		return err
	}
	if bytes.Equal(b.old, breakpointInsn) {
		return errors.New("there is a breakpoint already")
	}
	_, err := p.WriteAt(breakpointInsn, int64(b.addr))
	return err
}

// lift takes it away. The process is stopped.
func (b *breakpoint) lift(p *Process) error {
	if b.hard != nil {
		return b.hard.onHeld("clear breakpoint", func() error { return setHardwareBreakpoint(b.hard.tid, 0) })
	}
	_, err := p.WriteAt(b.old, int64(b.addr))
	return err
}

// hitBy reports whether the SIGTRAP that th is stopped at comes from the breakpoint,
// and if so moves th back onto it.
func (b *breakpoint) hitBy(th *Thread) bool {
	r, err := getRegs(th.tid)
	if err != nil || r.PC() != b.addr+breakpointPCOffset {
		return false
	}
	info, err := sys.PtraceGetSigInfo(th.tid)
	if err != nil || !fromKernel(&info) {
		return false
	}
	if b.hit == nil {
		b.hit = th
	}
	r.SetPC(b.addr)
	return setRegs(th.tid, &r) == nil
}

// standsAt reports whether a thread of the stopped process is about to execute the
// instruction at addr.
func (p *Process) standsAt(addr uint64) bool {
	for _, th := range p.Threads() {
		if r, err := th.Regs(); err == nil && r.PC() == addr {
			return true
		}
	}
	return false
}

// RunTo runs the stopped process until a thread is about to execute the instruction at
// addr, and returns that thread; all are stopped then. It is for the program's start, when
// nothing handles SIGTRAP yet. On an error other than the process's end or execve the
// process is stopped, where it is.
func (p *Process) RunTo(ctx context.Context, addr uint64) (*Thread, error) {
	fail := func(err error) (*Thread, error) {
		return nil, fmt.Errorf("run process %d to %#x: %w", p.pid, addr, err)
	}
	b := &breakpoint{addr: addr, old: make([]byte, len(breakpointInsn))}
	if err := b.plant(p); err != nil {
		return fail(err)
	}
	before, err := Status(p.pid)
	if err != nil {
		return fail(err)
	}
	execs := 0
	stopped := p.whenStopped(true)
	err = p.t.wait(ctx, func() error {
		if err := p.usable(); err != nil {
			return err
		}
		execs = p.execs
		p.breakpoint = b
		p.resume()
		return nil
	}, func() (bool, error) {
		switch err := p.usable(); {
		case err != nil:
			return true, err
		case p.execs != execs:
			return true, ErrExec
		case b.hit == nil:
			return false, nil
		}
		return stopped()
	})
	if errors.Is(err, ErrExec) || errors.Is(err, ErrExited) || errors.Is(err, ErrClosed) {
		return fail(err)
	}
	if err != nil {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if stopErr := p.Stop(stopCtx); stopErr != nil {
			return fail(errors.Join(err, stopErr))
		}
		if p.standsAt(addr) {
			// It has stopped between the breakpoint and its report: a SIGTRAP is
			// pending, which must not arrive when nobody knows of it any more.
			err = p.t.wait(stopCtx, func() error { p.resume(); return nil }, func() (bool, error) {
				if err := p.usable(); err != nil || b.hit == nil {
					return err != nil, err
				}
				return stopped()
			})
			if errors.Is(err, ErrExited) || errors.Is(err, ErrClosed) {
				return fail(err)
			}
		}
	}
	_ = p.t.do(func() { p.breakpoint = nil })
	if restoreErr := b.lift(p); restoreErr != nil {
		return fail(errors.Join(err, fmt.Errorf("the breakpoint is left there: %w", restoreErr)))
	}
	if err != nil {
		return fail(err)
	}
	if err := p.restoreTrap(ctx, b.hit, before); err != nil {
		return fail(err)
	}
	return b.hit, nil
}

// restoreTrap undoes what the kernel does to force the signal of a breakpoint on a thread
// that blocks or ignores it (kernel/signal.c, force_sig_info_to_task). Programs inherit
// both from who starts them.
func (p *Process) restoreTrap(ctx context.Context, th *Thread, before ProcStatus) error {
	const sigtrap = 1 << (syscall.SIGTRAP - 1)
	if before.SigBlk&sigtrap != 0 {
		if err := th.onHeld("block SIGTRAP again", func() error {
			mask, err := sys.PtraceGetSigMask(th.tid)
			if err != nil {
				return err
			}
			return sys.PtraceSetSigMask(th.tid, mask|sigtrap)
		}); err != nil {
			return err
		}
	}
	if before.SigIgn&sigtrap == 0 {
		return nil
	}
	const (
		sigIgn  = 1
		beyond  = 8 << 10 // past the frame of the call itself
		setSize = 8
	)
	var action [32]byte // struct sigaction: handler, flags, restorer, mask
	binary.NativeEndian.PutUint64(action[:], sigIgn)
	at, err := p.unusedStack(beyond+len(action), nil)
	if err != nil {
		return fmt.Errorf("ignore SIGTRAP again: %w", err)
	}
	at += beyond
	if _, err := p.WriteAt(action[:], int64(at)); err != nil {
		return fmt.Errorf("ignore SIGTRAP again: %w", err)
	}
	_, err = th.Syscall(ctx, sys.NrRtSigaction, uint64(syscall.SIGTRAP), at, 0, setSize)
	_, clearErr := p.WriteAt(make([]byte, len(action)), int64(at))
	if err := errors.Join(err, clearErr); err != nil {
		return fmt.Errorf("ignore SIGTRAP again: %w", err)
	}
	return nil
}
