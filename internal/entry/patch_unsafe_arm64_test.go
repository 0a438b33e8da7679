package entry

import (
	"encoding/binary"
	"regexp"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/arch/arm64/arm64asm"
)

// TestPatchLayout compares what stands in other places as numbers.
func TestPatchLayout(t *testing.T) {
	if n := unsafe.Sizeof(PatchControl{}); n != SizeofPatchControl {
		t.Errorf("a PatchControl has %d bytes, not %d", n, SizeofPatchControl)
	}
}

// TestPatchCode checks that the code keeps the rules at the head of entry_arm64.s: it
// stores nothing but through the table's address and changes only x9 to x17.
func TestPatchCode(t *testing.T) {
	b, err := LoadPatch()
	if err != nil {
		t.Fatal(err)
	}
	other := regexp.MustCompile(`\b([XW]([0-8]|18|19|2[0-9]|30)|[VBHSDQ][0-9]+)\b`)
	n := 0
	for off := 0; off < len(b.Code); off += 4 {
		raw := binary.LittleEndian.Uint32(b.Code[off:])
		if raw == 0 {
			continue // padding
		}
		insn, err := arm64asm.Decode(b.Code[off:])
		if err != nil {
			t.Fatalf("%#x: %08x: %v", off, raw, err)
		}
		n++
		text := insn.String()
		if other.MatchString(strings.TrimPrefix(text, insn.Op.String())) {
			t.Errorf("%#x: %s: a register that is not free", off, text)
		}
		if strings.Contains(text, "SP") && insn.Op != arm64asm.MOV {
			t.Errorf("%#x: %s: uses the stack", off, text)
		}
		switch insn.Op {
		case arm64asm.ADRP, arm64asm.ADDS, arm64asm.SUBS, arm64asm.CMP, arm64asm.ANDS, arm64asm.TST, arm64asm.SVC:
			t.Errorf("%#x: %s: not allowed", off, text)
		}
		for _, a := range insn.Args {
			if rel, ok := a.(arm64asm.PCRel); ok {
				if to := int64(off) + int64(rel); to < 0 || to >= int64(len(b.Code)) {
					t.Errorf("%#x: %s: leaves the block", off, text)
				}
			}
		}
	}
	t.Logf("%d instructions", n)
}
