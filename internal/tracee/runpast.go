package tracee

import (
	"fmt"
	"syscall"
	"time"

	"nopal/internal/sys"
)

// RunPast lets a held thread run until it has made the system call that last says yes to,
// and holds it there again; the other threads do as before. last is asked with the
// registers at the entry of each call, on the tracing thread. A thread that does not get
// there in time, or does what has to be reported on the way, runs on: ErrNoReturn.
func (th *Thread) RunPast(last func(*Regs) bool, patience time.Duration) error {
	var err error
	if doErr := th.p.t.do(func() { err = th.runPast(last, time.Now().Add(patience)) }); doErr != nil {
		return doErr
	}
	if err != nil {
		return fmt.Errorf("run thread %d to a system call: %w", th.tid, err)
	}
	return nil
}

func (th *Thread) runPast(last func(*Regs) bool, end time.Time) error {
	if err := th.p.usable(); err != nil {
		return err
	}
	if th.state != threadHeld || th.stopSig != syscall.SIGTRAP {
		return ErrNotStopped
	}
	c := &call{}
	th.call = c
	defer func() { th.call = nil }()
	for inside, found := false, false; !found || inside; {
		ws, err := th.stepUntil(sys.PtraceSyscall, end)
		if err != nil {
			return err
		}
		if event := int(ws) >> 16; event != 0 {
			th.call, th.held = nil, false
			th.p.t.threadStopped(th, ws)
			return ErrNoReturn
		}
		if !isSyscallStop(ws) {
			continue
		}
		if inside = !inside; inside {
			r, err := getRegs(th.tid)
			if err != nil {
				return err
			}
			found = last(&r)
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
