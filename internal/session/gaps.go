package session

import (
	"fmt"
	"strings"

	"nopal/internal/arch/arm64"
	"nopal/internal/tracee"
)

// Room that is left free around what grows: the heap upwards, stacks downwards.
const (
	heapRoom  = 1 << 30
	stackRoom = 256 << 20
	lowest    = 0x10000 // vm.mmap_min_addr on Debian's arm64
)

// findGap returns the address of size free bytes from which all of [start, end) is
// in reach of a branch and the other way round, as near below start as possible;
// above it where there is nothing below.
func findGap(maps []tracee.Mapping, size, page, start, end uint64) (uint64, error) {
	const reach = arm64.BranchReach - 1<<16
	// The address space ends somewhere behind the last mapping; 39 to 52 bits are
	// in use, so nothing is looked for there.
	low, high := uint64(lowest), start+reach
	if end > reach {
		low = max(low, end-reach)
	}
	size = (size + page - 1) &^ (page - 1)

	best, found := uint64(0), false
	distance := func(a uint64) uint64 {
		if a < start {
			return start - a
		}
		return a - start + reach // below is better: nothing grows downwards into an object
	}
	try := func(from, to uint64) {
		from, to = (max(from, low)+page-1)&^(page-1), min(to, high)&^(page-1)
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
	for _, m := range maps {
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
	if !found {
		return 0, fmt.Errorf("no free memory within %d MiB of the text at %#x-%#x for the trampolines", arm64.BranchReach>>20, start, end)
	}
	return best, nil
}

// findRoom returns the address of size free bytes that are in nobody's way: in the
// middle of the largest gap.
func findRoom(maps []tracee.Mapping, size uint64) (uint64, error) {
	const align = 1 << 21
	var at, from, to uint64 = lowest, 0, 0
	for _, m := range maps {
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
