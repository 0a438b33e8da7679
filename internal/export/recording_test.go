package export

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"testing"

	"nopal/trace"
)

func check(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The functions of begin's program, by number.
const (
	fnMain = iota
	fnBar
	fnRust
	fnOdd
	fnLeaf
	fnTail
	functions
)

var names = [functions]string{"main", "_ZN3foo3barEi", "_RNvC3foo3bar", "odd;\"\x01\xff", "leaf", "tail"}

const (
	firstEntry = 64
	firstExit  = 2000
)

// script writes events as one thread after another makes them.
type script struct {
	t     testing.TB
	w     *trace.Writer
	words []byte
	high  uint64
	tid   uint32
	base  uint64
	lost  uint64
}

// begin writes what precedes the chunks: process 1 (pid 100), with the functions
// above at 64 bytes each, in graph mode with exits.
func begin(t testing.TB, out io.Writer, graph bool) *script {
	t.Helper()
	w, err := trace.NewWriter(out, trace.MachineARM64)
	check(t, err)
	var funcs []trace.Func
	for i, n := range names {
		funcs = append(funcs, trace.Func{VA: 0x1000 + 64*uint64(i), Size: 64, Name: n})
	}
	check(t,
		w.WriteMeta(trace.Meta{Version: "1.0", Command: []string{"nopal", "record", "prog"}, Host: "box", Machine: "aarch64", Started: 1_700_000_000_000_000_000}),
		w.WriteClock(trace.Clock{Source: "cntvct", Frequency: 1e9, Ticks: 0, Mono: 5_000_000_000, Real: 1_700_000_000_000_000_000}),
		w.WriteProcess(trace.Process{Proc: 1, PID: 100, PPID: 1, Command: []string{"/bin/prog", "a b"}}),
		w.WriteThread(trace.Thread{Proc: 1, TID: 100, Name: "prog"}),
		w.WriteThread(trace.Thread{Proc: 1, TID: 101, Name: "worker"}),
		w.WriteImage(trace.Image{ID: 1, Path: "/bin/prog", BuildID: "0123abcd"}, funcs),
		w.WriteRange(trace.Range{Proc: 1, Image: 1, Index: firstEntry, Count: 1600, Addr: 0xaaaa00001000, VA: 0x1000}))
	if graph {
		check(t, w.WriteRange(trace.Range{Proc: 1, Image: 1, Index: firstExit, Count: 1600, Addr: 0xaaaa00001000, VA: 0x1000, Kind: trace.RangeExits}))
	}
	return &script{t: t, w: w}
}

// thread continues with another thread.
func (s *script) thread(tid uint32) {
	s.flush()
	s.tid = tid
}

func (s *script) flush() {
	s.t.Helper()
	if len(s.words) > 0 || s.lost > 0 {
		check(s.t, s.w.WriteChunk(trace.Chunk{Proc: 1, Stream: s.tid, TID: s.tid, Base: s.base, Lost: s.lost, Words: s.words}))
	}
	s.words, s.lost = s.words[:0], 0
}

func (s *script) add(index uint32, level int, ticks uint64) {
	if len(s.words) == 0 {
		s.base, s.high = ticks, ticks>>trace.TimeBits
	}
	if high := ticks >> trace.TimeBits; high != s.high {
		s.high = high
		s.words = binary.LittleEndian.AppendUint64(s.words, trace.ControlWord(trace.WordTime, high))
	}
	s.words = binary.LittleEndian.AppendUint64(s.words, trace.EventWord(index, uint64(0x8000-64*level), ticks))
}

func (s *script) enter(fn, level int, ticks uint64) { s.add(uint32(firstEntry+16*fn+2), level, ticks) }
func (s *script) leave(fn, level int, ticks uint64) { s.add(uint32(firstExit+16*fn+2), level, ticks) }

func (s *script) close() {
	s.t.Helper()
	s.flush()
	check(s.t, s.w.Close(10_000, "the command ended"))
}

// sample is a recording with one of everything.
func sample(t testing.TB) []byte {
	var file bytes.Buffer
	s := begin(t, &file, true)
	s.thread(100)
	s.leave(fnOdd, 3, 500) // entered before the recording began
	s.enter(fnMain, 0, 1000)
	s.enter(fnBar, 1, 1100)
	s.enter(fnLeaf, 2, 1200)
	s.leave(fnLeaf, 2, 1300)
	s.enter(fnLeaf, 2, 1300) // begins when the last one ended
	s.leave(fnLeaf, 2, 1300) // and takes no time
	s.leave(fnBar, 1, 1500)
	s.enter(fnRust, 1, 1600) // tail-calls
	s.leave(fnRust, 1, 1700)
	s.enter(fnTail, 1, 1700)
	s.leave(fnTail, 1, 1750)
	s.enter(fnBar, 1, 2000) // left by an exception, with those in it
	s.enter(fnOdd, 2, 2100)
	s.enter(fnLeaf, 3, 2200)
	s.leave(fnMain, 0, 3000)
	s.thread(101)
	s.lost = 7
	s.enter(fnBar, 0, 1050)
	s.enter(fnBar, 1, 1150) // recursive
	s.enter(fnLeaf, 2, 1160)
	s.leave(fnLeaf, 2, 1170)
	s.leave(fnBar, 1, 1250)
	s.flush()
	check(t, s.w.WriteMark(trace.Mark{Proc: 1, Ticks: 1300, Text: "traced \"off\""}), s.w.WriteRound(4000))
	s.close() // the outer call of foo::bar is still open
	return file.Bytes()
}

// entries is a recording without exits.
func entries(t testing.TB) []byte {
	var file bytes.Buffer
	s := begin(t, &file, false)
	s.thread(100)
	s.enter(fnMain, 0, 1000)
	for i := range uint64(3) {
		s.enter(fnBar, 1, 2000+100*i)
		s.enter(fnLeaf, 2, 2050+100*i)
	}
	s.close()
	return file.Bytes()
}

// profiled is a recording of --profile.
func profiled(t testing.TB) []byte {
	var file bytes.Buffer
	s := begin(t, &file, false)
	for i, calls := range []uint64{10, 20} {
		check(t, s.w.WriteProfile(trace.Profile{Proc: 1, TID: 100, Ticks: uint64(i), Funcs: []trace.ProfileFunc{
			{Image: 1, VA: 0x1000, Calls: 1, Total: 5000, Self: 1000, Min: 5000, Max: 5000},
			{Image: 1, VA: 0x1100, Calls: calls, Total: 4000, Self: 4000, Min: 10, Max: 900},
		}}))
	}
	s.close()
	return file.Bytes()
}

// export writes a recording in a format.
func export(t testing.TB, file []byte, o Options) ([]byte, Summary) {
	t.Helper()
	var out bytes.Buffer
	sum, err := Write(bytes.NewReader(file), &out, o)
	check(t, err)
	return out.Bytes(), sum
}

// only matches functions by demangled name.
type only []string

func (o only) Match(_, demangled, _ string) bool { return slices.Contains(o, demangled) }

// program writes a recording of n events: threads that walk up and down a call
// tree of 4 functions and 12 levels, with times that never go back.
func program(t testing.TB, out io.Writer, threads, n int) {
	t.Helper()
	s := begin(t, out, true)
	s.words = make([]byte, 0, 64<<10)
	now, depth := uint64(1000), make([]int, threads)
	const perChunk = 8000
	for at, th := 0, 0; at < n; th = (th + 1) % threads {
		s.thread(uint32(100 + th))
		for range perChunk {
			now += 7
			// Down and up in steps of up to 3, so that a third of the calls are leaves.
			if d := &depth[th]; *d == 0 || *d < 12 && (at*2654435761>>7)%5 < 2 {
				s.enter(*d%4, *d, now)
				*d++
			} else {
				*d--
				s.leave(*d%4, *d, now)
			}
			at++
		}
		s.flush()
		check(t, s.w.WriteRound(now))
	}
	s.close()
}
