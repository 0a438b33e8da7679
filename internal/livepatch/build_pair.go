package livepatch

import (
	"debug/elf"
	"encoding/binary"
)

// pair finds for each instruction of the new function that of the old one. All
// have to be the same but for what relocations change, for the NOPs at the entry,
// and for those by which loops are aligned: their number follows from where in
// its section the function begins, so a change of another function changes it.
func (c *comparison) pair(relocs []reloc) bool {
	le := binary.LittleEndian
	code := c.u.sec.data[c.u.off:c.u.end()]
	if len(code)%4 != 0 || len(c.old)%4 != 0 {
		return false
	}
	relocated := make([]bool, len(code))
	vanishing := make([]bool, len(code)) // linkers may put a NOP there
	for _, r := range relocs {
		at := r.off - c.u.off
		h, known := howtos[direct(r.typ)]
		if r.typ == elf.R_AARCH64_TLSDESC_CALL { // marks an instruction for the linker
			h, known = howto{place: imm26}, true
		}
		if !known || h.size() > c.u.end()-r.off || at%4 != 0 {
			return false
		}
		for i := range h.size() {
			relocated[at+i] = true
		}
		vanishing[at] = mayVanish(r.typ)
	}
	pad, nops := entryNops(code)
	oldPad, oldNops := entryNops(c.old)
	if pad != oldPad || nops > oldNops {
		return false
	}
	c.at = make(map[uint64]uint64)
	for i := uint64(0); i < pad; i += 4 {
		c.at[i] = i
	}
	i, j := pad+nops, oldPad+oldNops
	for i < uint64(len(code)) {
		now := le.Uint32(code[i:])
		isCode := c.u.sec.isCode(c.u.off + i)
		if isCode && !relocated[i] && now == nop && (j == uint64(len(c.old)) || le.Uint32(c.old[j:]) != nop) {
			i += 4
			continue
		}
		if j == uint64(len(c.old)) {
			return false
		}
		was := le.Uint32(c.old[j:])
		if isCode && was == nop && now != nop && !vanishing[i] {
			j += 4
			continue
		}
		if !relocated[i] && now != was && (!isCode || !sameButTarget(now, was)) {
			return false
		}
		c.at[i] = j
		i, j = i+4, j+4
	}
	for ; j < uint64(len(c.old)); j += 4 {
		if le.Uint32(c.old[j:]) != nop {
			return false
		}
	}
	return c.sameTargets(code, relocated)
}

// mayVanish reports whether a linker may put a NOP in the place of an
// instruction with a relocation.
func mayVanish(typ elf.R_AARCH64) bool {
	switch typ {
	case elf.R_AARCH64_ADR_PREL_PG_HI21, elf.R_AARCH64_ADR_GOT_PAGE, elf.R_AARCH64_CALL26, elf.R_AARCH64_JUMP26:
		return true
	}
	return isDescriptor(typ)
}

// sameButTarget reports whether two instructions differ only in what place near
// by they refer to.
func sameButTarget(a, b uint32) bool {
	typ, ok := directReference(a)
	if other, okToo := directReference(b); !ok || !okToo || typ != other {
		return false
	}
	var words [2][4]byte
	for i, w := range []uint32{a, b} {
		binary.LittleEndian.PutUint32(words[i][:], w)
		howtos[typ].clear(words[i][:])
	}
	return words[0] == words[1]
}

// sameTargets reports whether branches within the function lead to the same
// instructions.
func (c *comparison) sameTargets(code []byte, relocated []bool) bool {
	le := binary.LittleEndian
	paired := make(map[uint64]bool, len(c.at))
	for _, j := range c.at {
		paired[j] = true
	}
	for i, j := range c.at {
		typ, ok := directReference(le.Uint32(code[i:]))
		if !ok || relocated[i] || !c.u.sec.isCode(c.u.off+i) {
			continue
		}
		to := i + referred(code[i:i+4], howtos[typ])
		was := j + referred(c.old[j:j+4], howtos[typ])
		for ; to < uint64(len(code)); to += 4 { // NOPs lead to what is behind them
			if _, ok := c.at[to]; ok {
				break
			}
		}
		for ; was < uint64(len(c.old)) && !paired[was]; was += 4 {
		}
		if other, ok := c.at[to]; !ok || other != was {
			return false
		}
	}
	return true
}
