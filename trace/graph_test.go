package trace

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"slices"
	"testing"
)

// beginGraph is beginFile for a recording with exits. Those of the nth
// function have exitIndex(n).
func beginGraph(t testing.TB, w io.Writer) *Writer {
	t.Helper()
	wr := beginFile(t, w)
	check(t, wr.WriteRange(Range{Proc: 1, Image: 1, Index: exitIndex(0) - 2, Count: 16 * progFuncs, Addr: 0xaaaa00001000, VA: 0x1000, Kind: RangeExits}))
	return wr
}

func exitIndex(n int) uint32 { return funcIndex(n) + 16*progFuncs }

// call is what tests look at of an Event.
type callEvent struct {
	kind     EventKind
	name     string
	ticks    uint64
	depth    int
	duration int64
	leaf     bool
	inferred bool
	resumed  bool
}

func graphEvents(t testing.TB, file []byte) []callEvent {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file))
	check(t, err)
	var all []callEvent
	e := NewEvents(r)
	for {
		ev, err := e.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		check(t, err)
		c := callEvent{ev.Kind, ev.Text, ev.Ticks, ev.Depth, ev.Duration, ev.Leaf, ev.Inferred, ev.Resumed}
		if ev.Site != nil {
			c.name = ev.Site.Name()
		}
		all = append(all, c)
	}
}

// TestGraph: each kind of end that a call can have.
func TestGraph(t *testing.T) {
	var file bytes.Buffer
	w := beginGraph(t, &file)
	enter := func(n int, sp, ticks uint64) uint64 { return EventWord(funcIndex(n), sp, ticks) }
	exit := func(n int, sp, ticks uint64) uint64 { return EventWord(exitIndex(n), sp, ticks) }
	check(t, w.WriteChunk(Chunk{Proc: 1, TID: 100, Words: bytesOf(
		exit(9, 0x2000, 5), // entered before the recording began
		enter(0, 0x1000, 10),
		enter(1, 0xf00, 20), exit(1, 0xf00, 30), // a leaf
		enter(2, 0xf00, 40),                                                              // without an exit
		enter(3, 0xf00, 50), exit(3, 0xf00, 60), enter(4, 0xf00, 60), exit(4, 0xf00, 70), // 3 tail-calls 4
		enter(5, 0xf00, 80), enter(6, 0xe00, 90), enter(7, 0xd00, 100), // 6 and 7 are left by an exception
		exit(5, 0xf00, 110),
		exit(0, 0x1000, 120),
		enter(0, 0x1000, 130), enter(1, 0xf00, 140),
	)}), w.WriteMark(Mark{Proc: 1, Ticks: 145, Text: "off"}), w.WriteExit(Exit{1, 0, 0, 150}), w.Close(0, ""))
	if _, err := Validate(bytes.NewReader(file.Bytes())); err != nil {
		t.Error(err)
	}
	want := []callEvent{
		{FuncExit, "func9", 5, 0, -1, false, false, false},
		{Entry, "func0", 10, 0, 0, false, false, false},
		{Entry, "func1", 20, 1, 160, true, false, false},
		{FuncExit, "func1", 30, 1, 160, true, false, false},
		{Entry, "func2", 40, 1, 160, true, true, false},
		{FuncExit, "func2", 50, 1, 160, true, true, false},
		{Entry, "func3", 50, 1, 160, true, false, false},
		{FuncExit, "func3", 60, 1, 160, true, false, false},
		{Entry, "func4", 60, 1, 160, true, false, false},
		{FuncExit, "func4", 70, 1, 160, true, false, false},
		{Entry, "func5", 80, 1, 0, false, false, false},
		{Entry, "func6", 90, 2, 0, false, false, false},
		{Entry, "func7", 100, 3, 160, true, true, false},
		{FuncExit, "func7", 110, 3, 160, true, true, false},
		{FuncExit, "func6", 110, 2, 320, false, true, false},
		{FuncExit, "func5", 110, 1, 480, false, false, false},
		{FuncExit, "func0", 120, 0, 1760, false, false, false},
		{Entry, "func0", 130, 0, 0, false, false, false},
		{Entry, "func1", 140, 1, 160, true, true, false},
		{MarkText, "off", 145, 0, 0, false, false, false},
		{FuncExit, "func1", 150, 1, 160, true, true, false},
		{FuncExit, "func0", 150, 0, 320, false, true, false},
	}
	got := graphEvents(t, file.Bytes())
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("event %d: got %+v\nwant %+v", i, got[min(i, len(got)):], want[min(i, len(want)):])
		}
	}

	r, err := NewReader(&file)
	check(t, err)
	c := NewCalls(r, CallsOptions{Nodes: true})
	var calls []Call
	for {
		b, err := c.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		check(t, err)
		calls = append(calls, b.Calls...)
	}
	slices.SortStableFunc(calls, func(a, b Call) int { return cmp.Compare(a.Start, b.Start) })
	var names []string
	for _, call := range calls {
		names = append(names, c.Recording().SiteByID(call.Site).Name())
	}
	if want := []string{"func9", "func0", "func1", "func2", "func3", "func4", "func5", "func6", "func7", "func0", "func1"}; !slices.Equal(names, want) {
		t.Errorf("calls %v, want %v", names, want)
	}
	if got, want := calls[1], (Call{Site: calls[1].Site, Parent: -1, Node: 0, Start: 10, Total: 110, Self: 110 - 40 - 30}); got != want {
		t.Errorf("call of func0 %+v, want %+v", got, want)
	}
}

// TestStreams: a thread gets another stream in the middle of its calls.
func TestStreams(t *testing.T) {
	var file bytes.Buffer
	w := beginGraph(t, &file)
	check(t,
		w.WriteChunk(Chunk{Proc: 1, Stream: 1, TID: 100, Words: bytesOf(
			EventWord(funcIndex(0), 0x1000, 10), EventWord(funcIndex(1), 0xf00, 20))}),
		w.WriteChunk(Chunk{Proc: 1, Stream: 2, TID: 100, Words: bytesOf(
			EventWord(funcIndex(2), 0xe00, 30), EventWord(exitIndex(2), 0xe00, 40),
			EventWord(exitIndex(1), 0xf00, 50), EventWord(exitIndex(0), 0x1000, 60))}),
		w.WriteExit(Exit{1, 100, 0, 70}), w.WriteExit(Exit{1, 0, 0, 80}), w.Close(0, ""))
	want := []callEvent{
		{Entry, "func0", 10, 0, 0, false, false, false},
		{Entry, "func1", 20, 1, 0, false, false, false},
		{Entry, "func2", 30, 2, 160, true, false, false},
		{FuncExit, "func2", 40, 2, 160, true, false, false},
		{FuncExit, "func1", 50, 1, 480, false, false, false},
		{FuncExit, "func0", 60, 0, 800, false, false, false},
	}
	if got := graphEvents(t, file.Bytes()); !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
	got, err := Balances(&file)
	check(t, err)
	if len(got) != 1 || got[0].Paired != 3 || got[0].Inferred != 0 || got[0].NoEntry != 0 {
		t.Errorf("%+v", got)
	}
}

// TestBalances counts each way that calls end.
func TestBalances(t *testing.T) {
	var file bytes.Buffer
	w := beginGraph(t, &file)
	check(t, w.WriteChunk(Chunk{Proc: 1, TID: 100, Lost: 3, Words: bytesOf(
		EventWord(exitIndex(9), 0x2000, 5),
		EventWord(funcIndex(0), 0x1000, 10),
		EventWord(funcIndex(1), 0xf00, 20), EventWord(exitIndex(1), 0xf00, 20),
		EventWord(funcIndex(1), 0xf00, 30), EventWord(funcIndex(2), 0xe00, 30), // by an exception
		EventWord(exitIndex(0), 0x1000, 40))}), w.Close(0, ""))
	got, err := Balances(&file)
	check(t, err)
	for i := range got {
		got[i].Task = nil
	}
	if want := []Balance{{Paired: 2, Inferred: 2, NoEntry: 1, Missing: 1, Lost: 3}}; !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
