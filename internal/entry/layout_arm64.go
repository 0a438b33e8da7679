package entry

// RegsWords is pt_regs in words: x0-x30, sp, pc, pstate.
const RegsWords = 34

// PtRegs is what a handler sees of the traced function's caller's state; the
// order is the kernel's user_pt_regs (arch/arm64/include/uapi/asm/ptrace.h).
type PtRegs struct {
	Regs   [31]uint64
	SP     uint64
	PC     uint64
	PState uint64
}
