package tracee

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"nopal/internal/sys"
)

// Tracer is the thread that traces: see the package comment.
type Tracer struct {
	bell    *sys.Bell
	err     error // why there is no bell, and so no thread
	closed  chan struct{}
	deaf    chan struct{} // nobody forwards SIGCHLD any more
	once    sync.Once
	sigchld chan os.Signal
	events  *eventQueue

	mu   sync.Mutex
	cmds []func()
	quit bool

	// Everything below belongs to the tracer's goroutine.
	tid     int
	threads map[int]*Thread
	procs   map[int]*Process // traced ones, and launched ones until they end
	waiters []*waiter
	// Stops of threads whose birth their parent has not reported yet: the kernel
	// promises no order between the two.
	orphans map[int]orphan
	// Processes born traced that nobody asked for: let go at their first stop.
	unwanted map[int]bool
}

type orphan struct {
	ws   syscall.WaitStatus
	seen time.Time
}

// waiter is a goroutine that waits for a state to be reached.
type waiter struct {
	cond func() (done bool, err error)
	ch   chan error
}

// NewTracer starts the tracing thread.
func NewTracer() *Tracer {
	t := &Tracer{
		closed:   make(chan struct{}),
		deaf:     make(chan struct{}),
		sigchld:  make(chan os.Signal, 1),
		events:   newEventQueue(),
		threads:  map[int]*Thread{},
		procs:    map[int]*Process{},
		orphans:  map[int]orphan{},
		unwanted: map[int]bool{},
	}
	if t.bell, t.err = sys.NewBell(); t.err != nil {
		close(t.closed)
		return t
	}
	// The kernel sends SIGCHLD to the tracing thread, if that can take it, and the
	// signal ends its sleep. When it comes just before the sleep, this does.
	signal.Notify(t.sigchld, syscall.SIGCHLD)
	go func() {
		defer close(t.deaf)
		for range t.sigchld {
			t.bell.Ring()
		}
	}()
	go t.loop()
	return t
}

// Close lets go of everything that is still traced and ends the thread. Processes that
// were stopped run on. A thread in an uninterruptible sleep is let go by the kernel.
func (t *Tracer) Close() {
	t.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var procs []*Process
		_ = t.do(func() {
			for _, p := range t.procs {
				// The kernel lets those go that run when this thread ends.
				if p.attached && !p.single {
					procs = append(procs, p)
				}
			}
		})
		// Children first: the parent of a vfork cannot stop before its child runs.
		slices.SortFunc(procs, func(a, b *Process) int { return b.birth - a.birth })
		for _, p := range procs {
			_ = p.Detach(ctx)
		}
		t.events.close()
		if t.err != nil {
			return
		}
		t.mu.Lock()
		t.quit = true
		t.bell.Ring()
		t.mu.Unlock()
		<-t.closed
		t.ended()
		signal.Stop(t.sigchld)
		close(t.sigchld)
		<-t.deaf
		t.bell.Close()
	})
}

// ended waits until the tracing thread is no more, and so has let everything go.
func (t *Tracer) ended() {
	self := os.Getpid()
	for end := time.Now().Add(time.Second); isTask(self, t.tid) && time.Now().Before(end); {
		time.Sleep(50 * time.Microsecond)
	}
}

// Events delivers what happens to followed processes. The channel is closed by Close.
func (t *Tracer) Events() <-chan Event { return t.events.out }

// do carries out f on the tracing thread.
func (t *Tracer) do(f func()) error {
	if t.err != nil {
		return t.err
	}
	done := make(chan struct{})
	t.mu.Lock()
	if t.quit {
		t.mu.Unlock()
		return ErrClosed
	}
	t.cmds = append(t.cmds, func() { defer close(done); f() })
	t.bell.Ring()
	t.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-t.closed:
		return ErrClosed
	}
}

// wait calls start on the tracing thread and then waits until cond, evaluated there
// whenever something has happened, is true.
func (t *Tracer) wait(ctx context.Context, start func() error, cond func() (bool, error)) error {
	w := &waiter{cond: cond, ch: make(chan error, 1)}
	var err error
	if doErr := t.do(func() {
		if err = start(); err == nil {
			t.waiters = append(t.waiters, w)
		}
	}); doErr != nil {
		return doErr
	}
	if err != nil {
		return err
	}
	select {
	case err := <-w.ch:
		return err
	case <-t.closed:
		return ErrClosed
	case <-ctx.Done():
		_ = t.do(func() {
			t.waiters = slices.DeleteFunc(t.waiters, func(x *waiter) bool { return x == w })
		})
		select {
		case err := <-w.ch: // it was done in the meantime
			return err
		default:
			return context.Cause(ctx)
		}
	}
}

func (t *Tracer) loop() {
	// Never unlocked: the thread ends with the goroutine, and with the thread every
	// attachment that is left.
	runtime.LockOSThread()
	if sys.Gettid() == os.Getpid() {
		// The runtime does not end the first thread, but parks it (runtime.mexit).
		started := make(chan struct{})
		go func() { close(started); t.loop() }()
		<-started // on another thread, as this one is taken
		runtime.UnlockOSThread()
		return
	}
	defer close(t.closed)
	t.tid = sys.Gettid()
	for {
		t.reapAll()
		t.mu.Lock()
		cmds, quit := t.cmds, t.quit
		t.cmds = nil
		t.mu.Unlock()
		for _, f := range cmds {
			f()
		}
		if quit {
			return
		}
		if len(cmds) == 0 {
			t.bell.Wait(t.tick())
		}
	}
}

// tick bounds how long a change stays unnoticed that sends no SIGCHLD: a first thread
// that ends before the others, for one.
func (t *Tracer) tick() time.Duration {
	switch {
	case len(t.waiters) > 0 || len(t.orphans) > 0:
		return 5 * time.Millisecond
	case len(t.threads) > 0:
		return time.Second
	}
	return 0
}

// reapAll handles every report that is there, and then those who wait.
func (t *Tracer) reapAll() {
	for t.reap() {
	}
	t.dropOrphans()
	t.waiters = slices.DeleteFunc(t.waiters, func(w *waiter) bool {
		done, err := w.cond()
		if done {
			w.ch <- err
		}
		return done
	})
}

// reap handles one report, if there is one.
func (t *Tracer) reap() bool {
	tid, ws, err := sys.Wait4(-1)
	if err != nil || tid == 0 { // ECHILD: nobody is traced
		return false
	}
	t.handle(tid, ws)
	return true
}

// pumpUntil handles reports, and no commands, until cond is true: for what th does that has
// to be done in one go, such as a remote system call. It spins at first, since the answer
// to a ptrace request usually takes microseconds and a wake-up through SIGCHLD longer.
func (t *Tracer) pumpUntil(th *Thread, cond func() bool) {
	const spins = 100
	for n := 0; !cond(); n++ {
		if tid, ws, err := sys.Wait4(th.tid); err == nil && tid != 0 {
			t.handle(tid, ws)
		} else if n > spins && !t.reap() {
			t.bell.Wait(time.Millisecond)
		}
	}
}

// handle deals with what a thread or a child has reported.
func (t *Tracer) handle(tid int, ws syscall.WaitStatus) {
	th := t.threads[tid]
	switch {
	case th == nil:
		t.handleUnknown(tid, ws)
	case ws.Exited() || ws.Signaled():
		t.threadGone(th, ws)
	case ws.Stopped():
		t.threadStopped(th, ws)
	}
}

// handleUnknown deals with a report of a thread that is not in the table: a child
// that has been detached, a thread that has just been born, or the first thread of a
// process whose former first thread had ended before another one called execve.
func (t *Tracer) handleUnknown(tid int, ws syscall.WaitStatus) {
	p := t.procs[tid]
	if ws.Exited() || ws.Signaled() {
		delete(t.orphans, tid)
		delete(t.unwanted, tid)
		if p != nil {
			t.processGone(p, exitStatus(ws))
		}
		return
	}
	if !ws.Stopped() {
		return
	}
	if t.unwanted[tid] {
		delete(t.unwanted, tid)
		_ = sys.PtraceDetach(tid, 0)
		return
	}
	if p == nil {
		if s, err := Status(tid); err == nil {
			p = t.procs[s.Tgid]
		}
	}
	if p != nil && p.attached {
		t.addThread(p, tid)
		t.handle(tid, ws)
		return
	}
	t.orphans[tid] = orphan{ws: ws, seen: time.Now()}
}

// dropOrphans lets newborn processes go whose parent was killed before it could report
// them.
func (t *Tracer) dropOrphans() {
	for tid, o := range t.orphans {
		if time.Since(o.seen) > 500*time.Millisecond {
			delete(t.orphans, tid)
			_ = sys.PtraceDetach(tid, 0)
		}
	}
}

// threadStopped is the heart of the package comment's section on stops.
func (t *Tracer) threadStopped(th *Thread, ws syscall.WaitStatus) {
	p := th.p
	sig := ws.StopSignal()
	event := int(ws) >> 16
	if th.call != nil {
		th.call.ws, th.call.reported = ws, true
		return
	}
	switch {
	case event == sys.EventStop:
		th.stopSig = sig
		th.state = threadHeld
		if th.stays() {
			p.settled()
		} else {
			th.resume()
		}
	case event == sys.EventClone || event == sys.EventFork || event == sys.EventVfork:
		t.born(th, event)
		th.release(0)
	case event == sys.EventVforkDone:
		th.vfork = false
		th.release(0)
	case event == sys.EventExec:
		t.execed(th)
		th.release(0)
	case event != 0 || sig == syscall.SIGTRAP|0x80: // nothing that we asked for
		th.release(0)
	case p.breakpoint != nil && sig == syscall.SIGTRAP && p.breakpoint.hitBy(th):
		p.interruptAll()
		th.release(0)
	default:
		th.release(sig)
	}
}

// born registers the thread or process that th has just created.
func (t *Tracer) born(th *Thread, event int) {
	msg, err := sys.PtraceGetEventMsg(th.tid)
	tid := int(msg)
	if err != nil || tid == 0 {
		return // th is being killed
	}
	p := th.p
	if event == sys.EventVfork {
		th.vfork = true
	}
	if t.threads[tid] != nil {
		return
	}
	o, waiting := t.orphans[tid]
	delete(t.orphans, tid)
	switch {
	case event == sys.EventClone && isTask(p.pid, tid):
		t.addThread(p, tid)
	case !p.follow:
		t.unwanted[tid] = true
	default:
		kind := EventForked
		if event == sys.EventVfork {
			kind = EventVforked
		}
		child := t.newProcess(tid)
		child.attached, child.follow, child.wantStop = true, true, true
		child.pendingEvent = &Event{Kind: kind, Process: p, Child: child}
		t.addThread(child, tid)
	}
	if waiting {
		t.handle(tid, o.ws)
	}
}

// execed forgets what the process was. The thread that called execve has got the
// process's id; no other is left (man 2 ptrace, "execve under ptrace").
func (t *Tracer) execed(th *Thread) {
	p := th.p
	for tid, other := range p.threads {
		if other != th {
			delete(p.threads, tid)
			delete(t.threads, tid)
		}
	}
	th.vfork, th.zombie, th.held = false, false, false
	p.execs++
	p.gate = gate{}
	p.breakpoint = nil
	p.mem.reopen(p.pid)
	if p.follow {
		p.wantStop = true
		if p.pendingEvent == nil { // else it is new anyway
			p.pendingEvent = &Event{Kind: EventExeced, Process: p}
		}
	}
}

func (t *Tracer) addThread(p *Process, tid int) *Thread {
	th := &Thread{p: p, tid: tid}
	t.threads[tid] = th
	p.threads[tid] = th
	if p.single {
		// seizeAll has not stopped it, and who is born stops: either is held from its
		// first stop on until it is looked at.
		th.held = true
		p.fresh = append(p.fresh, th)
	}
	return th
}

func (t *Tracer) threadGone(th *Thread, ws syscall.WaitStatus) {
	th.state = threadGone
	delete(t.threads, th.tid)
	delete(th.p.threads, th.tid)
	if th.tid == th.p.pid { // reported after all others
		t.processGone(th.p, exitStatus(ws))
	}
}

func (t *Tracer) processGone(p *Process, s ExitStatus) {
	for tid := range p.threads {
		delete(t.threads, tid)
	}
	clear(p.threads)
	delete(t.procs, p.pid)
	p.gone(s)
	if p.follow && (p.pendingEvent == nil || p.pendingEvent.Child != p) { // else nobody knows it
		t.events.put(Event{Kind: EventExited, Process: p, Status: s})
	}
}

// newProcess makes the record of a process that is being attached.
func (t *Tracer) newProcess(pid int) *Process {
	p := &Process{
		t:       t,
		pid:     pid,
		threads: map[int]*Thread{},
		done:    make(chan struct{}),
		mem:     &Memory{pid: pid},
	}
	p.mem.poke = p.Poke
	for _, q := range t.procs {
		p.birth = max(p.birth, q.birth+1)
	}
	p.mem.reopen(pid)
	if fd, err := sys.PidfdOpen(pid); err == nil {
		p.pidfd = os.NewFile(uintptr(fd), "pidfd")
	}
	t.procs[pid] = p
	return p
}

// ptraceError turns ESRCH, the kernel's answer for a thread that is not in a stop, into
// what it means for the caller: a thread that was held can only have been killed.
func (th *Thread) ptraceError(verb string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.ESRCH) {
		err = ErrExited
	}
	return fmt.Errorf("%s of thread %d: %w", verb, th.tid, err)
}
