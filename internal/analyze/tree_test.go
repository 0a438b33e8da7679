package analyze

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"nopal/trace"
)

// The code positions of begin's functions have others 10,000 further for
// their exits in a recording of both.
const exitsAt = 10_000

func beginGraph(t testing.TB, out io.Writer) *trace.Writer {
	t.Helper()
	w := begin(t, out)
	check(t,
		w.WriteRange(trace.Range{Proc: 1, Image: 1, Index: exitsAt + 64, Count: 1600, Addr: 0xaaaa00001000, VA: 0x1000, Kind: trace.RangeExits}),
		w.WriteRange(trace.Range{Proc: 1, Image: 2, Index: exitsAt + 1664, Count: 160, Addr: 0xffff00000100, VA: 0x100, Kind: trace.RangeExits}))
	return w
}

// calls writes event words the way a traced thread does. Times are ticks of 16 ns.
type calls struct {
	words []byte
	high  uint64
}

func (c *calls) event(position uint32, level int, ticks uint64) {
	if high := ticks >> trace.TimeBits; high != c.high {
		c.high = high
		c.words = append(c.words, words(trace.ControlWord(trace.WordTime, high))...)
	}
	c.words = append(c.words, words(trace.EventWord(position, 0x80000-uint64(48*level), ticks))...)
}

func (c *calls) enter(f, level int, ticks uint64) { c.event(index(f), level, ticks) }
func (c *calls) leave(f, level int, ticks uint64) { c.event(exitsAt+index(f), level, ticks) }

// graphSample has two threads, a call of every order of magnitude, an exit
// that was not recorded, one without its entry, a mark and losses.
func graphSample(t testing.TB) []byte {
	t.Helper()
	var file bytes.Buffer
	w := beginGraph(t, &file)
	const us = 62.5
	at := func(micros float64) uint64 { return 1000 + uint64(micros*us) }
	var a, b calls
	a.enter(0, 0, at(0))
	a.enter(1, 1, at(1))
	a.leave(1, 1, at(1.6))
	a.enter(2, 1, at(2))
	a.enter(3, 2, at(3))
	a.leave(3, 2, at(15))
	a.leave(2, 1, at(200))
	a.enter(4, 1, at(300))
	a.enter(5, 2, at(301)) // left by longjmp
	a.leave(4, 1, at(2_300))
	a.enter(1, 1, at(3_000))
	a.leave(1, 1, at(33_000))
	a.enter(1, 1, at(40_000))
	a.leave(1, 1, at(240_000))
	a.leave(0, 0, at(2_000_000))
	b.leave(3, 1, at(250))
	b.enter(0, 0, at(260))
	b.enter(1, 1, at(261))
	b.leave(1, 1, at(261.2))
	check(t,
		w.WriteThread(trace.Thread{Proc: 1, TID: 101, Name: "worker"}),
		w.WriteChunk(trace.Chunk{Proc: 1, Stream: 1, TID: 100, Base: 1000, Words: a.words}),
		w.WriteChunk(trace.Chunk{Proc: 1, Stream: 2, TID: 101, Base: 1000, Lost: 2, Words: b.words}),
		w.WriteMark(trace.Mark{Proc: 1, TID: 100, Ticks: at(250_000), Text: "tracing off\x1b"}),
		w.WriteRound(at(3_000_000)),
		w.WriteExit(trace.Exit{Proc: 1, Ticks: at(3_000_000)}),
		w.Close(1_120_000_000, "the command ended"))
	return file.Bytes()
}

var update = flag.Bool("update", false, "write the goldens anew")

// golden compares with a part of a txtar file of testdata.
func golden(t *testing.T, file, part, got string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	a, err := txtar.ParseFile(path)
	if *update && errors.Is(err, fs.ErrNotExist) {
		a, err = new(txtar.Archive), nil
	}
	check(t, err)
	i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == part })
	switch {
	case *update:
		if i < 0 {
			i = len(a.Files)
			a.Files = append(a.Files, txtar.File{Name: part})
		}
		a.Files[i].Data = []byte(got)
		check(t, os.WriteFile(path, txtar.Format(a), 0o644))
	case i < 0:
		t.Errorf("%s has no part %q; -update writes it", path, part)
	case string(a.Files[i].Data) != got:
		t.Errorf("%s: got:\n%s\nwant:\n%s", part, got, a.Files[i].Data)
	}
}

func only(names ...string) Matcher {
	return matchFunc(func(_, demangled, _ string) bool { return slices.Contains(names, demangled) })
}

func TestReplayGraph(t *testing.T) {
	file := graphSample(t)
	for name, o := range map[string]Options{
		"tree":         {},
		"colour":       {Color: true},
		"flat":         {Flat: true},
		"jsonl":        {Format: JSONL},
		"longer":       {Selection: Selection{MinTime: 20_000}},
		"one level":    {Selection: Selection{Depth: 1}},
		"function":     {Selection: Selection{Only: only("foo::bar", "lua_call")}},
		"not function": {Selection: Selection{Not: only("foo::bar", "main"), TID: 101}},
		"elapsed":      {Selection: Selection{Range: Range{From: Bound{true, true, 2_000}, To: Bound{true, true, 200_000}}}},
		"clock":        {Selection: Selection{Range: Range{From: Bound{true, false, 12345_700_000_000}}}},
	} {
		got, sum := replay(t, file, o)
		golden(t, "graph.txtar", name, got)
		if sum.Events != 19 || sum.Lost != 2 || sum.Truncated {
			t.Errorf("%s: summary %+v", name, sum)
		}
	}
}

// TestReplayGraphCut: what precedes the cut is shown, and every call ends.
func TestReplayGraphCut(t *testing.T) {
	file := graphSample(t)
	for n := range file {
		var out strings.Builder
		_, err := Replay(bytes.NewReader(file[:n]), &out, Options{Flat: true})
		if n < 32 && err == nil {
			t.Fatalf("%d bytes are a recording", n)
		}
		if in, ex := strings.Count(out.String(), " -> "), strings.Count(out.String(), " <- "); in > ex {
			t.Fatalf("%d bytes: %d entries and %d exits", n, in, ex)
		}
	}
}

// truth is a call of a simulated program.
type truth struct {
	f, depth   int
	start, end uint64
	children   []*truth
}

// simulate makes up a program of nested calls and writes down what happens in it.
type simulation struct {
	rng  *rand.Rand
	now  uint64
	left int
	c    calls
}

func (s *simulation) call(depth int) *truth {
	t := &truth{f: s.rng.IntN(6), depth: depth, start: s.now}
	s.c.enter(t.f, depth, s.now)
	for s.now += s.rng.Uint64N(1 << s.rng.IntN(12)); s.left > 0 && depth < 30 && s.rng.IntN(3) > 0; s.now += s.rng.Uint64N(5) {
		s.left--
		t.children = append(t.children, s.call(depth+1))
	}
	s.c.leave(t.f, depth, s.now)
	t.end = s.now
	return t
}

// simulated is a recording of several threads, and the truth about each.
func simulated(t testing.TB, seed uint64, calls int) ([]byte, [][]*truth) {
	t.Helper()
	var file bytes.Buffer
	w := beginGraph(t, &file)
	var all [][]*truth
	last := uint64(0)
	for th := range uint32(3) {
		s := &simulation{rng: rand.New(rand.NewPCG(seed, uint64(th))), now: 5000, left: calls}
		var roots []*truth
		for s.left > 0 {
			s.left--
			roots = append(roots, s.call(0))
			s.now += s.rng.Uint64N(100)
		}
		all, last = append(all, roots), max(last, s.now)
		check(t, w.WriteChunk(trace.Chunk{Proc: 1, Stream: th, TID: 100 + th, Base: 5000, Words: s.c.words}))
	}
	check(t, w.WriteRound(last+1), w.Close(0, ""))
	return file.Bytes(), all
}

// TestSelectionIsExact compares what is shown with what should be, for random programs.
func TestSelectionIsExact(t *testing.T) {
	names := []string{"main", "foo::bar(int)", "foo::bar", "tail\x1b[31m\"q\"", "lua_call", "f<int>"}
	for seed := range uint64(40) {
		file, threads := simulated(t, seed, 200)
		rng := rand.New(rand.NewPCG(seed, 99))
		o := Options{Format: JSONL}
		var in, out []int
		if rng.IntN(2) == 0 {
			o.MinTime = 16 * rng.Int64N(3000)
		}
		if rng.IntN(2) == 0 {
			in = []int{rng.IntN(6)}
			o.Only = only(names[in[0]])
		}
		if rng.IntN(2) == 0 {
			out = []int{rng.IntN(6)}
			o.Not = only(names[out[0]])
		}
		if rng.IntN(2) == 0 {
			o.Depth = 1 + rng.IntN(4)
		}
		want := map[string]int{}
		for th, roots := range threads {
			var visit func(t *truth, base int)
			visit = func(t *truth, base int) {
				if slices.Contains(out, t.f) {
					return
				}
				if base < 0 && (in == nil || slices.Contains(in, t.f)) {
					base = t.depth
				}
				d := int64(t.end-t.start) * 16
				if base >= 0 && (o.Depth == 0 || t.depth-base < o.Depth) && d >= o.MinTime {
					want[fmt.Sprintf("%d entry %s %d 0", 100+th, names[t.f], t.depth)]++
					want[fmt.Sprintf("%d exit %s %d %d", 100+th, names[t.f], t.depth, d)]++
				}
				for _, c := range t.children {
					visit(c, base)
				}
			}
			for _, r := range roots {
				visit(r, -1)
			}
		}
		text, _ := replay(t, file, o)
		got, last := map[string]int{}, int64(0)
		for line := range strings.Lines(text) {
			var ev struct {
				Type, Name     string
				TID, Depth     int
				Time, Duration int64
				Inferred       bool
			}
			check(t, json.Unmarshal([]byte(line), &ev))
			got[fmt.Sprintf("%d %s %s %d %d", ev.TID, ev.Type, ev.Name, ev.Depth, ev.Duration)]++
			if ev.Time < last || ev.Inferred {
				t.Fatalf("seed %d: after %d: %s", seed, last, line)
			}
			last = ev.Time
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("seed %d, at least %d ns, in %v, not in %v, %d levels: (-want +got)\n%s", seed, o.MinTime, in, out, o.Depth, d)
		}
	}
}

func TestParseRange(t *testing.T) {
	for text, want := range map[string]Range{
		"1.5~":                   {From: Bound{true, false, 1_500_000_000}},
		"~2ms":                   {To: Bound{true, true, 2_000_000}},
		"10us~1m":                {Bound{true, true, 10_000}, Bound{true, true, 60_000_000_000}},
		"3.000000001~9223372035": {Bound{true, false, 3_000_000_001}, Bound{true, false, 9223372035_000_000_000}},
	} {
		got, err := ParseRange(text)
		if err != nil || got != want {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "~", "5", "5~4", "2ms~1ms", "x~", "-1ms~", "1.0000000001~", "9223372036854~", "1e3~"} {
		if r, err := ParseRange(text); err == nil {
			t.Errorf("%q is %+v", text, r)
		}
	}
}

// TestManyWait: a recursion deeper than what may wait is shown with all of
// its ends, although each of its calls is too short.
func TestManyWait(t *testing.T) {
	var file bytes.Buffer
	w := beginGraph(t, &file)
	var c calls
	const depth = maxHeld + 1000
	for i := range depth {
		c.enter(0, i, uint64(1000+i))
	}
	for i := range depth {
		c.leave(0, depth-1-i, uint64(1000+depth+i))
	}
	for part := c.words; len(part) > 0; {
		n := min(len(part), 1<<16)
		check(t, w.WriteChunk(trace.Chunk{Proc: 1, TID: 100, Base: 1000, Words: part[:n]}))
		part = part[n:]
	}
	check(t, w.Close(0, ""))
	got, sum := replay(t, file.Bytes(), Options{Flat: true, Selection: Selection{MinTime: 1 << 60}})
	entries, exits := strings.Count(got, " -> "), strings.Count(got, " <- ")
	if entries != exits || entries < 900 || entries > 1100 || sum.Events != 2*depth {
		t.Errorf("%d entries and %d exits of %d events", entries, exits, sum.Events)
	}
}

// FuzzGraphNames: whatever names a recording has, no view of it steers the
// terminal, and JSON and CSV are what they should be.
func FuzzGraphNames(f *testing.F) {
	f.Add("main", "/bin/prog", "comm")
	f.Add("_ZN3foo3barEi", "/lib/\x1b]0;x\alib.so", "\xff\n")
	f.Add("=1+1\r", "a,\"b\nc", "\u202e")
	f.Fuzz(func(t *testing.T, function, path, task string) {
		if len(function)+len(path)+len(task) > 1000 {
			return
		}
		var file bytes.Buffer
		w, err := trace.NewWriter(&file, trace.MachineARM64)
		check(t, err,
			w.WriteClock(trace.Clock{Frequency: 1e9}),
			w.WriteProcess(trace.Process{Proc: 1, PID: 1, Command: []string{task}}),
			w.WriteThread(trace.Thread{Proc: 1, TID: 1, Name: task}),
			w.WriteThread(trace.Thread{Proc: 1, TID: 2, Name: function}),
			w.WriteImage(trace.Image{ID: 1, Path: path}, []trace.Func{{VA: 0, Size: 64, Name: function}}),
			w.WriteRange(trace.Range{Proc: 1, Image: 1, Index: 64, Count: 100}),
			w.WriteRange(trace.Range{Proc: 1, Image: 1, Index: 164, Count: 100, Kind: trace.RangeExits}),
			w.WriteMark(trace.Mark{Proc: 1, TID: 1, Ticks: 1, Text: path}),
			w.WriteChunk(trace.Chunk{Proc: 1, TID: 1, Words: words(
				trace.EventWord(66, 64, 0), trace.EventWord(90, 48, 1), trace.EventWord(190, 48, 30_000), trace.EventWord(166, 64, 40_000))}),
			w.WriteChunk(trace.Chunk{Proc: 1, Stream: 1, TID: 2, Words: words(trace.EventWord(66, 64, 2))}),
			w.Close(0, ""))
		tree, _ := replay(t, file.Bytes(), Options{})
		flat, _ := replay(t, file.Bytes(), Options{Flat: true})
		var text, js, list strings.Builder
		text.WriteString(tree + flat)
		for _, by := range []Grouping{ByFunction, ByThread, ByObject} {
			r := report(t, file.Bytes(), ReportOptions{By: by})
			d := NewDiff(r, r, []Key{KeyName})
			check(t, r.WriteText(&text, 0), d.WriteText(&text, 0), r.WriteCSV(&list, 0))
			js.Reset()
			check(t, r.WriteJSON(&js, 0))
			if !json.Valid([]byte(js.String())) {
				t.Fatalf("not JSON: %s", js.String())
			}
		}
		g := callGraph(t, file.Bytes(), GraphOptions{Function: matchFunc(func(string, string, string) bool { return true })})
		js.Reset()
		check(t, g.WriteText(&text), g.WriteJSON(&js))
		if !json.Valid([]byte(js.String())) {
			t.Fatalf("not JSON: %s", js.String())
		}
		for _, r := range text.String() + list.String() {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Fatalf("text has %U: %q", r, text.String()+list.String())
			}
		}
		lines, _ := replay(t, file.Bytes(), Options{Format: JSONL})
		for l := range strings.Lines(lines) {
			if !json.Valid([]byte(l)) {
				t.Fatalf("not JSON: %s", l)
			}
		}
	})
}

// TestResumed: an exit after an inferred one of the same call says so.
func TestResumed(t *testing.T) {
	n := newNames(&Selection{})
	s := &trace.Site{Object: &trace.Object{}, Func: &trace.Func{Name: "f"}}
	ev := &trace.Event{Kind: trace.FuncExit, Task: &trace.Task{Program: &trace.Program{}}, Site: s, Duration: 5, Resumed: true}
	v := treeView{textView: newTextView(n, false)}
	if got := string(v.exit(nil, n.site(s), ev)); !strings.HasSuffix(got, "} /* f, not over before */\n") {
		t.Errorf("text %q", got)
	}
	if got := string(newJSONView(n).exit(nil, n.site(s), ev)); !strings.HasSuffix(got, `,"duration":5,"resumed":true}`+"\n") {
		t.Errorf("JSON %q", got)
	}
}
