package session

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"nopal/internal/ftrace"
	"nopal/internal/tracee"
)

// What is armed changes while everything runs: a prepared site and the stubs of its
// exits are switched by instructions that may be replaced while others run them. Only
// functions that were left out from the start have to be prepared, for which the
// process stands still once.

// setTracing switches all sites and exits off, or on again as they were.
func (s *session) setTracing(on bool) error {
	s.rec.off = !on
	var errs []error
	for _, t := range s.targets {
		t.table.SetOff(!on)
		if on {
			errs = append(errs, t.setTraceOff(false), t.profileResumes())
		} else {
			t.profileEnds()
		}
		errs = append(errs, t.rearm(on))
	}
	return errors.Join(errs...)
}

// arm arms or disarms the functions that match globs, each `[object:]name`. It returns
// how many functions they select in all processes.
func (s *session) arm(ctx context.Context, globs []string, on bool) (int, error) {
	f, err := ftrace.NewFilter(globs, nil)
	if err != nil {
		return 0, err
	}
	if f == nil {
		return 0, errors.New("arm: no pattern")
	}
	name := strings.Join(globs, "\x00")
	n := 0
	for _, t := range s.targets {
		t.table.Override(name, on, f.Match)
		if err := t.replan(); err != nil {
			return 0, err
		}
		n += t.table.Override(name, on, f.Match)
	}
	if n == 0 {
		for _, p := range f.Unmatched() {
			return 0, p.Explain(s.rec.allCandidates())
		}
	}
	return n, s.rearmAll(ctx, on)
}

// refilter replaces the filters that the recording was begun with; nil records all.
// What was armed and disarmed by name is forgotten. It returns how many functions are
// armed then.
func (s *session) refilter(ctx context.Context, f *ftrace.Filter) (int, error) {
	before := s.rec.o.Filter
	s.rec.o.Filter = f
	if _, err := s.rec.code(); err != nil {
		s.rec.o.Filter = before
		return 0, err
	}
	n := 0
	for _, t := range s.targets {
		fresh := s.rec.ops()
		t.table.Reset()
		for _, op := range fresh {
			if _, err := t.table.Register(op); err != nil {
				return 0, err
			}
		}
		if err := t.replan(); err != nil {
			return 0, err
		}
		for _, o := range t.objects {
			for i := range o.traced.Records {
				if o.traced.Records[i].Wanted() {
					n++
				}
			}
		}
	}
	for _, p := range f.Unmatched() {
		s.rec.warn("%v", p.Explain(s.rec.allCandidates()))
	}
	return n, s.rearmAll(ctx, true)
}

// replan looks again at objects in which nothing was wanted.
func (t *target) replan() error {
	if !t.installed {
		return nil
	}
	clear(t.skipped)
	if _, err := t.plan(); err != nil && !notThere(err) {
		return err
	}
	return nil
}

func (s *session) rearmAll(ctx context.Context, on bool) error {
	var errs []error
	for _, t := range s.targets {
		if !t.installed {
			continue
		}
		err := s.prepareMore(ctx, t)
		if err == nil {
			err = t.rearm(on)
		}
		if err != nil && !notThere(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// rearm makes every prepared site call what its table says. It stops nobody. Where it
// is more that is switched on, exits go first, otherwise last, so that few calls are
// recorded with one end only.
func (t *target) rearm(on bool) error {
	if !t.installed {
		return nil
	}
	if err := t.updateShadow(); err != nil && !notThere(err) {
		return err
	}
	if on {
		t.profileArms()
	}
	var errs []error
	for _, o := range t.objects {
		if o.island == 0 {
			continue
		}
		before := o.traced.Caller
		t.setTrampolines(o)
		t.putTriggers(o)
		if err := errors.Join(t.linkOwn(o), t.linkInject(o)); err != nil && !notThere(err) && t.mapped(o) {
			errs = append(errs, err)
		}
		// Where filters begin, calls whose entry knows of them already are to be left by
		// exits that record whatever comes.
		exitsFirst := on && (before != o.island+t.blob.Caller || o.traced.Caller != o.island+t.blob.Shadow.Caller)
		text := &ftrace.LiveBatch{Memory: t.text()}
		err := t.table.Update(text, o.traced)
		if e := text.Flush(func(addr uint64) bool { return exitsFirst == (addr-o.island < o.islandSize) }); err == nil {
			err = e
		}
		if err != nil && !notThere(err) && t.mapped(o) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("arm functions of process %d: %w", t.pid, err)
	}
	return nil
}

// mapped reports whether the target has an object mapped still: what it unmaps meanwhile
// cannot be armed, and need not be.
func (t *target) mapped(o *object) bool {
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return false
	}
	m, ok := mappingAt(maps, o.start)
	return ok && m.Start == o.start && strings.TrimSuffix(m.Path, " (deleted)") == o.path
}

// prepareMore prepares what is wanted and was not from the start. The process stands
// still for as long as it takes to write it.
func (s *session) prepareMore(ctx context.Context, t *target) error {
	var objects []*object
	for _, o := range t.objects {
		more := false
		for i := range o.traced.Records {
			r := &o.traced.Records[i]
			more = more || o.traced.Wants(r) && !r.Prepared()
		}
		if more {
			objects = append(objects, o)
		}
	}
	if len(objects) == 0 && !t.wantsShadow() {
		return nil
	}
	p, attached := t.p, t.attached
	if attached {
		if err := p.Stop(ctx); err != nil {
			return err
		}
	} else {
		var err error
		if p, err = s.tr.Attach(ctx, t.pid, tracee.Options{}); err != nil {
			return err
		}
		t.p, t.attached = p, true
	}
	err := t.prepareStopped(ctx, objects)
	if attached {
		return errors.Join(err, p.Resume())
	}
	t.attached = false
	return errors.Join(err, p.Detach(ctx))
}

// prepareStopped prepares what is wanted of objects, while all threads stand.
func (t *target) prepareStopped(ctx context.Context, objects []*object) error {
	if err := t.mapShadow(ctx); err != nil || len(objects) == 0 {
		return err
	}
	for _, o := range objects {
		o.wanted = max(o.wanted, 1)
	}
	if err := t.islands(objects, t.mmapStopped(ctx)); err != nil {
		return err
	}
	if err := t.readyGraph(ctx, objects); err != nil {
		return err
	}
	return t.writeSites(objects, standing, standing)
}
