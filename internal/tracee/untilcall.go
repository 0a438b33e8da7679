package tracee

import (
	"errors"
	"fmt"
	"syscall"

	"nopal/internal/sys"
)

// RunUntilCall runs the stopped process, which has one thread, up to the first system
// call that there is no going past: pass is asked at the entry of each. That call is
// begun when RunUntilCall returns, all threads stopped, and is finished, or started
// again, when the process goes on.
//
// pass runs on the tracing thread and must not use the tracer. It should let only calls
// go by that do not block.
func (p *Process) RunUntilCall(pass func(nr uint64) bool) error {
	var err error
	if doErr := p.t.do(func() { err = p.runUntilCall(pass) }); doErr != nil {
		return doErr
	}
	if err != nil {
		return fmt.Errorf("run process %d to a system call: %w", p.pid, err)
	}
	return nil
}

func (p *Process) runUntilCall(pass func(nr uint64) bool) error {
	if err := p.usable(); err != nil {
		return err
	}
	if len(p.threads) != 1 {
		return errors.New("it has several threads")
	}
	th := p.sorted()[0]
	if th.state != threadHeld || th.stopSig != syscall.SIGTRAP {
		return ErrNotStopped
	}
	c := &call{}
	th.call = c
	defer func() { th.call = nil }()
	for {
		if err := th.step(sys.PtraceSyscall, isSyscallStop); err != nil {
			return err
		}
		r, err := getRegs(th.tid)
		if err != nil {
			return err
		}
		if !pass(r.syscallNumber()) {
			break
		}
		if err := th.step(sys.PtraceSyscall, isSyscallStop); err != nil {
			return err
		}
	}
	if err := sys.PtraceInterrupt(th.tid); err != nil {
		return err
	}
	if err := th.step(sys.PtraceCont, isEventStop); err != nil {
		return err
	}
	th.stopSig = c.ws.StopSignal()
	return nil
}
