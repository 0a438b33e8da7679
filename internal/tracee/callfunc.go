package tracee

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"nopal/internal/sys"
)

// ErrNoReturn says that a function that was called has not returned in time. It goes on, and
// when it returns the thread goes on where it was.
var ErrNoReturn = errors.New("function does not return")

// Call makes the stopped first thread call a function of the process, with up to six
// numbers as arguments, and returns the result where that is seen: on x86-64 the way back
// puts the number of its system call in its place, and it is 0. It runs on an unused part of the thread's stack, with signals blocked,
// and returns into the vDSO's rt_sigreturn, which brings back the state that the thread had
// before, as in a remote system call: also when nopal is killed meanwhile.
//
// The thread may have been stopped anywhere, holding any lock: it is on the function not to
// take one.
func (th *Thread) Call(fn uint64, patience time.Duration, args ...uint64) (uint64, error) {
	var ret uint64
	var err error
	if doErr := th.p.t.do(func() { ret, err = th.callFunc(fn, patience, args) }); doErr != nil {
		return 0, doErr
	}
	if err != nil {
		return 0, fmt.Errorf("call function at %#x in process %d: %w", fn, th.p.pid, err)
	}
	return ret, nil
}

func (th *Thread) callFunc(fn uint64, patience time.Duration, args []uint64) (ret uint64, err error) {
	p := th.p
	if err := p.usable(); err != nil {
		return 0, err
	}
	if th.state != threadHeld || th.tid != p.pid {
		return 0, th.notHeld()
	}
	if err := p.findGate(); err != nil {
		return 0, err
	}
	lift, err := th.suspendSeccomp()
	if err != nil {
		return 0, err
	}
	defer lift()
	saved, err := th.save()
	if err != nil {
		return 0, err
	}
	rescue := th.prepareRescue(saved)
	if rescue == nil {
		return 0, errors.New("its first thread's stack has no room for it")
	}
	returned := false
	defer func() {
		if !errors.Is(err, ErrNoReturn) && th.state != threadGone {
			err = errors.Join(err, th.restore(saved), rescue.clear())
		}
	}()
	r := saved.regs
	r.SetPC(fn)
	r.setArgs(args)
	rescue.arm(&r)
	if err := setRegs(th.tid, &r); err != nil {
		return 0, err
	}
	if err := sys.PtraceSetSigMask(th.tid, ^uint64(0)); err != nil {
		return 0, err
	}
	c := &call{}
	th.call = c
	defer func() { th.call = nil }()
	end := time.Now().Add(patience)
	for !returned {
		ws, err := th.stepUntil(sys.PtraceSyscall, end)
		if err != nil {
			return 0, err
		}
		if !isSyscallStop(ws) {
			continue
		}
		now, err := getRegs(th.tid)
		if err != nil {
			return 0, err
		}
		// The entry of the rt_sigreturn that the function returns to.
		if now.returnsFromSignal(p.gate.sigreturn) {
			ret, returned = now.returned(), true
		}
	}
	if err := th.step(sys.PtraceSyscall, isSyscallStop); err != nil { // its exit
		return 0, err
	}
	if err := sys.PtraceInterrupt(th.tid); err != nil {
		return 0, err
	}
	if err := th.step(sys.PtraceCont, isEventStop); err != nil {
		return 0, err
	}
	th.stopSig = c.ws.StopSignal()
	return ret, nil
}

// stepUntil resumes the thread until it reports something. After end it is left alone.
func (th *Thread) stepUntil(resume func(int, syscall.Signal) error, end time.Time) (syscall.WaitStatus, error) {
	c := th.call
	var sig syscall.Signal
	if int(c.ws)>>16 == 0 && c.reported && c.ws.StopSignal()&0x80 == 0 {
		sig = c.ws.StopSignal() // what the function has done to itself
	}
	c.reported = false
	th.state = threadRuns
	if err := resume(th.tid, sig); err != nil {
		th.state = threadHeld
		return 0, err
	}
	th.p.t.pumpUntil(th, func() bool { return c.reported || th.state == threadGone || time.Now().After(end) })
	switch {
	case th.state == threadGone:
		return 0, th.p.endedBy()
	case !c.reported:
		th.held = false
		return 0, ErrNoReturn
	}
	th.state = threadHeld
	return c.ws, nil
}
