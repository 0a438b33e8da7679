package analyze

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"nopal/trace"
)

func TestDemangle(t *testing.T) {
	for raw, want := range map[string]string{
		"main":          "main",
		"_start":        "_start",
		"_ZN3foo3barEi": "foo::bar(int)",
		"_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE": "core::fmt::Write::write_fmt",
		"_RNvC3foo3bar": "foo::bar",
		"_Znonsense":    "_Znonsense",
		"":              "",
	} {
		if got := Demangle(raw); got != want {
			t.Errorf("%q is demangled as %q, want %q", raw, got, want)
		}
	}
}

// FuzzNames: whatever names a recording has, text does not steer the terminal
// and every JSON line is JSON.
func FuzzNames(f *testing.F) {
	f.Add("main", "/bin/prog", "comm")
	f.Add("_ZN3foo3barEi", "/lib/\x1b]0;x\alib.so", "\xff\n")
	f.Add("\u202eevil\u0085", "", "\"\\")
	f.Fuzz(func(t *testing.T, function, path, task string) {
		if len(function)+len(path)+len(task) > 1000 {
			return
		}
		var file bytes.Buffer
		w, err := trace.NewWriter(&file, trace.MachineARM64)
		check(t, err,
			w.WriteMeta(trace.Meta{Host: path, Command: []string{task}}),
			w.WriteClock(trace.Clock{Frequency: 1e9}),
			w.WriteProcess(trace.Process{Proc: 1, PID: 1, Command: []string{task}}),
			w.WriteThread(trace.Thread{Proc: 1, TID: 1, Name: task}),
			w.WriteImage(trace.Image{ID: 1, Path: path}, []trace.Func{{VA: 0, Size: 64, Name: function}}),
			w.WriteRange(trace.Range{Proc: 1, Image: 1, Index: 64, Count: 100}),
			w.WriteChunk(trace.Chunk{Proc: 1, TID: 1, Words: words(
				trace.ControlWord(trace.WordRecord, trace.RecordStack|5), trace.EventWord(66, 0, 0), 2, 8, 80,
				trace.EventWord(90, 0, 1))}),
			w.Close(0, ""))
		text, _ := replay(t, file.Bytes(), Options{})
		info, err := Inspect(bytes.NewReader(file.Bytes()))
		check(t, err)
		var facts strings.Builder
		check(t, info.WriteText(&facts))
		for _, r := range text + facts.String() {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Fatalf("text has %U: %q", r, text+facts.String())
			}
		}
		if n := strings.Count(text, "\n"); n != 5 {
			t.Fatalf("%d lines of text:\n%s", n, text)
		}
		lines, _ := replay(t, file.Bytes(), Options{Format: JSONL})
		for l := range strings.Lines(lines) {
			if !json.Valid([]byte(l)) {
				t.Fatalf("not JSON: %s", l)
			}
		}
	})
}
