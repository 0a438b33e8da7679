package session

import (
	"encoding/binary"
	"fmt"

	"nopal/internal/entry"
	"nopal/internal/tracee"
)

// mainStackSize is how far down the main thread's stack is taken to reach: it grows
// when it is used, and nothing else is mapped in its way (mmap_base in
// arch/arm64/mm/mmap.c keeps at least 128 MiB).
const mainStackSize = 64 << 20

// mainStack returns where the main thread's stack lies.
func (t *target) mainStack() (low, high uint64, err error) {
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return 0, 0, err
	}
	for _, m := range maps {
		if m.Path == "[stack]" {
			return m.End - mainStackSize, m.End, nil
		}
	}
	return 0, 0, nil
}

// findStacks tells threads that are new which memory is their stack: the C library
// keeps the thread block, which the thread pointer points to, at its upper end. Until
// then their stack records end at the page that holds sp.
func (t *target) findStacks() error {
	var fresh []int
	for slot, stream := range t.ring.Streams() {
		if !t.stacks[stream] {
			fresh = append(fresh, slot)
			if t.stacks == nil {
				t.stacks = map[uint32]bool{}
			}
			t.stacks[stream] = true
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	table, err := t.slots()
	if err != nil {
		return err
	}
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return err
	}
	for _, slot := range fresh {
		at := slot << entry.SlotShift
		pointer := binary.LittleEndian.Uint64(table[at+16:]) &^ 1
		m, ok := mappingAt(maps, pointer)
		low, high := m.Start, pointer
		// The main thread's block is not on its stack, and what is below may be anybody's.
		if binary.LittleEndian.Uint32(table[at+28:]) == t.inside(t.pid) {
			low, high, ok = t.ownMainStack()
		}
		if !ok || pointer == 0 || t.callsBodies() && !isGuarded(maps, low) {
			continue
		}
		var b [16]byte
		binary.LittleEndian.PutUint64(b[0:], low)
		binary.LittleEndian.PutUint64(b[8:], high)
		if _, err := t.mem.WriteAt(b[:], int64(t.control+entry.ControlSize+uint64(at)+32)); err != nil {
			return fmt.Errorf("write thread slot: %w", err)
		}
	}
	return nil
}
