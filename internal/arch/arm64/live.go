package arm64

import "slices"

// liveSteps bounds how many instructions LiveIn looks at. What a function finds
// in its registers it uses or saves early.
const liveSteps = 512

// LiveIn gives those registers of the mask regs (bit n is xn) that code may read
// before it writes them. It follows both ways of conditional branches, and stops
// at calls, at the end of code and at instructions it does not know. After a
// conditional branch only saving on the stack counts as reading: compilers let
// a path that is never taken read what was never written.
//
// It finds functions that do not keep to AAPCS64, where x9 to x17 hold nothing
// at the entry: clang's preserve_most saves those of them that it uses, and
// preserve_none has arguments in them. What it does not report may be live all
// the same: in a preserve_most function that does not touch a register.
func LiveIn(code []uint32, regs uint32) uint32 {
	var live uint32
	type start struct {
		at       uint64
		written  uint32
		branched bool // a conditional branch leads here
	}
	var pendingSpace, seenSpace [16]start // keep the usual function off the heap
	pending := pendingSpace[:0]
	seen := seenSpace[:0] // branch targets, and what is written on every way there so far
	steps := liveSteps
	for next := (start{}); ; {
		at, written, branched := next.at, next.written, next.branched
		for ; at < uint64(len(code)) && steps > 0 && regs&^(live|written) != 0; at++ {
			steps--
			insn := code[at]
			use := usesOf(insn)
			reads := use.reads
			if branched {
				reads = savedBy(insn)
			}
			live |= reads & regs &^ written
			written |= use.writes
			if use.flow == stops {
				break
			}
			if use.flow == falls {
				continue
			}
			branched = branched || use.flow == branches
			target, _ := BranchTarget(at*InsnSize, insn)
			target /= InsnSize
			if target < uint64(len(code)) {
				i := slices.IndexFunc(seen, func(s start) bool { return s.at == target })
				if i < 0 {
					i = len(seen)
					seen = append(seen, start{target, ^uint32(0), true})
				}
				fewer := seen[i].written & written
				if fewer != seen[i].written || seen[i].branched && !branched {
					seen[i].written = fewer
					seen[i].branched = seen[i].branched && branched
					pending = append(pending, seen[i])
				}
			}
			if use.flow == jumps {
				break
			}
		}
		if len(pending) == 0 {
			return live
		}
		next, pending = pending[len(pending)-1], pending[:len(pending)-1]
	}
}

// flow says where an instruction leads.
type flow uint8

const (
	falls    flow = iota // to the next instruction
	branches             // to its target or to the next instruction
	jumps                // to its target
	stops                // out of sight
)

// uses is what an instruction does with the general registers, sp and xzr aside.
type uses struct {
	reads, writes uint32
	flow          flow
}

// usesOf decodes by the groups of Arm ARM C4.1: the groups, not the single
// instructions, decide where registers stand.
func usesOf(insn uint32) uses {
	switch field(insn, 25, 4) {
	case 0b1000, 0b1001:
		return immediateUses(insn)
	case 0b1010, 0b1011:
		return branchUses(insn)
	case 0b0100, 0b0110, 0b1100, 0b1110:
		return memoryUses(insn)
	case 0b0101, 0b1101:
		return registerUses(insn)
	case 0b0111, 0b1111:
		return vectorUses(insn)
	}
	return uses{flow: stops} // reserved, SME, SVE
}

// savedBy gives the registers that an instruction saves on the stack: str, stur
// and stp with sp as the base.
func savedBy(insn uint32) uint32 {
	const sp = 31
	if field(insn, 5, 5) != sp {
		return 0
	}
	switch {
	case insn&0x3bc00000 == 0x39000000 && insn>>26&1 == 0, // str, unsigned offset
		insn&0x3be00000 == 0x38000000 && insn>>26&1 == 0, // stur; str with writeback
		insn&0x3e400000 == 0x28000000:                    // stp, stnp
		return usesOf(insn).reads
	}
	return 0
}

func rd(insn uint32) uint32  { return bit(insn) }
func rn(insn uint32) uint32  { return bit(insn >> 5) }
func ra(insn uint32) uint32  { return bit(insn >> 10) }
func rm(insn uint32) uint32  { return bit(insn >> 16) }
func pair(reg uint32) uint32 { return reg | reg<<1&(1<<31-1) }

// immediateUses decodes C4.1.86, data processing with an immediate.
func immediateUses(insn uint32) uses {
	switch field(insn, 23, 3) {
	case 0, 1: // adr, adrp
		return uses{writes: rd(insn)}
	case 5:
		if field(insn, 29, 2) == 3 { // movk
			return uses{reads: rd(insn), writes: rd(insn)}
		}
		return uses{writes: rd(insn)}
	case 7: // extr
		return uses{reads: rn(insn) | rm(insn), writes: rd(insn)}
	}
	// Add, subtract, logical, bit fields. An inserted bit field (bfm) counts as
	// written only: compilers build structures in registers by inserting into
	// one that holds nothing yet.
	return uses{reads: rn(insn), writes: rd(insn)}
}

// branchUses decodes C4.1.87: branches, exceptions, system instructions.
func branchUses(insn uint32) uses {
	switch Classify(insn) {
	case KindB:
		return uses{flow: jumps}
	case KindBCond:
		return uses{flow: branches}
	case KindCBZ, KindTBZ:
		return uses{reads: rd(insn), flow: branches}
	case KindBR, KindBLR, KindRET:
		return uses{reads: rn(insn), flow: stops}
	case KindBRA, KindBLRA:
		u := uses{reads: rn(insn), flow: stops}
		if insn>>24&1 != 0 { // with a modifier
			u.reads |= rd(insn)
		}
		return u
	}
	const pac1716 = 0xd503211f // pacia1716, pacib1716, autia1716, autib1716
	switch {
	case insn&0xffffff3f == pac1716:
		return uses{reads: bit(16) | bit(17), writes: bit(17)}
	case insn&0xffe00000 == 0xd5000000: // hints, barriers, msr, sys
		return uses{reads: rd(insn)}
	case insn&0xffe00000 == 0xd5200000: // mrs, sysl
		return uses{writes: rd(insn)}
	}
	return uses{flow: stops}
}

// memoryUses decodes C4.1.88, loads and stores.
func memoryUses(insn uint32) uses {
	vector := field(insn, 26, 1) != 0
	high := field(insn, 24, 1) != 0
	switch field(insn, 28, 2) {
	case 0:
		if vector {
			return structureUses(insn)
		}
		if !high {
			return exclusiveUses(insn)
		}
	case 1:
		if !high { // literal; 3 is prfm
			if vector || field(insn, 30, 2) == 3 {
				return uses{}
			}
			return uses{writes: rd(insn)}
		}
		if field(insn, 21, 1) == 0 && !(field(insn, 10, 2) == 1) { // ldapur, stlur
			return transfer(insn, vector)
		}
	case 2: // pairs
		u := uses{reads: rn(insn)}
		if field(insn, 23, 1) != 0 {
			u.writes = rn(insn)
		}
		switch {
		case vector:
		case field(insn, 22, 1) != 0:
			u.writes |= rd(insn) | ra(insn)
		default:
			u.reads |= rd(insn) | ra(insn)
		}
		return u
	case 3:
		if high { // unsigned offset
			return transfer(insn, vector)
		}
		form := field(insn, 10, 2)
		switch {
		case field(insn, 21, 1) == 0: // 9-bit offset; 1 and 3 write the base back
			u := transfer(insn, vector)
			if form&1 != 0 {
				u.writes |= rn(insn)
			}
			return u
		case form == 2: // register offset
			u := transfer(insn, vector)
			u.reads |= rm(insn)
			return u
		case form&1 != 0: // ldraa, ldrab
			return uses{reads: rn(insn), writes: rd(insn) | rn(insn)*field(insn, 11, 1)}
		case vector:
			return uses{reads: rn(insn)}
		case field(insn, 12, 4) < 0b1001 || field(insn, 12, 4) == 0b1100: // atomics, ldapr
			return uses{reads: rn(insn) | rm(insn), writes: rd(insn)}
		}
	}
	return uses{flow: stops}
}

// transfer decodes loads and stores of one register: size in bits 31:30, opc in
// bits 23:22, where 0 stores, and size 3 with opc 2 is a prefetch.
func transfer(insn uint32, vector bool) uses {
	opc := field(insn, 22, 2)
	switch {
	case vector || field(insn, 30, 2) == 3 && opc == 2:
		return uses{reads: rn(insn)}
	case opc == 0:
		return uses{reads: rn(insn) | rd(insn)}
	}
	return uses{reads: rn(insn), writes: rd(insn)}
}

// structureUses decodes ld1 to ld4 and st1 to st4, in all their forms.
func structureUses(insn uint32) uses {
	u := uses{reads: rn(insn)}
	if field(insn, 23, 1) != 0 { // post-indexed, by rm or (31) by the size
		u.reads |= rm(insn)
		u.writes = rn(insn)
	}
	return u
}

// exclusiveUses decodes exclusives, ordered loads and stores, compare and swap.
func exclusiveUses(insn uint32) uses {
	ordered := field(insn, 23, 1) != 0
	load := field(insn, 22, 1) != 0
	second := field(insn, 21, 1) != 0
	rs, rt := rm(insn), rd(insn)
	u := uses{reads: rn(insn)}
	switch {
	case ordered && second: // cas
		u.reads |= rs | rt
		u.writes = rs
	case ordered && load:
		u.writes = rt
	case ordered:
		u.reads |= rt
	case second && field(insn, 31, 1) == 0: // casp
		u.reads |= pair(rs) | pair(rt)
		u.writes = pair(rs)
	case load:
		u.writes = rt
		if second {
			u.writes |= ra(insn)
		}
	default:
		u.reads |= rt
		if second {
			u.reads |= ra(insn)
		}
		u.writes = rs
	}
	return u
}

// registerUses decodes C4.1.89, data processing on registers.
func registerUses(insn uint32) uses {
	both := uses{reads: rn(insn) | rm(insn), writes: rd(insn)}
	if field(insn, 28, 1) == 0 { // logical, add and subtract
		return both
	}
	op := field(insn, 21, 4)
	switch {
	case op >= 8: // three sources
		both.reads |= ra(insn)
		return both
	case op == 0 && field(insn, 10, 6) != 0 && field(insn, 13, 3) != 1: // rmif, setf
		return uses{reads: rn(insn)}
	case op == 2: // conditional compare; bit 11: with an immediate
		if field(insn, 11, 1) != 0 {
			return uses{reads: rn(insn)}
		}
		return uses{reads: rn(insn) | rm(insn)}
	case op == 6 && field(insn, 30, 1) != 0: // one source
		u := uses{reads: rn(insn), writes: rd(insn)}
		if field(insn, 16, 5) == 1 { // pointer authentication
			u.reads |= rd(insn)
		}
		return u
	}
	return both
}

// vectorUses decodes those of C4.1.90, floating point and SIMD, that move between
// vector and general registers.
func vectorUses(insn uint32) uses {
	const (
		conversion = 0x1e000000 // with and without an integer
		copies     = 0x0e000400
	)
	switch {
	case insn&0x7f200000 == conversion || insn&0x7f20fc00 == conversion|1<<21:
		switch field(insn, 16, 3) {
		case 2, 3, 7: // scvtf, ucvtf, fmov to a vector register
			return uses{reads: rn(insn)}
		}
		return uses{writes: rd(insn)}
	case insn&0xbfe08400 == copies:
		switch field(insn, 11, 4) {
		case 1, 3: // dup, ins
			return uses{reads: rn(insn)}
		case 5, 7: // smov, umov
			return uses{writes: rd(insn)}
		}
	}
	return uses{}
}
