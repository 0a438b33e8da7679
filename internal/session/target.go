package session

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"nopal/internal/entry"
	"nopal/internal/ftrace"
	"nopal/internal/ring"
	"nopal/internal/tracee"
)

// memfdName names the ring in the target; the kernel shows it as memfdPrefix.
const (
	memfdName   = "nopal"
	memfdPrefix = "/memfd:nopal"
	// patchPrefix is what the state of live patches is mapped from: not a recording's.
	patchPrefix = memfdPrefix + "-patch"
)

// target is one program in one process.
type target struct {
	rec      *recorder
	proc     uint32 // its number in the recording
	pid      int
	comm     string
	p        *tracee.Process
	mem      *tracee.Memory
	attached bool // ptraced

	machine    machine
	blob       entry.Blob
	graph      graphRegion
	page       uint64
	nested     bool // in a pid namespace of its own
	objects    map[key]*object
	table      *ftrace.Table
	index      uint64 // next free code position
	skipped    map[key]bool
	former     map[key]*object // unmapped since
	hook       ftrace.Hook     // what is changed of the loader's
	hookIsland uint64          // and the copy of the entry code that it leads to
	rdebug     uint64

	profile     *profile // nil: none is kept
	still       stillness
	installed   bool
	ring        *ring.Ring
	drainer     *ring.Drainer
	ringAddr    uint64
	control     uint64
	controlSize uint64
	tidOffset   uint64 // as in entry.Control
	traceOff    bool   // recording was switched off when it was last looked at
	shadow      uint64 // the region of shadow stacks; 0: none
	shadowState shadowState
	refineAt    time.Time // when to look for it again, and how long to wait then
	refineWait  time.Duration
	stacks      map[uint32]bool // streams whose stacks have been looked for
	probes      uint32          // probe numbers given
	untold      map[uint32]untold
	reads       bool      // there are probes that read memory
	readsAt     time.Time // when to look again whether they may
	forbidden   bool      // they may not any more
	guards      []guard
	inject      *injection
	unguarded   error // why a filter of system calls would not be noticed in time
}

// newTarget plans nothing yet. mem is the process's memory; p is set when it is attached.
func newTarget(rec *recorder, pid int, mem *tracee.Memory) (*target, error) {
	blob, err := rec.code()
	if err != nil {
		return nil, err
	}
	aux, err := tracee.Auxv(pid)
	if err != nil {
		return nil, err
	}
	t := &target{
		rec: rec, pid: pid, mem: mem, machine: native(), blob: blob, page: aux.PageSize(),
		objects: map[key]*object{}, skipped: map[key]bool{}, former: map[key]*object{}, index: entry.FirstIndex,
	}
	t.table = &ftrace.Table{Method: t.machine.Method}
	if id, err := tracee.NSTid(pid, pid); err == nil {
		t.nested = id != uint32(pid)
	}
	t.table.SetOff(rec.off)
	for _, op := range rec.ops() {
		if _, err := t.table.Register(op); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// attach makes p the target's process under control.
func (t *target) attach(p *tracee.Process) {
	t.p, t.mem, t.attached = p, p.Memory(), true
}

// text is the memory that code is written through. Where the kernel does not let it be
// written through /proc/PID/mem, ptrace can while the process is attached and stopped.
func (t *target) text() ftrace.Memory {
	if t.attached {
		return t.p
	}
	return t.mem
}

// plan finds the objects that are mapped now and forgets those that are not. It
// returns the new ones that have functions to trace. Threads may run.
func (t *target) plan() ([]*object, error) {
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return nil, err
	}
	if len(maps) == 0 {
		return nil, fmt.Errorf("process %d: %w", t.pid, tracee.ErrExited)
	}
	if t.inject != nil {
		t.inject.callers = nil // what was mapped since may call, too
	}
	here := map[key]bool{}
	var fresh []*object
	for _, o := range t.rec.cache.scan(t.pid, maps) {
		here[o.key()] = true
		if t.objects[o.key()] != nil || t.skipped[o.key()] {
			continue
		}
		if f := t.former[o.key()]; f != nil && f.im == o.im && f.bias == o.bias && f.end == o.end {
			// Back where it was, where its trampolines and code positions still are.
			o.index, o.exitIndex, o.island, o.islandSize, o.written, o.noted, o.own, o.rules = f.index, f.exitIndex, f.island, f.islandSize, f.written, f.noted, f.own, f.rules
		}
		o.traced = &ftrace.Object{Path: o.path, Names: o, Records: o.records(), PrepareAll: t.rec.o.PrepareAll}
		o.wanted = t.table.Add(o.traced)
		t.planExits(o)
		t.planOwn(o)
		t.planInject(o)
		if size := t.islandNeed(o); size > o.islandSize {
			o.island, o.islandSize = 0, size
		}
		t.setTrampolines(o)
		t.rec.saw(o)
		if o.wanted == 0 && !t.rec.o.Stack {
			t.table.Remove(o.traced)
			t.skipped[o.key()] = true
			continue
		}
		if err := t.place(o); err != nil {
			t.table.Remove(o.traced)
			t.skipped[o.key()] = true
			t.rec.warn("%v", err)
			continue
		}
		t.objects[o.key()] = o
		if o.wanted > 0 {
			fresh = append(fresh, o)
		}
	}
	for k, o := range t.objects {
		if !here[k] {
			t.forget(o)
		}
	}
	for k := range t.skipped {
		if !here[k] {
			delete(t.skipped, k)
		}
	}
	return fresh, nil
}

// place gives the object its code positions.
func (t *target) place(o *object) error {
	if o.index != 0 {
		return nil
	}
	n := (o.end - o.start) / 4
	all, most := n, "512 MiB"
	if t.rec.exits() {
		all, most = 2*n, "256 MiB, and 256 MiB of exits,"
	}
	if t.index+all > 1<<(64-entry.WordIndexShift) {
		return fmt.Errorf("%s: not traced: more than %s of code in one process", o.path, most)
	}
	o.index = t.index
	if t.rec.exits() {
		o.exitIndex = o.index + n
	}
	t.index += all
	return nil
}

// forget drops an object that the target has unmapped. Its entries in the journal
// stay: a forked child that shares it may have the object still.
func (t *target) forget(o *object) {
	delete(t.objects, o.key())
	t.table.Remove(o.traced)
	t.former[o.key()] = o
}

// write enters the objects' functions and places into the recording.
func (t *target) write(objects []*object) error {
	for _, o := range objects {
		if o.written {
			continue
		}
		if err := t.rec.object(t, o); err != nil {
			return err
		}
		o.written = true
	}
	return nil
}

// remoteMap maps memory in the target at a fixed address.
type remoteMap func(addr, size uint64, prot, flags, fd int) error

// islands gives each object its copy of the entry code.
func (t *target) islands(objects []*object, mmap remoteMap) error {
	for _, o := range objects {
		if o.island != 0 || o.wanted == 0 {
			continue
		}
		maps, err := tracee.Maps(t.pid)
		if err != nil {
			return err
		}
		first, last := o.span()
		addr, err := t.noteIsland(maps, o.islandSize, first, last)
		if err != nil {
			t.drop(o, err)
			continue
		}
		if err := t.makeIsland(o, addr, mmap); err != nil {
			return fmt.Errorf("map trampolines for %s: %w", o.path, err)
		}
	}
	return nil
}

// islandNeed is what an object's island takes, in whole pages.
func (t *target) islandNeed(o *object) uint64 {
	return (t.ownOffset(o) + uint64(o.ownSize) + t.page - 1) &^ (t.page - 1)
}

// noteIsland finds a place in reach of [first, last) and notes it in the ring, before
// anything is there: unmapping what is not there does no harm.
func (t *target) noteIsland(maps []tracee.Mapping, size, first, last uint64) (uint64, error) {
	addr, err := findGap(maps, size, t.page, first, last, t.machine.Reach())
	if err != nil {
		return 0, err
	}
	return addr, t.ring.AddIsland(addr, size)
}

// makeIsland maps and fills what noteIsland has noted.
func (t *target) makeIsland(o *object, addr uint64, mmap remoteMap) error {
	if err := mmap(addr, o.islandSize, protReadExec, mapIsland, -1); err != nil {
		return err
	}
	return t.fillIsland(o, addr)
}

// drop leaves an object out with a reason.
func (t *target) drop(o *object, why error) {
	t.rec.warn("%s: not traced: %v", o.path, why)
	t.forget(o)
	t.skipped[o.key()] = true
}

// span is from the first traced site of o to behind the last.
func (o *object) span() (first, last uint64) {
	first, last = o.start, o.start
	some := false
	for i := range o.traced.Records {
		if r := &o.traced.Records[i]; o.traced.Wants(r) {
			if !some {
				first, some = r.Addr, true
			}
			last = r.Body
		}
	}
	return first, last
}

// fillIsland copies the entry code and its literals to addr.
func (t *target) fillIsland(o *object, addr uint64) error {
	code := append([]byte(nil), t.blob.Code...)
	t.blob.Fill(code, entry.Literals{
		Table: t.control + entry.ControlSize, Index: o.index<<entry.WordIndexShift - o.start<<(entry.WordIndexShift-2),
		Action: t.rec.action(), RDebug: t.rdebug,
		Reserved: entry.WordReserved<<entry.WordIndexShift | entry.RegsRecord,
		Record:   entry.WordRecord<<entry.WordIndexShift | entry.RecordRegs | entry.RegsRecord,
		Reserve:  addr + t.blob.Reserve, Stacks: t.shadow,
	})
	if err := t.fillGraph(code, addr); err != nil {
		return err
	}
	if _, err := t.text().WriteAt(code, int64(addr)); err != nil {
		return fmt.Errorf("write trampolines at %#x: %w", addr, err)
	}
	o.island = addr
	t.setTrampolines(o)
	return nil
}

// isOurs reports whether an address lies in an island of the target.
func isOurs(islands []entry.IslandEntry, addr uint64) bool {
	for _, i := range islands {
		if addr-i.Addr < i.Size {
			return true
		}
	}
	return false
}

// name is how messages call the target.
func (t *target) name() string {
	if exe, err := tracee.Exe(t.pid); err == nil {
		return filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
	}
	return fmt.Sprintf("process %d", t.pid)
}
