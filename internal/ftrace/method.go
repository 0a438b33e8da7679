package ftrace

import (
	"fmt"
	"iter"

	"nopal/internal/entry"
	"nopal/internal/ring"
)

// Method is how sites of an architecture are made to call code, and what may be changed
// there while threads run: [ARM64] and [AMD64].
//
// A site goes through the same stages everywhere. It is *looked* at; *stubs* are written
// for it where nobody runs yet; it is *prepared* while all threads stand and none is
// inside of it; then it is *armed*, made to call something else, and disarmed, as often as
// wanted, while everything runs; and *removed* while all threads stand. Removal knows of it
// what the journal in the target says and what it finds, nothing more.
type Method interface {
	// Reach is how far a branch gets, either way.
	Reach() uint64
	// Inside gives for each address inside of a site, where no thread may go on once it
	// is prepared, where it is to go on instead, to the same effect.
	Inside(r *Record) iter.Seq2[uint64, uint64]
	// Journal is what is to be noted before a site and its exits are changed.
	Journal(r *Record) []ring.JournalEntry
	// Hook finds what to change so that the loader's debugger hook, an empty function, leads
	// to us. loader is the code from which it is called.
	Hook(text Text, hook uint64, loader Span) (Hook, error)

	layoutStubs(o *Object) uint64
	look(text Text, r *Record) error
	stubsOf(t *Table, o *Object, r *Record, code []byte, literals func(r *Record) (entry, exit uint64), wrote func(off, size uint32)) error
	prepareSite(text Text, o *Object, r *Record) error
	prepareExits(text Text, o *Object, r *Record) error
	update(text Text, o *Object, r *Record, want uint64) error

	// Site says what became of the site that a journal entry is about. ok is false if it
	// is about something else.
	Site(text Text, islands Islands, e ring.JournalEntry) (state SiteState, ok bool, err error)
	// Disarm makes a site call nothing, while threads run, where that is of use to those
	// who put it back.
	Disarm(live Text, islands Islands, e ring.JournalEntry) error
	// Restore puts back what an entry of the journal is about, after Disarm, where it
	// holds what is ours. foreign says what is neither ours nor as it was.
	Restore(text Text, islands Islands, e ring.JournalEntry) (restored bool, foreign string, err error)
}

// MethodOf is the method of an architecture by Go's name of it.
func MethodOf(goarch string) Method {
	if goarch == "amd64" {
		return AMD64{}
	}
	return ARM64{}
}

// Span is a piece of memory.
type Span struct{ Start, End uint64 }

// SiteState is what a site looks like.
type SiteState struct {
	Prepared bool
	Target   uint64 // what it calls; 0: nothing
}

// Islands are our mappings in a target, and their memory.
type Islands struct {
	List []entry.IslandEntry
	Text Text
}

// Has reports whether an address lies in one of them.
func (i Islands) Has(addr uint64) bool {
	for _, m := range i.List {
		if addr-m.Addr < m.Size {
			return true
		}
	}
	return false
}

// Hook is what is changed so that the loader leads to us.
type Hook struct {
	Span    // in which all of it lies
	changes []hookChange
	inside  map[uint64]uint64
}

type hookChange struct {
	addr   uint64
	size   int
	old    uint64
	new    uint64
	encode func(from, to uint64) (uint64, error)
	entry  ring.JournalEntry
}

// None reports whether nothing is changed.
func (h *Hook) None() bool { return len(h.changes) == 0 }

// Lead makes it lead to the code at an address.
func (h *Hook) Lead(to uint64) error {
	for i := range h.changes {
		c := &h.changes[i]
		v, err := c.encode(c.addr, to)
		if err != nil {
			return err
		}
		c.new = v
	}
	return nil
}

// Journal is what is to be noted before.
func (h *Hook) Journal() []ring.JournalEntry {
	var entries []ring.JournalEntry
	for _, c := range h.changes {
		entries = append(entries, c.entry)
	}
	return entries
}

// Inside gives addresses as Method.Inside does.
func (h *Hook) Inside() map[uint64]uint64 { return h.inside }

// Put makes the changes. All threads have to be stopped, none inside.
func (h *Hook) Put(text Text) error {
	for _, c := range h.changes {
		if err := replace(text, "change the loader's debugger hook", c.addr, c.size, c.old, c.new); err != nil {
			return err
		}
	}
	return nil
}

// Trampolines are the addresses of the code in an object's island for one mode of
// recording; 0 for what the mode does not have. Sites call one of the first, the stubs
// of exits go to one of the others.
type Trampolines struct {
	Caller, RegsCaller uint64
	Root, Not          uint64 // where recording begins, and where it ends: subtrees
	Trigger            uint64
	Count              uint64 // for functions whose exits are not known
	// Called is that of them which returns to the stub of the site that it is called from,
	// where others are jumped to and know the way on.
	Called uint64

	ExitRet, ExitGen, ExitPushed uint64
}

// errNoHook says what is wrong with a hook.
func errNoHook(hook uint64) error {
	return fmt.Errorf("the loader's debugger hook at %#x is not an empty function", hook)
}
