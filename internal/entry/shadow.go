package entry

// ShadowShift is the log2 of the size of a thread's shadow stack. The stack of the
// thread in slot i of the table is at Literals.Stacks + i << ShadowShift; the region is
// aligned to its size.
const (
	ShadowShift = 15
	ShadowSize  = 1 << ShadowShift
	// ShadowRegion is the size of all.
	ShadowRegion = SlotCount << ShadowShift
)

// ShadowFrame is one open call. It is valid if SP is not 0.
type ShadowFrame struct {
	SP    uint64 // sp at the entry, less 32 as in event words, and less one of Frame*
	Ticks uint64
	Index uint64 // the entry's code position, in place
	State int64  // ShadowHeader.State before the call
}

// What is subtracted from ShadowFrame.SP, which is a multiple of 16.
const (
	FramePending = 0 // not recorded yet: shorter than the threshold until now
	FrameWritten = 1 // recorded
	FrameOff     = 2 // not to be recorded
)

// FrameOver stands in ShadowFrame.SP of a call that is over while frames of other
// stacks are above it: no frame that is anybody's, nor pending.
const FrameOver = 16 - FrameOff

// ShadowFloor is ShadowHeader.Floor.
const ShadowFloor = 1<<63 - 1

// States. A state from 0 up is how many more levels of calls are recorded; one that
// is negative records nothing. A call's state is the one before it less 1, so these
// have room on either side.
const (
	ShadowAll  = 1 << 40            // no limit
	ShadowNone = -1                 // nothing below either
	ShadowOff  = -1<<63 + ShadowAll // until a root is called: bit 62 is clear
)

const (
	shadowFirst     = 64 // offset of the first frame
	shadowFrameSize = 32
	// ShadowFrames is how deep a stack is.
	ShadowFrames = (ShadowSize - shadowFirst) / shadowFrameSize
	// Stack pointers are on one stack for certain, and probably from one traced call to
	// the next, if they are less than these powers of two apart.
	ShadowNear  = 12 // no stack is smaller (MINSIGSTKSZ is 5120)
	ShadowReach = 15
)
