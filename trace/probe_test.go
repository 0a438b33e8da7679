package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// beginProbes begins a recording of a graph with probes: fused ones of number
// 1 and 2, attached ones, and an injection.
func beginProbes(t testing.TB, out io.Writer) *Writer {
	w := beginFile(t, out)
	injection := testProbe(InjectedNumber+3, ProbeInjected)
	injection.Text, injection.Fields = "return -1", injection.Fields[:1]
	check(t,
		w.WriteRange(Range{Proc: 1, Image: 1, Index: exitIndex(0) - 2, Count: 16 * progFuncs, Addr: 0xaaaa00001000, VA: 0x1000, Kind: RangeExits}),
		w.WriteProbe(testProbe(1, ProbeEntry)),
		w.WriteProbe(testProbe(2, ProbeExit)),
		w.WriteProbe(testProbe(AttachedNumber+1, ProbeEntry|ProbeAttached)),
		w.WriteProbe(testProbe(AttachedNumber+2, ProbeExit|ProbeAttached)),
		w.WriteProbe(injection))
	return w
}

// argsText reads a recording and writes a line an event.
func argsText(t testing.TB, file []byte) string {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file))
	check(t, err)
	var b strings.Builder
	for e := NewEvents(r); ; {
		ev, err := e.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		check(t, err)
		fmt.Fprintf(&b, "%d %d %s(%s)", ev.Depth, ev.Kind, ev.Site.Name(), ArgsText(nil, ev.Args))
		if ev.Ret != nil {
			fmt.Fprintf(&b, " = %s", ev.Ret.AppendText(nil))
		}
		if ev.Leaf {
			b.WriteString(" leaf")
		}
		fmt.Fprintf(&b, " %s@%d\n", ev.Text, ev.Ticks)
	}
}

func writeWords(t testing.TB, begin func(testing.TB, io.Writer) *Writer, lists ...[]uint64) []byte {
	t.Helper()
	var file bytes.Buffer
	w := begin(t, &file)
	c := Chunk{Proc: 1, Stream: 1, TID: 100}
	for _, l := range lists {
		c.Words = append(c.Words, bytesOf(l...)...)
	}
	check(t, w.WriteChunk(c), w.WriteRound(1000), w.Close(1, ""))
	if _, err := Validate(bytes.NewReader(file.Bytes())); err != nil && !strings.Contains(err.Error(), "ends before its field") {
		t.Error(err)
	}
	return file.Bytes()
}

func TestProbeRecords(t *testing.T) {
	enter := func(f int, sp, ticks uint64) uint64 { return EventWord(funcIndex(f), sp, ticks) }
	leave := func(f int, sp, ticks uint64) uint64 { return EventWord(exitIndex(f), sp, ticks) }
	one := func(w uint64) []uint64 { return []uint64{w} }
	const in, out = AttachedNumber + 1, AttachedNumber + 2
	for _, c := range []struct {
		name  string
		words [][]uint64
		want  string
	}{
		{"fused", [][]uint64{
			record(1, enter(1, 0x900, 10), 7, "seven"), record(1, enter(2, 0x800, 11), 1<<32-1, "x"), one(enter(3, 0x700, 12)), one(leave(3, 0x700, 13)),
			record(2, leave(2, 0x800, 14), 3, ""), one(enter(4, 0x800, 15)), record(2, leave(4, 0x800, 16), 4, ""), record(2, leave(1, 0x900, 17), 9, ""),
		}, `0 0 func1(7, "seven") @10
1 0 func2(-1, "x") @11
2 0 func3() leaf @12
2 2 func3() leaf @13
1 2 func2() = 3 @14
1 0 func4() = 4 leaf @15
1 2 func4() = 4 leaf @16
0 2 func1() = 9 @17
`},
		{"attached", [][]uint64{
			record(in, enter(1, 0x900, 10), 7, "seven"), one(enter(1, 0x900, 11)), record(in, enter(2, 0x800, 12), 8, "e"), one(enter(2, 0x800, 13)),
			record(out, leave(2, 0x800, 14), 3, ""), one(leave(2, 0x800, 15)), record(out, leave(1, 0x900, 16), 4, ""), one(leave(1, 0x900, 17)),
		}, `0 0 func1(7, "seven") @11
1 0 func2(8, "e") = 3 leaf @13
1 2 func2() = 3 leaf @15
0 2 func1() = 4 @17
`},
		// With a filter by duration: func2 is too short twice, then func3 is
		// long enough, and the entries around it are written, too.
		{"late", [][]uint64{
			record(in, enter(1, 0x900, 10), 1, "a"), record(in, enter(2, 0x800, 12), 2, "b"), record(out, leave(2, 0x800, 13), 22, ""),
			record(in, enter(2, 0x800, 14), 3, "c"), record(out, leave(2, 0x800, 15), 33, ""), record(in, enter(3, 0x800, 16), 4, "d"),
			record(in, enter(2, 0x700, 17), 5, "e"), record(out, leave(2, 0x700, 18), 55, ""), record(out, leave(3, 0x800, 30), 44, ""),
			one(enter(1, 0x900, 11)), one(enter(3, 0x800, 16)), one(leave(3, 0x800, 31)), record(out, leave(1, 0x900, 40), 66, ""), one(leave(1, 0x900, 41)),
		}, `0 0 func1(1, "a") @11
1 0 func3(4, "d") = 44 leaf @16
1 2 func3() = 44 leaf @31
0 2 func1() = 66 @41
`},
		{"of calls that were not recorded", [][]uint64{
			record(in, enter(1, 0x900, 10), 1, "a"), record(out, leave(1, 0x900, 11), 1, ""), one(enter(2, 0x900, 12)), one(leave(2, 0x900, 13)),
			record(in, enter(1, 0x900, 14), 2, "b"), one(enter(1, 0x900, 15)), one(leave(1, 0x900, 16)),
		}, `0 0 func2() leaf @12
0 2 func2() leaf @13
0 0 func1(2, "b") leaf @15
0 2 func1() leaf @16
`},
		{"injected", [][]uint64{
			one(enter(1, 0x900, 10)), record(InjectedNumber+3, enter(2, 0x800, 11), 5, ""), one(leave(1, 0x900, 12)),
			record(InjectedNumber+3, enter(3, 0x900, 13), 6, ""), one(enter(3, 0x900, 14)), one(leave(3, 0x900, 15)),
		}, `0 0 func1() @10
1 4 func2(5) return -1@11
0 2 func1() @12
0 4 func3(6) return -1@13
0 0 func3() leaf @14
0 2 func3() leaf @15
`},
		{"cut short", [][]uint64{{ControlWord(WordRecord, 1<<probeShift|RecordArgs|2), enter(1, 0x900, 10)}},
			"0 0 func1(?, ?) @10\n0 2 func1() @1000\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := writeWords(t, beginProbes, c.words...)
			if got := argsText(t, file); got != c.want {
				t.Errorf("got:\n%swant:\n%s", got, c.want)
			}
			checkCalls(t, file)
		})
	}
}

// TestMemoryFields: what the header of a memory field says.
func TestMemoryFields(t *testing.T) {
	for _, c := range []struct {
		addr, header uint64
		want         string
	}{
		{8, 3, `"abc"`}, {8, memTruncated | 3, `"abc"...`}, {8, memFault, "<fault 0x8>"}, {0, memFault, "NULL"}, {8, memUnread, "0x8"}, {0, memUnread, "NULL"},
		{1<<64 - 1, memUnread, "?"}, {8, 100, "?"},
	} {
		v := Value{types: []ValueType{{Kind: KindCString}}, mem: true}
		rest := v.decode(bytesOf(c.addr, c.header, 0x636261, 7))
		if got := string(v.AppendText(nil)); got != c.want || v.state != valueDamaged && len(rest) != 8+int(8*(3-c.header&3)/3) {
			t.Errorf("address %#x, header %#x: %s with %d bytes left, want %s", c.addr, c.header, got, len(rest), c.want)
		}
	}
}

// TestAttachedLost: what was recorded for a call that was lost is not shown of
// another one.
func TestAttachedLost(t *testing.T) {
	var file bytes.Buffer
	w := beginProbes(t, &file)
	enter, leave := EventWord(funcIndex(1), 0x900, 20), EventWord(exitIndex(1), 0x900, 30)
	check(t,
		w.WriteChunk(Chunk{Proc: 1, Stream: 1, TID: 100, Words: bytesOf(record(AttachedNumber+1, EventWord(funcIndex(1), 0x900, 10), 1, "a")...)}),
		w.WriteChunk(Chunk{Proc: 1, Stream: 1, TID: 100, Lost: 5, Words: bytesOf(enter, leave)}),
		w.Close(1, ""))
	r, err := NewReader(&file)
	check(t, err)
	for e := NewEvents(r); ; {
		ev, err := e.Next()
		if err != nil {
			return
		}
		if len(ev.Args) > 0 {
			t.Errorf("an entry has the arguments of another: %s", ArgsText(nil, ev.Args))
		}
	}
}

// checkCalls compares the calls of a recording with the exits in its events.
func checkCalls(t *testing.T, file []byte) {
	t.Helper()
	exits := 0
	r, err := NewReader(bytes.NewReader(file))
	check(t, err)
	for e := NewEvents(r); ; {
		ev, err := e.Next()
		if err != nil {
			break
		}
		if ev.Kind == FuncExit {
			exits++
		}
	}
	if calls, _, _ := readCalls(t, file); len(calls) != exits {
		t.Errorf("%d calls, but %d exits", len(calls), exits)
	}
}

// TestEntriesWithArgs: in a recording of entries alone.
func TestEntriesWithArgs(t *testing.T) {
	begin := func(t testing.TB, out io.Writer) *Writer {
		w := beginFile(t, out)
		injection := testProbe(InjectedNumber, ProbeInjected)
		check(t, w.WriteProbe(testProbe(1, ProbeEntry)), w.WriteProbe(injection))
		return w
	}
	file := writeWords(t, begin, record(1, EventWord(funcIndex(1), 0x900, 10), 1, "a"), []uint64{EventWord(funcIndex(2), 0x800, 11)},
		record(InjectedNumber, EventWord(funcIndex(3), 0x700, 12), 5, "b"), record(1, EventWord(funcIndex(3), 0x700, 13), 2, strings.Repeat("long", 30)))
	const want = `0 0 func1(1, "a") @10
1 0 func2() @11
2 4 func3(5, "b") @12
2 0 func3(2, "longlonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglong") @13
`
	if got := argsText(t, file); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

// TestAttachedBounds: records that never get an event take no more than a
// limit, in memory and in time.
func TestAttachedBounds(t *testing.T) {
	a := attached{probes: probeTable{AttachedNumber: &Probe{Kind: ProbeAttached}, AttachedNumber + 1: &Probe{Kind: ProbeAttached | ProbeExit}}}
	payload := make([]byte, 1000)
	for i := range uint64(100_000) {
		// Exits of ever other functions at one stack pointer replace nothing.
		a.add(AttachedNumber+1, EventWord(uint32(100+i), 0x900, i), 0, payload[:i%1000])
	}
	if len(a.list) > maxAttached || len(a.buf) > maxAttachedBytes {
		t.Errorf("%d records, %d bytes", len(a.list), len(a.buf))
	}
	for range 1000 {
		if a.find(&Cursor{Index: 99, SP: 0x90, Ticks: 1 << 20}) >= 0 {
			t.Fatal("an event found a record of another")
		}
	}
	if a.credit != 0 {
		t.Errorf("searching in vain costs nothing: credit for %d", a.credit)
	}
	a.add(AttachedNumber, EventWord(99, 0x900, 5), 0, payload)
	if len(a.list) != 1 || len(a.buf) != len(payload) {
		t.Errorf("%d records, %d bytes after an entry that shows all to be over", len(a.list), len(a.buf))
	}
}

// TestCallsWithRecords: calls are the same whether there are values with them or not.
func TestCallsWithRecords(t *testing.T) {
	write := func(values bool) []byte {
		var file bytes.Buffer
		w := beginProbes(t, &file)
		p := newProg(7, 300, 0.1)
		for range 20 {
			base, high := p.time, p.time>>TimeBits
			plain := p.appendWords(nil, 2000, &high)
			var words []byte
			for i := 0; i < len(plain); i += 8 {
				switch e := binary.LittleEndian.Uint64(plain[i:]); {
				case e < MinIndex<<indexShift || !values || i%3 == 0:
					words = append(words, plain[i:i+8]...)
				case uint32(e>>indexShift) >= exitIndex(0)-2:
					words = append(words, bytesOf(record(AttachedNumber+2, e, 7, "")...)...)
					words = append(words, bytesOf(record(2, e, 7, "")...)...)
				default:
					words = append(words, bytesOf(record(1, e, 7, "seven")...)...)
				}
			}
			check(t, w.WriteChunk(Chunk{Proc: 1, Stream: 1, TID: 100, Base: base, Words: words}))
		}
		check(t, w.Close(1, ""))
		if _, err := Validate(bytes.NewReader(file.Bytes())); err != nil {
			t.Error(err)
		}
		return file.Bytes()
	}
	want, paths, _ := readCalls(t, write(false))
	got, gotPaths, _ := readCalls(t, write(true))
	if len(want) < 10_000 || !slices.Equal(got, want) || !slices.Equal(gotPaths, paths) {
		t.Errorf("%d calls, want %d", len(got), len(want))
	}
}

// TestAttachedProgram: a program of random calls, each with a number of its
// own as argument and result, is recorded with a filter by duration as the
// target does it: the records of all calls at once, the entries when it is
// known that the call is long enough. Every call that was recorded is shown with
// its own number.
func TestAttachedProgram(t *testing.T) {
	for seed := range uint64(20) {
		type call struct {
			f       int
			sp      uint64
			start   uint64
			id      uint64
			written bool
		}
		rnd := rand.New(rand.NewPCG(seed, 0))
		var (
			words []uint64
			stack []call
			now   = uint64(100)
			next  uint64
			want  = map[uint64]int{} // how often a call is to be seen
		)
		minimum := []uint64{0, 20, 200}[seed%3]
		leave := func() {
			c := &stack[len(stack)-1]
			words = append(words, record(AttachedNumber+2, EventWord(exitIndex(c.f), c.sp, now), c.id, "")...)
			if now-c.start >= minimum {
				for i := range stack {
					if o := &stack[i]; !o.written {
						o.written = true
						words = append(words, EventWord(funcIndex(o.f), o.sp, o.start))
						want[o.id]++
					}
				}
				words = append(words, EventWord(exitIndex(c.f), c.sp, now))
				want[c.id]++
			}
			stack = stack[:len(stack)-1]
		}
		for range 3000 {
			now += 1 + rnd.Uint64N(1<<rnd.IntN(6))
			if n := len(stack); n > 0 && (n > 25 || rnd.IntN(2) == 0) {
				leave()
				continue
			}
			c := call{f: rnd.IntN(4), sp: 0x8000, start: now, id: next}
			next++
			if n := len(stack); n > 0 {
				c.sp = stack[n-1].sp - 16*(1+rnd.Uint64N(3))
			}
			words = append(words, record(AttachedNumber+1, EventWord(funcIndex(c.f), c.sp, now), c.id, "s")...)
			if stack = append(stack, c); minimum == 0 {
				stack[len(stack)-1].written = true
				words = append(words, EventWord(funcIndex(c.f), c.sp, now))
				want[c.id]++
			}
		}
		for len(stack) > 0 {
			now += 300
			leave()
		}
		file := writeWords(t, beginProbes, words)
		r, err := NewReader(bytes.NewReader(file))
		check(t, err)
		seen, open := map[uint64]int{}, []uint64{}
		for e := NewEvents(r); ; {
			ev, err := e.Next()
			if err != nil {
				break
			}
			var id uint64
			switch {
			case ev.Kind == Entry && len(ev.Args) == 2:
				id, _ = number(ev.Args[0].Value.data)
				open = append(open, id)
			case ev.Kind == FuncExit && ev.Ret != nil && len(open) > 0:
				id, _ = number(ev.Ret.data)
				if open[len(open)-1] != id {
					t.Fatalf("seed %d: the result of call %d is shown as that of %d", seed, id, open[len(open)-1])
				}
				open = open[:len(open)-1]
			default:
				t.Fatalf("seed %d: an event without values at %d", seed, ev.Ticks)
			}
			seen[id]++
		}
		checkCalls(t, file)
		if !maps.Equal(seen, want) {
			t.Errorf("seed %d: %d calls are shown, want %d", seed, len(seen), len(want))
		}
	}
}
