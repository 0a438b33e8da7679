//go:build linux && (arm64 || amd64)

package test

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"nopal/internal/analyze"
	"nopal/trace"
)

// who is a function in a thread; tid 0 is all threads together.
type who struct {
	name string
	tid  int
}

// truth is what a program says of its calls (see programs/truth.h).
func truth(t *testing.T, stdout string) map[who]uint64 { return truthOf(t, "calls", stdout) }

// truthOf is what a program says of its calls ("calls") or of those that never returned ("left").
func truthOf(t *testing.T, what, stdout string) map[who]uint64 {
	t.Helper()
	calls := make(map[who]uint64)
	for line := range strings.Lines(stdout) {
		f := strings.Fields(strings.TrimPrefix(line, "~"))
		if len(f) < 3 || f[0] != what {
			continue
		}
		n, err := strconv.ParseUint(f[2], 10, 64)
		if err != nil {
			t.Fatalf("bad truth line %q", line)
		}
		w := who{name: f[1]}
		if len(f) > 3 {
			if w.tid, err = strconv.Atoi(f[3]); err != nil {
				t.Fatalf("bad truth line %q", line)
			}
		}
		calls[w] += n
	}
	return calls
}

// steady is what must be the same in every run.
func steady(stdout string) string {
	var kept strings.Builder
	for line := range strings.Lines(stdout) {
		if !strings.HasPrefix(line, "~") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// event is a line of replay --format=jsonl.
type event struct {
	Type   string `json:"type"`
	Time   int64  `json:"time"`
	PID    int    `json:"pid"`
	TID    int    `json:"tid"`
	Name   string `json:"name"`
	Object string `json:"object"`
	Addr   string `json:"addr"`
	Depth  int    `json:"depth"`
	// Of exits.
	Duration int64             `json:"duration"`
	Inferred bool              `json:"inferred"`
	Count    uint64            `json:"count"`
	Regs     map[string]string `json:"regs"`
	Stack    []json.RawMessage `json:"stack"`
	Args     []struct {
		Name  string          `json:"name"`
		Value json.RawMessage `json:"value"`
	} `json:"args"`
	Ret json.RawMessage `json:"ret"`
}

// recording is what is in a file.
type recording struct {
	calls  map[who]uint64
	lost   uint64
	events uint64 // entries
	pids   map[int]bool
	all    []event // those that were asked for
	ends   ends    // of a graph recording
}

// count validates a whole recording and counts its events. It reads with package trace: through
// nopal's own JSON a million events would take a minute under emulation.
func count(t *testing.T, file string) recording {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := trace.Validate(f); err != nil {
		t.Errorf("validate %s: %v", file, err)
	}
	return countBroken(t, file)
}

// countBroken counts in a recording that may lack its end.
func countBroken(t *testing.T, file string) recording {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := trace.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rec := newRecording()
	counts := make(map[place]uint64)
	graph := newGraphCheck()
	events := trace.NewEvents(r)
	for {
		e, err := events.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("read %s: %v", file, err)
		}
		switch e.Kind {
		case trace.LostCount:
			rec.lost += e.Count
			graph.lost(e)
		case trace.Entry:
			rec.events++
			counts[place{e.Site, e.Task}]++
			graph.entry(e)
		case trace.FuncExit:
			graph.exit(e)
		}
	}
	names := make(map[*trace.Site]string)
	name := func(s *trace.Site) string {
		if names[s] == "" {
			names[s], _, _ = strings.Cut(analyze.Demangle(s.Name()), "(")
		}
		return names[s]
	}
	for p, n := range counts {
		rec.calls[who{name(p.site), 0}] += n
		rec.calls[who{name(p.site), int(p.task.TID)}] += n
		rec.pids[int(p.task.Program.PID)] = true
	}
	rec.ends = graph.ends(name)
	return rec
}

// place is a function in a thread.
type place struct {
	site *trace.Site
	task *trace.Task
}

func newRecording() recording {
	return recording{calls: make(map[who]uint64), pids: make(map[int]bool)}
}

// replay reads a recording through nopal replay --format=jsonl, checks each line's form and the
// order of time, and counts. keep says which events to keep whole; nil keeps none.
func replay(t *testing.T, file string, keep func(event) bool, args ...string) recording {
	t.Helper()
	o := nopalOK(t, append([]string{"replay", "-i", file, "--format=jsonl"}, args...)...)
	r := newRecording()
	var last int64
	for line := range strings.Lines(o.stdout) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("replay line %q: %v", line, err)
		}
		switch e.Type {
		case "entry":
			if e.Time < last {
				t.Fatalf("replay goes back in time: %d after %d in %q", e.Time, last, line)
			}
			last = e.Time
			if e.PID == 0 || e.TID == 0 || e.Name == "" || e.Object == "" || e.Depth < 0 || !strings.HasPrefix(e.Addr, "0x") {
				t.Fatalf("replay line lacks something: %q", line)
			}
			name, _, _ := strings.Cut(e.Name, "(")
			r.calls[who{name, 0}]++
			r.calls[who{name, e.TID}]++
			r.pids[e.PID] = true
			r.events++
			if keep != nil && keep(e) {
				r.all = append(r.all, e)
			}
		case "exit":
			if keep != nil && keep(e) {
				r.all = append(r.all, e)
			}
		case "mark":
		case "lost":
			r.lost += e.Count
		default:
			t.Fatalf("replay line of type %q: %q", e.Type, line)
		}
	}
	return r
}

// sameCounts compares a recording in which nothing may be lost with the truth.
func sameCounts(t *testing.T, got recording, want map[who]uint64) {
	t.Helper()
	if got.lost != 0 {
		t.Errorf("lost %d events", got.lost)
	}
	if len(want) == 0 {
		t.Error("the program says nothing of its calls")
	}
	wrong := 0
	for _, w := range slices.SortedFunc(maps.Keys(want), func(a, b who) int { return strings.Compare(a.name, b.name) }) {
		if got.calls[w] != want[w] && wrong < 10 {
			wrong++
			t.Errorf("%s (thread %d): %d events, %d calls", w.name, w.tid, got.calls[w], want[w])
		}
	}
}

// record runs a command under nopal record and returns what it did and the file.
func record(t *testing.T, stdin string, options []string, argv ...string) (outcome, string) {
	t.Helper()
	file := t.TempDir() + "/nopal.data"
	args := append([]string{nopalBin(t), "record", "-q", "-o", file}, options...)
	o := run(t, stdin, append(append(args, "--"), argv...)...)
	if _, err := os.Stat(file); err != nil {
		t.Fatalf("no recording: %v\n%s%s", err, o.stdout, o.stderr)
	}
	return o, file
}

// recordSame records a program and wants its output and end to be those of an untraced run.
func recordSame(t *testing.T, stdin string, options []string, argv ...string) (outcome, string) {
	t.Helper()
	want := run(t, stdin, argv...)
	got, file := record(t, stdin, options, argv...)
	if steady(got.stdout) != steady(want.stdout) {
		t.Errorf("stdout differs\nuntraced:\n%s\ntraced:\n%s", want.stdout, got.stdout)
	}
	if got.stderr != want.stderr {
		t.Errorf("stderr differs\nuntraced:\n%s\ntraced:\n%s", want.stderr, got.stderr)
	}
	if got.status != want.status {
		t.Errorf("status %#x untraced, %#x traced", want.status, got.status)
	}
	return got, file
}
