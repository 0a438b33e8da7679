package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

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
		Path: argv[0], Argv: argv, Options: tracee.Options{Follow: o.Follow},
	})
	if err != nil {
		_, e := s.finish(ctx, "command not started")
		return Result{}, errors.Join(&ExecError{Command: argv[0], Err: err, NotFound: errors.Is(err, fs.ErrNotExist)}, e)
	}
	reason, err := s.command(ctx, p)
	if err != nil && s.main != nil && !s.exited {
		if diskFull(err) {
			s.rec.warn("recording ends here, what is recorded so far is kept: %v", err)
			reason, err = "disk full", nil
		}
	}
	clean := context.WithoutCancel(ctx)
	res, finishErr := s.finishCommand(clean, p, reason, err)
	return res, finishErr
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
		return "error", errors.Join(err, p.Kill(9))
	}
	if err := s.rec.checkFilter(false); err != nil {
		return "error", errors.Join(err, p.Kill(9))
	}
	if s.rec.sites == 0 {
		s.rec.warn("%v", &NoSitesError{t.name()})
		if !s.follow {
			return "error", errors.Join(&NoSitesError{t.name()}, p.Kill(9))
		}
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

// finishCommand ends the recording and waits for the command.
func (s *session) finishCommand(ctx context.Context, p *tracee.Process, reason string, err error) (Result, error) {
	if err == nil && s.exited && s.rec.sites > 0 {
		err = s.rec.checkFilter(true)
	}
	if err == nil && s.exited && s.rec.sites == 0 && s.main != nil {
		err = &NoSitesError{s.mainName(p)}
	}
	var errs []error
	for _, t := range s.targets {
		if e := s.release(ctx, t); e != nil && !notThere(e) {
			errs = append(errs, e)
		}
	}
	if !s.exited {
		if status, e := p.WaitExit(ctx); e == nil {
			s.exit, s.exited = status, true
		}
	}
	res, e := s.finish(ctx, reason)
	res.Exit, res.HasExit = s.exit, s.exited
	if e != nil && !diskFull(e) {
		errs = append(errs, e)
	}
	return res, errors.Join(append([]error{err}, errs...)...)
}

func (s *session) mainName(*tracee.Process) string {
	return strings.Join(s.rec.o.CommandLine, " ")
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
	if err != nil && diskFull(err) {
		s.rec.warn("recording ends here, what is recorded so far is kept: %v", err)
		reason, err = "disk full", nil
	}
	res, e := s.finish(context.WithoutCancel(ctx), reason)
	if e != nil && !diskFull(e) {
		err = errors.Join(err, e)
	}
	return res, err
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
	if err != nil || !found {
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
	p, err := s.tr.Attach(ctx, pid, tracee.Options{Follow: s.follow})
	if err != nil {
		return "error", err
	}
	t, err := s.installRunning(ctx, p)
	if err != nil {
		if e := p.Detach(context.WithoutCancel(ctx)); e != nil && !notThere(e) {
			err = errors.Join(err, e)
		}
		return "error", err
	}
	s.main = t
	var ended chan struct{}
	if s.follow {
		err = p.Resume()
	} else {
		t.attached = false
		err = p.Detach(ctx)
		ended = make(chan struct{})
		go func() {
			if _, err := p.WaitExit(ctx); err == nil {
				close(ended)
			}
		}()
	}
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

func (s *session) installRunning(ctx context.Context, p *tracee.Process) (*target, error) {
	t, err := newTarget(s.rec, p)
	if err != nil {
		return nil, err
	}
	if err := s.rec.process(t); err != nil {
		return nil, err
	}
	objects, err := t.plan()
	if err != nil {
		return nil, err
	}
	if err := s.rec.checkFilter(false); err != nil {
		return nil, err
	}
	if s.rec.sites == 0 {
		return nil, &NoSitesError{t.name()}
	}
	s.targets[t.pid] = t
	if err := t.install(ctx, objects); err != nil {
		if t.ring != nil {
			r := &remover{pid: t.pid, mem: t.mem, state: t.ring.State(t.ringAddr)}
			if _, e := r.finish(context.WithoutCancel(ctx), p); e != nil && !notThere(e) {
				err = errors.Join(err, e)
			}
			err = errors.Join(err, t.closeRing())
		}
		delete(s.targets, t.pid)
		return nil, err
	}
	t.setLive(1)
	return t, nil
}
