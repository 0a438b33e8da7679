package livepatch

import (
	"debug/elf"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

func TestRelocate(t *testing.T) {
	for _, c := range []struct {
		typ        elf.R_AARCH64
		word       uint32
		to, at     uint64
		want       uint32
		outOfReach bool
	}{
		{elf.R_AARCH64_CALL26, 0x94000000, 0x1000, 0x2000, 0x97fffc00, false},
		{elf.R_AARCH64_CALL26, 0x94000000, 0x2000 + 1<<27 - 4, 0x2000, 0x95ffffff, false},
		{elf.R_AARCH64_CALL26, 0x94000000, 0x2000 + 1<<27, 0x2000, 0, true},
		{elf.R_AARCH64_CALL26, 0x94000000, 0x2002, 0x2000, 0, true},
		{elf.R_AARCH64_JUMP26, 0x14000000, 0x2008, 0x2000, 0x14000002, false},
		{elf.R_AARCH64_CONDBR19, 0x54000001, 0x1ffc, 0x2000, 0x54ffffe1, false},
		{elf.R_AARCH64_TSTBR14, 0x36000000, 0x2010, 0x2000, 0x36000080, false},
		{elf.R_AARCH64_TSTBR14, 0x36000000, 0x2000 + 1<<15, 0x2000, 0, true},
		{elf.R_AARCH64_ADR_PREL_PG_HI21, 0x90000000, 0x5123, 0x2ffc, 0xf0000000, false},
		{elf.R_AARCH64_ADR_PREL_PG_HI21, 0x90000003, 0x1000, 0x2000, 0xf0ffffe3, false},
		{elf.R_AARCH64_ADR_PREL_PG_HI21, 0x90000000, 1<<32 + 0x2000, 0x2000, 0, true},
		{elf.R_AARCH64_ADR_PREL_LO21, 0x10000000, 0x2005, 0x2000, 0x30000020, false},
		{elf.R_AARCH64_ADD_ABS_LO12_NC, 0x91000021, 0x5123, 0x2000, 0x91048c21, false},
		{elf.R_AARCH64_LDST8_ABS_LO12_NC, 0x39400000, 0x5123, 0x2000, 0x39448c00, false},
		{elf.R_AARCH64_LDST64_ABS_LO12_NC, 0xf9400000, 0x5128, 0x2000, 0xf9409400, false},
		{elf.R_AARCH64_LDST64_ABS_LO12_NC, 0xf9400000, 0x5124, 0x2000, 0, true},
		{elf.R_AARCH64_LDST128_ABS_LO12_NC, 0x3dc00000, 0x5120, 0x2000, 0x3dc04800, false},
		{elf.R_AARCH64_LD_PREL_LO19, 0x58000000, 0x2010, 0x2000, 0x58000080, false},
		{elf.R_AARCH64_MOVW_UABS_G1_NC, 0xf2a00000, 0x123456789, 0x2000, 0xf2a468a0, false},
		{elf.R_AARCH64_MOVW_UABS_G0, 0xd2800000, 0x12345, 0x2000, 0, true},
		{elf.R_AARCH64_PREL32, 0, 0x1000, 0x2000, 0xfffff000, false},
		{elf.R_AARCH64_PREL32, 0, 0x2000 + 1<<31, 0x2000, 0, true},
		{elf.R_AARCH64_ABS32, 0, 0x12345678, 0x2000, 0x12345678, false},
		{elf.R_AARCH64_ABS32, 0, 1 << 32, 0x2000, 0, true},
		{elf.R_AARCH64_TLSLE_ADD_TPREL_HI12, 0x91400000, 0x12345, 0, 0x91404800, false},
		{elf.R_AARCH64_TLSLE_ADD_TPREL_HI12, 0x91400000, 1 << 24, 0, 0, true},
		{elf.R_AARCH64_TLSLE_ADD_TPREL_LO12_NC, 0x91000000, 0x12345, 0, 0x910d1400, false},
		{tlsLELoad(2) + 1, 0xb9400000, 0x1344, 0, 0xb9434400, false},
	} {
		var word [8]byte
		binary.LittleEndian.PutUint32(word[:], c.word)
		err := relocate(word[:], c.typ, c.to, c.at)
		if got := binary.LittleEndian.Uint32(word[:]); (err != nil) != c.outOfReach || err == nil && got != c.want {
			t.Errorf("%v at %#x to %#x: %#08x, %v; want %#08x, out of reach %v", c.typ, c.at, c.to, got, err, c.want, c.outOfReach)
		}
	}
	if err := relocate(make([]byte, 8), elf.R_AARCH64_COPY, 0, 0); err == nil {
		t.Error("an unknown relocation was made")
	}
}

// What is read from an instruction is what was stored in it, and nothing else of
// the instruction changes.
func TestRelocationsAreReadAsTheyAreWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for typ, h := range howtos {
		for range 2000 {
			at := r.Uint64() & (1<<40 - 1) &^ 3
			to := at + uint64(r.Int64N(1<<r.IntN(34)+1)) - 1<<r.IntN(33)
			if h.value == absolute {
				to = r.Uint64() >> r.IntN(64)
			}
			var word, before [8]byte
			binary.LittleEndian.PutUint64(word[:], r.Uint64())
			before = word
			if relocate(word[:], typ, to, at) != nil {
				continue
			}
			got, want := referred(word[:], h), h.of(to, at)>>h.shift<<h.shift
			switch {
			case h.place == data16, h.place == data32:
				mask := uint64(1)<<(8*h.size()) - 1
				got, want = got&mask, want&mask
			case h.place == imm16:
				want &= 0xffff << h.shift
			case h.place == imm12:
				want &= 0xfff << h.shift
			case h.place == immAdr && h.bits == 0:
				want = signExtend(want, 21)
			}
			if got != want {
				t.Fatalf("%v at %#x to %#x: reads %#x, want %#x", typ, at, to, got, want)
			}
			h.clear(word[:h.size()])
			h.clear(before[:h.size()])
			if word != before {
				t.Fatalf("%v at %#x to %#x: other bits have changed: %x, were %x", typ, at, to, word, before)
			}
		}
	}
}
