package export

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nopal/internal/analyze"
	"nopal/trace"
)

type chromeEvent struct {
	Ph, Name, Cat, S string
	PID, TID         int
	TS               json.Number
	Dur              *float64
	Args             map[string]any
}

func parseChrome(t testing.TB, js []byte) []chromeEvent {
	t.Helper()
	validate(t, "chrome.schema.json", js)
	return chromeEvents(t, js)
}

func chromeEvents(t testing.TB, js []byte) []chromeEvent {
	t.Helper()
	var file struct{ TraceEvents []chromeEvent }
	check(t, json.Unmarshal(js, &file))
	return file.TraceEvents
}

func TestChrome(t *testing.T) {
	js, sum := export(t, sample(t), Options{Format: Chrome})
	if sum.Lost != 7 || !sum.Graph || sum.Truncated {
		t.Errorf("%+v", sum)
	}
	golden(t, "sample.chrome.json", js)
	balanced(t, spansOfChrome(t, parseChrome(t, js)))
}

// spansOfChrome turns events into those that balanced checks.
func spansOfChrome(t testing.TB, events []chromeEvent) []span {
	t.Helper()
	var list []span
	for _, e := range events {
		if e.Ph == "M" || e.Ph == "i" {
			continue
		}
		ns := int64(0)
		whole, frac, ok := strings.Cut(e.TS.String(), ".")
		if !ok || len(frac) != 3 {
			t.Fatalf("time %s has no three decimals", e.TS)
		}
		for _, c := range whole + frac {
			ns = 10*ns + int64(c-'0')
		}
		s := span{thread: e.TID, at: ns, name: e.Name, end: e.Ph == "E"}
		list = append(list, s)
		if e.Ph == "X" {
			s.at, s.end = s.at+int64(*e.Dur*1000+0.5), true
			list = append(list, s)
		}
	}
	return list
}

func TestChromeEntries(t *testing.T) {
	js, sum := export(t, entries(t), Options{Format: Chrome})
	if sum.Graph || sum.Events != 7 {
		t.Errorf("%+v", sum)
	}
	n := 0
	for _, e := range parseChrome(t, js) {
		if e.Ph == "i" && e.S == "t" {
			n++
		}
	}
	if n != 7 {
		t.Errorf("%d instant events, want 7:\n%s", n, js)
	}
}

func TestChromeSelection(t *testing.T) {
	for _, c := range []struct {
		sel  analyze.Selection
		want string
	}{
		{analyze.Selection{TID: 100, Not: only{"foo::bar(int)"}}, "main foo::bar tail"},
		{analyze.Selection{TID: 100, Only: only{"foo::bar(int)"}, Depth: 2}, "foo::bar(int) leaf leaf foo::bar(int) odd;\"\uFFFD\uFFFD"},
		{analyze.Selection{MinTime: 900}, "main foo::bar(int) foo::bar(int) odd;\"\uFFFD\uFFFD"},
		{analyze.Selection{TID: 100, Range: elapsed(1100, 1201)}, "foo::bar tail"},
	} {
		js, sum := export(t, sample(t), Options{Format: Chrome, Selection: c.sel})
		if sum.Shown >= sum.Events {
			t.Errorf("%+v", sum)
		}
		events := parseChrome(t, js)
		balanced(t, spansOfChrome(t, events))
		var names []string
		for _, e := range events {
			if e.Ph == "B" || e.Ph == "X" {
				names = append(names, e.Name)
			}
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestChromeTimes(t *testing.T) {
	c := &chrome{millis: -1}
	for ns, want := range map[int64]string{
		-1: "0.000", 0: "0.000", 1: "0.001", 999: "0.999", 1000: "1.000", 12_345: "12.345", 999_999: "999.999",
		1_000_000: "1000.000", 1_000_001: "1000.001", 1_999_999: "1999.999", 123_456_789_012_345: "123456789012.345",
	} {
		for range 2 { // with and without what is kept from the last
			if got := string(c.time(nil, ns)); got != want {
				t.Errorf("%d ns: %s, want %s", ns, got, want)
			}
		}
	}
}

// valuesSample has calls with arguments and results, and an injection.
func valuesSample(t testing.TB) []byte {
	var file bytes.Buffer
	s := begin(t, &file, true)
	field := func(number, kind uint32, name string) {
		check(t, s.w.WriteProbe(trace.Probe{Proc: 1, Number: number, Image: 1, Kind: kind, Text: "delay 1ms",
			Fields: []trace.ProbeField{{Name: name}}, Types: []trace.ValueType{{Kind: trace.KindInt, Size: 4}}}))
	}
	field(1, trace.ProbeEntry, "x")
	field(2, trace.ProbeExit, "ret")
	field(trace.InjectedNumber, trace.ProbeInjected, "n")
	// value makes the word that was added last a record.
	value := func(number uint32, v uint64) {
		n := len(s.words) - 8
		event := binary.LittleEndian.Uint64(s.words[n:])
		s.words = binary.LittleEndian.AppendUint64(s.words[:n], trace.ControlWord(trace.WordRecord, uint64(number)<<19|trace.RecordArgs|3))
		s.words = binary.LittleEndian.AppendUint64(s.words, event)
		s.words = binary.LittleEndian.AppendUint64(s.words, v)
	}
	s.thread(100)
	s.enter(fnMain, 0, 1000)
	value(1, 1)
	s.enter(fnLeaf, 1, 1100)
	value(1, 2)
	s.leave(fnLeaf, 1, 1200)
	value(2, 3)
	s.enter(fnTail, 1, 1250)
	value(trace.InjectedNumber, 4)
	s.enter(fnTail, 1, 1300) // left without an exit
	value(1, 5)
	s.leave(fnMain, 0, 1400)
	value(2, 6)
	s.close()
	return file.Bytes()
}

// TestChromeValues: arguments and results are shown with their calls.
func TestChromeValues(t *testing.T) {
	js, _ := export(t, valuesSample(t), Options{Format: Chrome})
	var got []string
	for _, e := range parseChrome(t, js) {
		if e.Ph != "M" {
			got = append(got, fmt.Sprint(e.Ph, " ", e.Name, " ", e.Args))
		}
	}
	want := []string{
		"B main map[x:1]", "X leaf map[return value:3 x:2]", "i tail: delay 1ms map[]", "X tail map[inferred:true x:5]", "E  map[return value:6]",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
