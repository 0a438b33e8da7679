package arm64

// Ldr is ldr t, [n, #off]: size bytes (1, 2, 4 or 8), the rest of t becomes 0. off is a
// multiple of size up to 4095*size, or anything from -256 to 255 (C6.2, LDR
// (immediate), LDUR).
func (a *Assembler) Ldr(size int, t, n Reg, off int64) { a.memory(0x39400000, size, t, n, off) }

// Str is str t, [n, #off], as Ldr (C6.2, STR (immediate), STUR).
func (a *Assembler) Str(size int, t, n Reg, off int64) { a.memory(0x39000000, size, t, n, off) }

func (a *Assembler) memory(op uint32, size int, t, n Reg, off int64) {
	op |= a.sizeField(size) << 30
	if off >= 0 && off%int64(size) == 0 {
		a.check("offset", off, 0, 4095*int64(size), int64(size))
		a.Raw(op | uint32(off/int64(size))<<10 | inN(n) | inD(t))
		return
	}
	a.check("offset", off, -256, 255, 1)
	a.Raw(op&^0x01000000 | uint32(off)&0x1ff<<12 | inN(n) | inD(t))
}

// sizeField gives the size field of a load or store of so many bytes.
func (a *Assembler) sizeField(size int) uint32 {
	switch size {
	case 1:
		return 0
	case 2:
		return 1
	case 4:
		return 2
	case 8:
		return 3
	}
	a.fail("encode load or store: size %d", size)
	return 0
}

// LdrReg is ldr t, [n, m], of 8 bytes, and LdrReg32 of 4 (C6.2, LDR (register)).
func (a *Assembler) LdrReg(t, n, m Reg) { a.Raw(0xf8606800 | inM(m) | inN(n) | inD(t)) }

// LdrReg32 loads 4 bytes.
func (a *Assembler) LdrReg32(t, n, m Reg) { a.Raw(0xb8606800 | inM(m) | inN(n) | inD(t)) }

// Addressing of a pair.
const (
	pairOffset = 0xa9000000 // [n, #off]
	pairPre    = 0xa9800000 // [n, #off]!
	pairPost   = 0xa8800000 // [n], #off
	pairLoad   = 1 << 22
)

// Ldp is ldp t, u, [n, #off] (C6.2, LDP).
func (a *Assembler) Ldp(t, u, n Reg, off int64) { a.pair(pairOffset|pairLoad, t, u, n, off) }

// Stp is stp t, u, [n, #off] (C6.2, STP).
func (a *Assembler) Stp(t, u, n Reg, off int64) { a.pair(pairOffset, t, u, n, off) }

// StpPre is stp t, u, [n, #off]!.
func (a *Assembler) StpPre(t, u, n Reg, off int64) { a.pair(pairPre, t, u, n, off) }

// LdpPost is ldp t, u, [n], #off.
func (a *Assembler) LdpPost(t, u, n Reg, off int64) { a.pair(pairPost|pairLoad, t, u, n, off) }

func (a *Assembler) pair(op uint32, t, u, n Reg, off int64) {
	a.check("offset of a pair", off, -512, 504, 8)
	a.Raw(op | uint32(off/8)&0x7f<<15 | inA(u) | inN(n) | inD(t))
}

// Ldxr is ldxr t, [n], Stxr is stxr status, t, [n] (C6.2, LDXR, STXR).
func (a *Assembler) Ldxr(t, n Reg) { a.Raw(0xc85f7c00 | inN(n) | inD(t)) }

// Stxr stores t unless something has happened since, which status then says.
func (a *Assembler) Stxr(status, t, n Reg) { a.Raw(0xc8007c00 | inM(status) | inN(n) | inD(t)) }

// Ldaxr is ldaxr t, [n], Stlxr is stlxr status, t, [n] (C6.2, LDAXR, STLXR).
func (a *Assembler) Ldaxr(t, n Reg) { a.Raw(0xc85ffc00 | inN(n) | inD(t)) }

// Stlxr is Stxr with release semantics.
func (a *Assembler) Stlxr(status, t, n Reg) { a.Raw(0xc800fc00 | inM(status) | inN(n) | inD(t)) }

// Ldxp is ldxp t, u, [n], Stxp is stxp status, t, u, [n] (C6.2, LDXP, STXP).
func (a *Assembler) Ldxp(t, u, n Reg) { a.Raw(0xc87f0000 | inA(u) | inN(n) | inD(t)) }

// Stxp stores a pair as Stxr does.
func (a *Assembler) Stxp(status, t, u, n Reg) {
	a.Raw(0xc8200000 | inM(status) | inA(u) | inN(n) | inD(t))
}

// Ldar is ldar t, [n], Stlr is stlr t, [n] (C6.2, LDAR, STLR).
func (a *Assembler) Ldar(t, n Reg) { a.Raw(0xc8dffc00 | inN(n) | inD(t)) }

// Stlr stores with release semantics.
func (a *Assembler) Stlr(t, n Reg) { a.Raw(0xc89ffc00 | inN(n) | inD(t)) }

// LdrLiteral loads a constant that [Assembler.Finish] puts behind the code (C6.2, LDR
// (literal)).
func (a *Assembler) LdrLiteral(t Reg, v uint64) {
	for _, l := range a.literals {
		if l.value == v {
			a.toLabel(0x58000000|inD(t), l.label, 5, 19)
			return
		}
	}
	l := literal{value: v, label: a.Label()}
	a.literals = append(a.literals, l)
	a.toLabel(0x58000000|inD(t), l.label, 5, 19)
}

// LdrAt loads the 8 bytes at an address, a multiple of 8, within 1 MiB (C6.2, LDR
// (literal)).
func (a *Assembler) LdrAt(t Reg, addr uint64) {
	d := int64(addr - a.PC())
	a.check("distance", d, -1<<20, 1<<20-4, 4)
	a.Raw(0x58000000 | uint32(d/4)&0x7ffff<<5 | inD(t))
}

// Adr is adr d, label (C6.2, ADR).
func (a *Assembler) Adr(d Reg, l Label) {
	// The label's distance in instructions goes to immhi; immlo is 0.
	a.toLabel(0x10000000|inD(d), l, 5, 19)
}

// AdrpAdd makes an address within 4 GiB in two instructions (C6.2, ADRP).
func (a *Assembler) AdrpAdd(d Reg, addr uint64) {
	a.adrp(d, addr)
	a.AddImm(d, d, int64(addr&0xfff))
}

// LdrFar loads the 8 bytes at an address, a multiple of 8, within 4 GiB in two instructions.
func (a *Assembler) LdrFar(t Reg, addr uint64) {
	a.adrp(t, addr)
	a.Ldr(8, t, t, int64(addr&0xfff))
}

func (a *Assembler) adrp(d Reg, addr uint64) {
	pages := int64(addr>>12) - int64(a.PC()>>12)
	a.check("distance in pages", pages, -1<<20, 1<<20-1, 1)
	a.Raw(0x90000000 | uint32(pages)&3<<29 | uint32(pages>>2)&0x7ffff<<5 | inD(d))
}

func (a *Assembler) toLabel(insn uint32, l Label, shift, width int) {
	a.fixups = append(a.fixups, fixup{at: len(a.code), label: l, shift: shift, width: width})
	a.Raw(insn)
}

// B is b label, Bl is bl label (C6.2, B, BL).
func (a *Assembler) B(l Label) { a.toLabel(opB, l, 0, 26) }

// Bl calls a label.
func (a *Assembler) Bl(l Label) { a.toLabel(opBL, l, 0, 26) }

// Bcond is b.cond label (C6.2, B.cond).
func (a *Assembler) Bcond(c CondCode, l Label) { a.toLabel(0x54000000|uint32(c), l, 5, 19) }

// Cbz is cbz t, label (C6.2, CBZ).
func (a *Assembler) Cbz(t Reg, l Label) { a.toLabel(0xb4000000|inD(t), l, 5, 19) }

// Cbnz is cbnz t, label.
func (a *Assembler) Cbnz(t Reg, l Label) { a.toLabel(0xb5000000|inD(t), l, 5, 19) }

// Cbnz32 is cbnz wT, label.
func (a *Assembler) Cbnz32(t Reg, l Label) { a.toLabel(0x35000000|inD(t), l, 5, 19) }

// Tbz is tbz t, #bit, label (C6.2, TBZ).
func (a *Assembler) Tbz(t Reg, bit int, l Label) { a.testBit(0x36000000, t, bit, l) }

// Tbnz is tbnz t, #bit, label.
func (a *Assembler) Tbnz(t Reg, bit int, l Label) { a.testBit(0x37000000, t, bit, l) }

func (a *Assembler) testBit(op uint32, t Reg, bit int, l Label) {
	a.check("bit", int64(bit), 0, 63, 1)
	a.toLabel(op|uint32(bit>>5)<<31|uint32(bit&31)<<19|inD(t), l, 5, 14)
}

// BTo is b addr, BlTo is bl addr.
func (a *Assembler) BTo(addr uint64) { a.branchTo(opB, addr) }

// BlTo calls an address.
func (a *Assembler) BlTo(addr uint64) { a.branchTo(opBL, addr) }

func (a *Assembler) branchTo(op uint32, addr uint64) {
	insn, err := encode(op, a.PC(), addr)
	if err != nil {
		a.fail("%w", err)
	}
	a.Raw(insn)
}

// Br is br n, Blr blr n, Ret ret n (C6.2, BR, BLR, RET).
func (a *Assembler) Br(n Reg) { a.Raw(0xd61f0000 | inN(n)) }

// Blr calls where n points.
func (a *Assembler) Blr(n Reg) { a.Raw(0xd63f0000 | inN(n)) }

// Ret returns to where n points.
func (a *Assembler) Ret(n Reg) { a.Raw(0xd65f0000 | inN(n)) }
