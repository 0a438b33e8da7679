package session

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"nopal/internal/entry"
	"nopal/internal/ftrace"
	"nopal/internal/ring"
	"nopal/internal/sys"
	"nopal/internal/tracee"
)

// mapFixed replaces what is mapped at an address: MAP_FIXED (asm-generic/mman-common.h).
const mapFixed = 0x10

// child is the target for a process that t has forked: the same objects at the
// same places, with the sites as they are.
func (t *target) child(p *tracee.Process) *target {
	c := &target{
		rec: t.rec, pid: p.Pid(), p: p, mem: p.Memory(), attached: true, blob: t.blob, page: t.page,
		machine: t.machine, graph: t.graph.inherit(), objects: map[key]*object{}, nested: t.nested, skipped: maps.Clone(t.skipped), former: map[key]*object{}, index: t.index,
		profile: t.profile.inherit(), hook: t.hook, rdebug: t.rdebug, probes: t.probes, reads: t.reads, unguarded: t.unguarded,
	}
	table, traced := t.table.Clone()
	c.table = table
	for k, o := range t.objects {
		inherited := *o
		inherited.written = false
		inherited.noted = slices.Clone(o.noted)
		inherited.own = inheritOwn(o.own)
		inherited.rules = inheritRules(o.rules)
		inherited.traced = traced[o.traced]
		inherited.traced.Names = &inherited
		c.objects[k] = &inherited
	}
	return c
}

// installChild gives the stopped child of an installed parent a ring of its own, in
// the place of its parent's. Its instructions and islands are copies of the
// parent's already, and its control block was wiped by the fork.
func (t *target) installChild(ctx context.Context, parent *target, state ring.State) error {
	t.ringAddr, t.control, t.controlSize = state.Addr, state.Control, state.ControlSize
	t.tidOffset, t.shadow, t.forbidden = parent.tidOffset, parent.shadow, parent.forbids()
	file, fd, err := t.makeMemfd(ctx, memfdName)
	if err != nil {
		return err
	}
	defer file.Close()
	r, err := t.formatRing(file)
	if err != nil {
		return err
	}
	if err := r.AddJournal(state.Journal); err != nil {
		return err
	}
	for _, i := range state.Islands {
		if err := r.AddIsland(i.Addr, i.Size); err != nil {
			return err
		}
	}
	if err := t.mmapStopped(ctx)(t.ringAddr, r.Header().Size, sys.ProtRead|sys.ProtWrite, sys.MapShared|mapFixed|sys.MapNoReserve, fd); err != nil {
		return err
	}
	if err := t.p.CloseFD(ctx, fd); err != nil {
		return err
	}
	t.ring = r
	if t.rec.o.Populate {
		t.populate(ctx)
	}
	t.inheritTriggers(parent)
	t.inheritInject(parent)
	t.drainer = ring.NewDrainer(r, t.sink(), t.rec.o.Overwrite)
	if err := t.write(t.all()); err != nil {
		return err
	}
	if err := t.markShadow(); err != nil {
		return err
	}
	if err := t.writeControl(); err != nil {
		return err
	}
	if err := t.mapProfileChild(ctx); err != nil {
		return err
	}
	if err := t.inheritedOwn(); err != nil {
		return err
	}
	if err := t.tellInject(); err != nil {
		return err
	}
	t.installed = true
	t.serve()
	return nil
}

// inherits reports whether the sites of a forked child are written: it may have been
// forked before they were.
func (t *target) inherits(state ring.State) bool {
	text := ftrace.LiveText{Memory: t.mem}
	islands := ftrace.Islands{List: state.Islands, Text: text}
	for _, e := range state.Journal {
		if site, ok, err := t.machine.Site(text, islands, e); ok && err == nil {
			return site.Prepared
		}
	}
	return len(state.Journal) > 0
}

// inside is a thread's id as the target itself sees it, in its own namespace.
func (t *target) inside(tid int) uint32 {
	if !t.nested {
		return uint32(tid)
	}
	id, err := tracee.NSTid(t.pid, tid)
	if err != nil {
		return uint32(tid) // gone
	}
	return id
}

// bury makes the slot of a thread that is gone free for others.
func (t *target) bury(slot int) error {
	if err := t.disownShadow(slot); err != nil {
		return err
	}
	const key = 16 // its offset in entry.Slot
	at := t.control + entry.ControlSize + uint64(slot)<<entry.SlotShift
	var tombstone [8]byte
	binary.LittleEndian.PutUint64(tombstone[:], entry.KeyTombstone)
	// The key goes last: from then on another thread may take the slot.
	for _, w := range []struct {
		off  uint64
		data []byte
	}{{0, make([]byte, key)}, {key + 8, make([]byte, 1<<entry.SlotShift-key-8)}, {key, tombstone[:]}} {
		if _, err := t.mem.WriteAt(w.data, int64(at+w.off)); err != nil {
			return fmt.Errorf("free thread slot: %w", err)
		}
	}
	return nil
}

// closeRing hands on what is left in the ring and lets go of it.
func (t *target) closeRing() error {
	if t.ring == nil {
		return nil
	}
	if err := t.closeProfile(); err != nil {
		return err
	}
	t.rec.w.Patient(true)
	defer t.rec.w.Patient(false)
	noSlot, err := t.drainer.Close()
	if err == nil && noSlot > 0 {
		err = t.sink().Lost(0, 0, noSlot)
	}
	mem := t.ring.Memory()
	t.ring, t.drainer, t.installed = nil, nil, false
	if e := sys.Unmap(mem); err == nil && e != nil {
		err = fmt.Errorf("unmap ring: %w", e)
	}
	return err
}
