package image

import (
	"encoding/binary"

	"nopal/internal/arch/arm64"
)

// maxPrologue is how many instructions are looked through for stores.
const maxPrologue = 64

const opReg29 = opReg0 + 29

func (aapcs) homes(im *Image, body uint64, op byte) *homes {
	if op != opReg29 && op != opReg31 {
		return nil
	}
	base := uint32(op - opReg0)
	code := make([]byte, maxPrologue*arm64.InsnSize)
	n, _ := im.ReadVA(code, body) // what cannot be read has no stores
	found := make(map[int64]home)
	var written uint32 // registers, x or v, that no longer hold arguments
	for at := 0; at+arm64.InsnSize <= n; at += arm64.InsnSize {
		insn := binary.LittleEndian.Uint32(code[at:])
		if insn&0x1c000000 == 0x14000000 { // a branch, or what only the kernel needs
			break
		}
		if s, offset, ok := storeTo(insn, base); ok {
			if _, again := found[offset]; !again && s.n < argumentRegisters && written>>s.n&1 == 0 {
				found[offset] = s
			}
			continue
		}
		written |= 1 << (insn & 31)        // or, of a store, no longer believed
		if insn&0x3a000000 == 0x28000000 { // a pair
			written |= 1 << (insn >> 10 & 31)
		}
	}
	return &homes{stored: found}
}

// storeTo decodes STR and STUR of one register relative to base (Arm ARM C4.1,
// "Loads and Stores").
func storeTo(insn, base uint32) (s home, offset int64, ok bool) {
	if insn>>5&31 != base || insn&0x3a000000 != 0x38000000 {
		return s, 0, false
	}
	size, opc := insn>>30, insn>>22&3
	if insn>>26&1 != 0 {
		s.kind = InV
		if size == 0 && opc == 2 {
			size, opc = 4, 0 // Q
		}
	}
	if opc != 0 {
		return s, 0, false
	}
	s.n = int(insn & 31)
	switch {
	case insn>>24&1 != 0: // unsigned, scaled
		return s, int64(insn>>10&0xfff) << size, true
	case insn>>21&1 == 0 && insn>>10&3 == 0: // unscaled
		return s, int64(int32(insn<<11) >> 23), true
	}
	return s, 0, false
}
