package ring

import (
	"fmt"
	"sync/atomic"

	"nopal/internal/entry"
)

// JournalEntry says which instructions of the target are changed and what they
// were. It is written before the change: whoever finds the target later puts
// back what it finds changed and leaves alone what it finds as it was.
type JournalEntry struct {
	Addr uint64    // of the first instruction; 0: a forgotten entry
	Old  [2]uint32 // Old[1] == 0: one instruction only
}

// AddJournal appends entries.
func (r *Ring) AddJournal(entries []JournalEntry) error {
	n := r.header.JournalLen
	if uint64(len(entries)) > r.header.JournalCap-n {
		return fmt.Errorf("journal of %d changes is full", r.header.JournalCap)
	}
	copy(journalOf(r.mem[r.header.JournalOff:], r.header.JournalCap)[n:], entries)
	atomic.StoreUint64(&r.header.JournalLen, n+uint64(len(entries)))
	return nil
}

// Journal returns the entries, in shared memory.
func (r *Ring) Journal() []JournalEntry {
	n := min(atomic.LoadUint64(&r.header.JournalLen), r.header.JournalCap)
	return journalOf(r.mem[r.header.JournalOff:], r.header.JournalCap)[:n]
}

// AddIsland notes a mapping of ours in the target, before it is filled.
func (r *Ring) AddIsland(addr, size uint64) error {
	n := r.header.IslandCount
	if n >= uint64(len(r.header.Islands)) {
		return fmt.Errorf("note island at %#x: %d islands are there already", addr, n)
	}
	r.header.Islands[n] = entry.IslandEntry{Addr: addr, Size: size}
	atomic.StoreUint64(&r.header.IslandCount, n+1)
	return nil
}

// Islands returns our mappings in the target.
func (r *Ring) Islands() []entry.IslandEntry {
	n := min(atomic.LoadUint64(&r.header.IslandCount), uint64(len(r.header.Islands)))
	return r.header.Islands[:n]
}
