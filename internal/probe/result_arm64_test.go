package probe

import (
	"encoding/binary"
	"testing"

	"nopal/internal/entry"
)

// resultOf is the number of a call's entry in Control.Results.
func resultOf(sp uint64) uint64 { return sp * entry.ResultHash >> (64 - entry.ResultBits) }

// The exit of a call finds what its entry saw in x8, once, unless another call came to
// the same place.
func TestSavedX8(t *testing.T) {
	w := newWorld(t, 6)
	copy(w.arena[64:], "the result")
	binary.LittleEndian.PutUint64(w.arena[128:], w.arenaAt+64)
	x8 := Operand{Kind: SavedX8}
	length := Expr{Base: Operand{Kind: Const, Off: 10}}
	exit := &Program{Number: 2, Fields: []Field{
		{Mem: &Mem{Addr: Expr{Base: x8, Deref: []int64{64}}, Len: &length, Max: 64}},
		{Size: 8, Parts: []Part{{From: Expr{Base: x8}, Size: 8}}},
	}}
	note := &Program{SaveX8: true}
	sp := w.stackAt + 1<<19
	enter := func(sp, x8 uint64) {
		t.Helper()
		code, err := note.Entry(Target{At: w.at0(), Shared: w.shared(), Next: w.lands[1]})
		if err != nil {
			t.Fatal(err)
		}
		if size := note.Size(); len(code)*4 > size {
			t.Fatalf("%d bytes, Size says %d", len(code)*4, size)
		}
		w.write(w.probes, code)
		w.in = rigState{}
		w.in.x[8], w.in.x[9], w.in.x[30], w.in.x[31] = x8, 1, w.lands[0], sp
		if c := w.call(w.probes, w.in); c.landed != 1 || c.after.x[8] != x8 || c.after.x[9] != 1 || c.after.x[31] != sp {
			t.Fatalf("went on at %d, registers %#x", c.landed, c.after.x)
		}
		if words := w.drained(); len(words) != 0 {
			t.Fatalf("recorded %#x", words)
		}
	}
	leave := func(sp uint64) (header, value uint64) {
		t.Helper()
		code, err := exit.Exit(Target{At: w.at0(), Shared: w.shared()})
		if err != nil {
			t.Fatal(err)
		}
		w.write(w.probes, code)
		w.in = rigState{}
		w.in.x[8], w.in.x[30], w.in.x[31] = 99, w.lands[0], sp
		w.call(w.probes, w.in)
		words := w.drained()
		for len(words) > 0 && words[0]>>entry.WordIndexShift != entry.WordRecord {
			words = words[1:]
		}
		if len(words) < 5 {
			t.Fatalf("recorded %#x", words)
		}
		return words[3], words[len(words)-1]
	}

	enter(sp, w.arenaAt+64)
	if header, value := leave(sp); header != 10 || value != w.arenaAt+64 {
		t.Errorf("header %#x, value %#x", header, value)
	}
	if header, value := leave(sp); header != entry.MemUnseen || value != 0 {
		t.Errorf("once more: header %#x, value %#x", header, value)
	}
	same := sp - 32
	for resultOf(same) != resultOf(sp) {
		same -= 16
	}
	enter(sp, w.arenaAt+64)
	enter(sp-16, w.arenaAt+64)
	enter(same, w.arenaAt+64)
	if header, _ := leave(sp); header != entry.MemUnseen {
		t.Errorf("another call in its place: header %#x", header)
	}
	if header, _ := leave(sp - 16); header != 10 {
		t.Errorf("a call beside it: header %#x", header)
	}
}

// Calls at the same depth of many threads, whose stacks have the size that is usual, have
// entries of their own.
func TestResultOf(t *testing.T) {
	const threads, stack = 32, 8 << 20
	used := map[uint64]bool{}
	for i := range uint64(threads) {
		used[resultOf(0xffff80000000-i*stack-0x770)] = true
	}
	if len(used) < threads*3/4 {
		t.Errorf("%d entries for %d threads", len(used), threads)
	}
}
