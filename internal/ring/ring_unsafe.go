package ring

import (
	"unsafe"

	"nopal/internal/entry"
)

const (
	sizeofHeader  = uint64(unsafe.Sizeof(entry.RingHeader{}))
	sizeofStat    = uint64(unsafe.Sizeof(entry.SlotStat{}))
	sizeofJournal = uint64(unsafe.Sizeof(JournalEntry{}))
)

// The views below are of a mapping, which is page-aligned and outlives them.

func headerOf(mem []byte) *entry.RingHeader {
	return (*entry.RingHeader)(unsafe.Pointer(unsafe.SliceData(mem)))
}

func wordsOf(mem []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(mem))), len(mem)/8)
}

func linksOf(mem []byte, n uint64) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(mem))), n)
}

func statsOf(mem []byte) []entry.SlotStat {
	return unsafe.Slice((*entry.SlotStat)(unsafe.Pointer(unsafe.SliceData(mem))), entry.SlotCount)
}

func journalOf(mem []byte, n uint64) []JournalEntry {
	return unsafe.Slice((*JournalEntry)(unsafe.Pointer(unsafe.SliceData(mem))), n)
}
