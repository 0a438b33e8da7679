package session

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"nopal/internal/entry"
	"nopal/internal/ftrace"
	"nopal/internal/sys"
	"nopal/internal/tracee"
)

// Offsets in struct r_debug (glibc's and musl's link.h).
const (
	rdebugBrk   = 16
	rdebugState = 24
)

// findLoader finds r_debug through the program's dynamic section. A static program
// has none.
func (t *target) findLoader() error {
	addr, err := rdebugOf(t.pid, t.mem)
	if err != nil {
		return err
	}
	t.rdebug = addr
	return nil
}

// rdebugOf returns the address of the program's r_debug, 0 if it has none (yet).
func rdebugOf(pid int, mem *tracee.Memory) (uint64, error) {
	const (
		ptLoad, ptDynamic = 1, 2
		ehdrSize          = 64 // after which the program headers stand
		phdrSize          = 56
		dtNull, dtDebug   = 0, 21
		maxDynamic        = 1024
	)
	aux, err := tracee.Auxv(pid)
	if err != nil {
		return 0, err
	}
	at, n := aux[tracee.AtPhdr], aux[tracee.AtPhnum]
	if at == 0 || n == 0 || n > 1000 || aux[tracee.AtPhent] != phdrSize {
		return 0, nil
	}
	headers := make([]byte, n*phdrSize)
	if _, err := mem.ReadAt(headers, int64(at)); err != nil {
		return 0, fmt.Errorf("read program headers: %w", err)
	}
	var bias, dynamic uint64
	for h := headers; len(h) > 0; h = h[phdrSize:] {
		va := binary.LittleEndian.Uint64(h[16:])
		switch binary.LittleEndian.Uint32(h) {
		case ptLoad:
			if binary.LittleEndian.Uint64(h[8:]) == 0 { // the file's start
				bias = at - ehdrSize - va
			}
		case ptDynamic:
			dynamic = va
		}
	}
	if dynamic == 0 {
		return 0, nil
	}
	entries := make([]byte, maxDynamic*16)
	got, err := mem.ReadAt(entries, int64(bias+dynamic))
	if got < 16 {
		return 0, fmt.Errorf("read dynamic section: %w", err)
	}
	for e := entries[:got&^15]; len(e) > 0; e = e[16:] {
		switch binary.LittleEndian.Uint64(e) {
		case dtNull:
			return 0, nil
		case dtDebug:
			return binary.LittleEndian.Uint64(e[8:]), nil
		}
	}
	return 0, nil
}

// mapHook finds the loader's debugger hook and maps an island near it.
func (t *target) mapHook(mmap remoteMap) error {
	if t.rdebug == 0 {
		return nil
	}
	brk, err := t.mem.ReadUint64(t.rdebug + rdebugBrk)
	if err != nil {
		return fmt.Errorf("read r_debug: %w", err)
	}
	if brk == 0 {
		return nil // the loader has not got that far; a static program's never does
	}
	return t.mapHookAt(brk, mmap)
}

// mapHookAt is mapHook for the hook function at brk.
func (t *target) mapHookAt(brk uint64, mmap remoteMap) error {
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return err
	}
	m, ok := mappingAt(maps, brk)
	if !ok {
		return fmt.Errorf("the loader's debugger hook at %#x is not mapped", brk)
	}
	hook, err := t.machine.Hook(&ftrace.BatchText{Memory: t.mem}, brk, ftrace.Span{Start: m.Start, End: m.End})
	if err != nil {
		return err
	}
	island := &object{traced: &ftrace.Object{}}
	island.islandSize = t.islandNeed(island)
	addr, err := t.noteIsland(maps, island.islandSize, hook.Start, hook.End)
	if err != nil {
		return err
	}
	if err := t.makeIsland(island, addr, mmap); err != nil {
		return err
	}
	if err := hook.Lead(addr + t.blob.DLHook); err != nil {
		return err
	}
	t.hook, t.hookIsland = hook, addr
	return nil
}

// putHook sends the loader's debugger hook to dlHook. It is not among what may be replaced
// while others run it, so all threads are stopped here.
func (t *target) putHook() error {
	if t.hook.None() {
		return nil
	}
	if err := t.ring.AddJournal(t.hook.Journal()); err != nil {
		return err
	}
	if err := t.moveBack(t.hook.Inside()); err != nil {
		return err
	}
	return t.hook.Put(ftrace.LiveText{Memory: t.text()})
}

// serve begins to answer the loader's hook.
func (t *target) serve() {
	atomic.StoreUint64(&t.ring.Header().Live, entry.LiveServing)
}

// leave lets whoever waits in the loader's hook go, now and later.
func (t *target) leave() {
	h := t.ring.Header()
	atomic.StoreUint64(&h.Live, entry.LiveNobody)
	atomic.StoreUint64(&h.Ack, entry.AckAll)
}

// serveLoader answers a thread that waits in the loader's hook: what it has mapped
// runs nowhere yet and is prepared without stopping anyone.
func (t *target) serveLoader() {
	h := t.ring.Header()
	ticket := atomic.LoadUint64(&h.Request)
	if ticket == atomic.LoadUint64(&h.Ack) {
		return
	}
	if err := t.prepareLoaded(ticket); err != nil && !notThere(err) {
		t.rec.warn("process %d: a library that it has loaded is not traced: %v", t.pid, err)
	}
	atomic.StoreUint64(&h.Ack, ticket)
	t.serve() // the hook gives up on us after loaderWait
}

func (t *target) prepareLoaded(ticket uint64) error {
	fresh, err := t.plan()
	if err != nil {
		return err
	}
	mmap := t.mmapByLoader(ticket)
	if err := t.hookUnwinders(mmap, false); err != nil {
		return err
	}
	if len(fresh) == 0 {
		return t.write(t.all())
	}
	if err := t.islands(fresh, mmap); err != nil {
		return err
	}
	if err := t.tellFinders(); err != nil {
		return err
	}
	if err := t.write(t.all()); err != nil {
		return err
	}
	text, _, err := t.prepare(fresh)
	if err != nil {
		return err
	}
	// From here on the hook does not give up: nobody may run in what is written to.
	if !atomic.CompareAndSwapUint64(&t.ring.Header().Live, entry.LiveServing, entry.LiveWriting) {
		return fmt.Errorf("preparing it took longer than %v, and it runs already", loaderWait)
	}
	return text.Flush()
}

// mmapByLoader has the thread that waits in the hook map memory.
func (t *target) mmapByLoader(ticket uint64) remoteMap {
	return func(addr, size uint64, prot, flags, fd int) error {
		if status, err := tracee.Status(t.pid); err != nil || status.Seccomp != 0 {
			return errors.Join(err, errors.New("the process filters its system calls"))
		}
		h := t.ring.Header()
		h.Number = sys.NrMmap
		h.Args = [6]uint64{addr, size, uint64(prot), uint64(flags), uint64(int64(fd)), 0}
		atomic.StoreUint64(&h.Done, 0)
		atomic.StoreUint64(&h.Command, ticket)
		for end := time.Now().Add(loaderWait); atomic.LoadUint64(&h.Done) != ticket; {
			if time.Now().After(end) {
				atomic.StoreUint64(&h.Command, 0)
				return errors.New("the loading thread does not answer")
			}
			time.Sleep(20 * time.Microsecond)
		}
		if result := atomic.LoadUint64(&h.Result); result != addr {
			return fmt.Errorf("map at %#x: result %#x", addr, result)
		}
		return nil
	}
}
