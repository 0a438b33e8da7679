package arm64

import (
	"strings"
	"testing"
)

func TestRelocate(t *testing.T) {
	const from, to = 0x400004, 0x800000
	for _, c := range []struct {
		insn uint32
		want string
		what string
	}{
		{0xa9bf7bfd, "a9bf7bfd", "stp x29, x30, [sp, #-16]!: unchanged"},
		{0xd65f03c0, "d65f03c0", "ret: unchanged"},
		{0x10000069, "d2800209 f2a00809", "adr x9, .+12"},
		{0x70ffffe9, "d2800069 f2a00809", "adr x9, .-1"},
		{0xb0000009, "d2820009 f2a00809", "adrp x9, .+0x1000"},
		{0xf0ffffe9, "d29e0009 f2a007e9", "adrp x9, .-0x1000"},
		{0x58000089, "d2800289 f2a00809 f9400129", "ldr x9, .+16"},
		{0x18000089, "d2800289 f2a00809 b9400129", "ldr w9, .+16"},
		{0x98000089, "d2800289 f2a00809 b9800129", "ldrsw x9, .+16"},
		{0xd8000080, "d2800290 f2a00810 f9800200", "prfm pldl1keep, .+16"},
		{0x1c000083, "d2800290 f2a00810 bd400203", "ldr s3, .+16"},
		{0x5c000083, "d2800290 f2a00810 fd400203", "ldr d3, .+16"},
		{0x9c000083, "d2800290 f2a00810 3dc00203", "ldr q3, .+16"},
		{0x5800009f, "d2800290 f2a00810 f940021f", "ldr xzr, .+16"},
		{0x14000003, "17f00004", "b .+12"},
		{0x94000003, "d280011e f2a0081e 17f00002", "bl .+12"},
		{0xd63f0120, "aa0903f0 d280011e f2a0081e d61f0200", "blr x9"},
		{0xd63f03c0, "aa1e03f0 d280011e f2a0081e d61f0200", "blr x30"},
		{0x54000061, "54000041 14000002 17f00002", "b.ne .+12"},
		{0xb4000069, "b4000049 14000002 17f00002", "cbz x9, .+12"},
		{0xb7f80069, "b7f80049 14000002 17f00002", "tbnz x9, #63, .+12"},
	} {
		code, err := Relocate(c.insn, from, to)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if got := hexWords(code); got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, got, c.want)
		}
	}
	for what, c := range map[string]struct {
		insn uint32
		to   uint64
		want string
	}{
		"b far":   {0x14000003, from + BranchReach + 64, "out of reach"},
		"blraaz":  {0xd63f093f, to, "pointer authentication"},
		"simd 11": {0xdc000083, to, "no such load"},
	} {
		if _, err := Relocate(c.insn, from, c.to); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", what, err, c.want)
		}
	}
}

// Direct branches lead where they led, conditional ones with the same condition.
func TestRelocateBranches(t *testing.T) {
	const from, to = 0x40000000, 0x41000000
	for _, c := range table {
		target, ok := BranchTarget(from, c.insn)
		if !ok {
			continue
		}
		code, err := Relocate(c.insn, from, to)
		if err != nil {
			if !InReach(to, target) || !InReach(to+12, target) {
				continue
			}
			t.Errorf("%s: %v", c.asm, err)
			continue
		}
		last := uint64(len(code) - 1)
		if got, _ := BranchTarget(to+4*last, code[last]); got != target {
			t.Errorf("%s: leads to %#x, want %#x", c.asm, got, target)
		}
	}
}

func FuzzRelocate(f *testing.F) {
	for _, c := range table {
		f.Add(c.insn, uint64(0x400000), uint64(0x800000))
	}
	f.Fuzz(func(t *testing.T, insn uint32, from, to uint64) {
		code, err := Relocate(insn, from&^3, to&^3)
		if err == nil && (len(code) == 0 || len(code) > 6) {
			t.Errorf("%d instructions for %08x", len(code), insn)
		}
	})
}
