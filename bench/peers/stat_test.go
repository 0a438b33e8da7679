package main

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	for _, test := range []struct {
		figures []float64
		by      float64
		want    spread
		ok      bool
	}{
		{nil, 1, spread{}, false},
		{[]float64{3}, 0, spread{}, false},
		{[]float64{3}, 1, spread{3, 3, 3}, true},
		{[]float64{9, 1, 2}, 1, spread{2, 1, 9}, true},
		{[]float64{4, 1, 3, 2}, 2, spread{1.25, 0.5, 2}, true},
	} {
		got, ok := spreadOf(test.figures, test.by)
		if got != test.want || ok != test.ok {
			t.Errorf("spreadOf(%v, %v) = %v, %v, want %v, %v", test.figures, test.by, got, ok, test.want, test.ok)
		}
	}
}

func TestCostIsOfACall(t *testing.T) {
	plain := &measurement{CPU: []float64{0.002}, Calls: 1_000_000}
	traced := &measurement{CPU: []float64{0.06, 0.05, 0.04}, Calls: 1_000_000}
	cost, ok := traced.cost()
	if !ok || cost.median < 49.99 || cost.median > 50.01 {
		t.Errorf("cost is %v, %v, want 50 ns", cost, ok)
	}
	if x, ok := traced.ratio(plain); !ok || x < 24.99 || x > 25.01 {
		t.Errorf("ratio is %v, %v, want 25", x, ok)
	}
	if _, ok := traced.ratio(nil); ok {
		t.Error("a ratio to nothing")
	}
	if _, ok := traced.ratio(&measurement{Error: "no"}); ok {
		t.Error("a ratio to what was not measured")
	}
}

func TestLayout(t *testing.T) {
	got := layout([][]string{
		{"", "CPU", "lost"},
		{"short", "1.5", "0"},
		{"longer name", "not there yet: this row may be long"},
		{"ünf", "10.25", ""},
	})
	want := strings.Join([]string{
		"               CPU  lost",
		"short          1.5     0",
		"longer name  not there yet: this row may be long",
		"ünf          10.25",
		"",
	}, "\n")
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestRefusedIsShown(t *testing.T) {
	r := &results{Measured: []*measurement{
		{Workload: "empty", Peer: "untraced", CPU: []float64{0.001}, Calls: 1000000},
		{Workload: "empty", Peer: "nopal --graph", Nopal: true, Error: "exit status 2: no such flag"},
		{Workload: "empty", Peer: "uprobe", Error: "exit status 1: permission denied"},
	}}
	var out strings.Builder
	if err := writeTables(&out, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"not there yet: exit status 2: no such flag", "refused: exit status 1: permission denied", "not measured"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestReached(t *testing.T) {
	at := func(peer string, ns float64) *measurement {
		return &measurement{Workload: "empty", Peer: peer, CPU: []float64{ns * 1e-3}, Calls: 1_000_000}
	}
	r := &results{Measured: []*measurement{
		at("floor 2 rdtsc", 20), at("nopal --graph", 22), at("uftrace -P .", 90), at("XRay FDR", 160),
	}}
	verdicts := make(map[string]string)
	for _, row := range r.reached() {
		if row[1] == "empty" {
			verdicts[row[0]] = row[3] + " " + row[4]
		}
	}
	for what, want := range map[string]string{
		"--graph against the floor":        "1.10 x yes",
		"uftrace -P . against --graph":     "4.09 x NO",
		"XRay FDR against --graph":         "7.27 x yes",
		"entries against the floor":        "not measured ",
		"--profile, added":                 "not measured ",
		"instructions added, --clock=none": "not measured ",
	} {
		if verdicts[what] != want {
			t.Errorf("%s: %q, want %q", what, verdicts[what], want)
		}
	}
}

func TestLosses(t *testing.T) {
	for _, test := range []struct {
		m    measurement
		want string
	}{
		{measurement{}, ""},
		{measurement{Lost: []uint64{0, 0}}, "0"},
		{measurement{Lost: []uint64{50, 50}, Events: 50}, "100 in 2 runs, 50.0%"},
	} {
		if got := test.m.losses(); got != test.want {
			t.Errorf("losses of %v: %q, want %q", test.m.Lost, got, test.want)
		}
	}
}

func TestXRayEvents(t *testing.T) {
	header := make([]byte, xrayHeader)
	function := []byte{2, 1, 0, 0, 9, 0, 0, 0} // an exit
	meta := func(kind byte, size uint32) []byte {
		r := make([]byte, 16)
		r[0] = kind<<1 | 1
		binary.LittleEndian.PutUint32(r[1:], size)
		return r
	}
	custom := append(meta(fdrCustomEvent, 8), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	log := bytes.Join([][]byte{header, meta(7, 48), meta(0, 0), function, custom, function, function}, nil)
	if n := fdrEvents(log); n != 3 {
		t.Errorf("%d events in the log of the flight data recorder, want 3", n)
	}
	for n := range log {
		fdrEvents(log[:n]) // must end
	}
	record := make([]byte, 32)
	argument := append([]byte{1}, record[1:]...)
	if n := basicEvents(bytes.Join([][]byte{header, record, argument, record, record[:16]}, nil)); n != 2 {
		t.Errorf("%d events in the basic log, want 2", n)
	}
}

func TestParseInfo(t *testing.T) {
	r, err := parseInfo("command   x\nevents    792966: 396483 entries and 396483 exits\nlost      17\n")
	if err != nil || r.events != 792966 || r.lost != 17 {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := parseInfo("events 99999999999999999999999\n"); err == nil {
		t.Error("a number that is too large was taken")
	}
}

func TestCallgrindNote(t *testing.T) {
	data := []byte("events: Ir\nfn=(1) main\n1 2\nsummary: 21000000\ntotals: 21000000\n")
	if got := callgrindNote(data, 4_000_000); got != "5.2 instructions a call" {
		t.Errorf("got %q", got)
	}
	if got := callgrindNote(data, 0); got != "21 million instructions" {
		t.Errorf("got %q", got)
	}
	if got := callgrindNote([]byte("nothing"), 0); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestLess(t *testing.T) {
	for _, w := range workloads(false) {
		small := w.less(10)
		if w.fixed != (small.n == w.n) {
			t.Errorf("%s: %d becomes %d", w.name, w.n, small.n)
		}
	}
}

func TestAttachTable(t *testing.T) {
	if gap, err := parseGap("gap 12500000"); err != nil || gap != 12.5 {
		t.Errorf("gap is %v, %v", gap, err)
	}
	if _, err := parseGap("stops 1"); err == nil {
		t.Error("a line of another kind was taken")
	}
	r := &results{Attach: []*attachment{
		{Gaps: []float64{20, 60, 30}, Idle: []float64{1, 1, 1}, Parts: []string{"stood still for 1ms"}},
		{Flags: "--graph", Error: "no"},
	}}
	rows := r.attachTable()
	if len(rows) != 4 || rows[1][1] != "30.0" || rows[1][5] != "yes" || !strings.HasSuffix(rows[2][1], "for 1ms") || !strings.HasSuffix(rows[3][1], ": no") {
		t.Errorf("rows: %q", rows)
	}
}

func TestTelling(t *testing.T) {
	for said, want := range map[string]string{
		"nopal: unknown flag: --clock\nTry 'nopal record --help'.\n": "nopal: unknown flag: --clock",
		"warning\nfailed\n": "failed",
		"":                  "",
	} {
		if got := telling(said); got != want {
			t.Errorf("telling(%q) = %q, want %q", said, got, want)
		}
	}
}
