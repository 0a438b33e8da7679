package entry

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/arch/arm64/arm64asm"
)

// TestCode checks what Go's assembler has made of the blocks: only instructions
// of the kinds that the rules at its head allow, no FP/SIMD registers, no x18 but
// where pt_regs is saved and restored, no scratch register of the assembler's own
// choice, no reference out of the block, nothing stored below sp.
func TestCode(t *testing.T) {
	b, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Code)%4 != 0 || b.Literals == 0 || b.Literals+SizeofLiterals > uint64(len(b.Code)) {
		t.Fatalf("layout %+v of %d bytes", b, len(b.Code))
	}
	simd := regexp.MustCompile(`\b[VBHSDQ][0-9]+\b`)
	var x18, x27 int
	for off := uint64(0); off < b.Literals; off += 4 {
		raw := b.insn(off)
		if raw == 0xd50320ff { // xpaclri: ARMv8.3, a hint
			continue
		}
		insn, err := arm64asm.Decode(b.Code[off:])
		if err != nil {
			if raw == 0 {
				continue // padding
			}
			t.Fatalf("%#x: %08x: %v", off, raw, err)
		}
		text := insn.String()
		where := fmt.Sprintf("%#x: %s", off, text)
		if simd.MatchString(strings.TrimPrefix(text, insn.Op.String())) {
			t.Errorf("%s: FP/SIMD register", where)
		}
		if strings.Contains(text, "X18") || strings.Contains(text, "W18") {
			x18++
			if insn.Op != arm64asm.STP && insn.Op != arm64asm.LDP {
				t.Errorf("%s: x18", where)
			}
		}
		if strings.Contains(text, "X27") || strings.Contains(text, "W27") {
			x27++
		}
		switch insn.Op {
		case arm64asm.ADRP:
			t.Errorf("%s: refers to a symbol", where)
		case arm64asm.ADDS, arm64asm.SUBS, arm64asm.CMP, arm64asm.CMN, arm64asm.TST, arm64asm.ANDS, arm64asm.CCMP:
			t.Errorf("%s: changes NZCV", where)
		case arm64asm.STR, arm64asm.STP:
			if strings.Contains(text, "[SP,#-") && !strings.Contains(text, "]!") {
				t.Errorf("%s: stores below sp", where)
			}
		}
		for _, a := range insn.Args {
			rel, ok := a.(arm64asm.PCRel)
			if !ok {
				continue
			}
			to := int64(off) + int64(rel)
			if insn.Op == arm64asm.LDR {
				if to < int64(b.Literals) || to >= int64(b.Literals)+SizeofLiterals || to%8 != 0 {
					t.Errorf("%s: literal pool of the assembler", where)
				}
				continue
			}
			if to < 0 || to > int64(b.Literals) {
				t.Errorf("%s: leaves the block, to %#x", where, to)
			}
		}
	}
	if x18 != 4 || x27 != 4 {
		t.Errorf("x18 in %d instructions, x27 in %d, want 4 each: saved twice, recorded, restored", x18, x27)
	}
}

// TestExits checks that FrameAt knows every way out of the trampolines.
func TestExits(t *testing.T) {
	b, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for off := b.Core; off < b.DLHook; off += 4 {
		if b.insn(off) != retX9 {
			continue
		}
		n++
		if b.FrameAt(off) != FrameExit || b.FrameAt(off-4) != FrameExit || b.FrameAt(off-8) != FrameRecords {
			t.Errorf("RET x9 at %#x: frames %d %d %d", off, b.FrameAt(off-8), b.FrameAt(off-4), b.FrameAt(off))
		}
	}
	if n != 3 {
		t.Errorf("%d instructions RET x9, want 3", n)
	}
}
