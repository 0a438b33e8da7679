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

// ShadowHeader begins a shadow stack.
type ShadowHeader struct {
	Owner uint64 // ^ the thread's id; the stack is nobody's while it is another's
	Top   uint64 // offset of the next free frame; ShadowSize: full
	State int64  // for the calls made now: Shadow* in shadow.go
	Full  uint64 // SP of the last frame when the stack was found to be full of one recursion
	// Floor stands where the SP of a frame below the first one would: recorded, and
	// further up the stack than anything.
	Floor uint64
	_     [3]uint64
}

// PtRegs is what a handler sees of the traced function's caller's state; the
// order is the kernel's user_pt_regs (arch/arm64/include/uapi/asm/ptrace.h).
type PtRegs struct {
	Regs   [31]uint64
	SP     uint64
	PC     uint64
	PState uint64
}
