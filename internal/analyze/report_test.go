package analyze

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"nopal/trace"
)

func report(t testing.TB, file []byte, o ReportOptions) *Report {
	t.Helper()
	r, err := NewReport(bytes.NewReader(file), o)
	check(t, err)
	return r
}

// profileSample is a recording without events.
func profileSample(t testing.TB) []byte {
	t.Helper()
	var file bytes.Buffer
	w := beginGraph(t, &file)
	check(t,
		w.WriteProfile(trace.Profile{Proc: 1, TID: 100, Ticks: 5000, Funcs: []trace.ProfileFunc{
			{Image: 1, VA: 0x1000, Calls: 1, Total: 99, Self: 9, Min: 99, Max: 99, Hist: []trace.ProfileBucket{{Bucket: 7, Count: 1}}}}}),
		w.WriteProfile(trace.Profile{Proc: 1, TID: 100, Ticks: 9000, Funcs: []trace.ProfileFunc{
			{Image: 1, VA: 0x1000, Calls: 2, Total: 625_000, Self: 1250, Min: 62_500, Max: 562_500,
				Hist: []trace.ProfileBucket{{Bucket: 16, Count: 1}, {Bucket: 20, Count: 1}}},
			{Image: 2, VA: 0x100, Calls: 4000, Total: 600_000, Self: 600_000, Min: 0, Max: 1000,
				Hist: []trace.ProfileBucket{{Bucket: 0, Count: 1}, {Bucket: 8, Count: 3998}, {Bucket: 10, Count: 1}}}}}),
		w.WriteProfile(trace.Profile{Proc: 1, TID: 101, Ticks: 9000, Funcs: []trace.ProfileFunc{
			{Image: 2, VA: 0x100, Calls: 10, Total: 60, Self: 60, Min: 6, Max: 6, Hist: []trace.ProfileBucket{{Bucket: 3, Count: 10}}}}}),
		w.Close(0, ""))
	return file.Bytes()
}

func TestReport(t *testing.T) {
	for name, c := range map[string]struct {
		file []byte
		o    ReportOptions
	}{
		"functions":       {graphSample(t), ReportOptions{}},
		"threads":         {graphSample(t), ReportOptions{By: ByThread}},
		"objects":         {graphSample(t), ReportOptions{By: ByObject}},
		"one thread":      {graphSample(t), ReportOptions{Selection: Selection{TID: 101}}},
		"long":            {graphSample(t), ReportOptions{Selection: Selection{MinTime: 1_000_000}}},
		"within":          {graphSample(t), ReportOptions{Selection: Selection{Only: only("foo::bar", "lua_call")}}},
		"without":         {graphSample(t), ReportOptions{Selection: Selection{Not: only("foo::bar", "lua_call")}}},
		"range":           {graphSample(t), ReportOptions{Selection: Selection{Range: Range{To: Bound{true, true, 250_000}}}, First: 12345_678_901_000}},
		"entries":         {sample(t), ReportOptions{}},
		"profile":         {profileSample(t), ReportOptions{}},
		"profile threads": {profileSample(t), ReportOptions{By: ByThread}},
	} {
		r := report(t, c.file, c.o)
		var text, js, list strings.Builder
		check(t, r.WriteText(&text, 0), r.WriteJSON(&js, 0), r.WriteCSV(&list, 0))
		golden(t, "report.txtar", name, text.String())
		var rows struct {
			Calls uint64
			Rows  []map[string]any
		}
		check(t, json.Unmarshal([]byte(js.String()), &rows))
		lines, err := csv.NewReader(strings.NewReader(list.String())).ReadAll()
		check(t, err)
		if len(rows.Rows) != len(r.Rows) || len(lines) != len(r.Rows)+1 || rows.Calls != r.Calls {
			t.Errorf("%s: %d rows, %d in JSON, %d in CSV", name, len(r.Rows), len(rows.Rows), len(lines)-1)
		}
		if name == "functions" || name == "threads" {
			golden(t, "report.txtar", name+" json", js.String())
			golden(t, "report.txtar", name+" csv", list.String())
		}
	}
}

func TestReportLimit(t *testing.T) {
	r := report(t, graphSample(t), ReportOptions{})
	var text, js, list strings.Builder
	check(t, r.WriteText(&text, 2), r.WriteJSON(&js, 2), r.WriteCSV(&list, 2))
	if n := strings.Count(text.String(), " ms ") + strings.Count(js.String(), `"name"`) + strings.Count(list.String(), "/bin/prog"); strings.Count(js.String(), `"name"`) != 2 ||
		strings.Count(list.String(), "\n") != 3 || strings.Contains(text.String(), "lua_call") {
		t.Errorf("%d:\n%s%s%s", n, text.String(), js.String(), list.String())
	}
}

func TestDiff(t *testing.T) {
	before := report(t, graphSample(t), ReportOptions{Selection: Selection{Not: only("f<int>")}})
	after := report(t, graphSample(t), ReportOptions{Selection: Selection{TID: 100, Not: only("lua_call")}})
	after.Rows[1].Total--
	d := NewDiff(before, after, []Key{KeyTotal})
	var text, js, list strings.Builder
	check(t, d.WriteText(&text, 0), d.WriteJSON(&js, 0), d.WriteCSV(&list, 0))
	golden(t, "report.txtar", "diff", text.String()+js.String()+list.String())
	if !json.Valid([]byte(js.String())) {
		t.Error("not JSON")
	}
	_, err := csv.NewReader(strings.NewReader(list.String())).ReadAll()
	check(t, err)
}

// TestReportIsExact compares with sums over random programs.
func TestReportIsExact(t *testing.T) {
	names := []string{"main", "foo::bar(int)", "foo::bar", "tail\x1b[31m\"q\"", "lua_call", "f<int>"}
	for seed := range uint64(30) {
		file, threads := simulated(t, seed, 300)
		rng := rand.New(rand.NewPCG(seed, 98))
		o := ReportOptions{By: []Grouping{ByFunction, ByThread, ByObject}[rng.IntN(3)]}
		in, out := -1, -1
		if rng.IntN(2) == 0 {
			in = rng.IntN(6)
			o.Only = only(names[in])
		}
		if rng.IntN(2) == 0 {
			out = rng.IntN(6)
			o.Not = only(names[out])
		}
		if rng.IntN(3) == 0 {
			o.MinTime = 16 * rng.Int64N(3000)
		}
		type sums struct {
			calls             uint64
			total, self, most int64
		}
		want := map[string]*sums{}
		for th, roots := range threads {
			var visit func(t *truth, within bool, around []int)
			visit = func(t *truth, within bool, around []int) {
				if t.f == out {
					return
				}
				within = within || in < 0 || in == t.f
				d := int64(t.end-t.start) * 16
				if within {
					key, nested := names[t.f], slices.Contains(around, t.f)
					switch o.By {
					case ByThread:
						key, nested = []string{"prog-100", "prog-101", "prog-102"}[th], len(around) > 0
					case ByObject:
						key, nested = "/bin/prog", len(around) > 0
					}
					around = append(slices.Clone(around), t.f)
					if want[key] == nil && d >= o.MinTime {
						want[key] = new(sums)
					}
					if s := want[key]; d >= o.MinTime {
						s.calls++
						s.self += d
						for _, c := range t.children {
							s.self -= int64(c.end-c.start) * 16
						}
						if !nested {
							s.total += d
						}
						s.most = max(s.most, d)
					}
				}
				for _, c := range t.children {
					visit(c, within, around)
				}
			}
			for _, r := range roots {
				visit(r, false, nil)
			}
		}
		r := report(t, file, o)
		if len(r.Rows) != len(want) {
			t.Errorf("seed %d: %d rows, want %d", seed, len(r.Rows), len(want))
		}
		for _, row := range r.Rows {
			key := row.Name
			if o.By == ByThread {
				key = row.Label
			}
			w := want[key]
			if w == nil || row.Calls != w.calls || row.Total != w.total || row.Self != w.self || row.Max != w.most {
				t.Errorf("seed %d, by %s, in %d, not in %d, at least %d: %+v, want %+v", seed, o.By, in, out, o.MinTime, row, w)
			}
		}
		if o.By == ByThread && in < 0 && out < 0 && o.MinTime == 0 {
			for _, row := range r.Rows {
				if row.Total != row.Self {
					t.Errorf("seed %d: the outermost calls of %s take %d, all calls by themselves %d", seed, row.Label, row.Total, row.Self)
				}
			}
		}
	}
}

// TestReportCut: what precedes the cut is counted, and nothing panics.
func TestReportCut(t *testing.T) {
	file := graphSample(t)
	for n := range file {
		r, err := NewReport(bytes.NewReader(file[:n]), ReportOptions{By: ByObject})
		switch {
		case n < 32 && err == nil:
			t.Fatalf("%d bytes are a recording", n)
		case n >= 32 && (r == nil || err == nil && !r.Truncated):
			t.Fatalf("%d bytes: %+v, %v", n, r, err)
		}
	}
}

var calledFunctions = flag.Int("functions", 300, "functions in the file that is read by benchmarks of reports")

// graphBenchFile writes a recording of four threads whose calls resemble an interpreter's.
func graphBenchFile(b *testing.B) string {
	path := b.TempDir() + "/bench.data"
	f, err := os.Create(path)
	check(b, err)
	w := beginGraph(b, f)
	rng := rand.New(rand.NewPCG(1, 2))
	n := min(*calledFunctions, 500)
	check(b,
		w.WriteRange(trace.Range{Proc: 1, Image: 3, Index: 20_000, Count: 8000, Addr: 0xbbbb00000000, VA: 0x10000}),
		w.WriteRange(trace.Range{Proc: 1, Image: 3, Index: 28_000, Count: 8000, Addr: 0xbbbb00000000, VA: 0x10000, Kind: trace.RangeExits}))
	var funcs []trace.Func
	for i := range n {
		funcs = append(funcs, trace.Func{VA: 0x10000 + 64*uint64(i), Size: 64, Name: "function_" + string(rune('a'+i%26)) + string(rune('a'+i/26))})
	}
	check(b, w.WriteImage(trace.Image{ID: 3, Path: "/bin/bench"}, funcs))
	type thread struct {
		calls
		open []int
	}
	threads := make([]thread, 4)
	now := uint64(1 << 30)
	for written := 0; written < *benchEvents; {
		for th := range threads {
			t := &threads[th]
			t.words, t.high = t.words[:0], now>>trace.TimeBits
			base := now
			for range 8000 {
				now += 1 + rng.Uint64N(8)
				written++
				if d := len(t.open); d == 0 || d < 30 && rng.IntN(2) == 0 {
					f := int(rng.ExpFloat64()*20) % n
					t.event(uint32(20_000+16*f+2), d, now)
					t.open = append(t.open, f)
				} else {
					t.event(uint32(28_000+16*t.open[d-1]+2), d-1, now)
					t.open = t.open[:d-1]
				}
			}
			check(b, w.WriteChunk(trace.Chunk{Proc: 1, Stream: uint32(th), TID: uint32(100 + th), Base: base, Words: t.words}))
		}
		check(b, w.WriteRound(now))
	}
	check(b, w.Close(0, ""), f.Close())
	return path
}

func benchGraph(b *testing.B, read func(f *os.File) (events uint64)) {
	path := graphBenchFile(b)
	events := uint64(0)
	start := cpuTime(b, 0)
	for b.Loop() {
		f, err := os.Open(path)
		check(b, err)
		events += read(f)
		check(b, f.Close())
	}
	b.ReportMetric(float64(events)/cpuTime(b, start).Seconds()/1e6, "Mevents/cpu-s")
}

func benchReport(b *testing.B, o ReportOptions) {
	benchGraph(b, func(f *os.File) uint64 {
		r, err := NewReport(f, o)
		check(b, err)
		return 2 * r.Events
	})
}

func BenchmarkReport(b *testing.B) { benchReport(b, ReportOptions{}) }
func BenchmarkReportNested(b *testing.B) {
	benchReport(b, ReportOptions{Selection: Selection{Depth: 5}})
}

func benchTree(b *testing.B, o Options) {
	benchGraph(b, func(f *os.File) uint64 {
		sum, err := Replay(f, discard{}, o)
		check(b, err)
		return sum.Events
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkTree(b *testing.B)       { benchTree(b, Options{}) }
func BenchmarkTreeFlat(b *testing.B)   { benchTree(b, Options{Flat: true}) }
func BenchmarkTreeJSONL(b *testing.B)  { benchTree(b, Options{Format: JSONL}) }
func BenchmarkTreeLonger(b *testing.B) { benchTree(b, Options{Selection: Selection{MinTime: 1000}}) }
