//go:build linux && (arm64 || amd64)

package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// calls counts the entries of each function in a recording, and the marks.
func callsAndMarks(t *testing.T, file string) (calls map[string]int, marks []string) {
	t.Helper()
	calls = map[string]int{}
	for line := range strings.Lines(nopalOK(t, "replay", "-i", file, "--format=jsonl").stdout) {
		var e struct{ Type, Name, Text string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		switch e.Type {
		case "entry":
			calls[e.Name]++
		case "mark":
			marks = append(marks, e.Text)
		}
	}
	return calls, marks
}

// fib(10) is 177 calls of fib, in main.
func TestTriggers(t *testing.T) {
	for _, c := range []struct {
		name      string
		options   []string
		main, fib int
		mark      string
	}{
		{"traceoff", []string{"-T", "fib:traceoff"}, 1, 0, "a trigger has switched recording off"},
		{"traceon", []string{"--trace=off", "-T", "fib:traceon:1"}, 0, 177, "a trigger has switched recording on"},
		{"traceon in a graph", []string{"--graph", "--trace=off", "-T", "fib:traceon:1"}, 0, 177, "a trigger has switched recording on"},
		{"never on", []string{"--trace=off"}, 0, 0, ""},
		{"stop", []string{"-T", "fib:stop"}, 1, 0, "a trigger has stopped the recording"},
		{"beside a filter", []string{"-F", "main", "-T", "fib:stacktrace:3"}, 1, 3, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			plain := run(t, "", fixture(t, "fib"), "10")
			file := filepath.Join(t.TempDir(), "data")
			o := nopalOK(t, append(append([]string{"record", "-o", file}, c.options...), "--", fixture(t, "fib"), "10")...)
			if o.stdout != plain.stdout {
				t.Errorf("output %q, untraced %q", o.stdout, plain.stdout)
			}
			calls, marks := callsAndMarks(t, file)
			if calls["main"] != c.main || calls["fib"] != c.fib {
				t.Errorf("%d calls of main and %d of fib, want %d and %d", calls["main"], calls["fib"], c.main, c.fib)
			}
			if c.mark != "" && !strings.Contains(strings.Join(marks, "\n"), c.mark) {
				t.Errorf("marks %q, want %q", marks, c.mark)
			}
		})
	}
}

// A stack is recorded for the calls that the trigger is for, and for no others.
func TestTriggerStacktrace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data")
	nopalOK(t, "record", "-o", file, "-T", "fib:stacktrace:2", "--", fixture(t, "fib"), "10")
	r := replay(t, file, func(e event) bool { return e.Name == "fib" })
	if len(r.all) != 177 {
		t.Fatalf("%d calls of fib, want 177", len(r.all))
	}
	for i, e := range r.all {
		if (e.Stack != nil) != (i < 2) {
			t.Errorf("call %d: stack %v", i, e.Stack)
		}
	}
}

// Snapshots and dumps leave what was in the buffer when they were asked for.
func TestTriggerFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "data")
	nopalOK(t, "record", "-o", file, "--overwrite", "-T", "main:snapshot:1", "-T", "fib:dump:1", "--", fixture(t, "fib"), "20")
	snapshot := file + ".snapshot-1"
	if _, err := os.Stat(snapshot); err != nil {
		t.Fatal(err)
	}
	if calls, _ := callsAndMarks(t, snapshot); calls["main"] != 1 {
		t.Errorf("calls in the snapshot: %v", calls)
	}
	calls, marks := callsAndMarks(t, file)
	if calls["fib"] != 21891 || !strings.Contains(strings.Join(marks, "\n"), "a trigger has written the buffer out") {
		t.Errorf("%v calls, marks %q", calls, marks)
	}
}

func TestTriggerRefused(t *testing.T) {
	for _, bad := range []string{"fib", "fib:fly", "fib:stop:0", ":stop"} {
		o := nopal(t, "record", "-T", bad, "--", fixture(t, "fib"), "10")
		if o.status.ExitStatus() != 2 || !strings.Contains(o.stderr, "trigger") && !strings.Contains(o.stderr, "pattern") {
			t.Errorf("-T %s: status %d, %q", bad, o.status.ExitStatus(), o.stderr)
		}
	}
	o := nopal(t, "record", "-T", "no_such:stop", "--", fixture(t, "fib"), "10")
	if o.ok() || !strings.Contains(o.stderr, "no_such") {
		t.Errorf("a trigger that selects nothing: %#x, %q", o.status, o.stderr)
	}
}
