package session

import (
	"fmt"

	"nopal/internal/tracee"
)

// findGap returns the address of size free bytes from which all of [start, end) is
// in reach of a branch and the other way round.
func findGap(maps []tracee.Mapping, size, page, start, end, reach uint64) (uint64, error) {
	const margin = 1 << 16
	at, ok := tracee.FindGap(maps, size, page, start, end, reach-margin)
	if !ok {
		return 0, fmt.Errorf("no free memory within %d MiB of the text at %#x-%#x for the trampolines", reach>>20, start, end)
	}
	return at, nil
}
