package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"nopal/internal/args"
	"nopal/internal/ftrace"
)

// steer changes what is recorded from now on, and says what it has done: to the client,
// and in the recording.
func (s *session) steer(ctx context.Context, r ControlRequest) (string, error) {
	var message string
	var err error
	switch r.Action {
	case ActionOn, ActionOff:
		if r.Action == ActionOn && s.tracing() || r.Action == ActionOff && s.rec.off {
			return fmt.Sprintf("tracing is %s already", r.Action), nil
		}
		message, err = fmt.Sprintf("tracing switched %s", r.Action), s.setTracing(r.Action == ActionOn)
	case ActionArm, ActionDisarm:
		message, err = s.override(ctx, r.Globs, r.Action)
	case ActionFilter:
		message, err = s.filter(ctx, r)
	default:
		return "", fmt.Errorf("this nopal knows no action %q", r.Action)
	}
	if message == "" {
		return "", err
	}
	// What has failed may have been done in part.
	note := message
	if err != nil {
		note = fmt.Sprintf("%s; failed: %v", message, err)
	}
	return message, errors.Join(err, s.mark(note))
}

// tracing reports whether nothing is switched off, by ctl or by a trigger.
func (s *session) tracing() bool {
	for _, t := range s.targets {
		if t.installed && atomic.LoadUint64(&t.ring.Header().TraceOff) != 0 {
			return false
		}
	}
	return !s.rec.off
}

func (s *session) override(ctx context.Context, globs []string, action Action) (string, error) {
	n, err := s.arm(ctx, globs, action == ActionArm)
	if n == 0 {
		return "", err
	}
	s.overrides = append(s.overrides, fmt.Sprintf("%s %s", action, strings.Join(globs, " ")))
	return fmt.Sprintf("%sed %s that match: %s", action, counted(n), strings.Join(globs, ", ")), err
}

func (s *session) filter(ctx context.Context, r ControlRequest) (string, error) {
	// What is wrong with the request shows before anything is done.
	for _, text := range r.Only {
		if _, _, found := args.Split(text); found {
			return "", fmt.Errorf("-F %s: conditions are made into code when recording begins, and stay: give them to nopal record", text)
		}
	}
	f, err := ftrace.NewFilter(r.Only, r.Not)
	if err == nil {
		err = s.checkPatterns(f)
	}
	if err == nil && (r.MinTime != nil || r.Depth != nil) && !s.rec.o.Graph {
		err = errors.New("-t and -D are for recordings that were begun with --graph")
	}
	if err != nil {
		return "", err
	}
	var done []string
	var errs []error
	if r.MinTime != nil {
		d, was := time.Duration(*r.MinTime), s.rec.o.Threshold
		err := s.setThreshold(ctx, d)
		if err != nil {
			s.rec.o.Threshold = was
		}
		errs = append(errs, err)
		done = append(done, limit(d == 0, "calls of any duration", "calls of at least %s", d))
	}
	if r.Depth != nil {
		was := s.rec.o.Depth
		err := s.setDepth(ctx, *r.Depth)
		if err != nil {
			s.rec.o.Depth = was
		}
		errs = append(errs, err)
		done = append(done, limit(*r.Depth == 0, "calls of any depth", "%d levels of calls", *r.Depth))
	}
	if f != nil {
		was := s.rec.o.Filter
		n, err := s.refilter(ctx, f)
		if err != nil {
			s.rec.o.Filter = was
		}
		errs = append(errs, err)
		s.overrides = nil
		var patterns []string
		for _, p := range f.Patterns() {
			patterns = append(patterns, p.String())
		}
		what := "what matches"
		if s.rec.o.Graph {
			what = "what matches and all that it calls, for"
		}
		done = append(done, fmt.Sprintf("%s %s (%s armed)", what, strings.Join(patterns, " "), counted(n)))
	}
	return "recorded from now on: " + strings.Join(done, ", "), errors.Join(errs...)
}

func counted(n int) string {
	if n == 1 {
		return "1 function"
	}
	return fmt.Sprintf("%d functions", n)
}

func limit(none bool, without, with string, value any) string {
	if none {
		return without
	}
	return fmt.Sprintf(with, value)
}

// checkPatterns returns an error for a pattern that matches nothing.
func (s *session) checkPatterns(f *ftrace.Filter) error {
	for c := range s.rec.allCandidates() {
		f.Match(c.Raw, c.Demangled, c.Object)
	}
	return f.Check(s.rec.allCandidates())
}
