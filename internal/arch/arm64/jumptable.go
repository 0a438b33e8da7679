package arm64

import "encoding/binary"

// How far before an indirect branch the pieces of a jump table are looked for, in
// instructions, and how large a table may be.
const (
	tableWindow  = 64
	tableEntries = 1 << 12
	tableSteps   = 16 // what looking costs
)

// Conditions of b.cond (Arm ARM C1.2.4).
const (
	condHS = 2
	condLO = 3
	condHI = 8
	condLS = 9
)

// jumpTable gives where the indirect branch at word i leads, if it takes its
// target from a jump table as GCC and clang write them:
//
//	cmp  w0, #N             b.hi default
//	adrp x1, table          add x1, x1, :lo12:table
//	ldrb w1, [x1, w0, uxtw]                          or of 2 or 4 bytes
//	adr  x0, base                                    or the table itself
//	add  x1, x0, w1, sxtb #2
//	br   x1
//
// The pieces are looked for in the order of addresses, whatever control does in
// between. If one of them were not what belongs to the branch, targets would lie
// anywhere; so all have to lie in the function.
func (f *ExitFinder) jumpTable(i int, into []int) (targets []int, ok bool) {
	if f.steps -= tableSteps; f.steps < 0 {
		return nil, false
	}
	sum, ok := f.definition(i, field(f.words[i], 5, 5))
	if !ok {
		return nil, false
	}
	insn := f.words[sum]
	const registerMask, shifted, extendedMask, extended = 0xff200000, 0x8b000000, 0xffe00000, 0x8b200000
	base, offset := field(insn, 5, 5), field(insn, 16, 5)
	var extend, shift uint32
	switch {
	case insn&extendedMask == extended:
		extend, shift = field(insn, 13, 3), field(insn, 10, 3)
	case insn&registerMask == shifted && field(insn, 22, 2) == 0:
		extend, shift = 3, field(insn, 10, 6)
	default:
		return nil, false
	}
	load, ok := f.tableLoad(sum, offset)
	if !ok && insn&registerMask == shifted && shift == 0 {
		base, offset = offset, base
		load, ok = f.tableLoad(sum, offset)
	}
	if !ok || shift > 4 {
		return nil, false
	}
	from, ok := f.constant(sum, base)
	if !ok {
		return nil, false
	}
	table, ok := f.constant(load, field(f.words[load], 5, 5))
	if !ok {
		return nil, false
	}
	count, ok := f.tableSize(i)
	if !ok || f.body.Read == nil || count > f.steps {
		return nil, false
	}
	f.steps -= count
	size := 1 << field(f.words[load], 30, 2)
	entries := make([]byte, count*size+8)
	if !f.body.Read(entries[:count*size], table) {
		return nil, false
	}
	signed := field(f.words[load], 23, 1) != 0
	for n := range count {
		v := binary.LittleEndian.Uint64(entries[n*size:])
		v = widen(v, size, signed)
		if extend != 3 && extend != 7 { // not of 64 bits
			v = widen(v, 1<<(extend&3), extend&4 != 0)
		}
		to, ok := f.index(from + v<<shift)
		if !ok || (from+v<<shift)%InsnSize != 0 || f.what[to] == data {
			return nil, false
		}
		into = append(into, to)
	}
	return into, true
}

// widen extends a number of size bytes to 8.
func widen(v uint64, size int, signed bool) uint64 {
	unused := 64 - 8*size
	if signed {
		return uint64(int64(v<<unused) >> unused)
	}
	return v << unused >> unused
}

// definition finds the instruction before word i that writes a register.
func (f *ExitFinder) definition(i int, reg uint32) (at int, ok bool) {
	for j := i - 1; j >= 0 && j > i-tableWindow; j-- {
		if usesOf(f.words[j]).writes&bit(reg) != 0 {
			return j, true
		}
	}
	return 0, false
}

// tableLoad finds the load, with a register as the offset, that a register's value
// is from: ldrb, ldrh, ldr w and those that extend the sign.
func (f *ExitFinder) tableLoad(i int, reg uint32) (at int, ok bool) {
	const mask, form = 0x3fe00c00, 0x38200800
	at, ok = f.definition(i, reg)
	if !ok {
		return 0, false
	}
	insn := f.words[at]
	opc := field(insn, 22, 2)
	return at, insn&(mask&^(3<<22)) == form && opc != 0 && field(insn, 30, 2) != 3
}

// constant gives the value that adr, or adrp and add, gave a register.
func (f *ExitFinder) constant(i int, reg uint32) (value uint64, ok bool) {
	at, ok := f.definition(i, reg)
	if !ok {
		return 0, false
	}
	insn := f.words[at]
	switch Classify(insn) {
	case KindADR, KindADRP:
		value, _ = pcTarget(f.address(at), insn)
		return value, true
	}
	const addMask, add = 0xffc00000, 0x91000000 // add xd, xn, #imm
	if insn&addMask != add {
		return 0, false
	}
	from, ok := f.definition(at, field(insn, 5, 5))
	if !ok || Classify(f.words[from]) != KindADRP {
		return 0, false
	}
	value, _ = pcTarget(f.address(from), f.words[from])
	return value + uint64(field(insn, 10, 12)), true
}

// tableSize finds the comparison that guards an indirect branch.
func (f *ExitFinder) tableSize(i int) (n int, ok bool) {
	const cmpMask, cmp = 0x7fc0001f, 0x7100001f // cmp wn, #imm; cmp xn, #imm
	cond := uint32(0)
	found := false
	for j := i - 1; j >= 0 && j > i-tableWindow; j-- {
		insn := f.words[j]
		switch {
		case Classify(insn) == KindBCond:
			cond, found = field(insn, 0, 4), true
		case found && insn&cmpMask == cmp:
			n := int(field(insn, 10, 12))
			switch cond {
			case condHI, condLS:
				return n + 1, n < tableEntries
			case condHS, condLO:
				return n, n > 0
			}
			found = false
		}
	}
	return 0, false
}
