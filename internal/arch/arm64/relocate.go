package arm64

import "fmt"

// Relocate gives code that does at to what an instruction does at from; what it goes on
// with stands behind that code. Instructions that refer to their own address become
// several; x16 and x17 are free for these, as in any veneer (AAPCS64 6.1.1). All others stay as
// they are. A call returns to where it would have returned.
func Relocate(insn uint32, from, to uint64) ([]uint32, error) {
	a := &Assembler{at: to}
	d := Reg(field(insn, 0, 5))
	switch kind := Classify(insn); kind {
	case KindADR:
		a.MovImm(d, from+adrOffset(insn))
	case KindADRP:
		a.MovImm(d, from&^0xfff+adrOffset(insn)<<12)
	case KindLDRLiteral:
		a.literalFrom(insn, from+offset(insn, 5, 19))
	case KindB:
		target, _ := BranchTarget(from, insn)
		a.BTo(target)
	case KindBL:
		target, _ := BranchTarget(from, insn)
		a.MovImm(X30, from+InsnSize)
		a.BTo(target)
	case KindBLR:
		// A BR through x16 goes to what a BLR may go to (Arm ARM D8.4.6, BTI c).
		a.Mov(X16, Reg(field(insn, 5, 5)))
		a.MovImm(X30, from+InsnSize)
		a.Br(X16)
	case KindBCond, KindCBZ, KindTBZ:
		target, _ := BranchTarget(from, insn)
		width := 19
		if kind == KindTBZ {
			width = 14
		}
		mask := uint32(1<<width-1) << 5
		a.Raw(insn&^mask | 2<<5) // over the next
		a.Raw(opB | 2)
		a.BTo(target)
	case KindBLRA:
		return nil, fmt.Errorf("relocate instruction %08x from %#x: cannot move a call with pointer authentication", insn, from)
	default:
		a.Raw(insn)
	}
	code, err := a.Finish()
	if err != nil {
		return nil, fmt.Errorf("relocate instruction %08x from %#x to %#x: %w", insn, from, to, err)
	}
	return code, nil
}

// adrOffset gives immhi:immlo of ADR and ADRP, signed (C6.2, ADR).
func adrOffset(insn uint32) uint64 {
	return offset(insn, 5, 19) | uint64(field(insn, 29, 2))
}

// literalFrom loads what an LDR (literal) does, from an address.
func (a *Assembler) literalFrom(insn uint32, addr uint64) {
	t := field(insn, 0, 5)
	base := Reg(t)
	simd := field(insn, 26, 1) != 0
	size := field(insn, 30, 2)
	if simd || size == 3 || base == XZR {
		base = X16
	}
	// The instruction of the same effect with [base] (C4.1, loads and stores, unsigned
	// immediate).
	op := [2][4]uint32{
		{0xb9400000, 0xf9400000, 0xb9800000, 0xf9800000}, // ldr w, ldr x, ldrsw, prfm
		{0xbd400000, 0xfd400000, 0x3dc00000, 0},          // ldr s, d, q
	}[field(insn, 26, 1)][size]
	if op == 0 {
		a.fail("no such load")
		return
	}
	a.MovImm(base, addr)
	a.Raw(op | inN(base) | t)
}
