package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"nopal/internal/entry"
	"nopal/internal/ftrace"
	"nopal/internal/ring"
	"nopal/internal/sys"
	"nopal/internal/tracee"
)

const (
	protReadExec = sys.ProtRead | sys.ProtExec
	mapIsland    = sys.MapPrivate | sys.MapAnonymous | sys.MapFixedNoReplace
)

// loaderWait bounds how long the loader's thread waits for us after a dlopen.
const loaderWait = 4 * time.Second

// install makes the stopped target record the objects that plan found. Between
// mapping memory and writing instructions resume and stop, if not nil, let the
// threads run: what takes long is done there. On an error the target may be left
// with mappings of ours, which remove takes away; no instruction has been changed
// unless the error says so.
func (t *target) install(ctx context.Context, objects []*object, resume, stop func() error) error {
	if err := t.makeRing(ctx); err != nil {
		return fmt.Errorf("install in process %d: %w", t.pid, err)
	}
	if err := t.mapProfile(ctx); err != nil {
		return fmt.Errorf("install in process %d: %w", t.pid, err)
	}
	if err := t.mapInject(ctx); err != nil {
		return fmt.Errorf("install in process %d: %w", t.pid, err)
	}
	if err := t.findLoader(); err != nil {
		return fmt.Errorf("install in process %d: %w", t.pid, err)
	}
	mmap := t.mmapStopped(ctx)
	if err := t.islands(objects, mmap); err != nil {
		return fmt.Errorf("install in process %d: %w", t.pid, err)
	}
	if err := t.mapHook(mmap); err != nil {
		// Libraries loaded later are not traced then; what runs now is.
		t.rec.warn("process %d: libraries that it loads later are not traced: %v", t.pid, err)
	}
	t.unguarded = t.mapGuards(mmap)
	if err := t.readyGraph(ctx, objects); err != nil {
		return fmt.Errorf("install in process %d: %w", t.pid, err)
	}
	if err := t.writeSites(objects, resume, stop); err != nil {
		return err
	}
	if err := t.putGuards(); err != nil {
		return fmt.Errorf("install in process %d: %w", t.pid, err)
	}
	t.serve()
	if err := t.putHook(); err != nil {
		t.rec.warn("process %d: libraries that it loads later are not traced: %v", t.pid, err)
	}
	return nil
}

// writeSites makes the objects' sites call us.
func (t *target) writeSites(objects []*object, resume, stop func() error) error {
	if err := t.makeWay(objects); err != nil {
		return err
	}
	execs := t.p.Execs()
	if err := resume(); err != nil {
		return err
	}
	if err := t.write(t.all()); err != nil {
		return err
	}
	text, inside, err := t.prepare(objects)
	if err != nil {
		return err
	}
	if err := stop(); err != nil {
		return err
	}
	if t.p.Execs() != execs {
		return fmt.Errorf("install in process %d: %w", t.pid, tracee.ErrExec)
	}
	if err := t.moveBack(inside); err != nil {
		return err
	}
	t.installed = true
	if err := text.Flush(); err != nil {
		t.rec.warn("process %d: not traced: %v", t.pid, err)
	}
	return nil
}

// standing is for install in a target that must not run meanwhile.
func standing() error { return nil }

func (t *target) all() []*object {
	list := make([]*object, 0, len(t.objects))
	for _, o := range t.objects {
		list = append(list, o)
	}
	return list
}

func (t *target) mmapStopped(ctx context.Context) remoteMap {
	return func(addr, size uint64, prot, flags, fd int) error {
		return t.p.MmapAt(ctx, addr, size, prot, flags, fd)
	}
}

// makeRing maps the shared memory and the control block.
func (t *target) makeRing(ctx context.Context) error {
	if err := native().counterRuns(t.pid); err != nil {
		return err
	}
	size, err := ring.Size(t.rec.buffer())
	if err != nil {
		return err
	}
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return err
	}
	// Away from what is there, where a heap or stack would have to be enormous to come.
	// The slots have to be aligned to what they take; a free page is left behind them.
	const slots, free = entry.SlotCount << entry.SlotShift, 64 << 10
	room, err := tracee.FindRoom(maps, 2*slots+free+size)
	if err != nil {
		return err
	}
	t.control = room + slots - entry.ControlSize
	t.controlSize = entry.ControlLead + entry.ControlSize + slots
	t.ringAddr = room + 2*slots + free
	mmap := t.mmapStopped(ctx)
	file, fd, err := t.makeMemfd(ctx, memfdName)
	if err != nil {
		return err
	}
	defer file.Close()
	r, err := t.formatRing(file)
	if err != nil {
		return err
	}
	if err := mmap(t.ringAddr, size, sys.ProtRead|sys.ProtWrite, sys.MapShared|sys.MapFixedNoReplace|sys.MapNoReserve, fd); err != nil {
		return err
	}
	if err := t.p.CloseFD(ctx, fd); err != nil {
		return err
	}
	t.ring = r
	t.populate(ctx)
	t.drainer = ring.NewDrainer(r, t.sink(), t.rec.o.Overwrite)
	if err := mmap(t.control-entry.ControlLead, t.controlSize, sys.ProtRead|sys.ProtWrite, sys.MapPrivate|sys.MapAnonymous|sys.MapFixedNoReplace|sys.MapNoReserve, -1); err != nil {
		return err
	}
	if err := t.p.Madvise(ctx, t.control-entry.ControlLead, t.controlSize, sys.AdviseWipeOnFork); err != nil {
		return err
	}
	t.tidOffset = t.findTid()
	if err := t.mapShadow(ctx); err != nil {
		return err
	}
	if err := t.mapGraph(ctx); err != nil {
		return err
	}
	return t.writeControl()
}

// populated is how many bytes of the ring the target has in its page table from the start
// if it is not to have all, half of which are used (entry.PageBit). To fault each in by
// itself costs it more than a third of what it takes to write a page, to fault these in at
// once 5 ms. More may be more than the target is allowed to have.
const populated = 8 << 20

// populate does that. Kernels before 5.14 do not know it.
func (t *target) populate(ctx context.Context) {
	h := t.ring.Header()
	first := h.PoolFirst * entry.PageSize
	size := h.Size - first
	if !t.rec.o.Populate {
		size = min(size, populated)
	}
	if err := t.p.Madvise(ctx, t.ringAddr+first, size, sys.AdvisePopulateWrite); err != nil && t.rec.o.Populate {
		t.rec.warn("process %d: its buffer is faulted in page by page: %v", t.pid, err)
	}
}

// prefault is how many bytes of ring pages exist from the start.
const prefault = 1 << 20

// formatRing lays the ring out in a fresh file.
func (t *target) formatRing(file *os.File) (*ring.Ring, error) {
	size, err := ring.Size(t.rec.buffer())
	if err != nil {
		return nil, err
	}
	if err := file.Truncate(int64(size)); err != nil {
		return nil, fmt.Errorf("make shared memory of %d bytes: %w", size, err)
	}
	mem, err := sys.MapSharedFile(int(file.Fd()), 0, int(size))
	if err != nil {
		return nil, fmt.Errorf("map shared memory of %d bytes: %w", size, err)
	}
	r, err := ring.Format(mem, t.rec.buffer(), t.control, t.controlSize)
	if err != nil {
		return nil, errors.Join(err, sys.Unmap(mem))
	}
	r.Header().Session = uint64(os.Getpid())
	if t.rec.o.StartOff {
		r.Header().TraceOff = entry.TriggerTraceOff
		t.traceOff = true
	}
	// The pages that are used first, and again and again: a fault for each costs the
	// target more than what it writes there.
	err = r.Prefault(min(t.rec.buffer(), prefault), func(off, size int64) error {
		return sys.Fallocate(int(file.Fd()), off, size)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make shared memory: %w", err), sys.Unmap(mem))
	}
	return r, nil
}

// makeMemfd makes the shared memory in the target's name, so that it counts as the
// target's, and opens it here. fd is the target's descriptor of it.
func (t *target) makeMemfd(ctx context.Context, called string) (f *os.File, fd int, err error) {
	if fd, err = t.p.Memfd(ctx, called); err != nil {
		return nil, 0, fmt.Errorf("make shared memory: %w", err)
	}
	f, err = t.p.OpenRemoteFD(fd)
	return f, fd, err
}

// writeControl fills the control block. Its last word makes the target's threads
// record.
func (t *target) writeControl() error {
	head := make([]byte, fsBaseAt+8)
	put := binary.LittleEndian.PutUint64
	put(head[0:], entry.ControlMagic)
	put(head[8:], uint64(t.inside(t.pid)))
	put(head[16:], uint64(loaderWait.Seconds()*float64(entry.CounterFrequency())))
	low, high, err := t.mainStack()
	if err != nil {
		return err
	}
	put(head[24:], low)
	put(head[32:], high)
	put(head[40:], t.tidOffset)
	if t.forbidden {
		put(head[noSyscallsAt:], 1)
	}
	if aux, err := tracee.Auxv(t.pid); err == nil && aux[tracee.AtHwcap2]&hwcap2FSGSBase != 0 {
		put(head[fsBaseAt:], 1)
	}
	tail := t.controlTail()
	if _, err := t.mem.WriteAt(head, int64(t.control)); err != nil {
		return fmt.Errorf("write control block: %w", err)
	}
	if _, err := t.mem.WriteAt(tail, int64(t.control+entry.ControlSize-uint64(len(tail)))); err != nil {
		return fmt.Errorf("write control block: %w", err)
	}
	return nil
}

// fsBaseAt is the offset of entry.Control.FSBase, hwcap2FSGSBase the bit in AT_HWCAP2 that
// says that RDFSBASE may be executed (arch/x86/include/uapi/asm/hwcap2.h); nothing asks for
// it elsewhere.
const (
	fsBaseAt       = 56
	hwcap2FSGSBase = 1 << 1
)

// findTid looks for the thread id in the thread blocks.
func (t *target) findTid() uint64 {
	var ids []threadID
	for _, th := range t.p.Threads() {
		if tp, err := th.TLS(); err == nil {
			ids = append(ids, threadID{tp, t.inside(th.Tid())})
		}
	}
	if off, ok := t.machine.findTidOffset(t.mem, ids); ok {
		return uint64(off)
	}
	return entry.TidOffsetNone
}

// journal notes the sites of objects before they are changed, once: an object may be
// unmapped and come back to where it was.
func (t *target) journal(objects []*object) error {
	var entries []ring.JournalEntry
	for _, o := range objects {
		if o.noted == nil {
			o.noted = make([]bool, len(o.traced.Records))
		}
		for i := range o.traced.Records {
			r := &o.traced.Records[i]
			if !o.traced.Wants(r) || r.Prepared() || o.noted[i] {
				continue
			}
			entries = append(entries, t.machine.Journal(r)...)
		}
	}
	if err := t.ring.AddJournal(entries); err != nil {
		return err
	}
	for _, o := range objects {
		for i := range o.traced.Records {
			if r := &o.traced.Records[i]; o.traced.Wants(r) && !r.Prepared() {
				o.noted[i] = true
			}
		}
	}
	return nil
}

// prepare works out what is to be written at the objects' sites, and notes it in the
// journal. It returns the addresses inside of the sites too, and where a thread has to
// be moved that stands there, or will when a signal handler returns, before anything is
// written: back to where there are only NOPs still. So nobody arrives in the middle of
// what is written, even if nopal is killed in between.
func (t *target) prepare(objects []*object) (*ftrace.BatchText, map[uint64]uint64, error) {
	text := &ftrace.BatchText{Memory: t.text()}
	for _, o := range objects {
		if o.island != 0 {
			t.refused(t.table.Look(text, o.traced))
		}
		if err := t.writeStubs(o); err != nil {
			return nil, nil, err
		}
		if err := t.writeOwn(o); err != nil {
			return nil, nil, err
		}
		if err := t.writeInject(o); err != nil {
			return nil, nil, err
		}
	}
	if err := t.journal(objects); err != nil {
		return nil, nil, err
	}
	t.profileObjects(objects)
	inside := map[uint64]uint64{}
	for _, o := range objects {
		if o.island == 0 {
			continue
		}
		for i := range o.traced.Records {
			if r := &o.traced.Records[i]; o.traced.Wants(r) && !r.Prepared() {
				for pc, to := range t.machine.Inside(r) {
					inside[pc] = to
				}
			}
		}
		t.putTriggers(o)
		t.refused(t.table.Prepare(text, o.traced))
		if err := t.table.Update(text, o.traced); err != nil {
			t.rec.warn("not traced: %v", err)
		}
	}
	text.Order()
	return text, inside, nil
}

// refused tells of sites that are left out.
func (t *target) refused(errs []error) {
	for _, err := range errs {
		t.rec.warn("not traced: %v", err)
	}
}

// moveBack moves every pc that stands inside of a site.
func (t *target) moveBack(inside map[uint64]uint64) error {
	if len(inside) == 0 {
		return nil
	}
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return err
	}
	for _, th := range t.p.Threads() {
		regs, err := th.Regs()
		if err != nil {
			continue // waiting for its vfork child, or gone
		}
		if to, ok := inside[regs.PC()]; ok {
			if err := th.SetPC(to); err != nil {
				return fmt.Errorf("move thread %d from %#x: %w", th.Tid(), regs.PC(), err)
			}
		}
		for _, f := range t.machine.stackFrames(t.mem, maps, regs.SP()) {
			to, ok := inside[f.pc]
			if !ok {
				continue
			}
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], to)
			if _, err := t.mem.WriteAt(b[:], int64(f.at)); err != nil {
				return fmt.Errorf("move signal frame of thread %d from %#x: %w", th.Tid(), f.pc, err)
			}
		}
	}
	return nil
}

// slots reads the target's slot table.
func (t *target) slots() ([]byte, error) {
	table := make([]byte, entry.SlotCount<<entry.SlotShift)
	if _, err := t.mem.ReadAt(table, int64(t.control+entry.ControlSize)); err != nil {
		return nil, fmt.Errorf("read thread slots: %w", err)
	}
	return table, nil
}

// refineTid tries again to find the thread id's offset, where the C library was not
// ready when the target was installed. Until then all events count as the main
// thread's, which took the first slot with a thread pointer.
func (t *target) refineTid() {
	if t.tidOffset != entry.TidOffsetNone || time.Now().Before(t.refineAt) {
		return
	}
	// At first at every look, later now and then: a program without a C library
	// never has one.
	t.refineWait = min(2*t.refineWait+time.Millisecond, time.Second)
	t.refineAt = time.Now().Add(t.refineWait)
	table, err := t.slots()
	if err != nil {
		return // it has ended
	}
	first := threadID{tid: t.inside(t.pid)}
	stream := ^uint32(0)
	for s := table; len(s) > 0; s = s[1<<entry.SlotShift:] {
		key, n := binary.LittleEndian.Uint64(s[16:]), binary.LittleEndian.Uint32(s[24:])
		if key > entry.KeyTombstone && n != 0 && n < stream {
			first.pointer, stream = key&^1, n
		}
	}
	off, ok := t.machine.findTidOffset(t.mem, []threadID{first})
	if !ok {
		return
	}
	t.setTidOffset(uint64(off))
}

// setTidOffset makes the trampolines read the thread id.
func (t *target) setTidOffset(off uint64) {
	t.tidOffset = off
	for _, w := range []struct{ at, value uint64 }{{40, off}, {entry.ControlSize - 16, t.tidOffsetNow()}} {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], w.value)
		if _, err := t.mem.WriteAt(b[:], int64(t.control+w.at)); err != nil {
			return // it has ended
		}
	}
	if err := t.rearm(true); err != nil {
		t.rec.warn("%v", err)
	}
}
