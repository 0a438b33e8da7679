package unwind

import "nopal/internal/arch/arm64"

// Loads and stores of two registers; of one, with an offset of 9 bits and all that
// bit 21 selects, and with a scaled offset (Arm ARM C4.1.94).
const (
	pair, pairMask       = 0x28000000, 0x3a000000
	single, singleScaled = 0x38000000, 0x39000000
	singleMask           = 0x3b000000
)

// step does to a state what an instruction that is no branch does. It reports
// whether it knows the instruction.
func (s *flowState) step(insn uint32) bool {
	if insn&0xfffff01f == 0xd503201f {
		return true // hints, by which return addresses are signed: they stay what they are
	}
	writes, ok := arm64.Writes(insn)
	if !ok {
		return false
	}
	switch {
	case insn&pairMask == pair, insn&singleMask == single, insn&singleMask == singleScaled:
		s.transfer(insn, writes)
	default:
		to, v := s.compute(insn)
		s.forget(writes)
		if v.kind != valueUnknown && writes>>to&1 != 0 {
			s.reg[to] = v
		}
	}
	if writes>>spColumn&1 != 0 {
		s.moveSP()
	}
	return true
}

// operand gives what register n holds in an instruction where 31 is xzr.
func (s *flowState) operand(n uint32) value {
	if n == 31 {
		return value{valueConst, 0}
	}
	return s.reg[n]
}

// compute gives the result of an instruction that makes addresses of addresses, and
// which register it goes to.
func (s *flowState) compute(insn uint32) (to uint32, v value) {
	to = insn & 31
	rn, rm := insn>>5&31, insn>>16&31
	imm16 := int64(insn >> 5 & 0xffff)
	shift := insn >> 21 & 3 * 16
	switch {
	case insn&0xbf800000 == 0x91000000: // add, sub with an immediate
		imm := int64(insn >> 10 & 0xfff)
		if insn>>22&1 != 0 {
			imm <<= 12
		}
		if insn>>30&1 != 0 {
			imm = -imm
		}
		return to, s.reg[rn].plus(imm)
	case insn&0xffe0ffe0 == 0xaa0003e0: // mov xd, xm
		return to, s.operand(rm)
	case insn&0xff800000 == 0xd2800000: // movz
		return to, value{valueConst, imm16 << shift}
	case insn&0xff800000 == 0x52800000 && shift < 32: // movz wd
		return to, value{valueConst, imm16 << shift}
	case insn&0xff800000 == 0x92800000: // movn
		return to, value{valueConst, ^(imm16 << shift)}
	case insn&0xff800000 == 0xf2800000, insn&0xff800000 == 0x72800000 && shift < 32: // movk
		if old := s.operand(to); old.kind == valueConst {
			return to, value{valueConst, old.v&^(0xffff<<shift) | imm16<<shift}
		}
	case insn&0xbfe0fc00 == 0x8b206000: // add, sub sp, xn, xm, uxtx #0
		return to, s.sum(insn, s.reg[rn], s.operand(rm))
	case insn&0xbfe0fc00 == 0x8b000000: // add, sub xd, xn, xm
		return to, s.sum(insn, s.operand(rn), s.operand(rm))
	case insn&0xffff0000 == 0xdac10000: // pacia, autia and so on: a pointer stays what it points at
		return to, s.operand(to)
	}
	return to, value{}
}

func (s *flowState) sum(insn uint32, a, b value) value {
	if b.kind != valueConst {
		return value{}
	}
	if insn>>30&1 != 0 {
		return a.plus(-b.v)
	}
	return a.plus(b.v)
}

// plus moves an address in the frame, or a number.
func (v value) plus(by int64) value {
	switch {
	case by == 0:
		return v
	case v.kind == valueFrame, v.kind == valueConst:
		v.v += by
		return v
	}
	return value{}
}

// transfer does loads and stores of one register or two. What they leave in
// memory elsewhere than in the frame cannot be in the frame: nobody but the function
// itself writes to where it has saved registers.
func (s *flowState) transfer(insn, writes uint32) {
	pairs := insn&pairMask == pair
	vector := insn>>26&1 != 0
	rn := insn >> 5 & 31
	at := s.reg[rn]
	size := int64(1) << (insn >> 30 & 3)
	load := insn>>22&3 != 0
	var moved int64
	writeback, post, offset := false, false, true
	switch {
	case pairs:
		size = 4 << (insn >> 31)
		if vector {
			size = 4 << (insn >> 30 & 3)
		}
		load = insn>>22&1 != 0
		moved = int64(int32(insn<<10)>>25) * size
		mode := insn >> 23 & 3
		writeback, post = mode&1 != 0, mode == 1
	default:
		if vector {
			load = insn>>22&1 != 0
			if insn>>30 == 0 && insn>>23&1 != 0 {
				size = 16
			}
		}
		switch {
		case insn>>24&1 != 0:
			moved = int64(insn>>10&0xfff) * size
		case insn>>21&1 == 0:
			moved = int64(int32(insn<<11) >> 23)
			form := insn >> 10 & 3
			writeback, post = form&1 != 0, form == 1
		default:
			offset = false // by a register, or atomic
		}
	}
	base := at.plus(moved)
	if !post {
		at = base
	}
	if !offset {
		at = value{}
	}
	wide := !vector && size == 8 && (pairs || insn>>23&1 == 0) // not a prefetch
	regs := []uint32{insn & 31}
	if pairs {
		regs = append(regs, insn>>10&31)
	}
	if !load && at.kind == valueFrame {
		held := make([]value, len(regs))
		for i, r := range regs {
			held[i] = s.operand(r)
		}
		s.clobber(at.v, size*int64(len(regs)))
		for i, v := range held {
			if wide && v.kind == valueEntry && v.v >= 19 && v.v != spColumn && len(s.slots) < maxSlots {
				s.slots = withSlot(s.slots, frameSlot{at.v + int64(i)*8, v.v})
			}
		}
	}
	s.forget(writes)
	if load && wide && at.kind == valueFrame {
		for i, r := range regs {
			if r == 31 {
				continue
			}
			for _, slot := range s.slots {
				if slot.off == at.v+int64(i)*8 {
					s.reg[r] = value{valueEntry, slot.reg}
				}
			}
		}
	}
	if writeback {
		s.reg[rn] = base
	}
}

// row says what a state means for unwinding. It is not ok where the CFA is not
// known.
func (s *flowState) row(asOurs bool) (Ours, bool) {
	var o Ours
	ok := false
	for _, n := range []uint8{spColumn, fpColumn, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28} {
		if v := s.reg[n]; v.kind == valueFrame {
			o.Base, o.Off, ok = n, -v.v, true
			break
		}
	}
	place := func(reg int64) Place {
		for _, a := range s.slots {
			if a.reg == reg {
				return Place{Kind: Stacked, Off: a.off}
			}
		}
		for n := range 31 {
			if s.reg[n] == (value{valueEntry, reg}) {
				return Place{Kind: Register, N: uint8(n)}
			}
		}
		return Place{}
	}
	o.Return = place(lrColumn)
	if asOurs {
		o.Func = place(entryFunc)
	}
	for i := range o.Saved {
		o.Saved[i] = place(int64(19 + i))
	}
	return o, ok
}
