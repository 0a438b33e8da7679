package session

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"

	"nopal/internal/arch/amd64"
	"nopal/internal/entry"
	"nopal/internal/ftrace"
	"nopal/internal/ring"
	"nopal/internal/tracee"
)

// A program's unwinder asks _Unwind_Find_FDE what function an address belongs to. To have
// it know the thunks, and our code that a signal may interrupt, that function begins with
// ours (entry.Graph.Find). __register_frame would do the same from inside; but it takes a
// lock and memory, so nobody could call it in a process that was stopped anywhere.

// finder is what stands in front of an unwinder's function.
type finder struct {
	at   uint64 // the code; the table behind it
	size uint64
	fdes [3]uint64 // of thunks, entry code and stubs
	n    int       // entries of the table
	in   map[uint64]bool
}

const (
	findEntrySize = 24
	finderTable   = 12 << 10 // bytes
	finderCFI     = 8 << 10
)

// hookUnwinders gives every unwinder that the target has mapped, and has not been seen, a
// finder. None of its threads is in one of these functions: it is stopped, or they are
// being loaded. stopped tells which.
func (t *target) hookUnwinders(mmap remoteMap, stopped bool) error {
	if t.graph.thunks == 0 {
		return nil
	}
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return err
	}
	for _, o := range t.rec.cache.scan(t.pid, maps) {
		id := fmt.Sprintf("%s@%x", o.path, o.bias)
		if t.graph.known[id] {
			continue
		}
		if t.graph.known == nil {
			t.graph.known = map[string]bool{}
		}
		t.graph.known[id] = true
		if strings.Contains(filepath.Base(o.path), "greenlet") {
			t.refuseGraph(fmt.Sprintf("%s copies stacks", o.path))
			continue
		}
		va, err := o.im.Unwinder()
		if err == nil && va == 0 {
			continue
		}
		if err == nil {
			err = t.hookUnwinder(maps, va+o.bias, mmap, stopped)
		}
		if err != nil && notThere(err) {
			return err
		}
		if err != nil {
			t.refuseGraph(fmt.Sprintf("exceptions would not get through: %v", err))
		}
	}
	return t.tellFinders()
}

// readyGraph is the last before the sites of objects are written in a stopped target.
func (t *target) readyGraph(ctx context.Context, objects []*object) error {
	if err := t.hookUnwinders(t.mmapStopped(ctx), true); err != nil {
		return err
	}
	if err := t.refuseProbed(objects); err != nil {
		return err
	}
	for _, o := range objects {
		t.setTrampolines(o) // it may have been refused
	}
	return nil
}

// refuseProbed has entries recorded only where somebody else has breakpoints in functions:
// the kernel's probes of returns change return addresses, too.
func (t *target) refuseProbed(objects []*object) error {
	if !t.callsBodies() {
		return nil
	}
	text := ftrace.BatchText{Memory: t.mem}
	for _, o := range objects {
		for i := range o.traced.Records {
			r := &o.traced.Records[i]
			if r.Prepared() {
				continue
			}
			b, err := text.LoadBytes(r.Addr, 1)
			if err != nil {
				return err
			}
			if byte(b) == amd64.Breakpoint {
				t.refuseGraph(fmt.Sprintf("there is a breakpoint in %s, of a debugger or an uprobe", o.traced.Name(r)))
				return nil
			}
		}
	}
	return nil
}

// hookUnwinder puts a finder in front of the function at an address.
func (t *target) hookUnwinder(maps []tracee.Mapping, function uint64, mmap remoteMap, stopped bool) error {
	d, err := ftrace.FindDetour(&ftrace.BatchText{Memory: t.mem}, function)
	if err != nil {
		return err
	}
	g := t.blob.Graph
	code := append([]byte(nil), t.blob.Code[g.Find:g.FindTable]...)
	f := finder{size: uint64(len(code)) + finderTable + finderCFI, in: map[uint64]bool{}}
	f.size = (f.size + t.page - 1) &^ (t.page - 1)
	if f.at, err = t.noteIsland(maps, f.size, d.At, d.At+8); err != nil {
		return err
	}
	gone := f.at + g.FindGone - g.Find
	moved, err := d.Moved(gone)
	if err != nil {
		return err
	}
	if len(moved) > entry.FindGoneSize {
		return fmt.Errorf("%d bytes at %#x are too many to be moved", len(moved), d.At)
	}
	copy(code[g.FindGone-g.Find:], moved)
	var cfi entry.CFI
	base := f.at + uint64(len(code)) + finderTable
	for i, fde := range []int{cfi.AddThunks(t.graph.thunks), cfi.AddCode(t.blob, 0), cfi.AddStubs(0, 1<<31)} {
		f.fdes[i] = base + uint64(fde)
	}
	data := cfi.Bytes()
	if len(data) > finderCFI {
		return fmt.Errorf("%d bytes of call frame information", len(data))
	}
	if err := mmap(f.at, f.size, protReadExec, mapIsland, -1); err != nil {
		return err
	}
	if err := t.writeIsland(f.at, code); err != nil {
		return err
	}
	if err := t.writeIsland(base, data); err != nil {
		return err
	}
	if err := t.tellFinder(&f); err != nil {
		return err
	}
	if err := t.ring.AddJournal([]ring.JournalEntry{d.Journal()}); err != nil {
		return err
	}
	if stopped {
		if err := t.moveBack(d.Inside(gone)); err != nil {
			return err
		}
	}
	if err := d.Put(ftrace.LiveText{Memory: t.text()}, f.at); err != nil {
		return err
	}
	t.graph.finders = append(t.graph.finders, f)
	return nil
}

// tellFinders enters what is new of our code into the tables.
func (t *target) tellFinders() error {
	for i := range t.graph.finders {
		if err := t.tellFinder(&t.graph.finders[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t *target) tellFinder(f *finder) error {
	add := func(e entry.FindEntry) error {
		if f.in[e.Start] || e.Size == 0 {
			return nil
		}
		at := f.at + t.blob.Graph.FindTable - t.blob.Graph.Find + uint64(f.n)*findEntrySize
		if uint64(f.n+2)*findEntrySize > finderTable {
			return nil // what interrupts the code of that object cannot be unwound
		}
		// The address goes last: with it the entry counts.
		var rest [16]byte
		binary.LittleEndian.PutUint64(rest[:], e.Size)
		binary.LittleEndian.PutUint64(rest[8:], e.FDE)
		if err := t.writeIsland(at+8, rest[:]); err != nil {
			return err
		}
		var start [8]byte
		binary.LittleEndian.PutUint64(start[:], e.Start)
		if err := t.writeIsland(at, start[:]); err != nil {
			return err
		}
		f.n++
		f.in[e.Start] = true
		return nil
	}
	if err := add(entry.FindEntry{Start: t.graph.thunks, Size: entry.GraphRegion, FDE: f.fdes[0]}); err != nil {
		return err
	}
	for _, at := range t.graph.copies {
		if err := add(entry.FindEntry{Start: at, Size: uint64(len(t.blob.Code)), FDE: f.fdes[1]}); err != nil {
			return err
		}
	}
	for _, o := range t.all() {
		if o.island == 0 {
			continue
		}
		if err := add(entry.FindEntry{Start: o.island + t.stubsOffset(), Size: o.stubs, FDE: f.fdes[2]}); err != nil {
			return err
		}
	}
	return nil
}
