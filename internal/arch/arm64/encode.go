package arm64

import (
	"fmt"
	"math/bits"
)

// Reg is a general register, or in the instructions that say so a vector register;
// 31 is sp where an address or the operand of an ADD or SUB with an immediate is meant, the zero
// register elsewhere.
type Reg uint8

// Registers with a name of their own.
const (
	X0 Reg = iota
	X1
	X2
	X3
	X4
	X5
	X6
	X7
	X8
	X9
	X10
	X11
	X12
	X13
	X14
	X15
	X16
	X17
	X18
	X29 Reg = 29
	X30 Reg = 30
	SP  Reg = 31
	XZR Reg = 31
)

// CondCode is a condition of B.cond, CCMP and CSEL (Arm ARM C1.2.4).
type CondCode uint8

// The conditions. EQ to AL are their encodings.
const (
	EQ CondCode = iota
	NE
	CS
	CC
	MI
	PL
	VS
	VC
	HI
	LS
	GE
	LT
	GT
	LE
	AL
)

// Invert gives the opposite condition, of all but AL.
func (c CondCode) Invert() CondCode { return c ^ 1 }

// Label is a place in the code of an [Assembler], from [Assembler.Label].
type Label int

type fixup struct {
	at    int // index of the instruction
	label Label
	shift int // of its field, which counts instructions
	width int
}

// Assembler makes code for one address. What cannot be encoded is an error of
// [Assembler.Finish], so that its callers read like a listing.
type Assembler struct {
	at       uint64
	code     []uint32
	labels   []int // index of the instruction, -1: not bound
	fixups   []fixup
	literals []literal
	err      error
}

type literal struct {
	value uint64
	label Label
}

// NewAssembler begins code at an address, a multiple of 8.
func NewAssembler(at uint64) *Assembler {
	a := &Assembler{at: at}
	if at%8 != 0 {
		a.fail("assemble code at %#x: not aligned to 8 bytes", at)
	}
	return a
}

func (a *Assembler) fail(format string, args ...any) {
	if a.err == nil {
		a.err = fmt.Errorf(format, args...)
	}
}

// PC is the address of the next instruction.
func (a *Assembler) PC() uint64 { return a.at + InsnSize*uint64(len(a.code)) }

// Raw appends an instruction.
func (a *Assembler) Raw(insn uint32) { a.code = append(a.code, insn) }

// Label makes a label, to be bound.
func (a *Assembler) Label() Label {
	a.labels = append(a.labels, -1)
	return Label(len(a.labels) - 1)
}

// Bind puts a label before the next instruction.
func (a *Assembler) Bind(l Label) {
	if a.labels[l] >= 0 {
		a.fail("assemble code: label %d is bound twice", l)
	}
	a.labels[l] = len(a.code)
}

// Here makes a label before the next instruction.
func (a *Assembler) Here() Label {
	l := a.Label()
	a.Bind(l)
	return l
}

// Finish puts the literals behind the code and returns both.
func (a *Assembler) Finish() ([]uint32, error) {
	if len(a.literals) > 0 && len(a.code)%2 != 0 {
		a.Raw(Nop) // literals are aligned to their size
	}
	for _, l := range a.literals {
		a.Bind(l.label)
		a.code = append(a.code, uint32(l.value), uint32(l.value>>32))
	}
	a.literals = nil
	for _, f := range a.fixups {
		to := a.labels[f.label]
		if to < 0 {
			a.fail("assemble code: label %d is not bound", f.label)
			break
		}
		d := to - f.at
		if limit := 1 << (f.width - 1); d < -limit || d >= limit {
			a.fail("assemble code: branch over %d instructions", d)
			break
		}
		a.code[f.at] |= uint32(d) & (1<<f.width - 1) << f.shift
	}
	a.fixups = nil
	if a.err != nil {
		return nil, a.err
	}
	return a.code, nil
}

// check fails unless v is in [low, high] and a multiple of unit.
func (a *Assembler) check(what string, v, low, high, unit int64) {
	if v < low || v > high || v%unit != 0 {
		a.fail("encode %s: %d is not in %d..%d or no multiple of %d", what, v, low, high, unit)
	}
}

// Fields of an instruction that name registers.
func inD(r Reg) uint32 { return uint32(r) }
func inN(r Reg) uint32 { return uint32(r) << 5 }
func inA(r Reg) uint32 { return uint32(r) << 10 }
func inM(r Reg) uint32 { return uint32(r) << 16 }

// MovZ is movz d, #v, lsl #shift (Arm ARM C6.2, MOVZ).
func (a *Assembler) MovZ(d Reg, v uint16, shift int) { a.wide(0xd2800000, d, v, shift) }

// MovK is movk d, #v, lsl #shift (C6.2, MOVK).
func (a *Assembler) MovK(d Reg, v uint16, shift int) { a.wide(0xf2800000, d, v, shift) }

// MovN is movn d, #v, lsl #shift (C6.2, MOVN).
func (a *Assembler) MovN(d Reg, v uint16, shift int) { a.wide(0x92800000, d, v, shift) }

func (a *Assembler) wide(op uint32, d Reg, v uint16, shift int) {
	a.check("move wide", int64(shift), 0, 48, 16)
	a.Raw(op | uint32(shift/16)<<21 | uint32(v)<<5 | inD(d))
}

// MovImm moves a constant, in as many instructions as it takes.
func (a *Assembler) MovImm(d Reg, v uint64) {
	if ones := ^v; ones>>16 == 0 {
		a.MovN(d, uint16(ones), 0)
		return
	}
	if n, immr, imms, ok := bitmask(v); ok && bits.OnesCount64(v) > 16 {
		a.Raw(0xb2000000 | n<<22 | immr<<16 | imms<<10 | inN(XZR) | inD(d)) // orr d, xzr, #v
		return
	}
	first := true
	for shift := 0; shift < 64; shift += 16 {
		part := uint16(v >> shift)
		switch {
		case part == 0:
		case first:
			a.MovZ(d, part, shift)
			first = false
		default:
			a.MovK(d, part, shift)
		}
	}
	if first {
		a.MovZ(d, 0, 0)
	}
}

// Mov is mov d, s between general registers, not sp (C6.2, ORR (shifted register)).
func (a *Assembler) Mov(d, s Reg) { a.Raw(0xaa0003e0 | inM(s) | inD(d)) }

// MovSP is mov d, s where one is sp (C6.2, ADD (immediate)).
func (a *Assembler) MovSP(d, s Reg) { a.AddImm(d, s, 0) }

// AddImm is add d, n, #v, or sub with a negative v. Below 2^24 it takes up to two
// instructions (C6.2, ADD (immediate)).
func (a *Assembler) AddImm(d, n Reg, v int64) {
	op, u := uint32(0x91000000), uint64(v)
	if v < 0 {
		op, u = 0xd1000000, uint64(-v)
	}
	if u >= 1<<24 {
		a.fail("encode add of %d: more than 24 bits", v)
		return
	}
	if high := uint32(u >> 12); high != 0 {
		a.Raw(op | 1<<22 | high<<10 | inN(n) | inD(d))
		n = d
		if u&0xfff == 0 {
			return
		}
	}
	a.Raw(op | uint32(u&0xfff)<<10 | inN(n) | inD(d))
}

// Add is d = n + m<<lsl (C6.2, ADD (shifted register); likewise what follows).
func (a *Assembler) Add(d, n, m Reg, lsl int) { a.shifted(0x8b000000, d, n, m, lsl) }

// Sub is d = n - m<<lsl.
func (a *Assembler) Sub(d, n, m Reg, lsl int) { a.shifted(0xcb000000, d, n, m, lsl) }

// And is d = n & m<<lsl.
func (a *Assembler) And(d, n, m Reg, lsl int) { a.shifted(0x8a000000, d, n, m, lsl) }

// Orr is d = n | m<<lsl.
func (a *Assembler) Orr(d, n, m Reg, lsl int) { a.shifted(0xaa000000, d, n, m, lsl) }

// Eor is d = n ^ m<<lsl.
func (a *Assembler) Eor(d, n, m Reg, lsl int) { a.shifted(0xca000000, d, n, m, lsl) }

// EorLSR is d = n ^ m>>shift.
func (a *Assembler) EorLSR(d, n, m Reg, shift int) { a.shifted(0xca400000, d, n, m, shift) }

// EorASR is d = n ^ m>>shift, with m's sign.
func (a *Assembler) EorASR(d, n, m Reg, shift int) { a.shifted(0xca800000, d, n, m, shift) }

// Bic is d = n &^ m<<lsl.
func (a *Assembler) Bic(d, n, m Reg, lsl int) { a.shifted(0x8a200000, d, n, m, lsl) }

// Cmp is cmp n, m (C6.2, CMP (shifted register)). It writes NZCV.
func (a *Assembler) Cmp(n, m Reg) { a.shifted(0xeb000000, XZR, n, m, 0) }

func (a *Assembler) shifted(op uint32, d, n, m Reg, amount int) {
	a.check("shift", int64(amount), 0, 63, 1)
	a.Raw(op | inM(m) | uint32(amount)<<10 | inN(n) | inD(d))
}

// AddUXTW is add d, n, wM, uxtw #lsl (C6.2, ADD (extended register)).
func (a *Assembler) AddUXTW(d, n, m Reg, lsl int) {
	a.check("shift", int64(lsl), 0, 4, 1)
	a.Raw(0x8b204000 | inM(m) | uint32(lsl)<<10 | inN(n) | inD(d))
}

// CmpImm is cmp n, #v (C6.2, CMP (immediate)). It writes NZCV.
func (a *Assembler) CmpImm(n Reg, v int64) {
	a.check("cmp", v, 0, 4095, 1)
	a.Raw(0xf1000000 | uint32(v)<<10 | inN(n) | inD(XZR))
}

// Ccmp is ccmp n, m, #nzcv, cond (C6.2, CCMP (register)). It writes NZCV.
func (a *Assembler) Ccmp(n, m Reg, nzcv uint8, cond CondCode) {
	a.check("nzcv", int64(nzcv), 0, 15, 1)
	a.Raw(0xfa400000 | inM(m) | uint32(cond)<<12 | inN(n) | uint32(nzcv))
}

// Csel is csel d, n, m, cond (C6.2, CSEL).
func (a *Assembler) Csel(d, n, m Reg, cond CondCode) {
	a.Raw(0x9a800000 | inM(m) | uint32(cond)<<12 | inN(n) | inD(d))
}

// AndImm is and d, n, #v (C6.2, AND (immediate)). Not every constant can be encoded; see
// [IsBitmask].
func (a *Assembler) AndImm(d, n Reg, v uint64) { a.logical(0x92000000, d, n, v) }

// OrrImm is orr d, n, #v.
func (a *Assembler) OrrImm(d, n Reg, v uint64) { a.logical(0xb2000000, d, n, v) }

// EorImm is eor d, n, #v.
func (a *Assembler) EorImm(d, n Reg, v uint64) { a.logical(0xd2000000, d, n, v) }

func (a *Assembler) logical(op uint32, d, n Reg, v uint64) {
	size, immr, imms, ok := bitmask(v)
	if !ok {
		a.fail("encode logical operation: %#x is no bit mask", v)
	}
	a.Raw(op | size<<22 | immr<<16 | imms<<10 | inN(n) | inD(d))
}

// IsBitmask reports whether a constant can be that of AndImm, OrrImm and EorImm.
func IsBitmask(v uint64) bool {
	_, _, _, ok := bitmask(v)
	return ok
}

// bitmask gives the fields of a logical immediate: an element of 2 to 64 bits that holds
// one run of ones, rotated, and repeated (Arm ARM, DecodeBitMasks).
func bitmask(v uint64) (n, immr, imms uint32, ok bool) {
	if v == 0 || ^v == 0 {
		return 0, 0, 0, false
	}
	size := 64
	for size > 2 {
		half := size / 2
		if mask := uint64(1)<<half - 1; v&mask != v>>half&mask {
			break
		}
		size = half
	}
	mask := ^uint64(0) >> (64 - size)
	e := v & mask
	// Rotated left by r, the element has its ones at the bottom.
	for r := range size {
		turned := (e<<r | e>>(size-r)) & mask
		if turned&(turned+1) != 0 || turned == mask {
			continue
		}
		ones := bits.OnesCount64(turned)
		imms = uint32(ones - 1)
		if size == 64 {
			n = 1
		} else {
			imms |= uint32(-2*size) & 0x3f
		}
		return n, uint32(r), imms, true
	}
	return 0, 0, 0, false
}

// Ubfx is ubfx d, n, #low, #width (C6.2, UBFX).
func (a *Assembler) Ubfx(d, n Reg, low, width int) { a.bitfield(0xd3400000, d, n, low, low+width-1) }

// Sbfx is sbfx d, n, #low, #width (C6.2, SBFX).
func (a *Assembler) Sbfx(d, n Reg, low, width int) { a.bitfield(0x93400000, d, n, low, low+width-1) }

// Bfi is bfi d, n, #low, #width (C6.2, BFI).
func (a *Assembler) Bfi(d, n Reg, low, width int) {
	a.bitfield(0xb3400000, d, n, -low&63, width-1)
}

// Bfxil is bfxil d, n, #low, #width (C6.2, BFXIL).
func (a *Assembler) Bfxil(d, n Reg, low, width int) {
	a.bitfield(0xb3400000, d, n, low, low+width-1)
}

// Ubfiz is ubfiz d, n, #low, #width (C6.2, UBFIZ).
func (a *Assembler) Ubfiz(d, n Reg, low, width int) {
	a.bitfield(0xd3400000, d, n, -low&63, width-1)
}

// LslImm is lsl d, n, #shift (C6.2, LSL (immediate)).
func (a *Assembler) LslImm(d, n Reg, shift int) {
	a.bitfield(0xd3400000, d, n, -shift&63, 63-shift)
}

// LsrImm is lsr d, n, #shift (C6.2, LSR (immediate)).
func (a *Assembler) LsrImm(d, n Reg, shift int) { a.bitfield(0xd3400000, d, n, shift, 63) }

func (a *Assembler) bitfield(op uint32, d, n Reg, immr, imms int) {
	a.check("bit field", int64(immr), 0, 63, 1)
	a.check("bit field", int64(imms), 0, 63, 1)
	a.Raw(op | uint32(immr)<<16 | uint32(imms)<<10 | inN(n) | inD(d))
}

// Mul is mul d, n, m (C6.2, MUL).
func (a *Assembler) Mul(d, n, m Reg) { a.Raw(0x9b007c00 | inM(m) | inN(n) | inD(d)) }

// Udiv is udiv d, n, m (C6.2, UDIV).
func (a *Assembler) Udiv(d, n, m Reg) { a.Raw(0x9ac00800 | inM(m) | inN(n) | inD(d)) }

// Msub is d = minus - n*m (C6.2, MSUB).
func (a *Assembler) Msub(d, n, m, minus Reg) {
	a.Raw(0x9b008000 | inM(m) | inA(minus) | inN(n) | inD(d))
}

// MrsNZCV and MsrNZCV read and write the flags (C5.2, NZCV).
func (a *Assembler) MrsNZCV(d Reg) { a.Raw(0xd53b4200 | inD(d)) }

// MsrNZCV writes the flags.
func (a *Assembler) MsrNZCV(s Reg) { a.Raw(0xd51b4200 | inD(s)) }

// MrsTPIDR reads TPIDR_EL0, the thread pointer (D24.2).
func (a *Assembler) MrsTPIDR(d Reg) { a.Raw(0xd53bd040 | inD(d)) }

// MrsCounter reads CNTVCT_EL0, the virtual counter (D24.10).
func (a *Assembler) MrsCounter(d Reg) { a.Raw(0xd53be040 | inD(d)) }

// FmovX is fmov d, dN: the low 8 bytes of vector register n (C7.2, FMOV (general)).
func (a *Assembler) FmovX(d, n Reg) { a.Raw(0x9e660000 | inN(n) | inD(d)) }

// FmovHigh is fmov d, vN.d[1]: its high 8 bytes. Unlike umov d, vN.d[1], a vector
// instruction, it is a scalar one and may be executed in streaming mode, too.
func (a *Assembler) FmovHigh(d, n Reg) { a.Raw(0x9eae0000 | inN(n) | inD(d)) }

// Svc is svc #0 (C6.2, SVC).
func (a *Assembler) Svc() { a.Raw(0xd4000001) }

// Yield is the hint yield (C6.2, YIELD).
func (a *Assembler) Yield() { a.Raw(0xd503203f) }
