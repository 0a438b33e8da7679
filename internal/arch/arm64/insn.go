// Package arm64 knows the A64 instructions that tracing needs: which ones stand
// at a function's entry, how a branch is encoded, and how a site's two
// instructions are exchanged.
//
// It exists so that every rule about instruction words lives in one place that
// touches no process: the functions are pure, or act on a [Text], and are built
// and tested on every host.
package arm64

// InsnSize is the size of every A64 instruction.
const InsnSize = 4

// The instructions of a site. A function compiled with
// -fpatchable-function-entry=2 begins with two NOPs:
//
//	slot 1   nop  ->  mov x9, x30        once, when the site is prepared
//	slot 2   nop <->  bl  trampoline     whenever it is armed or disarmed
const (
	// Nop is HINT #0 (Arm ARM C6.2, NOP).
	Nop uint32 = 0xd503201f

	// MovX9X30 is mov x9, x30 (orr x9, xzr, x30), slot 1 of a prepared site.
	// It keeps the return address that the BL of slot 2 overwrites. x9 is the
	// first temporary that a caller has to save (AAPCS64, 6.1.1), so nothing
	// lives in it at a function's entry.
	MovX9X30 uint32 = 0xaa1e03e9
)

// Landing pads that calls may lead to (Arm ARM C6.2, BTI). PACIASP and PACIBSP are ones, too.
const (
	BtiC  uint32 = 0xd503245f
	BtiJC uint32 = 0xd50324df
)

// IsCallPad reports whether an instruction is a landing pad that calls may lead to.
func IsCallPad(insn uint32) bool {
	switch Classify(insn) {
	case KindBTI:
		return insn == BtiC || insn == BtiJC
	case KindPACIASP, KindPACIBSP:
		return true
	}
	return false
}

// SiteBranchOffset is where slot 2 stands relative to slot 1: one instruction,
// the kernel's REC_IP_BRANCH_OFFSET (arch/arm64/include/asm/ftrace.h).
const SiteBranchOffset = InsnSize

// Kind is the class of an instruction, as far as tracing tells them apart.
type Kind uint8

// The kinds of instructions. KindOther is every instruction that is neither a
// change of control nor addressed relative to the pc nor a landing pad.
const (
	KindOther Kind = iota
	KindNop
	KindBTI // bti, bti c, bti j, bti jc
	KindPACIASP
	KindPACIBSP
	KindAUTIASP
	KindAUTIBSP
	KindB
	KindBL
	KindBCond // b.cond, bc.cond
	KindCBZ   // cbz, cbnz
	KindTBZ   // tbz, tbnz
	KindBR
	KindBRA // braa, brab, braaz, brabz
	KindBLR
	KindBLRA // blraa, blrab, blraaz, blrabz
	KindRET
	KindRETAA
	KindRETAB
	KindERET // eret, eretaa, eretab, drps
	KindSVC
	KindHVC
	KindSMC
	KindBRK
	KindHLT
	KindISB
	KindADR
	KindADRP
	KindLDRLiteral // ldr, ldrsw, prfm and the SIMD loads of a literal
	KindUDF
	kinds
)

var kindNames = [kinds]string{
	"other", "nop", "bti", "paciasp", "pacibsp", "autiasp", "autibsp", "b", "bl", "b.cond", "cbz", "tbz",
	"br", "bra", "blr", "blra", "ret", "retaa", "retab", "eret", "svc", "hvc", "smc", "brk", "hlt", "isb",
	"adr", "adrp", "ldr literal", "udf",
}

func (k Kind) String() string {
	if k < kinds {
		return kindNames[k]
	}
	return "invalid"
}

// pattern is an encoding: the bits of mask have the values in value.
type pattern struct {
	mask, value uint32
	kind        Kind
}

// patterns follows the tables of Arm ARM C4.1 (A64 instruction set encoding).
// Where one pattern is part of another, the narrower comes first.
var patterns = []pattern{
	{0xffffffff, Nop, KindNop},
	{0xffffff3f, 0xd503241f, KindBTI},
	{0xffffffff, 0xd503233f, KindPACIASP},
	{0xffffffff, 0xd503237f, KindPACIBSP},
	{0xffffffff, 0xd50323bf, KindAUTIASP},
	{0xffffffff, 0xd50323ff, KindAUTIBSP},
	{0xfc000000, 0x14000000, KindB},
	{0xfc000000, 0x94000000, KindBL},
	{0xff000000, 0x54000000, KindBCond},
	{0x7e000000, 0x34000000, KindCBZ},
	{0x7e000000, 0x36000000, KindTBZ},
	{0xfffffc1f, 0xd61f0000, KindBR},
	{0xfffff81f, 0xd61f081f, KindBRA}, // braaz, brabz
	{0xfffff800, 0xd71f0800, KindBRA}, // braa, brab
	{0xfffffc1f, 0xd63f0000, KindBLR},
	{0xfffff81f, 0xd63f081f, KindBLRA}, // blraaz, blrabz
	{0xfffff800, 0xd73f0800, KindBLRA}, // blraa, blrab
	{0xfffffc1f, 0xd65f0000, KindRET},
	{0xffffffff, 0xd65f0bff, KindRETAA},
	{0xffffffff, 0xd65f0fff, KindRETAB},
	{0xffffffff, 0xd69f03e0, KindERET},
	{0xffffffff, 0xd69f0bff, KindERET},
	{0xffffffff, 0xd69f0fff, KindERET},
	{0xffffffff, 0xd6bf03e0, KindERET},
	{0xffe0001f, 0xd4000001, KindSVC},
	{0xffe0001f, 0xd4000002, KindHVC},
	{0xffe0001f, 0xd4000003, KindSMC},
	{0xffe0001f, 0xd4200000, KindBRK},
	{0xffe0001f, 0xd4400000, KindHLT},
	{0xfffff0ff, 0xd50330df, KindISB},
	{0x9f000000, 0x10000000, KindADR},
	{0x9f000000, 0x90000000, KindADRP},
	{0x3b000000, 0x18000000, KindLDRLiteral},
	{0xffff0000, 0x00000000, KindUDF},
}

// Classify gives the kind of an instruction.
func Classify(insn uint32) Kind {
	for _, p := range patterns {
		if insn&p.mask == p.value {
			return p.kind
		}
	}
	return KindOther
}

// BranchTarget gives where a direct branch at pc leads: B, BL, B.cond, CBZ and
// TBZ. ok is false for every other instruction.
func BranchTarget(pc uint64, insn uint32) (target uint64, ok bool) {
	switch Classify(insn) {
	case KindB, KindBL:
		return pc + offset(insn, 0, 26), true
	case KindBCond, KindCBZ:
		return pc + offset(insn, 5, 19), true
	case KindTBZ:
		return pc + offset(insn, 5, 14), true
	}
	return 0, false
}

// offset extracts a signed field of width bits that counts instructions, as
// the number of bytes it stands for, modulo 2^64.
func offset(insn uint32, shift, width int) uint64 {
	field := int32(insn<<(32-shift-width)) >> (32 - width)
	return uint64(int64(field) * InsnSize)
}

// bit gives the mask of general register n; register 31 is sp or xzr, which
// nobody asks for.
func bit(n uint32) uint32 { return 1 << (n & 31) & (1<<31 - 1) }

// field extracts width bits from shift upwards.
func field(insn uint32, shift, width int) uint32 {
	return insn >> shift & (1<<width - 1)
}
