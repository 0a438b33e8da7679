package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nopal/internal/entry"
	"nopal/internal/tracee"
	"nopal/trace"
)

// How long to sleep between two looks at the rings: short while events arrive, and
// never so long that a dlopen notices. Polling without a sleep would cost the
// target the cache line each time.
const (
	lookBusy  = 200 * time.Microsecond
	lookIdle  = time.Millisecond
	roundTime = 50 * time.Millisecond
	// Looking for threads that have ended reads the list of all.
	reapFirst = 200 * time.Millisecond
	reapMost  = 5 * time.Second
)

// maxFormer bounds how many programs that have ended are remembered, for births that
// are heard of late.
const maxFormer = 1024

// session is a recording in progress.
type session struct {
	rec     *recorder
	tr      *tracee.Tracer
	targets map[int]*target // by pid
	former  map[int]*target // the last program of each process that has ended
	follow  bool
	main    *target
	exit    tracee.ExitStatus
	exited  bool // the main process has ended

	launched *tracee.Process // the command, if it is one
	name     string          // and how it was called
	noRoom   bool            // nothing more can be written
	wished   bool            // a trigger has asked for the end

	control    *control       // nil: the recording cannot be controlled
	stopped    []controlCall  // who asked for its end
	overrides  []string       // what was armed and disarmed by name, in words
	snapshots  int            // that were not given a name
	snapshotAt time.Time      // the last one that was taken for a signal or a trigger
	copying    atomic.Bool    // and whether it is still being written
	copies     sync.WaitGroup // of the file, for snapshots

	dead map[threadKey]bool // threads that were gone at the last look
}

func newSession(o Options) (*session, error) {
	rec, err := newRecorder(o)
	if err != nil {
		return nil, err
	}
	return &session{rec: rec, tr: tracee.NewTracer(), targets: map[int]*target{}, former: map[int]*target{}, follow: o.Follow}, nil
}

// run drains until ctx is done, the main process has ended, or nothing more can be
// written. It returns the reason.
func (s *session) run(ctx context.Context, ended <-chan struct{}) (string, error) {
	var limit <-chan time.Time
	if s.rec.o.Duration > 0 {
		timer := time.NewTimer(s.rec.o.Duration)
		defer timer.Stop()
		limit = timer.C
	}
	sleep := lookBusy
	look := time.NewTimer(sleep)
	defer look.Stop()
	lastRound, lastReap := time.Now(), time.Now()
	reapTime := reapFirst
	s.control = startControl(runtimeDirs())
	s.control.name(s.targets)
	for {
		select {
		case <-ctx.Done():
			return "stopped", nil
		case <-limit:
			return "duration is over", nil
		case <-ended:
			s.exited = true
			return "process ended", nil
		case e, ok := <-s.tr.Events():
			if !ok {
				return "tracer ended", nil
			}
			if err := s.event(ctx, e); err != nil {
				return "error", err
			}
			if s.exited {
				return "process ended", nil
			}
		case c := <-s.control.requests():
			if s.answer(ctx, c) {
				return "stopped by ctl", nil
			}
		case <-s.rec.o.Snapshots:
			s.signalled()
		case <-look.C:
			now := time.Now()
			flush := now.Sub(lastRound) >= roundTime
			n, err := s.look(flush)
			if err != nil {
				return "error", err
			}
			if s.wished {
				return "stopped by a trigger", nil
			}
			if flush {
				lastRound = now
				s.control.name(s.targets)
			}
			if now.Sub(lastReap) >= reapTime {
				found, err := s.reap()
				if err != nil {
					return "error", err
				}
				lastReap = time.Now()
				reapTime = min(2*reapTime, reapMost)
				if found {
					reapTime = reapFirst
				}
			}
			if n > 0 {
				sleep = lookBusy
			} else {
				sleep = min(sleep*2, lookIdle)
			}
			// With thousands of threads a look takes its time; it is not to take a
			// processor.
			look.Reset(max(sleep, 2*time.Since(now)))
		}
	}
}

// look drains all targets once and answers their loaders.
func (s *session) look(flush bool) (int, error) {
	ticks := entry.Counter()
	total, hurry := 0, false
	for _, t := range s.targets {
		if !t.installed {
			continue
		}
		t.serveLoader()
		n, err := t.drainer.Look(flush)
		hurry = hurry || t.drainer.Filling()
		total += n
		if err != nil {
			return total, err
		}
		t.refineTid()
		t.watchSyscalls()
		if err := t.lookProfile(flush); err != nil {
			return total, err
		}
		stop, err := s.wishes(t)
		if err != nil {
			return total, err
		}
		s.wished = s.wished || stop
		if s.rec.stacks() || t.reads || t.callsBodies() {
			// An error says that its memory is gone: it has ended, or executes another
			// program, which is told of in an event.
			_ = t.findStacks()
		}
	}
	s.rec.w.Hurry(hurry)
	if flush && !s.rec.o.Overwrite {
		return total, s.rec.round(ticks)
	}
	return total, nil
}

// event handles what has happened to a followed process.
func (s *session) event(ctx context.Context, e tracee.Event) error {
	t := s.targets[e.Process.Pid()]
	switch e.Kind {
	case tracee.EventForked, tracee.EventVforked:
		// The birth is heard of when the child stops: its parent may have ended, or
		// executed another program, since.
		if former := s.former[e.Process.Pid()]; former != nil && (t == nil || !t.installed) {
			t = former
		}
		return s.born(ctx, t, e.Child, e.Kind == tracee.EventVforked)
	case tracee.EventExeced:
		if t != nil {
			if err := s.close(t, nil); err != nil {
				return err
			}
		}
		n, err := s.program(ctx, e.Process)
		if t != nil && t == s.main && n != nil {
			s.main = n
		}
		return err
	case tracee.EventExited:
		if t == nil {
			return nil
		}
		if t == s.main {
			s.exit, s.exited = e.Status, true
		}
		return s.close(t, &e.Status)
	}
	return nil
}

// program begins with the program that a stopped process is about to run: it runs to
// where its libraries are mapped and none of their constructors has run, and is
// installed there.
func (s *session) program(ctx context.Context, p *tracee.Process) (*target, error) {
	t, err := s.begin(ctx, p)
	if err != nil && !notThere(err) {
		if t == nil {
			return nil, errors.Join(err, p.Resume())
		}
		// A child that cannot be traced is left alone; it must not stop for that.
		s.rec.warn("process %d (%s): not traced: %v", p.Pid(), t.name(), err)
	}
	if t == nil {
		return nil, nil
	}
	if err := p.Resume(); err != nil && !notThere(err) {
		return t, err
	}
	return t, nil
}

// begin makes a target of a process that is stopped before its first instruction.
func (s *session) begin(ctx context.Context, p *tracee.Process) (*target, error) {
	t, err := newTarget(s.rec, p.Pid(), p.Memory())
	if err != nil {
		return nil, err
	}
	t.attach(p)
	if err := s.rec.process(t); err != nil {
		return nil, err
	}
	s.targets[t.pid] = t
	hook, err := t.loaderHook()
	if err != nil {
		return t, err
	}
	if hook != 0 {
		return t, s.beginDynamic(ctx, t, hook)
	}
	objects, err := t.plan()
	if err != nil {
		return t, err
	}
	if err := s.rec.checkFilter(false); err != nil && !s.follow {
		return t, err
	}
	if len(objects) == 0 {
		return t, nil // nothing to trace, now or later
	}
	if err := t.install(ctx, objects, standing, standing); err != nil {
		return t, err
	}
	if t.tidOffset == entry.TidOffsetNone {
		return t, t.runToThreadBlock()
	}
	return t, nil
}

// beginDynamic is begin for a program with a loader, whose debugger hook is at hook.
func (s *session) beginDynamic(ctx context.Context, t *target, hook uint64) error {
	if err := t.runToLoaded(ctx, hook); err != nil {
		return err
	}
	defer t.answered()
	objects, err := t.plan()
	if err != nil {
		return err
	}
	if err := s.rec.checkFilter(false); err != nil && !s.follow {
		return err
	}
	if err := errors.Join(t.mapProfile(ctx), t.mapInject(ctx)); err != nil {
		return err
	}
	if err := t.islands(objects, t.mmapStopped(ctx)); err != nil {
		return err
	}
	t.unguarded = t.mapGuards(t.mmapStopped(ctx))
	if err := t.readyGraph(ctx, objects); err != nil {
		return err
	}
	if err := t.writeSites(objects, standing, standing); err != nil {
		return err
	}
	return t.putGuards()
}

// born makes a target of a child that is stopped at its birth.
func (s *session) born(ctx context.Context, parent *target, p *tracee.Process, vfork bool) error {
	err := s.adopt(ctx, parent, p, vfork)
	if err != nil && !notThere(err) {
		if diskFull(err) {
			return err
		}
		s.rec.warn("process %d: not traced: %v", p.Pid(), err)
	}
	if err := p.Resume(); err != nil && !notThere(err) {
		return err
	}
	return nil
}

// adopt gives a child what it needs to be recorded. The child of a vfork runs in its
// parent's memory: what it does before it executes a program counts as its parent's.
func (s *session) adopt(ctx context.Context, parent *target, p *tracee.Process, vfork bool) error {
	if parent == nil || vfork {
		t, err := newTarget(s.rec, p.Pid(), p.Memory())
		if err != nil {
			return err
		}
		t.attach(p)
		s.targets[t.pid] = t
		return s.rec.process(t)
	}
	t := parent.child(p)
	s.targets[t.pid] = t
	if err := s.rec.process(t); err != nil {
		return err
	}
	state, found, err := findState(p.Pid(), p.Memory())
	if err != nil || !found {
		return err
	}
	if state.Control == parent.control && t.inherits(state) {
		return t.installChild(ctx, parent, state)
	}
	// Forked while its parent was being installed, or had just executed another
	// program when we heard of the birth: what it has inherited is of no use.
	r := newRemover(t.pid, t.mem, state)
	if _, err := r.finish(ctx, p); err != nil {
		return err
	}
	fresh, err := newTarget(s.rec, t.pid, t.mem)
	if err != nil {
		return err
	}
	fresh.attach(p)
	fresh.proc, fresh.comm = t.proc, t.comm
	s.targets[t.pid] = fresh
	objects, err := fresh.plan()
	if err != nil {
		return err
	}
	return fresh.install(ctx, objects, standing, standing)
}

// close ends the recording of a target whose threads are gone.
func (s *session) close(t *target, status *tracee.ExitStatus) error {
	if t.installed {
		// What its triggers asked for at last.
		if _, err := s.wishes(t); err != nil {
			return err
		}
	}
	delete(s.targets, t.pid)
	if len(s.former) >= maxFormer {
		clear(s.former)
	}
	s.former[t.pid] = t
	if err := t.closeRing(); err != nil {
		return err
	}
	e := trace.Exit{Proc: t.proc, Ticks: entry.Counter()}
	if status != nil && status.Known {
		e.Status = uint32(status.Code) << 8
		if status.Signal != 0 {
			e.Status = uint32(status.Signal)
		}
	}
	return s.rec.w.WriteExit(e)
}

// reap gives back what threads that have ended held, where that is becoming scarce.
// It reports whether there are any.
func (s *session) reap() (bool, error) {
	gone := map[threadKey]bool{}
	crowded := false
	for _, t := range s.targets {
		if !t.installed || !t.drainer.Crowded() {
			continue
		}
		tids, err := tracee.Tasks(t.pid)
		if err != nil {
			continue
		}
		crowded = true
		alive := map[uint32]bool{0: true} // a thread block without an id
		for _, tid := range tids {
			alive[t.inside(tid)] = true
		}
		// A thread is taken for gone when two looks have missed it: its id must not
		// be another's whose first event is just being recorded.
		dead := t.drainer.Dead(func(tid uint32) bool {
			if alive[tid] {
				return true
			}
			k := threadKey{t.proc, tid}
			gone[k] = true
			return !s.dead[k]
		})
		for _, slot := range dead {
			// While the slot is a dead thread's, nobody touches it or its counts.
			if err := t.drainer.Reap(slot); err != nil {
				return true, err
			}
			if t.bury(slot) != nil {
				break // the process has ended meanwhile: its event comes
			}
		}
	}
	s.dead = gone
	return crowded && len(gone) > 0, nil
}

// finish takes everything out of the targets that still run and completes the file.
func (s *session) finish(ctx context.Context, reason string) (Result, error) {
	s.control.shut()
	var errs []error
	for _, t := range s.targets {
		if err := s.release(ctx, t); err != nil && !notThere(err) {
			errs = append(errs, err)
		}
	}
	if s.launched != nil && !s.exited {
		// The recording is over, the command is not: nopal ends as it does.
		go s.letGo(ctx)
		s.endControl("the recording has ended, its file is complete when the command has ended", nil)
		if status, err := s.launched.WaitExit(ctx); err == nil {
			s.exit, s.exited = status, true
		}
	}
	s.tr.Close()
	res, err := s.rec.end(reason)
	errs = append(errs, err)
	res.Exit, res.HasExit = s.exit, s.exited && s.launched != nil
	for _, err := range errs {
		s.full(err)
	}
	res.Warnings = s.rec.warnings
	s.copies.Wait()
	s.endControl("recording written to "+res.Output, errors.Join(errs...))
	return res, errors.Join(slices.DeleteFunc(errs, diskFull)...)
}

// full says once that a recording has ended for want of room, if err says so: that is
// no failure of the rest. It reports whether it does.
func (s *session) full(err error) bool {
	if !diskFull(err) {
		return false
	}
	if !s.noRoom {
		s.noRoom = true
		s.rec.warn("the recording ends early, what is written so far is kept: %v", err)
	}
	return true
}

// letGo lets processes go that were born, or have executed a program, while the
// recording ended.
func (s *session) letGo(ctx context.Context) {
	for e := range s.tr.Events() {
		p := e.Process
		switch e.Kind {
		case tracee.EventForked, tracee.EventVforked:
			p = e.Child
		case tracee.EventExited:
			continue
		}
		if state, found, err := findState(p.Pid(), p.Memory()); err == nil && found && e.Kind != tracee.EventVforked {
			r := newRemover(p.Pid(), p.Memory(), state)
			// What cannot be removed is harmless, and nopal detach can try again.
			_, _ = r.finish(ctx, p)
		}
		_ = p.Detach(ctx)
	}
}

// release removes a running target's instrumentation and lets it go.
func (s *session) release(ctx context.Context, t *target) error {
	if t.installed {
		if _, err := s.wishes(t); err != nil {
			s.rec.warn("%v", err)
		}
	}
	delete(s.targets, t.pid)
	if !t.installed {
		if t.attached {
			return t.p.Detach(ctx)
		}
		return nil
	}
	t.leave()
	t.profileEnds()
	r := newRemover(t.pid, t.mem, t.ring.State(t.ringAddr))
	// The sooner the fewer threads are in our code later; what fails here is tried
	// again, and its error told, when they are stopped.
	if r.disarm() != nil || r.plan() != nil {
		r.batch = nil
	}
	p := t.p
	var err error
	if t.attached {
		err = p.Stop(ctx)
	} else {
		p, err = s.tr.Attach(ctx, t.pid, tracee.Options{})
	}
	if err == nil {
		var report DetachReport
		report, err = r.report(ctx, p)
		if err == nil && (!report.Unmapped || len(r.changed) > 0) {
			s.rec.warn("%s", report.Message)
		}
		if e := p.Detach(ctx); err == nil && e != nil {
			err = e
		}
	}
	if e := t.closeRing(); e != nil && (err == nil || notThere(err)) {
		err = e
	}
	if err != nil && !notThere(err) {
		return fmt.Errorf("detach from process %d (run nopal detach -p %d to try again): %w", t.pid, t.pid, err)
	}
	return s.rec.w.WriteExit(trace.Exit{Proc: t.proc, Ticks: entry.Counter()})
}
