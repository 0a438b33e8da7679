package entry

// RegsWords is pt_regs in words.
const RegsWords = 21

// ProfileSlot is a slot of a thread that is profiled: the same memory as [Slot], of
// which a profile uses Key, Stream and Top too.
type ProfileSlot struct {
	Owner uint64 // ^ thread id; while Top and Area are being filled in, thread id | 1<<ProfileClaimedBit
	Area  uint64
	_     [40]byte
	Top   uint64 // address of the thread's innermost frame
}

// ShadowHeader begins a shadow stack.
type ShadowHeader struct {
	Owner uint64 // ^ the thread's id; the stack is nobody's while it is another's
	Full  uint64 // SP of the last frame when the stack was found to be full of one recursion
	Top   uint64 // offset of the next free frame; ShadowSize: full
	State int64  // for the calls made now: Shadow* in shadow.go. Changed together with Top
	// Floor stands where the SP of a frame below the first one would: recorded, and
	// further up the stack than anything.
	Floor uint64
	_     [3]uint64
}

// PtRegs is what a handler sees of the traced function's caller's state; the order is
// the kernel's struct pt_regs (arch/x86/include/uapi/asm/ptrace.h).
type PtRegs struct {
	R15, R14, R13, R12, RBP, RBX     uint64
	R11, R10, R9, R8                 uint64
	RAX, RCX, RDX, RSI, RDI, OrigRAX uint64
	RIP, CS, EFlags, RSP, SS         uint64
}

// Numbers of the parts of the code that others refer to. They stand behind the mark in
// the code (PART in record_amd64.h).
const (
	partBegin = iota // of a block
	partEnd
	partLiterals
	partCaller
	partCallerUnknown
	partReserve
	partDLHook
	partRegsCaller
	partStackCaller
	partTrigger
	partNothing
	partCallerJumped
	partCallerUnknownJumped
	partGraphTake
	partGraphPass
	partGraphCaller
	partGraphUnknown
	partGraphExit
	partGraphExitEnd
	partGraphThunks
	partFindFDE
	partFindFDEGone
	partFindFDETable
	partProfileCaller
	partProfileCount
	partProfileExit
	partProfileEnd
	partProfileAdd
	partProfileOver
	partProfileDrop
	partProfileLookup
	partProfileFind
	partProfileThread
	partShadowCaller
	partShadowRoot
	partShadowNot
	partShadowCount
	partShadowExit
	partShadowClose
	partShadowEvent
	partShadowPop
	partShadowLocate
	partShadowSettle
	partShadowRoom
	partShadowFind
	partShadowFlush
	partCount
)

// What parts and references to them are known by. No instruction looks like them.
const (
	partMark   = 0x7f0b5ec7_104e3f00 // 8 bytes before the part
	partRel    = 0x7a5e6d00          // a displacement to a part
	literalRel = 0x7a5e6e00          // and to a word of Literals
)
