package tracee

import (
	"syscall"

	"nopal/internal/sys"
)

type threadState int

const (
	threadRuns    threadState = iota // or is on its way to a stop
	threadHeld                       // in PTRACE_EVENT_STOP
	threadListens                    // in the group stop of its process, as if untraced
	threadGone
)

// Thread is one thread of a process under control.
type Thread struct {
	p   *Process
	tid int

	// Everything below belongs to the tracer's goroutine.
	state   threadState
	stopSig syscall.Signal // of the held thread: SIGTRAP, or the group stop's
	vfork   bool           // suspended until its child executes or ends
	zombie  bool           // the first thread has ended before the others
	call    *call          // a remote call is on its way
	held    bool           // to be stopped for itself: see Hold
	asked   bool           // and told so by HoldNext
}

// Tid returns the thread's id.
func (th *Thread) Tid() int { return th.tid }

// Process returns the process that the thread belongs to.
func (th *Thread) Process() *Process { return th.p }

// atRest reports whether the thread runs no code of the process.
func (th *Thread) atRest(vforkIsStopped bool) bool {
	return th.state == threadHeld || th.zombie || vforkIsStopped && th.vfork
}

// release lets a thread go from a stop that is not the one to keep it in, interrupting
// it again where it is to stop: "any trap clears pending STOP trap" (kernel/signal.c,
// ptrace_stop).
func (th *Thread) release(sig syscall.Signal) {
	if th.stays() {
		_ = sys.PtraceInterrupt(th.tid)
	}
	th.state = threadRuns
	_ = sys.PtraceCont(th.tid, sig) // ESRCH: killed, and its end will be reported
}

// resume lets a held thread go. One that is held in a group stop stays in that.
func (th *Thread) resume() {
	if th.stopSig != syscall.SIGTRAP {
		if sys.PtraceListen(th.tid) == nil {
			th.state = threadListens
			return
		}
	}
	th.state = threadRuns
	_ = sys.PtraceCont(th.tid, 0)
}

// onHeld carries out f on the tracing thread if th is held there.
func (th *Thread) onHeld(verb string, f func() error) error {
	var err error
	if doErr := th.p.t.do(func() {
		if err = th.p.usable(); err != nil {
			return
		}
		if th.state != threadHeld {
			err = th.ptraceError(verb, th.notHeld())
			return
		}
		err = th.ptraceError(verb, f())
	}); doErr != nil {
		return doErr
	}
	return err
}

// notHeld says why a thread is not held.
func (th *Thread) notHeld() error {
	if th.state == threadGone || th.p.wantStop && !th.vfork {
		return ErrExited // held before, so killed since
	}
	return ErrNotStopped
}

// Regs returns the registers of the stopped thread.
func (th *Thread) Regs() (r Regs, err error) {
	err = th.onHeld("read registers", func() (err error) { r, err = getRegs(th.tid); return err })
	return r, err
}

// SetRegs replaces the registers of the stopped thread.
func (th *Thread) SetRegs(r Regs) error {
	return th.onHeld("write registers", func() error { return setRegs(th.tid, &r) })
}

// SetPC makes the stopped thread go on at another address.
func (th *Thread) SetPC(pc uint64) error {
	return th.onHeld("set program counter", func() error {
		r, err := getRegs(th.tid)
		if err != nil {
			return err
		}
		r.SetPC(pc)
		return setRegs(th.tid, &r)
	})
}

// TLS returns the thread pointer of the stopped thread, 0 before the C library has set
// it.
func (th *Thread) TLS() (tp uint64, err error) {
	err = th.onHeld("read thread pointer", func() (err error) { tp, err = getTLS(th.tid); return err })
	return tp, err
}

// GroupStopped reports whether the thread is held in a group stop of its process, which
// only SIGCONT ends.
func (th *Thread) GroupStopped() bool {
	stopped := false
	_ = th.p.t.do(func() {
		stopped = th.state == threadListens || th.state == threadHeld && th.stopSig != syscall.SIGTRAP
	})
	return stopped
}
