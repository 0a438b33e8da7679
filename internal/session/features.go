package session

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"nopal/internal/entry"
)

// UnsupportedError says what was asked for that is not there on this machine.
type UnsupportedError struct{ What []string }

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("not supported on %s yet: %s", runtime.GOARCH, strings.Join(e.What, "; "))
}

func (e *UnsupportedError) Unwrap() error { return errors.ErrUnsupported }

// code is what runs in targets, if it has what was asked for.
func (r *recorder) code() (entry.Blob, error) {
	blob, err := entry.Load()
	if err != nil {
		return entry.Blob{}, err
	}
	return blob, r.missing(&blob)
}

// missing is an error that names what was asked for and has no code here: a part of the
// code that is not there is at 0.
func (r *recorder) missing(b *entry.Blob) error {
	var list []string
	need := func(asked bool, part uint64, what string) {
		if asked && part == 0 {
			list = append(list, what)
		}
	}
	o := &r.o
	need(o.Graph, b.Exit.Ret|b.Graph.Caller, "exits of functions (--graph)")
	need(o.Regs, b.RegsCaller, "registers (--regs)")
	need(o.Stack, b.RegsCaller, "return addresses (--stack)")
	// What calls bodies records an entry by itself.
	need(o.Graph && (o.Regs || o.Stack), b.Exit.Ret, "--regs and --stack together with --graph")
	need(o.Profile, b.Profile.Caller, "statistics (--profile, nopal live)")
	need(len(o.Triggers) > 0, b.Trigger, "triggers")
	need(!o.Args.Empty(), b.Probe.Place, "arguments, results and conditions")
	need(o.Inject != nil, b.Probe.Place, "injection (nopal inject)")
	need(r.shadowed(), b.Shadow.Caller, "filters in a graph (-F, -N, -D, -t, --max-depth)")
	if len(list) > 0 {
		return &UnsupportedError{list}
	}
	return nil
}
