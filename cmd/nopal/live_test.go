package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"nopal/internal/analyze"
	"nopal/trace"
)

// profileFile writes the recording of a profile: two functions in two threads.
func profileFile(t *testing.T, w io.Writer) {
	t.Helper()
	tw, err := trace.NewWriter(w, trace.MachineARM64)
	if err != nil {
		t.Fatal(err)
	}
	fn := func(va, calls, each uint64) trace.ProfileFunc {
		return trace.ProfileFunc{Image: 1, VA: va, Calls: calls, Total: calls * each, Self: calls * each / 2, Min: each, Max: each,
			Hist: []trace.ProfileBucket{{Bucket: 10, Count: calls}}}
	}
	for _, err := range []error{
		tw.WriteClock(trace.Clock{Frequency: 1e9}),
		tw.WriteProcess(trace.Process{Proc: 1, PID: 7, Command: []string{"prog"}}),
		tw.WriteImage(trace.Image{ID: 1, Path: "/bin/prog"}, []trace.Func{{VA: 0x1000, Size: 64, Name: "often"}, {VA: 0x2000, Size: 64, Name: "slow\x1b[2J"}}),
		tw.WriteProfile(trace.Profile{Proc: 1, TID: 7, Funcs: []trace.ProfileFunc{fn(0x1000, 1000, 600), fn(0x2000, 3, 900000)}}),
		tw.WriteProfile(trace.Profile{Proc: 1, TID: 8, Funcs: []trace.ProfileFunc{fn(0x1000, 500, 600)}}),
		tw.WriteRound(1),
		tw.WriteLost(trace.Lost{Proc: 1, TID: 7, Count: 1234}),
		tw.Close(0, ""),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func testView(t *testing.T) *liveView {
	t.Helper()
	var file bytes.Buffer
	profileFile(t, &file)
	data := new(liveData)
	data.read(&file)
	if data.err != nil {
		t.Fatal(data.err)
	}
	return &liveView{data: data, name: "prog", keys: []analyze.Key{analyze.KeyTotal}, by: analyze.ByFunction}
}

func TestLiveViewFollowsKeys(t *testing.T) {
	v := testView(t)
	rows := func() string {
		var names []string
		for _, line := range v.lines(120, 24)[4:] {
			fields := strings.Fields(line)
			names = append(names, strings.Join(fields[len(fields)-1:], " "))
		}
		return strings.Join(names, " ")
	}
	for _, c := range []struct {
		key  byte
		want string
	}{{'x', "slow?[2J often"}, {'c', "often slow?[2J"}, {'9', "slow?[2J often"}, {'n', "often slow?[2J"}, {'o', "/bin/prog"}, {'f', "often slow?[2J"}} {
		if v.press(c.key) {
			t.Errorf("%c quits", c.key)
		}
		if got := rows(); !strings.Contains(strings.ReplaceAll(got, "\\x1b", "?"), strings.Fields(c.want)[0]) || len(strings.Fields(got)) != len(strings.Fields(c.want)) {
			t.Errorf("after %c the rows are %q, want %q", c.key, got, c.want)
		}
	}
	for _, key := range "qQ\x03\x04" {
		if !v.press(byte(key)) {
			t.Errorf("%q does not quit", key)
		}
	}
}

func TestPlainKeys(t *testing.T) {
	for typed, want := range map[string]string{"q": "q", "\x1b[Aq": "q", "c\x1b[1;5Dh": "ch", "\x1bOPn": "n", "\x1b": "", "\x1b[": "", "\x1bxq": "q"} {
		if got := string(plainKeys([]byte(typed))); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

// The lines fit the screen, whatever its size, and control nothing of it.
func TestLiveViewFits(t *testing.T) {
	v := testView(t)
	for _, size := range [][2]int{{200, 50}, {80, 24}, {40, 5}, {20, 4}, {1, 1}} {
		lines := v.lines(size[0], size[1])
		if len(lines) > max(size[1], 4) {
			t.Errorf("%d lines for a screen of %v", len(lines), size)
		}
		for _, line := range lines {
			if n := len([]rune(line)); n > size[0] || strings.ContainsAny(line, "\x1b\r\n") {
				t.Errorf("screen of %v: line of %d: %q", size, n, line)
			}
		}
	}
	if title := v.lines(0, 0)[0]; !strings.Contains(title, "1,503 calls, 1,234 not counted, sorted by total") {
		t.Errorf("title %q", title)
	}
}

// Without a terminal there are as many tables as were asked for, then the end is.
func TestLivePrintsTables(t *testing.T) {
	var out bytes.Buffer
	quit := make(chan bool, 9)
	s := &liveShow{view: testView(t), interval: 5 * time.Millisecond, count: 3, out: &out, quit: func() { quit <- true }}
	s.start()
	<-quit
	time.Sleep(30 * time.Millisecond)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "nopal live: prog"); n != 3 || len(quit) > 0 {
		t.Errorf("%d tables, asked for the end %d times:\n%s", n, 1+len(quit), out.String())
	}
}

// A reader that has gone ends it, and the recording is read to its end none the less.
func TestLiveEndsWithItsReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	quit := make(chan bool, 1)
	s := &liveShow{view: testView(t), interval: time.Millisecond, out: w, quit: func() { quit <- true }}
	s.start()
	<-quit
	if err := s.stop(); err == nil {
		t.Error("no error")
	}
	var data liveData
	in := strings.NewReader("no recording at all" + strings.Repeat("x", 100000))
	if data.read(in); data.err == nil || in.Len() > 0 {
		t.Errorf("%v, %d bytes left", data.err, in.Len())
	}
}
