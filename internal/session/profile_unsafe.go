package session

import (
	"unsafe"

	"nopal/internal/entry"
)

// profileHeader is the header at the start of mem.
func profileHeader(mem []byte) *entry.ProfileHeader {
	return (*entry.ProfileHeader)(unsafe.Pointer(&mem[0]))
}

// profileLinks and profileLookup are n entries at the start of mem.
func profileLinks(mem []byte, n uint64) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(&mem[0])), n)
}

func profileLookup(mem []byte, n uint64) []entry.ProfileLookup {
	return unsafe.Slice((*entry.ProfileLookup)(unsafe.Pointer(&mem[0])), n)
}

// Offsets of fields that are written one by one.
const (
	controlStacks = uint64(unsafe.Offsetof(entry.Control{}.Stacks))
	slotOwner     = uint64(unsafe.Offsetof(entry.ProfileSlot{}.Owner))
)

// profileFrames are the frames that mem is.
func profileFrames(mem []byte) []entry.ProfileFrame {
	return unsafe.Slice((*entry.ProfileFrame)(unsafe.Pointer(&mem[0])), len(mem)/entry.ProfileFrameSize)
}

const sizeofLookup = uint64(unsafe.Sizeof(entry.ProfileLookup{}))
