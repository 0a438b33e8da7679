// Package session records processes: attach, plan, install, drain, write, detach.
//
// A target is one program in one process. Installing it means: shared memory (the
// ring), a private control block, an island of code near each traced object, and
// the sites' instructions, in this order, so that what is written last is all
// that makes the threads use the rest. Everything needed to undo it is in the
// ring itself, which the target has mapped: the addresses of all of it and a
// journal of the instructions that were changed, written before they are.
package session

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"nopal/internal/args"
	"nopal/internal/ftrace"
	"nopal/internal/tracee"
)

// Options say what is recorded, and where to.
type Options struct {
	Filter      *ftrace.Filter // nil: all functions
	Regs, Stack bool
	Overwrite   bool
	Triggers    []*ftrace.Trigger
	Args        *args.Set  // arguments, results and conditions; nil: none
	Inject      *Injection // what is injected; nil: nothing
	StartOff    bool       // nothing is recorded until a trigger or ctl says so
	Graph       bool       // exits too
	Profile     bool       // statistics for each function instead of events
	// ProfileEvery is how often they are read; 0: less and less often.
	ProfileEvery time.Duration
	Populate     bool // the whole buffer is in the target's page table from the start
	PrepareAll   bool // so that any function can be armed later without stopping anyone
	// Of a graph: how many levels below a function of -F, or below a thread's outermost
	// one; how many from the outermost one in any case; and how long a call has to take
	// to be recorded. 0: all.
	Depth, MaxDepth int
	Threshold       time.Duration
	Buffer          int64 // bytes of ring pages in each process
	Output          string
	Follow          bool          // children, and exec
	Duration        time.Duration // 0: until told to stop or the target ends
	Log             io.Writer     // messages for the user
	CommandLine     []string      // nopal's own, for the recording
	Version         string        // nopal's
	// Owner is who the recording shall belong to (under sudo, the caller);
	// nil leaves it.
	Owner *Owner
	// Snapshots takes a snapshot for each value that it gives.
	Snapshots <-chan struct{}
	// Files are the descriptors 0, 1 and 2 of a launched command; nil: nopal's own.
	Files []*os.File
	// Started, if not nil, is called with the pid of a launched command.
	Started func(pid int)
}

// Owner is who a recording belongs to.
type Owner struct{ UID, GID int }

// DefaultBuffer is the size of the ring where Options.Buffer is 0.
const DefaultBuffer = 64 << 20

// Result is what has come of a recording.
type Result struct {
	Events, Lost       uint64
	Calls              uint64 // of a profile
	Functions          int    // and of how many functions
	Threads, Processes int
	Exit               tracee.ExitStatus // of a launched command, if HasExit
	HasExit            bool
	Output             string
	Bytes              int64
	Reason             string // why it ended
	Warnings           []string
	Rules              []RuleCount // of an injection
}

// ExecError says that a command could not be started.
type ExecError struct {
	Command  string
	Err      error
	NotFound bool // no such file: exit status 127; otherwise 126
}

func (e *ExecError) Error() string { return fmt.Sprintf("start %s: %v", e.Command, e.Err) }

func (e *ExecError) Unwrap() error { return e.Err }

// NoSitesError says that a program has no function that can be traced.
type NoSitesError struct{ Program string }

func (e *NoSitesError) Error() string {
	return fmt.Sprintf("%s: no function can be traced: compile it, or the libraries of interest, with %s", e.Program, machineOf(runtime.GOARCH).option)
}

// BusyError says that another nopal records the process.
type BusyError struct{ PID, By int }

func (e *BusyError) Error() string {
	return fmt.Sprintf("process %d is being recorded by nopal with pid %d: end that first", e.PID, e.By)
}

// notThere reports whether an error says that the process is gone.
func notThere(err error) bool {
	return errors.Is(err, tracee.ErrExited) || errors.Is(err, tracee.ErrNoProcess) ||
		errors.Is(err, syscall.ESRCH) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
