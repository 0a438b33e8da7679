package tracee

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"nopal/internal/sys"
)

// call is a remote system call on its way: what its thread reports goes here and not to
// threadStopped.
type call struct {
	ws       syscall.WaitStatus
	reported bool
}

// Syscall makes a system call in the name of the stopped process and returns its
// result, an error of the call as a syscall.Errno. The thread that does it is one that is
// not in a system call itself, if there is one. Blocking calls stop everything: don't.
func (p *Process) Syscall(ctx context.Context, nr uint64, args ...uint64) (uint64, error) {
	var ret uint64
	var err error
	if doErr := p.t.do(func() {
		var th *Thread
		if th, err = p.caller(); err == nil {
			ret, err = th.syscall(ctx, nr, args)
		}
	}); doErr != nil {
		return 0, doErr
	}
	return ret, err
}

// Syscall is Process.Syscall on a thread of choice.
func (th *Thread) Syscall(ctx context.Context, nr uint64, args ...uint64) (uint64, error) {
	var ret uint64
	var err error
	if doErr := th.p.t.do(func() { ret, err = th.syscall(ctx, nr, args) }); doErr != nil {
		return 0, doErr
	}
	return ret, err
}

// caller chooses the thread for a remote call.
func (p *Process) caller() (*Thread, error) {
	if err := p.usable(); err != nil {
		return nil, err
	}
	// Looking at a thread costs two system calls: where so many wait, all may.
	const looks = 32
	var second *Thread
	n, waiting := 0, false
	for _, th := range p.threads {
		waiting = waiting || th.vfork
		if th.state != threadHeld {
			continue
		}
		if second == nil {
			second = th
		}
		r, err := getRegs(th.tid)
		if err == nil && !inSyscall(th.tid, &r) {
			return th, nil
		}
		if n++; n == looks {
			break
		}
	}
	if second == nil {
		err := ErrNotStopped
		if p.wantStop && !waiting { // held before, so killed since
			err = ErrExited
		}
		return nil, fmt.Errorf("make system call in process %d: %w", p.pid, err)
	}
	return second, nil
}

// syscall runs on the tracing thread. See the package comment for how it goes. What
// is begun is finished: a thread cannot be left with registers that are ours.
func (th *Thread) syscall(ctx context.Context, nr uint64, args []uint64) (ret uint64, err error) {
	p := th.p
	if err := errors.Join(ctx.Err(), p.usable()); err != nil {
		return 0, err
	}
	fail := func(verb string, err error) (uint64, error) {
		return 0, fmt.Errorf("make system call %d: %w", nr, th.ptraceError(verb, err))
	}
	if th.state != threadHeld {
		return fail("use", th.notHeld())
	}
	if err := p.findGate(); err != nil {
		return 0, fmt.Errorf("make system call %d in process %d: %w", nr, p.pid, err)
	}
	lift, err := th.suspendSeccomp()
	if err != nil {
		return 0, fmt.Errorf("make system call %d in process %d: %w", nr, p.pid, err)
	}
	defer lift()
	saved, err := th.save()
	if err != nil {
		return fail("save state", err)
	}
	rescue := th.prepareRescue(saved)
	// From here on the thread's state is ours, and put back whatever happens.
	defer func() {
		if restoreErr := errors.Join(th.restore(saved), rescue.clear()); restoreErr != nil && err == nil {
			ret, err = fail("put back state", restoreErr)
		}
	}()
	// The order matters if we are killed: once signals are blocked, the way back that
	// restores the mask is there, and restore takes it away last.
	r := saved.regs
	r.prepareCall(p.gate.call, nr, args)
	rescue.arm(&r)
	if err := setRegs(th.tid, &r); err != nil {
		return fail("set registers", err)
	}
	// SIGKILL and SIGSTOP cannot be blocked.
	if err := sys.PtraceSetSigMask(th.tid, ^uint64(0)); err != nil {
		return fail("block signals", err)
	}
	c := &call{}
	th.call = c
	defer func() { th.call = nil }()

	for {
		for range 2 { // the entry, the exit
			if err := th.step(sys.PtraceSyscall, isSyscallStop); err != nil {
				return fail("run", err)
			}
		}
		if err := sys.PtraceInterrupt(th.tid); err != nil {
			return fail("interrupt", err)
		}
		if err := th.step(sys.PtraceCont, isEventStop); err != nil {
			return fail("stop", err)
		}
		th.stopSig = c.ws.StopSignal()
		after, err := getRegs(th.tid)
		if err != nil {
			return fail("read result", err)
		}
		ret := after.result()
		errno := -int64(ret)
		const (
			maxErrno     = 4095
			errorRestart = 512 // ERESTARTSYS and up: for the kernel to see, not for programs
		)
		switch {
		case errno <= 0 || errno > maxErrno:
			return ret, nil
		case errno < errorRestart || errno > errorRestart+4:
			return 0, syscall.Errno(errno)
		}
		if err := setRegs(th.tid, &r); err != nil {
			return fail("set registers again", err)
		}
	}
}

// suspendSeccomp suspends the filter of a stopped thread until lift is called. The filter
// is the process's promise about itself, not about us; but only a privileged tracer may
// do that.
func (th *Thread) suspendSeccomp() (lift func(), err error) {
	if s, err := Status(th.tid); err != nil || s.Seccomp == 0 {
		return func() {}, nil
	}
	if err := sys.PtraceSetOptions(th.tid, th.p.options()|sys.OptSuspendSeccomp); err != nil {
		return nil, fmt.Errorf("%w, and to suspend that for a moment needs root: %w", ErrSeccomp, err)
	}
	return func() { _ = sys.PtraceSetOptions(th.tid, th.p.options()) }, nil
}

// step resumes the thread until it reports the stop that is wanted. Others on the way
// are a SIGSTOP to deliver, which leads to a group stop, and that.
func (th *Thread) step(resume func(int, syscall.Signal) error, want func(syscall.WaitStatus) bool) error {
	c := th.call
	var sig syscall.Signal
	for {
		c.reported = false
		th.state = threadRuns
		if err := resume(th.tid, sig); err != nil {
			th.state = threadHeld
			return err
		}
		th.p.t.pumpUntil(th, func() bool { return c.reported || th.state == threadGone })
		if th.state == threadGone {
			return th.p.endedBy()
		}
		th.state = threadHeld
		if want(c.ws) {
			return nil
		}
		sig = 0
		if int(c.ws)>>16 == 0 && c.ws.StopSignal()&0x80 == 0 {
			sig = c.ws.StopSignal()
		}
	}
}

// endedBy says how the process ended of which a thread has ended.
func (p *Process) endedBy() error {
	if err := p.exited(); err != nil {
		return err
	}
	return ErrExited
}

func isSyscallStop(ws syscall.WaitStatus) bool {
	return ws.StopSignal() == syscall.SIGTRAP|0x80
}

func isEventStop(ws syscall.WaitStatus) bool { return int(ws)>>16 == sys.EventStop }

// savedState is what a remote call may change.
type savedState struct {
	regs        Regs
	interrupted Regs // as regs, before fixRestart: a return from a signal ends all restarts
	mask        uint64
	extra       []regSet
}

type regSet struct {
	set  int
	data []byte
}

func (th *Thread) save() (s savedState, err error) {
	if s.regs, err = getRegs(th.tid); err != nil {
		return s, err
	}
	th.abortRseq(&s.regs)
	s.interrupted = s.regs
	s.regs.fixRestart(th)
	if s.mask, err = sys.PtraceGetSigMask(th.tid); err != nil {
		return s, err
	}
	for _, set := range lostInSyscalls {
		data, err := sys.PtraceGetRegSetAll(th.tid, set)
		if err != nil { // EINVAL, ENODEV: this processor or kernel has none
			continue
		}
		s.extra = append(s.extra, regSet{set, data})
	}
	return s, nil
}

func (th *Thread) restore(s savedState) error {
	var errs []error
	for _, e := range s.extra {
		if now, err := sys.PtraceGetRegSetAll(th.tid, e.set); err == nil && bytes.Equal(now, e.data) {
			continue
		}
		errs = append(errs, sys.PtraceSetRegSet(th.tid, e.set, e.data))
	}
	// The registers last: until then there is the way back.
	errs = append(errs, sys.PtraceSetSigMask(th.tid, s.mask), setRegs(th.tid, &s.regs))
	return errors.Join(errs...)
}

// Mmap maps memory in the stopped process and returns its address.
func (p *Process) Mmap(ctx context.Context, addr, length uint64, prot, flags, fd int, offset uint64) (uint64, error) {
	a, err := p.Syscall(ctx, sys.NrMmap, addr, length, uint64(prot), uint64(flags), uint64(int64(fd)), offset)
	if err != nil {
		return 0, fmt.Errorf("map %d bytes at %#x in process %d: %w", length, addr, p.pid, err)
	}
	return a, nil
}

// Munmap unmaps memory of the stopped process.
func (p *Process) Munmap(ctx context.Context, addr, length uint64) error {
	if _, err := p.Syscall(ctx, sys.NrMunmap, addr, length); err != nil {
		return fmt.Errorf("unmap %d bytes at %#x in process %d: %w", length, addr, p.pid, err)
	}
	return nil
}

// Madvise advises the kernel on memory of the stopped process.
func (p *Process) Madvise(ctx context.Context, addr, length uint64, advice int) error {
	if _, err := p.Syscall(ctx, sys.NrMadvise, addr, length, uint64(advice)); err != nil {
		return fmt.Errorf("advise on %d bytes at %#x in process %d: %w", length, addr, p.pid, err)
	}
	return nil
}

// MmapAt maps memory at an address that is free.
func (p *Process) MmapAt(ctx context.Context, addr, length uint64, prot, flags, fd int) error {
	got, err := p.Mmap(ctx, addr, length, prot, flags, fd, 0)
	if err == nil && got != addr {
		// A kernel that does not know MAP_FIXED_NOREPLACE takes the address as a hint.
		_ = p.Munmap(ctx, got, length)
		err = fmt.Errorf("map at %#x: the kernel chose %#x", addr, got)
	}
	return err
}

// Memfd makes a memfd in the process's name, so that it counts as the process's, and
// returns its descriptor there. A thread has to be stopped; the name has at most 15 bytes.
func (p *Process) Memfd(ctx context.Context, name string) (int, error) {
	// A first thread that has ended stays as a zombie while others live.
	var th *Thread
	var regs Regs
	err := error(ErrExited)
	for _, th = range p.Threads() {
		if regs, err = th.Regs(); err == nil {
			break
		}
	}
	if err != nil {
		return 0, err
	}
	// The name goes below the stack pointer of a thread whose signals are blocked
	// meanwhile, beyond any red zone.
	at := (regs.SP() - 512) &^ 15
	saved := make([]byte, 16)
	if _, err := p.mem.ReadAt(saved, int64(at)); err != nil {
		return 0, fmt.Errorf("read stack: %w", err)
	}
	if _, err := p.mem.WriteAt(append([]byte(name), 0), int64(at)); err != nil {
		return 0, fmt.Errorf("write stack: %w", err)
	}
	n, err := th.Syscall(ctx, sys.NrMemfdCreate, at, sys.MemfdCloexec)
	if _, e := p.mem.WriteAt(saved, int64(at)); e != nil && err == nil {
		err = e
	}
	return int(n), err
}

// CloseFD closes a descriptor of the stopped process.
func (p *Process) CloseFD(ctx context.Context, fd int) error {
	if _, err := p.Syscall(ctx, sys.NrClose, uint64(fd)); err != nil {
		return fmt.Errorf("close descriptor %d of process %d: %w", fd, p.pid, err)
	}
	return nil
}

// OpenRemoteFD opens anew, for reading and writing, the file that is behind a
// descriptor of the process: for a memfd the same memory.
func (p *Process) OpenRemoteFD(fd int) (*os.File, error) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/%d", p.pid, fd), os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open descriptor %d of process %d: %w", fd, p.pid, err)
	}
	return f, nil
}
