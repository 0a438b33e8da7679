package session

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"nopal/internal/entry"
	"nopal/internal/tracee"
)

// A program that starts is to be installed when its libraries are mapped and relocated
// and no constructor has run: the loader calls its debugger hook then (glibc
// elf/rtld.c, musl ldso/dynlink.c). A breakpoint there would kill the program if nopal
// is killed at the wrong moment. The hook is therefore sent to our code at once, before
// the loader's first instruction, and the loader waits in it, as after a dlopen.

// loaderHook returns the address of the loader's debugger hook in a program that is
// stopped before its first instruction; 0 for a static one.
func (t *target) loaderHook() (uint64, error) {
	aux, err := tracee.Auxv(t.pid)
	if err != nil {
		return 0, err
	}
	base := aux[tracee.AtBase]
	if base == 0 {
		return 0, nil
	}
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return 0, err
	}
	m, ok := mappingAt(maps, base)
	if !ok {
		return 0, fmt.Errorf("find loader: nothing is mapped at %#x", base)
	}
	im := t.rec.cache.open(t.pid, m)
	if im == nil {
		return 0, fmt.Errorf("find loader: %s cannot be read", m.Path)
	}
	va, ok := im.Symbol("_dl_debug_state")
	if !ok {
		return 0, fmt.Errorf("find loader: %s has no _dl_debug_state", m.Path)
	}
	return base + va, nil
}

// runToLoaded sends the loader's hook at address hook to us, runs the program to where
// it waits there with everything mapped, and stops it.
func (t *target) runToLoaded(ctx context.Context, hook uint64) error {
	if err := t.makeRing(ctx); err != nil {
		return err
	}
	if err := t.mapHookAt(hook, t.mmapStopped(ctx)); err != nil {
		return err
	}
	t.serve()
	if err := t.putHook(); err != nil {
		return err
	}
	t.installed = true // there is something to remove
	execs := t.p.Execs()
	if err := t.p.Resume(); err != nil {
		return err
	}
	if err := t.awaitLoaded(ctx, execs); err != nil {
		return err
	}
	if err := t.p.Stop(ctx); err != nil {
		return err
	}
	if t.p.Execs() != execs {
		return tracee.ErrExec
	}
	// From now on only what is complete is told of.
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], t.rdebug)
	if _, err := t.text().WriteAt(at[:], int64(t.hookIsland+t.blob.Literals+24)); err != nil {
		return fmt.Errorf("write trampolines at %#x: %w", t.hookIsland, err)
	}
	if off := t.findTid(); off != entry.TidOffsetNone {
		t.setTidOffset(off)
	}
	return nil
}

// awaitLoaded answers the loader until it says that all is consistent. Its last question
// stays open.
func (t *target) awaitLoaded(ctx context.Context, execs int) error {
	const look = 100 * time.Microsecond
	h := t.ring.Header()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.p.Done():
			status, _ := t.p.WaitExit(ctx) // known: it is attached
			return &tracee.ExitError{Pid: t.pid, Status: status}
		case <-time.After(look):
		}
		ticket := atomic.LoadUint64(&h.Request)
		if ticket == atomic.LoadUint64(&h.Ack) {
			if t.p.Execs() != execs {
				return tracee.ErrExec
			}
			continue
		}
		if err := t.findLoader(); err != nil {
			return err
		}
		if t.rdebug != 0 {
			state, err := t.mem.ReadUint32(t.rdebug + rdebugState)
			if err != nil {
				return fmt.Errorf("read r_debug: %w", err)
			}
			if state == 0 { // RT_CONSISTENT
				return nil
			}
		}
		atomic.StoreUint64(&h.Ack, ticket)
	}
}

// answered lets the loader go on.
func (t *target) answered() {
	h := t.ring.Header()
	atomic.StoreUint64(&h.Ack, atomic.LoadUint64(&h.Request))
	t.serve()
}
