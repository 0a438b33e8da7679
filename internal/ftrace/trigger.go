package ftrace

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Trigger is something that happens when a function is called, in the words of the
// kernel's set_ftrace_filter: `glob:action[:count]`.
type Trigger struct {
	Text   string
	Filter *Filter // selects the functions
	Action string
	Count  uint64 // how often it happens; 0: always
}

// The actions of triggers.
const (
	TraceOn    = "traceon"
	TraceOff   = "traceoff"
	Stacktrace = "stacktrace"
	Snapshot   = "snapshot"
	Dump       = "dump"
	Stop       = "stop"
)

// Actions lists them.
var actions = []string{TraceOn, TraceOff, Stacktrace, Snapshot, Dump, Stop}

// ParseTrigger reads one. Names may contain colons, so it is read from its end.
func ParseTrigger(text string) (*Trigger, error) {
	t := &Trigger{Text: text}
	rest := text
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		if n, err := strconv.ParseUint(rest[i+1:], 10, 62); err == nil {
			if n == 0 {
				return nil, fmt.Errorf("read trigger %q: it is to happen 0 times", text)
			}
			t.Count, rest = n, rest[:i]
		}
	}
	i := strings.LastIndexByte(rest, ':')
	if i <= 0 || !slices.Contains(actions, rest[i+1:]) {
		return nil, fmt.Errorf("read trigger %q: write FUNCTION:ACTION[:COUNT], ACTION one of %s", text, strings.Join(actions, ", "))
	}
	t.Action = rest[i+1:]
	f, err := NewFilter([]string{rest[:i]}, nil)
	if err != nil {
		return nil, err
	}
	t.Filter = f
	return t, nil
}
