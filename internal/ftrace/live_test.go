package ftrace

import (
	"errors"
	"slices"
	"testing"

	"nopal/internal/arch/arm64"
)

// writes remembers where and how much was written.
type writes struct {
	*text
	list [][2]uint64
}

func (w *writes) WriteAt(b []byte, at int64) (int, error) {
	w.list = append(w.list, [2]uint64{uint64(at), uint64(len(b))})
	return w.text.WriteAt(b, at)
}

// Few changes of a page are written one by one, many at once with what is between
// them, aligned to 16 bytes, and those that are to come first do.
func TestLiveBatch(t *testing.T) {
	m, _ := newText()
	w := &writes{text: m}
	batch := &LiveBatch{Memory: w}
	branch := func(at uint64) uint32 {
		b, err := arm64.EncodeB(at, 0x402000)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	stored := []uint64{0x400014, 0x400028, 0x4000ac, 0x401ff8, 0x402000}
	for _, at := range stored {
		if err := batch.Store(at, branch(at)); err != nil {
			t.Fatal(err)
		}
		if got, err := batch.Load(at); err != nil || got != branch(at) {
			t.Errorf("%#x holds %08x, %v, as it will be", at, got, err)
		}
		if m.insn(at) != arm64.Nop {
			t.Errorf("%#x is written already", at)
		}
	}
	m.set(0x400020, 0x12345678) // another's, between ours
	if err := batch.Flush(func(at uint64) bool { return at >= 0x402000 }); err != nil {
		t.Fatal(err)
	}
	for _, at := range stored {
		if m.insn(at) != branch(at) {
			t.Errorf("%#x holds %08x", at, m.insn(at))
		}
	}
	if m.insn(0x400020) != 0x12345678 {
		t.Errorf("what another has changed is %08x", m.insn(0x400020))
	}
	want := [][2]uint64{{0x402000, 4}, {0x400010, 0xa0}, {0x401ff8, 4}}
	if !slices.Equal(w.list, want) {
		t.Errorf("written %#x, want %#x", w.list, want)
	}
}

// Where somebody else has changed an instruction of ours it is left alone.
func TestLiveBatchMismatch(t *testing.T) {
	m, _ := newText()
	batch := &LiveBatch{Memory: m}
	for _, at := range []uint64{0x400010, 0x400020, 0x400030} {
		if err := batch.Store(at, arm64.MovX9X30); err != nil {
			t.Fatal(err)
		}
	}
	m.set(0x400020, 0xd4200000)
	err := batch.Flush(nil)
	var mismatch *MismatchError
	if !errors.As(err, &mismatch) || mismatch.Addr != 0x400020 {
		t.Errorf("error %v", err)
	}
	if m.insn(0x400010) != arm64.MovX9X30 || m.insn(0x400020) != 0xd4200000 || m.insn(0x400030) != arm64.MovX9X30 {
		t.Errorf("%08x %08x %08x", m.insn(0x400010), m.insn(0x400020), m.insn(0x400030))
	}
}
