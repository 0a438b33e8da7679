package tracee

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"nopal/internal/sys"
)

// Process is a process under control, from Attach, Launch or an event to Detach or its
// end. Its methods may be called from any goroutine, those that change something by one
// at a time.
type Process struct {
	t        *Tracer
	pid      int
	birth    int      // later-born processes have higher numbers
	launched bool     // our own child
	pidfd    *os.File // nil where the kernel has none to give
	mem      *Memory

	// Closed when the process has ended, as far as the tracer hears of it; status is
	// set before.
	done   chan struct{}
	status ExitStatus

	// Everything below belongs to the tracer's goroutine.
	threads      map[int]*Thread
	attached     bool
	follow       bool
	wantStop     bool
	execs        int
	single       bool      // its threads are stopped one by one: see Seize
	fresh        []*Thread // of such a process, that nobody was told of
	gate         gate      // for remote calls, once found
	breakpoint   *breakpoint
	pendingEvent *Event // to be delivered when the process has stopped
}

// Pid returns the process's id.
func (p *Process) Pid() int { return p.pid }

// Done is closed when the tracer has heard of the process's end, which it does only of
// processes that are attached or its own children; see WaitExit for all.
func (p *Process) Done() <-chan struct{} { return p.done }

func (p *Process) gone(s ExitStatus) {
	p.status = s
	p.attached = false
	close(p.done)
	p.mem.Close()
	if p.pidfd != nil {
		p.pidfd.Close()
	}
}

// exited returns an error if the process has ended.
func (p *Process) exited() error {
	select {
	case <-p.done:
		return &ExitError{Pid: p.pid, Status: p.status}
	default:
		return nil
	}
}

// usable returns an error if the process cannot be controlled (any more).
func (p *Process) usable() error {
	if err := p.exited(); err != nil {
		return err
	}
	if !p.attached {
		return fmt.Errorf("process %d: %w", p.pid, ErrDetached)
	}
	if p.single && p.execs > 0 { // what was known of it is of another program
		return fmt.Errorf("process %d: %w", p.pid, ErrExec)
	}
	return nil
}

// options are the ptrace options of the process's threads.
func (p *Process) options() int {
	o := sys.OptSysGood | sys.OptClone | sys.OptExec
	if p.follow {
		o |= sys.OptFork | sys.OptVfork | sys.OptVforkDone
	}
	return o
}

// Threads returns the threads that the process has, in the order of their ids.
func (p *Process) Threads() []*Thread {
	var list []*Thread
	_ = p.t.do(func() { list = p.sorted() })
	return list
}

func (p *Process) sorted() []*Thread {
	list := make([]*Thread, 0, len(p.threads))
	for _, th := range p.threads {
		list = append(list, th)
	}
	slices.SortFunc(list, func(a, b *Thread) int { return a.tid - b.tid })
	return list
}

// Execs returns how many times the process has called execve since it was attached.
func (p *Process) Execs() int {
	n := 0
	_ = p.t.do(func() { n = p.execs })
	return n
}

// Stop returns when no thread of the process runs any of its code, those born meanwhile
// included. A thread that waits for the child of its vfork counts as stopped if the
// process is followed; its registers cannot be read.
//
// Threads in an uninterruptible sleep delay it: on an error, which names them, the
// process runs on as before.
func (p *Process) Stop(ctx context.Context) error {
	return p.stop(ctx, true)
}

func (p *Process) stop(ctx context.Context, vforkIsStopped bool) error {
	was := false
	err := p.t.wait(ctx, func() error {
		was = p.wantStop
		if err := p.usable(); err != nil {
			return err
		}
		p.interruptAll()
		p.collect()
		return nil
	}, p.whenStopped(vforkIsStopped))
	if err == nil || ctx.Err() == nil {
		return err
	}
	var late []int
	_ = p.t.do(func() {
		for _, th := range p.sorted() {
			if !th.atRest(vforkIsStopped) {
				late = append(late, th.tid)
			}
		}
		if !was {
			p.resume()
		}
	})
	return fmt.Errorf("stop process %d: threads %v do not stop: %w", p.pid, late, err)
}

// whenStopped is the condition that all threads have stopped.
func (p *Process) whenStopped(vforkIsStopped bool) func() (bool, error) {
	start := time.Now()
	return func() (bool, error) {
		if err := p.usable(); err != nil {
			return true, err
		}
		look := time.Since(start) > 4*time.Millisecond
		if look {
			start = time.Now()
		}
		for _, th := range p.threads {
			if th.atRest(vforkIsStopped) {
				continue
			}
			// A first thread that has ended while others live stays as a zombie and
			// reports nothing.
			if look && th.tid == p.pid && taskState(p.pid, th.tid) == 'Z' {
				th.zombie = true
				continue
			}
			return false, nil
		}
		return true, nil
	}
}

// settled sends the event that waits for the process to have stopped.
func (p *Process) settled() {
	if p.pendingEvent == nil {
		return
	}
	for _, th := range p.threads {
		if !th.atRest(true) {
			return
		}
	}
	e := *p.pendingEvent
	p.pendingEvent = nil
	p.t.events.put(e)
}

// interruptAll asks all threads to stop.
func (p *Process) interruptAll() {
	p.wantStop = true
	for _, th := range p.threads {
		if th.state == threadRuns || th.state == threadListens {
			_ = sys.PtraceInterrupt(th.tid)
		}
	}
}

// collect handles what the threads have reported that were asked to stop, by their ids: to
// ask for any thread's report costs the kernel a look at all of them.
func (p *Process) collect() {
	for tid, th := range p.threads {
		if th.state != threadRuns && th.state != threadListens {
			continue
		}
		if got, ws, err := sys.Wait4(tid); err == nil && got != 0 {
			p.t.handle(tid, ws)
		}
	}
}

// Resume undoes Stop. A process in a group stop (SIGSTOP, SIGTSTP, ...) stays in it
// until SIGCONT.
func (p *Process) Resume() error {
	var err error
	if doErr := p.t.do(func() {
		if err = p.usable(); err == nil {
			p.resume()
		}
	}); doErr != nil {
		return doErr
	}
	return err
}

func (p *Process) resume() {
	p.wantStop = false
	for _, th := range p.threads {
		if th.state == threadHeld && !th.held {
			th.resume()
		}
	}
}

// Detach lets the process go, wherever it is; a group stop remains. Children that were born
// before are still followed, and their events come. The suspended
// parent of a vfork can only be detached when its child has gone on: resume or detach the
// child first.
func (p *Process) Detach(ctx context.Context) error {
	if err := p.stop(ctx, false); err != nil {
		return fmt.Errorf("detach process %d: %w", p.pid, err)
	}
	return p.t.do(func() {
		for tid := range p.threads {
			// ESRCH: it has been killed, and a dying thread needs no letting go.
			_ = sys.PtraceDetach(tid, 0)
			delete(p.t.threads, tid)
		}
		clear(p.threads)
		p.attached = false
		p.wantStop = false
		p.follow = false
		if !p.launched {
			delete(p.t.procs, p.pid)
		}
	})
}

// SetFollow switches whether the children of the stopped process are followed and its
// execve reported.
func (p *Process) SetFollow(follow bool) error {
	var err error
	if doErr := p.t.do(func() {
		if err = p.usable(); err != nil {
			return
		}
		p.follow = follow
		for _, th := range p.threads {
			if e := sys.PtraceSetOptions(th.tid, p.options()); e != nil && err == nil && !th.zombie {
				err = th.ptraceError("set trace options", e)
			}
		}
	}); doErr != nil {
		return doErr
	}
	return err
}

// signal needs no check of who has the process's id: see sys.PidfdSendSignal.
func (p *Process) signal(sig syscall.Signal) error {
	if p.pidfd == nil {
		return syscall.Kill(p.pid, sig)
	}
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	if ctlErr := conn.Control(func(fd uintptr) { err = sys.PidfdSendSignal(int(fd), sig) }); ctlErr != nil {
		return ctlErr
	}
	return err
}

// Kill sends a signal to the process, and never to another one that has got its id.
func (p *Process) Kill(sig syscall.Signal) error {
	var err error
	if doErr := p.t.do(func() {
		if err = p.exited(); err != nil {
			return
		}
		err = p.signal(sig)
	}); doErr != nil {
		return doErr
	}
	if err != nil {
		return fmt.Errorf("send signal %d to process %d: %w", int(sig), p.pid, err)
	}
	return nil
}
