package entry

// Frame says where, at one instruction of the entry code, the traced function and
// its caller are found. Everywhere else than in the first and last instructions
// x29 points at the traced function's frame record.
type Frame uint8

const (
	// FrameRecords: x29 -> {_, traced function}, -> {_, its caller}, ...
	FrameRecords Frame = iota
	// FrameEntry: the traced function in x30, its caller in x9, x29 the caller's.
	FrameEntry
	// FrameHalf: the traced function in x30, x29 -> {_, its caller}.
	FrameHalf
	// FrameExit: the traced function in x9, its caller in x30, x29 the caller's.
	FrameExit
	// FrameLeaf: at an exit, whose frame is the caller's again: that is in x30 and x29
	// is its own, as at the instruction that the exit was.
	FrameLeaf
)

// exitInsns is how many instructions before its RET x9 (included) a trampoline has
// no frame records any more.
const exitInsns = 2

// leaveInsns is how many instructions LEAVE_EXIT is.
const leaveInsns = 4

// Branches out of trampolines: back to the function, and to another trampoline.
const (
	retX9 = 0xd65f0120
	brX17 = 0xd61f0220
)

// FrameAt returns what holds at the instruction at offset off of the two
// trampolines and the code they share. The loader's hook is an ordinary leaf
// function without a frame.
func (b Blob) FrameAt(off uint64) Frame {
	if off >= b.Exit.Ret && off < b.ExitEnd {
		// The slow path pushes a record of the caller first, and drops it last.
		if off < b.ExitUnknown.Gen+8 {
			return FrameLeaf
		}
		for at := off; at < off+leaveInsns*4 && at < b.ExitEnd; at += 4 {
			if b.insn(at) == brX17 {
				return FrameLeaf
			}
		}
		return FrameRecords
	}
	for _, start := range []uint64{b.Caller, b.CallerUnknown, b.RegsCaller, b.StackCaller, b.Shadow.Caller, b.Shadow.Root, b.Shadow.Not, b.Shadow.Pend, b.ShadowUnknown.Caller, b.ShadowUnknown.Root, b.ShadowUnknown.Not, b.ShadowUnknown.Pend, b.Profile.Caller, b.Profile.Count, b.ProfileUnknown.Caller, b.Trigger, b.Nothing} {
		switch off - start {
		case 0, 4:
			return FrameEntry
		case 8, 12:
			return FrameHalf
		}
	}
	for i := uint64(0); i < exitInsns; i++ {
		if at := off + 4*i; at+4 <= b.Literals && b.insn(at) == retX9 {
			return FrameExit
		}
	}
	if b.insn(off) == brX17 || off >= 4 && b.insn(off+4) == brX17 {
		return FrameEntry
	}
	return FrameRecords
}

func (b Blob) insn(off uint64) uint32 {
	c := b.Code[off:]
	return uint32(c[0]) | uint32(c[1])<<8 | uint32(c[2])<<16 | uint32(c[3])<<24
}
