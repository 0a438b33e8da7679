package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"nopal/internal/ftrace"
)

// steer changes what is recorded from now on, and says what it has done: to the client,
// and in the recording.
func (s *session) steer(ctx context.Context, r ControlRequest) (string, error) {
	var message string
	var err error
	switch r.Action {
	case ActionOn, ActionOff:
		if s.rec.off == (r.Action == ActionOff) {
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

func (s *session) override(ctx context.Context, globs []string, action Action) (string, error) {
	n, err := s.arm(ctx, globs, action == ActionArm)
	if n == 0 {
		return "", err
	}
	s.overrides = append(s.overrides, fmt.Sprintf("%s %s", action, strings.Join(globs, " ")))
	return fmt.Sprintf("%sed %d functions that match %s", action, n, strings.Join(globs, ", ")), err
}

func (s *session) filter(ctx context.Context, r ControlRequest) (string, error) {
	var done []string
	if r.MinTime != nil {
		if err := s.limitTime(time.Duration(*r.MinTime)); err != nil {
			return "", err
		}
		done = append(done, fmt.Sprintf("calls of at least %s are recorded", time.Duration(*r.MinTime)))
	}
	if r.Depth != nil {
		if err := s.limitDepth(*r.Depth); err != nil {
			return strings.Join(done, "; "), err
		}
		done = append(done, fmt.Sprintf("%d levels of calls are recorded", *r.Depth))
	}
	if len(r.Only) == 0 && len(r.Not) == 0 {
		return strings.Join(done, "; "), nil
	}
	f, err := ftrace.NewFilter(r.Only, r.Not)
	if err == nil {
		err = s.checkPatterns(f)
	}
	if err != nil {
		return strings.Join(done, "; "), err
	}
	n, err := s.refilter(ctx, f)
	s.overrides = nil
	var patterns []string
	for _, p := range f.Patterns() {
		patterns = append(patterns, p.String())
	}
	done = append(done, fmt.Sprintf("the filter is %s: %d functions", strings.Join(patterns, " "), n))
	return strings.Join(done, "; "), err
}

// limitTime// checkPatterns returns an error for a pattern that matches nothing.
func (s *session) checkPatterns(f *ftrace.Filter) error {
	for c := range s.rec.allCandidates() {
		f.Match(c.Raw, c.Demangled, c.Object)
	}
	return f.Check(s.rec.allCandidates())
}

// limitTime changes how long a call has to take to be recorded.
func (s *session) limitTime(time.Duration) error {
	return errors.New("-t cannot be changed while recording")
}

// limitDepth changes how many levels of calls are recorded.
func (s *session) limitDepth(int) error {
	return errors.New("-D cannot be changed while recording")
}
