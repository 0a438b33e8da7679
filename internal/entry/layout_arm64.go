package entry

// RegsWords is pt_regs in words: x0-x30, sp, pc, pstate.
const RegsWords = 34

// ProfileSlot is a slot of a thread that is profiled: the same memory as [Slot], of
// which a profile uses nothing else.
type ProfileSlot struct {
	_     [40]byte
	Owner uint64 // ^ thread id; while Top and Area are being filled in, thread id | 1<<ProfileClaimedBit
	Top   uint64 // address of the thread's innermost frame
	Area  uint64
}

// PtRegs is what a handler sees of the traced function's caller's state; the
// order is the kernel's user_pt_regs (arch/arm64/include/uapi/asm/ptrace.h).
type PtRegs struct {
	Regs   [31]uint64
	SP     uint64
	PC     uint64
	PState uint64
}
