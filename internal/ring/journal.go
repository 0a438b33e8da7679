package ring

import (
	"fmt"
	"io"
	"slices"
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

// State is what whoever removes us from a target has to know. Unlike a [Ring] it is
// a copy, taken from the target's memory, and so needs no access to the file.
type State struct {
	Addr, Size           uint64 // of the ring in the target
	Control, ControlSize uint64
	Session              int // pid of the nopal that records or has recorded
	Islands              []entry.IslandEntry
	Journal              []JournalEntry
}

// State copies the ring's state; addr is where the target has mapped it.
func (r *Ring) State(addr uint64) State {
	h := r.header
	return State{
		Addr: addr, Size: h.Size, Control: h.Control, ControlSize: h.ControlSize,
		Session: int(atomic.LoadUint64(&h.Session)),
		Islands: slices.Clone(r.Islands()), Journal: slices.Clone(r.Journal()),
	}
}

// ReadState reads the state of a ring of size bytes at addr from a target's memory.
func ReadState(mem io.ReaderAt, addr, size uint64) (State, error) {
	head := make([]byte, sizeofHeader)
	if size < sizeofHeader {
		return State{}, ErrNotARing
	}
	if _, err := mem.ReadAt(head, int64(addr)); err != nil {
		return State{}, fmt.Errorf("read ring: %w", err)
	}
	h := *headerOf(head)
	if h.Magic != entry.RingMagic {
		return State{}, ErrNotARing
	}
	if h.Version != entry.RingVersion {
		return State{}, fmt.Errorf("%w of this version: it has version %d, this nopal knows %d", ErrNotARing, h.Version, entry.RingVersion)
	}
	if h.Size != size || h.JournalLen > h.JournalCap || h.JournalCap > JournalCap ||
		h.JournalOff > size || h.JournalCap*sizeofJournal > size-h.JournalOff || h.IslandCount > uint64(len(h.Islands)) {
		return State{}, fmt.Errorf("%w: its header is damaged", ErrNotARing)
	}
	s := State{
		Addr: addr, Size: size, Control: h.Control, ControlSize: h.ControlSize, Session: int(h.Session),
		Islands: slices.Clone(h.Islands[:h.IslandCount]),
	}
	if h.JournalLen > 0 {
		raw := make([]byte, h.JournalLen*sizeofJournal)
		if _, err := mem.ReadAt(raw, int64(addr+h.JournalOff)); err != nil {
			return State{}, fmt.Errorf("read journal: %w", err)
		}
		s.Journal = journalOf(raw, h.JournalLen)
	}
	return s, nil
}
