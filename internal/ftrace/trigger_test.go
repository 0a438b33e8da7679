package ftrace

import "testing"

func TestParseTrigger(t *testing.T) {
	for _, c := range []struct {
		text, glob, action string
		count              uint64
	}{
		{"main:traceon", "main", TraceOn, 0},
		{"parse_*:stacktrace:5", "parse_*", Stacktrace, 5},
		{"std::vector<int>::push_back:traceoff:1", "std::vector<int>::push_back", TraceOff, 1},
		{"libx.so:f:snapshot", "libx.so:f", Snapshot, 0},
		{"f:dump:3", "f", Dump, 3},
		{"f:stop", "f", Stop, 0},
	} {
		got, err := ParseTrigger(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if p := got.Filter.Patterns(); len(p) != 1 || p[0].String() != c.glob || got.Action != c.action || got.Count != c.count {
			t.Errorf("%s: %q %q %d", c.text, p, got.Action, got.Count)
		}
	}
	for _, bad := range []string{"", "main", "main:", ":traceon", "main:fly", "main:traceon:0", "main:traceon:x", "[:stop"} {
		if got, err := ParseTrigger(bad); err == nil {
			t.Errorf("%q is taken for %+v", bad, got)
		}
	}
}
