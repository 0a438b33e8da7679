package tracee

import "strings"

// Room that is left free around what grows: the heap upwards, stacks downwards.
const (
	heapRoom  = 1 << 30
	stackRoom = 256 << 20
)

// FindGap returns the address of size free bytes within [low, high), a multiple of
// align, as near to near as possible, and not where the heap or a stack will grow to.
func FindGap(maps []Mapping, size, align, low, high, near uint64) (uint64, bool) {
	best, found := uint64(0), false
	distance := func(a uint64) uint64 {
		if a < near {
			return near - a
		}
		return a - near
	}
	try := func(from, to uint64) {
		from, to = (max(from, low)+align-1)&^(align-1), min(to, high)&^(align-1)
		if from >= to || to-from < size {
			return
		}
		for _, a := range []uint64{(to - size) &^ (align - 1), from} {
			if a >= from && a+size <= to && (!found || distance(a) < distance(best)) {
				best, found = a, true
			}
		}
	}
	at := uint64(0)
	for _, m := range maps {
		to := m.Start
		if strings.HasPrefix(m.Path, "[stack") {
			to -= min(to, stackRoom)
		}
		try(at, to)
		at = m.End
		if m.Path == "[heap]" {
			at += heapRoom
		}
	}
	// The address space ends somewhere behind the last mapping; 39 to 52 bits are in
	// use, so nothing is looked for there.
	return best, found
}
