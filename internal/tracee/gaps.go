package tracee

import (
	"fmt"
	"strings"
)

// Room that is left free around what grows: the heap upwards, stacks downwards.
const (
	heapRoom  = 1 << 30
	stackRoom = 256 << 20
	lowest    = 0x10000 // vm.mmap_min_addr on Debian's arm64
)

// FindGap returns the address of size free bytes, a multiple of align, from which all of
// [start, end) is less than reach away and the other way round, as near below start as
// possible; above it where there is nothing below.
func FindGap(maps []Mapping, size, align, start, end, reach uint64) (uint64, bool) {
	// The address space ends somewhere behind the last mapping; 39 to 52 bits are
	// in use, so nothing is looked for there.
	low, high := uint64(lowest), start+reach
	if end > reach {
		low = max(low, end-reach)
	}
	size = (size + align - 1) &^ (align - 1)

	best, found := uint64(0), false
	distance := func(a uint64) uint64 {
		if a < start {
			return start - a
		}
		return a - start + reach // below is better: nothing grows downwards into an object
	}
	try := func(from, to uint64) {
		from, to = (max(from, low)+align-1)&^(align-1), min(to, high)&^(align-1)
		if from >= to || to-from < size {
			return
		}
		for _, a := range []uint64{to - size, from} {
			if a >= from && a+size <= to && (!found || distance(a) < distance(best)) {
				best, found = a, true
			}
		}
	}
	at := uint64(0)
	for _, m := range own(maps) {
		from, to := at, m.Start
		if strings.HasPrefix(m.Path, "[stack") && to > stackRoom {
			to -= stackRoom
		}
		try(from, to)
		at = m.End
		if m.Path == "[heap]" {
			at += heapRoom
		}
	}
	return best, found
}

// own leaves out what is in the kernel's half of the address space, as [vsyscall] on
// x86-64: nothing can be mapped before that.
func own(maps []Mapping) []Mapping {
	for i, m := range maps {
		if m.Start >= 1<<63 {
			return maps[:i]
		}
	}
	return maps
}

// FindRoom returns the address of size free bytes that are in nobody's way: in the
// middle of the largest gap.
func FindRoom(maps []Mapping, size uint64) (uint64, error) {
	const align = 1 << 21
	var at, from, to uint64 = lowest, 0, 0
	for _, m := range own(maps) {
		if m.Start > at && m.Start-at > to-from {
			from, to = at, m.Start
		}
		at = m.End
	}
	if to-from < size+2*align {
		return 0, fmt.Errorf("no room for %d bytes in the address space", size)
	}
	return (from + (to-from)/2 - size/2) &^ (align - 1), nil
}
