package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"nopal/internal/tracee"
)

// RecordCommand runs a command and records it. When ctx is cancelled the recording
// ends and the command goes on; RecordCommand still returns with its exit status.
func RecordCommand(ctx context.Context, o Options, argv []string) (Result, error) {
	s, err := newSession(o)
	if err != nil {
		return Result{}, err
	}
	p, err := s.tr.Launch(ctx, tracee.LaunchOptions{
		Path: argv[0], Argv: argv, Files: o.Files, Options: tracee.Options{Follow: o.Follow},
	})
	if err != nil {
		_, e := s.finish(ctx, "command not started")
		return Result{}, errors.Join(&ExecError{Command: argv[0], Err: err, NotFound: errors.Is(err, fs.ErrNotExist)}, e)
	}
	s.launched, s.name = p, argv[0]
	if o.Started != nil {
		o.Started(p.Pid())
	}
	reason, err := s.command(ctx, p)
	if s.full(err) {
		reason, err = "disk full", nil
	}
	if err == nil && s.exited && s.rec.sites == 0 {
		err = &NoSitesError{s.name}
	}
	if err == nil {
		err = s.rec.checkFilter(true)
	}
	res, e := s.finish(context.WithoutCancel(ctx), reason)
	return res, errors.Join(err, e)
}

// command records the launched process, stopped before its first instruction, to its end.
func (s *session) command(ctx context.Context, p *tracee.Process) (string, error) {
	t, err := s.begin(ctx, p)
	s.main = t
	var exited *tracee.ExitError
	switch {
	case errors.As(err, &exited):
		s.exit, s.exited = exited.Status, true
		return "process ended", s.close(t, &exited.Status)
	case err != nil:
		// Nothing of the program has run but its loader.
		return "error", errors.Join(err, p.Kill(syscall.SIGKILL))
	}
	if err := s.rec.checkFilter(false); err != nil {
		return "error", errors.Join(err, p.Kill(syscall.SIGKILL))
	}
	if s.rec.sites == 0 && !s.follow {
		return "error", errors.Join(&NoSitesError{s.name}, p.Kill(syscall.SIGKILL))
	}
	var ended chan struct{}
	if s.follow {
		err = p.Resume()
	} else {
		t.attached = false
		err = p.Detach(ctx)
		ended = make(chan struct{})
		go func() {
			if status, err := p.WaitExit(ctx); err == nil {
				s.exit = status
				close(ended)
			}
		}()
	}
	if err != nil && !notThere(err) {
		return "error", err
	}
	return s.run(ctx, ended)
}

// RecordPID records a running process until ctx is cancelled, the duration is over or
// the process ends.
func RecordPID(ctx context.Context, o Options, pid int) (Result, error) {
	if err := leftovers(ctx, o, pid); err != nil {
		return Result{}, err
	}
	// What can be wrong with the request shows before the file is touched and the
	// process is stopped.
	s, err := newSession(o)
	if err != nil {
		return Result{}, err
	}
	s.follow = o.Follow
	reason, err := s.attached(ctx, pid)
	if s.full(err) {
		reason, err = "disk full", nil
	}
	res, e := s.finish(context.WithoutCancel(ctx), reason)
	return res, errors.Join(err, e)
}

// leftovers removes what a killed nopal has left in a process.
func leftovers(ctx context.Context, o Options, pid int) error {
	mem, err := tracee.OpenMemory(pid)
	if err != nil {
		return nil // attaching will say why
	}
	_, found, err := findState(pid, mem)
	if e := mem.Close(); err == nil {
		err = e
	}
	if err != nil || !found && len(ourFDs(pid)) == 0 {
		return err
	}
	report, err := Detach(ctx, pid)
	if err != nil {
		return err
	}
	if o.Log != nil {
		fmt.Fprintf(o.Log, "nopal: removed what an earlier nopal had left: %s\n", report.Message)
	}
	return nil
}

// attached installs in a running process and records it.
func (s *session) attached(ctx context.Context, pid int) (string, error) {
	t, err := s.installRunning(ctx, pid)
	if err != nil {
		return "error", err
	}
	s.main = t
	var ended chan struct{}
	if s.follow {
		err = t.p.Resume()
	} else {
		t.attached = false
		err = t.p.Detach(ctx)
		ended = make(chan struct{})
		go func() {
			if _, err := t.p.WaitExit(ctx); err == nil {
				close(ended)
			}
		}()
	}
	s.rec.stoodStill(t)
	if err != nil && !notThere(err) {
		return "error", err
	}
	reason, err := s.run(ctx, ended)
	if s.exited && s.targets[pid] != nil {
		if e := s.close(s.targets[pid], nil); err == nil {
			err = e
		}
	}
	return reason, err
}

// installRunning makes a target of a running process. All that takes long is done
// while its threads run: they stand still twice, to map memory and to write the
// instructions.
func (s *session) installRunning(ctx context.Context, pid int) (t *target, err error) {
	if err := tracee.Check(pid); err != nil {
		return nil, err
	}
	mem, err := tracee.OpenMemory(pid)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, mem.Close()) }()
	if t, err = newTarget(s.rec, pid, mem); err != nil {
		return nil, err
	}
	if _, err := t.plan(); err != nil {
		return nil, err
	}
	if err := s.rec.checkFilter(false); err != nil {
		return nil, err
	}
	if s.rec.sites == 0 {
		// A process that is just ending shows files no more.
		if _, err := tracee.Exe(pid); err != nil {
			return nil, fmt.Errorf("process %d: %w", pid, tracee.ErrExited)
		}
		return nil, &NoSitesError{t.name()}
	}
	t.still.begin()
	p, err := s.tr.Attach(ctx, pid, tracee.Options{Follow: s.follow})
	if err != nil {
		return nil, err
	}
	t.attach(p)
	if err = s.rec.process(t); err == nil {
		s.targets[t.pid] = t
		// What it has loaded or unloaded since the first plan.
		if _, err = t.plan(); err == nil {
			err = t.install(ctx, t.all(), func() error {
				defer t.still.mapped()
				return p.Resume()
			}, func() error {
				t.still.begin()
				return p.Stop(ctx)
			})
		}
	}
	if err == nil {
		return t, nil
	}
	return nil, s.giveUp(context.WithoutCancel(ctx), t, err)
}

// giveUp takes back what an installation that failed has done so far.
func (s *session) giveUp(ctx context.Context, t *target, why error) error {
	delete(s.targets, t.pid)
	errs := []error{why}
	if t.ring != nil {
		t.leave()
	}
	err := t.p.Stop(ctx)
	if err == nil {
		err = t.takeBack(ctx)
	}
	errs = append(errs, err, t.closeRing())
	errs = append(errs, t.p.Detach(ctx))
	for i := 1; i < len(errs); i++ {
		if errs[i] != nil && notThere(errs[i]) {
			errs[i] = nil
		}
	}
	return errors.Join(errs...)
}

// takeBack removes from the stopped target what an installation has got to, also in a
// step that was broken off: what that one has made is known only from the target itself.
func (t *target) takeBack(ctx context.Context) error {
	state, found, err := findState(t.pid, t.mem)
	if t.ring != nil {
		state, found, err = t.ring.State(t.ringAddr), true, nil
	}
	if err == nil && found {
		r := newRemover(t.pid, t.mem, state)
		_, err = r.finish(ctx, t.p)
	}
	return errors.Join(err, closeFDs(ctx, t.p))
}
