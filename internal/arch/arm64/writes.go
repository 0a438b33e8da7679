package arm64

// Writes gives the general registers that an instruction may change: bit n is xn,
// bit 31 is sp. ok is false where that is not known, as of an instruction that does
// not exist. Of calls it gives what the instruction itself changes; to sign an
// address in x30 is no change.
func Writes(insn uint32) (regs uint32, ok bool) {
	const sp = 1 << 31
	// The register fields that mean sp and not xzr (Arm ARM C1.2.5).
	dst, base := field(insn, 0, 5) == 31, field(insn, 5, 5) == 31
	switch field(insn, 25, 4) {
	case 0b0010: // SVE: scalars go to rd; addvl and addpl may write sp
		regs = rd(insn)
		if dst && insn&0xffa0f000 == 0x04205000 {
			regs |= sp
		}
		return regs, true
	case 0b1000, 0b1001:
		regs = usesOf(insn).writes
		setsFlags := field(insn, 29, 1) != 0
		switch field(insn, 23, 3) {
		case 2, 3: // add, sub; addg, subg
			if dst && (!setsFlags || field(insn, 23, 3) == 3) {
				regs |= sp
			}
		case 4: // and, orr, eor; but not ands
			if dst && field(insn, 29, 2) != 3 {
				regs |= sp
			}
		}
		return regs, true
	case 0b1010, 0b1011:
		switch Classify(insn) {
		case KindBL, KindBLR, KindBLRA:
			return bit(30), true
		case KindB, KindBCond, KindCBZ, KindTBZ, KindBR, KindBRA, KindRET, KindRETAA, KindRETAB, KindERET:
			return 0, true
		case KindSVC:
			return bit(0), true
		case KindHVC, KindSMC, KindUDF, KindHLT, KindBRK:
			return 0, false
		}
		u := usesOf(insn)
		return u.writes, u.flow == falls
	case 0b0100, 0b0110, 0b1100, 0b1110:
		u := usesOf(insn)
		regs = u.writes
		// Bases are written back by pairs, single transfers and structures.
		writeback := false
		switch group := field(insn, 28, 2); {
		case group == 2, group == 0 && field(insn, 26, 1) != 0:
			writeback = field(insn, 23, 1) != 0
		case group == 3 && field(insn, 24, 1) == 0:
			writeback = field(insn, 10, 1) != 0 && (field(insn, 21, 1) == 0 || field(insn, 11, 1) != 0)
		}
		if group := field(insn, 28, 2); group == 1 && field(insn, 24, 1) != 0 && u.flow != falls {
			// Memory tags, and copies (C4.1.94).
			regs, u.flow = rd(insn)|rn(insn)|rm(insn), falls
			writeback = field(insn, 10, 2)&1 != 0
		}
		if writeback && base {
			regs |= sp
		}
		return regs, u.flow == falls
	case 0b0101, 0b1101:
		regs = usesOf(insn).writes
		// add and sub with an extended register, without flags
		if dst && field(insn, 24, 5) == 0b01011 && field(insn, 21, 1) != 0 && field(insn, 29, 1) == 0 {
			regs |= sp
		}
		return regs, true
	case 0b0111, 0b1111:
		return usesOf(insn).writes, true
	}
	return 0, false
}
