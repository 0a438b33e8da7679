package tracee

import (
	"errors"
	"fmt"
	"syscall"
)

// What can be wrong with a process that somebody wants to trace.
var (
	ErrNoProcess    = errors.New("no such process")
	ErrZombie       = errors.New("process has ended and waits for its parent (zombie)")
	ErrKernelThread = errors.New("is a thread of the kernel")
	ErrTraced       = errors.New("already traced")
	ErrPermission   = errors.New("permission denied")
	ErrArchitecture = errors.New("wrong architecture")
	ErrExited       = errors.New("process has ended")
	ErrExec         = errors.New("process has executed another program")
	ErrSeccomp      = errors.New("process filters its system calls (seccomp)")
	ErrDetached     = errors.New("process is not attached")
	ErrNotStopped   = errors.New("thread is not stopped")
	ErrClosed       = errors.New("tracer is closed")
)

const errESRCH = syscall.ESRCH

// ExitError says how a process ended that something was wanted of. It is an ErrExited.
type ExitError struct {
	Pid    int
	Status ExitStatus
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("process %d has ended: %v", e.Pid, e.Status)
}

// Is makes errors.Is(err, ErrExited) true.
func (e *ExitError) Is(target error) bool { return target == ErrExited }

// ExitStatus is how a process ended. Known is false where nobody can tell us: the
// status of a process that is neither traced nor our child goes to its parent alone.
type ExitStatus struct {
	Known  bool
	Code   int            // exit status, if Signal is 0
	Signal syscall.Signal // what killed it
	Core   bool           // a core was dumped
}

func exitStatus(ws syscall.WaitStatus) ExitStatus {
	if ws.Signaled() {
		return ExitStatus{Known: true, Signal: ws.Signal(), Core: ws.CoreDump()}
	}
	return ExitStatus{Known: true, Code: ws.ExitStatus()}
}

func (s ExitStatus) String() string {
	switch {
	case !s.Known:
		return "status unknown"
	case s.Signal != 0 && s.Core:
		return fmt.Sprintf("killed by signal %d (%v), core dumped", int(s.Signal), s.Signal)
	case s.Signal != 0:
		return fmt.Sprintf("killed by signal %d (%v)", int(s.Signal), s.Signal)
	default:
		return fmt.Sprintf("exit status %d", s.Code)
	}
}
