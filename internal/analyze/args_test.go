package analyze

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"

	"nopal/trace"
)

// Numbers of the probes in argsSample.
const (
	openProbe = 1 + iota
	retProbe
	pointProbe
)

// record is a record of a probe: its payload is made of numbers, and of
// strings as what was read at 0x5000. One that ends in "..." was longer, and an
// empty one could not be read.
func record(number uint32, event uint64, values ...any) []byte {
	list := []uint64{0, event}
	for _, v := range values {
		s, ok := v.(string)
		if !ok {
			list = append(list, uint64(v.(int)))
			continue
		}
		text, cut := strings.CutSuffix(s, "...")
		header := uint64(len(text))
		if cut {
			header |= 1 << 17
		} else if text == "" {
			header = 1 << 16
		}
		list = append(list, 0x5000, header)
		for b := append([]byte(text), make([]byte, -len(text)&7)...); len(b) > 0; b = b[8:] {
			list = append(list, binary.LittleEndian.Uint64(b))
		}
	}
	list[0] = trace.ControlWord(trace.WordRecord, uint64(number)<<19|trace.RecordArgs|uint64(len(list)))
	return words(list...)
}

// argsSample has calls with arguments, a result, both and neither, and what was
// injected.
func argsSample(t testing.TB, exits bool) []byte {
	t.Helper()
	var file bytes.Buffer
	w := begin(t, &file)
	if exits {
		file.Reset()
		w = beginGraph(t, &file)
	}
	const xcall = 1664 + 2
	integer, str := trace.ValueType{Kind: trace.KindInt, Size: 4}, trace.ValueType{Kind: trace.KindCString}
	flags := trace.ValueType{Kind: trace.KindEnum, Size: 4, Enums: []trace.TypeEnum{{Name: "O_RDONLY"}, {Name: "O_WRONLY", Value: 1}}}
	point := trace.ValueType{Kind: trace.KindStruct, Size: 8, Members: []trace.TypeMember{{Name: "x", Type: 0}, {Name: "y", Type: 0, Off: 4}}}
	check(t,
		w.WriteProbe(trace.Probe{Proc: 1, Number: openProbe, Image: 1, Fields: []trace.ProbeField{{Name: "path", Type: 0, Mem: true}, {Name: "flags", Type: 1}},
			Types: []trace.ValueType{str, flags}}),
		w.WriteProbe(trace.Probe{Proc: 1, Number: retProbe, Image: 1, Kind: trace.ProbeExit, Fields: []trace.ProbeField{{Name: "ret"}}, Types: []trace.ValueType{integer}}),
		w.WriteProbe(trace.Probe{Proc: 1, Number: pointProbe, Image: 1, Fields: []trace.ProbeField{{Name: "p", Type: 1}}, Types: []trace.ValueType{integer, point}}),
		w.WriteProbe(trace.Probe{Proc: 1, Number: trace.InjectedNumber, Image: 1, Kind: trace.ProbeInjected, Text: "return -1 errno ENOSPC\x1b",
			Fields: []trace.ProbeField{{Name: "arg1"}}, Types: []trace.ValueType{integer}}))
	enter := func(position uint32, level int, ticks uint64) uint64 {
		return trace.EventWord(position, 0x80000-uint64(48*level), ticks)
	}
	var b []byte
	add := func(entry bool, list []byte) {
		if entry || exits {
			b = append(b, list...)
		}
	}
	leave := func(position uint32, level int, ticks uint64) uint64 {
		return enter(exitsAt+position, level, ticks)
	}
	add(true, record(openProbe, enter(index(0), 0, 1000), "/etc/\"hosts\"\n", 0))
	add(true, record(pointProbe, enter(index(1), 1, 1010), -1<<32|7))
	add(false, record(retProbe, leave(index(1), 1, 1100), -3))
	add(true, record(openProbe, enter(xcall, 1, 1200), "a longer st...", 1))
	add(true, words(enter(index(2), 2, 1210)))
	add(false, words(leave(index(2), 2, 1300)))
	add(false, record(retProbe, leave(xcall, 1, 1400), 5))
	add(true, words(enter(index(1), 1, 1500)))
	add(false, record(retProbe, leave(index(1), 1, 1600), 0))
	add(true, record(openProbe, enter(index(4), 1, 10_000), "", 0x40))
	add(true, record(trace.InjectedNumber, enter(index(5), 2, 10_100), 9))
	add(true, record(openProbe, enter(index(5), 2, 10_200), "", 1)) // left by longjmp
	add(false, record(retProbe, leave(index(4), 1, 20_000), -1))
	add(false, record(retProbe, leave(index(0), 0, 30_000), 3))
	check(t,
		w.WriteChunk(trace.Chunk{Proc: 1, Stream: 1, TID: 100, Base: 1000, Words: b}),
		w.WriteRound(40_000),
		w.WriteExit(trace.Exit{Proc: 1, Ticks: 40_000}),
		w.Close(1_120_000_000, "the command ended"))
	return file.Bytes()
}

func TestReplayArgs(t *testing.T) {
	file := argsSample(t, true)
	if _, err := trace.Validate(bytes.NewReader(file)); err != nil {
		t.Error(err)
	}
	for name, o := range map[string]Options{
		"tree":     {},
		"colour":   {Color: true},
		"flat":     {Flat: true},
		"jsonl":    {Format: JSONL},
		"longer":   {Selection: Selection{MinTime: 2_000}},
		"function": {Selection: Selection{Only: only("f<int>", "foo::bar(int)")}},
		"not":      {Selection: Selection{Not: only("lua_call")}, Format: JSONL},
		"level":    {Selection: Selection{Depth: 2}},
	} {
		got, sum := replay(t, file, o)
		golden(t, "args.txtar", name, got)
		if sum.Events != 14 {
			t.Errorf("%s: summary %+v", name, sum)
		}
		for _, line := range strings.Split(strings.TrimSpace(got), "\n") {
			if o.Format == JSONL && !json.Valid([]byte(line)) {
				t.Errorf("%s is no JSON", line)
			}
		}
	}
	file = argsSample(t, false)
	got, _ := replay(t, file, Options{})
	golden(t, "args.txtar", "entries", got)
	got, _ = replay(t, file, Options{Format: JSONL, Selection: Selection{Only: only("f<int>")}})
	golden(t, "args.txtar", "entries jsonl", got)
}

func TestParameters(t *testing.T) {
	for name, want := range map[string]string{
		"main":                           "main",
		"f(int)":                         "f",
		"ns::f(int, char (*)(int))":      "ns::f",
		"A::f(int) const":                "A::f",
		"A::f() const &":                 "A::f",
		"A::operator()(int)":             "A::operator()",
		"A::operator()":                  "A::operator()",
		"(anonymous namespace)::f(int)":  "(anonymous namespace)::f",
		"(anonymous namespace)::x":       "(anonymous namespace)::x",
		"void f<int>(int)":               "void f<int>",
		"f(int)::{lambda(int)#1}":        "f(int)::{lambda(int)#1}",
		"f(int)::{lambda()#1}::_FUN()":   "f(int)::{lambda()#1}::_FUN",
		"<T as core::fmt::Display>::fmt": "<T as core::fmt::Display>::fmt",
		"f(int) [clone .cold]":           "f",
		")":                              ")",
		"(":                              "(",
	} {
		if got := name[:parameters(name)]; got != want {
			t.Errorf("%s is called as %s(), want %s()", name, got, want)
		}
	}
}

func TestInspectProbes(t *testing.T) {
	info, err := Inspect(bytes.NewReader(argsSample(t, true)))
	check(t, err)
	var text strings.Builder
	check(t, info.WriteText(&text))
	if want := "\nprobes    2 for arguments, 1 for results, 1 for injections\ninjected  into 1 call\n"; !strings.Contains(text.String(), want) {
		t.Errorf("no line %q in\n%s", want, text.String())
	}
	if info.Events != 13 || info.Exits != 6 {
		t.Errorf("%d events, %d exits", info.Events, info.Exits)
	}
}
