package unwind

import "nopal/internal/arch/arm64"

// Loads and stores of two registers; of one, with an offset of 9 bits and all that
// bit 21 selects, and with a scaled offset (Arm ARM C4.1.94).
const (
	pair, pairMask       = 0x28000000, 0x3a000000
	single, singleScaled = 0x38000000, 0x39000000
	singleMask           = 0x3b000000
)

func isTransfer(insn uint32) bool {
	return insn&pairMask == pair || insn&singleMask == single || insn&singleMask == singleScaled
}

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
	case isTransfer(insn):
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
	case insn&0xffe0fc00 == 0xca000000: // eor xd, xn, xm
		if a, b := s.operand(rn), s.operand(rm); a.kind == valueConst && b.kind == valueConst {
			return to, value{valueConst, a.v ^ b.v}
		}
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

// access is what a load or store does.
type access struct {
	regs      []uint32
	base      uint32
	at        value // where
	moved     value // the base afterwards, where it is written back
	size      int64 // of one register
	load      bool
	wide      bool // general registers of 64 bits
	writeback bool
}

// accessOf decodes a load or store of one register or two.
func (s *flowState) accessOf(insn uint32) access {
	a := access{regs: []uint32{insn & 31}, base: insn >> 5 & 31}
	vector := insn>>26&1 != 0
	opc, scale := insn>>22&3, insn>>30&3
	var by int64
	post, offset := false, true
	a.at = s.reg[a.base]
	if insn&pairMask == pair {
		a.regs = append(a.regs, insn>>10&31)
		a.size = 4 << (insn >> 31)
		if vector {
			a.size = 4 << scale
		}
		a.load = opc&1 != 0
		a.wide = !vector && a.size == 8
		by = int64(int32(insn<<10)>>25) * a.size
		mode := insn >> 23 & 3
		a.writeback, post = mode&1 != 0, mode == 1
	} else {
		a.size = 1 << scale
		a.load = opc != 0
		if vector {
			a.load = opc&1 != 0
			if scale == 0 && opc&2 != 0 {
				a.size = 16
			}
		}
		a.wide = !vector && a.size == 8 && opc < 2 // not a prefetch
		switch {
		case insn>>24&1 != 0:
			by = int64(insn>>10&0xfff) * a.size
		case insn>>21&1 == 0:
			by = int64(int32(insn<<11) >> 23)
			form := insn >> 10 & 3
			a.writeback, post = form&1 != 0, form == 1
		default:
			offset = false // by a register, or atomic
		}
	}
	a.moved = a.at.plus(by)
	switch {
	case !offset:
		a.at = value{}
	case !post:
		a.at = a.moved
	}
	return a
}

// transfer does loads and stores. What they leave in memory elsewhere than in the
// frame cannot be in the frame: nobody but the function itself writes to where it
// has saved registers.
func (s *flowState) transfer(insn, writes uint32) {
	a := s.accessOf(insn)
	inFrame := a.at.kind == valueFrame
	if inFrame && !a.load {
		held := make([]value, len(a.regs))
		for i, r := range a.regs {
			held[i] = s.operand(r)
		}
		s.clobber(a.at.v, a.size*int64(len(a.regs)))
		for i, v := range held {
			if a.wide && v.kind == valueEntry && v.v >= 19 && v.v < spColumn && len(s.slots) < maxSlots {
				s.slots = withSlot(s.slots, frameSlot{a.at.v + int64(i)*8, v.v})
			}
		}
	}
	s.forget(writes)
	if inFrame && a.load && a.wide {
		for i, r := range a.regs {
			for _, slot := range s.slots {
				if r != 31 && slot.off == a.at.v+int64(i)*8 {
					s.reg[r] = value{valueEntry, slot.reg}
				}
			}
		}
	}
	if a.writeback {
		s.reg[a.base] = a.moved
	}
}

// places says what a state means for unwinding. It is not ok where the CFA is not
// known.
func (s *flowState) places() (p places, ok bool) {
	for _, n := range []uint8{spColumn, fpColumn, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28} {
		if v := s.reg[n]; v.kind == valueFrame {
			p.base, p.off, ok = n, -v.v, true
			break
		}
	}
	p.ret = s.place(lrColumn)
	for i := range p.saved {
		p.saved[i] = s.place(int64(19 + i))
	}
	return p, ok
}

// place finds what a register held at the entry. It is taken from the stack if it is
// there, too: what a register holds may be by way of code that was not followed.
func (s *flowState) place(reg int64) place {
	if a := s.saved(reg); a != (frameSlot{}) {
		return place{kind: stacked, off: a.off}
	}
	for n := range 31 {
		if s.reg[n] == (value{valueEntry, reg}) {
			return place{kind: register, n: uint8(n)}
		}
	}
	return place{}
}

// placeKind says what a place is.
type placeKind uint8

const (
	nowhere  placeKind = iota // not known, or not any more
	register                  // in register n
	stacked                   // in memory at CFA + off
)

// place is where a value is found.
type place struct {
	kind placeKind
	n    uint8
	off  int64
}

// places is what holds at one instruction.
type places struct {
	base  uint8 // CFA = this register + off
	off   int64
	ret   place     // the return address
	saved [11]place // x19 to x29
}
