package session

import (
	"errors"
	"strings"
	"testing"
	"time"

	"nopal/internal/entry"
	"nopal/internal/ftrace"
)

// What has no code is refused by its name, all of it at once, and what has is not.
func TestMissing(t *testing.T) {
	plain := entry.Blob{Caller: 64, CallerUnknown: 128}
	r := &recorder{o: Options{Graph: true, Regs: true, Triggers: []*ftrace.Trigger{{}}, Threshold: time.Second}}
	err := r.missing(&plain)
	var missing *UnsupportedError
	if !errors.As(err, &missing) || !errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("error %v", err)
	}
	for _, want := range []string{"--graph)", "--regs)", "triggers", "--regs and --stack together with --graph", "-t,"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "--profile") {
		t.Errorf("%q names what was not asked for", err)
	}
	if err := (&recorder{}).missing(&plain); err != nil {
		t.Error(err)
	}
	called := plain
	called.Graph.Caller = 192
	if err := (&recorder{o: Options{Graph: true}}).missing(&called); err != nil {
		t.Error(err)
	}
}
