package entry

// On x86-64 a function's exits are not patched: RET is one byte. Its entry calls the
// body instead, through a thunk whose address tells which call it is, and what the body
// returns to is behind the thunk's CALL. The return prediction stays balanced, arguments
// on the stack stay where they are, and an unwinder finds the way by the thunk's pc alone.

// Graph is where the code for this is. All is 0 where exits are patched.
type Graph struct {
	Caller  uint64 // entries; jumped to
	Unknown uint64 // the same while the tid's offset is unknown
	Exit    uint64 // thunks lead there when the body has returned
	ExitEnd uint64
	Thunks  uint64 // the word with the address of the region of thunks
	// What the unwinder's _Unwind_Find_FDE is led to, FindGoneSize bytes for what was there,
	// and the end, behind which there has to be a table of FindEntry.
	Find, FindGone, FindTable uint64
}

// FindGoneSize is how much room there is for instructions, with a jump behind them.
const FindGoneSize = 24

// FindEntry says by which FDE the code of ours in [Start, Start+Size) is unwound. A table
// of them ends where Start is 0.
type FindEntry struct{ Start, Size, FDE uint64 }

// GraphFrame is an open call whose body was called. The frames of a thread slot are one
// area, of which a thread uses the next free one, like a stack; but a frame is given
// back by its own exit only, or when its call is certainly over, since contexts may be
// switched and exits left out. So it is found free by its own word, and Slot.Top is no
// more than where to look first.
//
// The region of frames is inherited by fork: a child returns through it.
type GraphFrame struct {
	// Place is where the return address stood, and the thunk's stands now. 0: free. Odd:
	// not to be taken and not over.
	Place  uint64
	Return uint64 // the return address. Stays when the frame is free
	Stub   uint64 // address of the stub's words
	Slot   uint64 // address of the thread's slot
	R11    uint64 // for the exit
	_      [24]byte
}

const (
	graphFrameShift = 6
	graphFrameSize  = 1 << graphFrameShift
	graphAreaShift  = 16
	// GraphFrames is how many frames an area has, besides one that stays odd: its end.
	GraphFrames = 1<<(graphAreaShift-graphFrameShift) - 1
	// GraphPool is the size of all areas, and of what is behind them: frames for threads
	// whose area is full, as that of a deep recursion is. There they may meet.
	GraphPool      = SlotCount << graphAreaShift
	graphPoolShift = SlotBits + graphAreaShift
	// GraphRegion is the size of the region of frames, and of that of thunks, which is
	// as far below it. They are aligned to it. The last frame of all stays odd.
	GraphRegion      = 2 * GraphPool
	graphRegionShift = graphPoolShift + 1
	// GraphSearch bounds how many frames a call looks at that finds none at Slot.Top.
	GraphSearch = 256
)

// ThunkReturn is the offset in a thunk that its body returns to.
const ThunkReturn = 9

// thunkExit is where the address of the exit's code stands in a thunk.
const thunkExit = 56

// thunk is the code of all thunks: a thunk and its frame have one distance. At its start
// the stack pointer is what it is when the body has returned, and below it stand the
// function's r11 and the address of its body, where signals leave them alone (the red
// zone, System V ABI, AMD64 supplement, 3.2.2).
var thunk = [graphFrameSize]byte{
	0x4c, 0x8b, 0x5c, 0x24, 0xf0, // mov r11, [rsp-16]
	0xff, 0x54, 0x24, 0xe8, // call [rsp-24]
	0x4c, 0x89, 0x1d, // mov [rip+frame.R11], r11
	byte(thunkR11 & 0xff), byte(thunkR11 >> 8 & 0xff), byte(thunkR11 >> 16 & 0xff), byte(thunkR11 >> 24 & 0xff),
	0x4c, 0x8d, 0x1d, // lea r11, [rip+frame]
	byte(thunkFrame & 0xff), byte(thunkFrame >> 8 & 0xff), byte(thunkFrame >> 16 & 0xff), byte(thunkFrame >> 24 & 0xff),
	0xff, 0x25, thunkExit - 29, 0, 0, 0, // jmp [rip+exit]
	0xcc, 0xcc, 0xcc,
}

// Displacements in it: from the end of the instruction to the frame.
const (
	thunkR11   = GraphRegion - 16 + 4*8
	thunkFrame = GraphRegion - 23
)

// Thunks returns size bytes of thunks that lead to the exit's code at an address.
func Thunks(size int, exit uint64) []byte {
	b := make([]byte, 0, size)
	for len(b) < size {
		b = append(b, thunk[:]...)
		for i := range 8 {
			b[len(b)-graphFrameSize+thunkExit+i] = byte(exit >> (8 * i))
		}
	}
	return b
}

// Fill puts the address of the region of thunks into code, a copy of Blob.Code.
func (g Graph) Fill(code []byte, thunks uint64) {
	for i := range 8 {
		code[g.Thunks+uint64(i)] = byte(thunks >> (8 * i))
	}
}
