package trace

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
)

const progFuncs = 600

// beginFile writes what precedes the chunks of a small recording: process 1
// with progFuncs functions of 16 instructions at code positions from 64 on.
func beginFile(t testing.TB, w io.Writer) *Writer {
	t.Helper()
	wr, err := NewWriter(w, MachineARM64)
	if err != nil {
		t.Fatal(err)
	}
	var funcs []Func
	for i := range uint64(progFuncs) {
		funcs = append(funcs, Func{VA: 0x1000 + 64*i, Size: 64, Name: fmt.Sprintf("func%d", i)})
	}
	for _, err := range []error{
		wr.WriteMeta(Meta{Version: "test"}),
		wr.WriteClock(Clock{Source: "cntvct", Frequency: 62_500_000, Ticks: 0, Mono: 0}),
		wr.WriteProcess(Process{Proc: 1, PID: 100, PPID: 1, Command: []string{"/bin/prog"}}),
		wr.WriteImage(Image{ID: 1, Path: "/bin/prog", BuildID: "0123"}, funcs),
		wr.WriteRange(Range{Proc: 1, Image: 1, Index: 64, Count: 16 * progFuncs, Addr: 0xaaaa00001000, VA: 0x1000}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return wr
}

// funcIndex is the code position of an event of the nth function.
func funcIndex(n int) uint32 { return uint32(64 + 16*n + 2) }

type simpleEvent struct {
	kind  EventKind
	ticks uint64
	tid   uint32
	name  string
	depth int
	count uint64
}

func collect(t testing.TB, file []byte) ([]simpleEvent, error) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	var all []simpleEvent
	e := NewEvents(r)
	for {
		ev, err := e.Next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return all, err
		}
		s := simpleEvent{kind: ev.Kind, ticks: ev.Ticks, tid: ev.Task.TID, depth: ev.Depth, count: ev.Count}
		if ev.Site != nil {
			s.name = ev.Site.Name()
		}
		all = append(all, s)
	}
}

// TestMerge writes random threads in rounds and compares with sorting.
func TestMerge(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var file bytes.Buffer
		w := beginFile(t, &file)
		var want []simpleEvent
		threads := 1 + rnd.IntN(6)
		clock := uint64(1<<TimeBits - 500)
		for range 1 + rnd.IntN(6) {
			end := clock + 1000
			for _, th := range rnd.Perm(threads) {
				now := clock
				for range rnd.IntN(3) {
					c := Chunk{Proc: 1, Stream: uint32(th), TID: uint32(100 + th), Base: now, Lost: uint64(rnd.IntN(2) * 5)}
					lost := c.Lost
					for range rnd.IntN(20) {
						old := now
						now += uint64(rnd.IntN(15))
						if now>>TimeBits != old>>TimeBits {
							c.Words = append(c.Words, bytesOf(ControlWord(WordTime, now>>TimeBits))...)
						}
						if lost != 0 {
							want = append(want, simpleEvent{LostCount, now, c.TID, "", 0, lost})
							lost = 0
						}
						f := rnd.IntN(100)
						c.Words = append(c.Words, bytesOf(EventWord(funcIndex(f), 0x8000, now))...)
						want = append(want, simpleEvent{Entry, now, c.TID, fmt.Sprintf("func%d", f), 0, 0})
					}
					if lost != 0 {
						want = append(want, simpleEvent{LostCount, c.Base, c.TID, "", 0, lost})
					}
					check(t, w.WriteChunk(c))
				}
			}
			clock = end
			check(t, w.WriteRound(clock))
		}
		check(t, w.Close(0, ""))
		got, err := collect(t, file.Bytes())
		check(t, err)
		// Order is defined within a thread and between different times.
		byThread := func(a, b simpleEvent) int { return cmp.Compare(a.tid, b.tid) }
		if !slices.IsSortedFunc(got, func(a, b simpleEvent) int { return cmp.Compare(a.ticks, b.ticks) }) {
			t.Fatal("events are not in the order of time")
		}
		slices.SortStableFunc(got, byThread)
		slices.SortStableFunc(want, byThread)
		if !slices.Equal(got, want) {
			t.Fatalf("got %v\nwant %v", got, want)
		}
	}
}

// TestLate: an event before the watermark of an earlier round is not lost.
func TestLate(t *testing.T) {
	var file bytes.Buffer
	w := beginFile(t, &file)
	put := func(stream uint32, ticks uint64) {
		check(t, w.WriteChunk(Chunk{Proc: 1, Stream: stream, TID: 100 + stream, Base: ticks,
			Words: bytesOf(EventWord(funcIndex(0), 0, ticks))}))
	}
	put(1, 100)
	check(t, w.WriteRound(200))
	put(1, 300)
	check(t, w.WriteRound(400))
	put(1, 500)
	check(t, w.WriteRound(600))
	put(2, 50)
	put(1, 700)
	check(t, w.WriteRound(800), w.Close(0, ""))
	got, err := collect(t, file.Bytes())
	check(t, err)
	var ticks []uint64
	for _, e := range got {
		ticks = append(ticks, e.ticks)
	}
	if want := []uint64{100, 300, 50, 500, 700}; !slices.Equal(ticks, want) {
		t.Errorf("got %v, want %v", ticks, want)
	}
}

func TestDepth(t *testing.T) {
	var d depthStack
	for _, c := range []struct {
		sp   uint64
		want int
	}{
		{0x7ff0, 0}, // main
		{0x7fd0, 1}, // calls a
		{0x7fb0, 2}, // which calls b
		{0x7fb0, 2}, // and c
		{0x7fd0, 1}, // a has returned
		{0x7ff0, 0}, // main tail-calls d
		{0x0010, 1}, // a frame of almost 32 KiB
		{0xfff0, 2}, // below a multiple of 64 KiB
		{0xffe0, 3}, //
		{0x0010, 1}, // back over it
		{0xff00, 2}, //
		{0x4000, 1}, // back over both
		{0x7ff0, 0}, // all returned
		{0x8000, 0}, // and further up
	} {
		if got := d.enter(uint32(c.sp >> 4 & spMask)); got != c.want {
			t.Errorf("sp %#x: depth %d, want %d", c.sp, got, c.want)
		}
	}
}

func TestRecords(t *testing.T) {
	regs := make([]uint64, len(MachineARM64.Registers()))
	for i := range regs {
		regs[i] = uint64(1000 + i)
	}
	words := []uint64{
		0,
		ControlWord(WordPad, 3), ^uint64(0), 7,
		ControlWord(WordRecord, RecordRegs|36), EventWord(funcIndex(1), 0x100, 10),
	}
	words = append(words, regs...)
	words = append(words,
		ControlWord(WordReserved, 2), 99,
		ControlWord(WordRecord, RecordStack|5), EventWord(funcIndex(2), 0xf0, 11), 2, 0xaaaa00001004, 0xbbbb,
		ControlWord(WordRecord, RecordStack|5), 0, 2, 1, 2,
		ControlWord(WordRecord, RecordStack|3), EventWord(funcIndex(3), 0xf0, 12), 0,
		EventWord(funcIndex(4), 0x100, 13),
		ControlWord(WordReserved, 100))
	if n := CountEvents(bytesOf(words...)); n != 4 {
		t.Errorf("CountEvents finds %d events, want 4", n)
	}
	var file bytes.Buffer
	w := beginFile(t, &file)
	check(t, w.WriteChunk(Chunk{Proc: 1, TID: 100, Words: bytesOf(words...)}), w.Close(0, ""))
	r, err := NewReader(&file)
	check(t, err)
	e := NewEvents(r)
	next := func() *Event {
		ev, err := e.Next()
		check(t, err)
		return ev
	}
	ev := next()
	if !slices.Equal(ev.Regs, regs) || ev.Stack != nil {
		t.Errorf("registers %v, stack %v", ev.Regs, ev.Stack)
	}
	if ev.Addr != 0xaaaa00001040 || ev.IP != 0xaaaa00001048 {
		t.Errorf("addr %#x, ip %#x", ev.Addr, ev.IP)
	}
	ev = next()
	if ev.Regs != nil || !slices.Equal(ev.Stack, []uint64{0xaaaa00001004, 0xbbbb}) {
		t.Errorf("registers %v, stack %#x", ev.Regs, ev.Stack)
	}
	if s := ev.Program.Symbol(ev.Stack[0]); s.Func == nil || s.Func.Name != "func0" || s.Offset != 4 {
		t.Errorf("symbol %+v", s)
	}
	if s := ev.Program.Symbol(ev.Stack[1]); s.Object != nil {
		t.Errorf("symbol %+v", s)
	}
	if ev = next(); ev.Stack == nil || len(ev.Stack) != 0 {
		t.Errorf("an empty stack is %v", ev.Stack)
	}
	if ev = next(); ev.Stack != nil || ev.Site.Name() != "func4" {
		t.Errorf("plain event %+v", ev)
	}
	if _, err := e.Next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// TestRemap: positions that a later object takes over keep their old meaning
// in the chunks before.
func TestRemap(t *testing.T) {
	var file bytes.Buffer
	w := beginFile(t, &file)
	put := func(ticks uint64, index uint32) {
		check(t, w.WriteChunk(Chunk{Proc: 1, TID: 100, Words: bytesOf(EventWord(index, 0, ticks))}))
	}
	put(1, funcIndex(3))
	check(t,
		w.WriteImage(Image{ID: 2, Path: "/lib/other.so"}, nil),
		w.WriteRange(Range{Proc: 1, Image: 2, Index: 64, Count: 1600, Addr: 0x5000, VA: 0x100}))
	put(2, funcIndex(3))
	put(3, 5000)
	check(t, w.Close(0, ""))
	got, err := collect(t, file.Bytes())
	check(t, err)
	var names []string
	for _, e := range got {
		names = append(names, e.name)
	}
	if want := []string{"func3", "other.so+0x1c0", "?+0x1388"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

// TestTruncated cuts a recording everywhere: what is whole is delivered.
func TestTruncated(t *testing.T) {
	var file bytes.Buffer
	w := beginFile(t, &file)
	var ends []int
	for i := range uint64(5) {
		check(t, w.WriteChunk(Chunk{Proc: 1, TID: 100, Words: bytesOf(EventWord(funcIndex(0), 0, i))}), w.Flush())
		ends = append(ends, file.Len())
	}
	check(t, w.Close(0, ""))
	whole := file.Bytes()
	for n := HeaderSize; n < len(whole); n++ {
		if n < ends[0]-200 && n%37 != 0 {
			continue
		}
		want := 0
		for _, end := range ends {
			// Zeros that are cut off are put back below.
			if n >= end || n%2 == 0 && n > end-8 && len(bytes.Trim(whole[n:end], "\x00")) == 0 {
				want++
			}
		}
		cut := whole[:n]
		if n%2 == 0 {
			// As a file system leaves it that had not written the data yet.
			cut = append(slices.Clone(cut), make([]byte, 4096)...)
		}
		got, err := collect(t, cut)
		if len(got) != want || err != nil && n%2 != 0 {
			t.Fatalf("cut at %d of %d: %d events, want %d, error %v", n, len(whole), len(got), want, err)
		}
		_, r, err := readAll(bytes.NewReader(whole[:n]))
		check(t, err)
		if !r.Truncated() {
			t.Fatalf("cut at %d of %d: not called truncated", n, len(whole))
		}
	}
}

// TestDamaged flips bits: each is noticed, and what precedes is delivered.
func TestDamaged(t *testing.T) {
	var file bytes.Buffer
	w := beginFile(t, &file)
	for i := range uint64(5) {
		check(t, w.WriteChunk(Chunk{Proc: 1, TID: 100, Words: bytesOf(EventWord(funcIndex(0), 0, i))}))
	}
	check(t, w.Close(0, "done!"))
	for i := range file.Bytes() {
		bad := bytes.Clone(file.Bytes())
		bad[i] ^= 0x10
		blocks, r, err := readAll(bytes.NewReader(bad))
		pad := i >= len(bad)-4 // after the reason's five bytes
		if err == nil && !r.Truncated() && !pad && len(blocks) == 13 {
			t.Fatalf("byte %d of %d is changed and nobody notices", i, len(bad))
		}
	}
}

func TestClock(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, f := range []uint64{1, 1000, 19_200_000, 24_000_000, 25_000_000, 54_000_000, 62_500_000, 1e9, 3e9, 1 << 40} {
		c := newConverter(&Clock{Frequency: f, Ticks: 1 << 50, Mono: 77})
		for range 1000 {
			d := rnd.Uint64() >> (24 + rnd.UintN(40))
			if f < 1e6 {
				d >>= 20
			}
			hi, lo := bits.Mul64(d, 1e9)
			q, _ := bits.Div64(hi, lo, f)
			want := int64(77 + q)
			if got := c.ns(1<<50 + d); got < want || got > want+1 {
				t.Fatalf("%d ticks at %d Hz: %d ns, want %d", d, f, got, want)
			}
			if d <= 1<<50 {
				want = 77 - (want - 77)
				if got := c.ns(1<<50 - d); got > want || got < want-1 {
					t.Fatalf("-%d ticks at %d Hz: %d ns, want %d", d, f, got, want)
				}
			}
		}
	}
}
