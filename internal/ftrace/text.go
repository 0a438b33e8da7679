package ftrace

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"nopal/internal/arch/arm64"
)

// Memory is a target's memory.
type Memory interface {
	io.ReaderAt
	io.WriterAt
}

// LiveText writes instructions one at a time, each by one aligned 4-byte store:
// for targets whose threads run.
type LiveText struct{ Memory Memory }

// Load reads the instruction at addr.
func (t LiveText) Load(addr uint64) (uint32, error) {
	var b [arm64.InsnSize]byte
	if _, err := t.Memory.ReadAt(b[:], int64(addr)); err != nil {
		return 0, fmt.Errorf("read instruction at %#x: %w", addr, err)
	}
	return binary.LittleEndian.Uint32(b[:]), nil
}

// Store writes the instruction at addr.
func (t LiveText) Store(addr uint64, insn uint32) error {
	var b [arm64.InsnSize]byte
	binary.LittleEndian.PutUint32(b[:], insn)
	if _, err := t.Memory.WriteAt(b[:], int64(addr)); err != nil {
		return fmt.Errorf("write instruction at %#x: %w", addr, err)
	}
	return nil
}

// batchPage is the unit a [BatchText] reads and writes. It divides every
// kernel's page size.
const batchPage = 4096

// BatchText collects changes while threads may run, and writes them a page at a
// time when they are stopped: the time for which they stand still is the number of
// pages, not of sites.
type BatchText struct {
	Memory  Memory
	pages   map[uint64]*[batchPage]byte
	last    uint64
	lastP   *[batchPage]byte
	changes []change
	failed  uint64 // address of the last change that could not be written
}

// change is an instruction to be replaced.
type change struct {
	addr     uint64
	old, new uint32
}

func (t *BatchText) page(addr uint64) (*[batchPage]byte, error) {
	base := addr &^ (batchPage - 1)
	if t.lastP != nil && t.last == base {
		return t.lastP, nil
	}
	p := t.pages[base]
	if p == nil {
		p = new([batchPage]byte)
		if _, err := t.Memory.ReadAt(p[:], int64(base)); err != nil {
			return nil, fmt.Errorf("read text at %#x: %w", base, err)
		}
		if t.pages == nil {
			t.pages = map[uint64]*[batchPage]byte{}
		}
		t.pages[base] = p
	}
	t.last, t.lastP = base, p
	return p, nil
}

// Load reads the instruction at addr as it will be.
func (t *BatchText) Load(addr uint64) (uint32, error) {
	p, err := t.page(addr)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(p[addr%batchPage:]), nil
}

// Store changes the instruction at addr; [BatchText.Flush] writes it.
func (t *BatchText) Store(addr uint64, insn uint32) error {
	p, err := t.page(addr)
	if err != nil {
		return err
	}
	at := p[addr%batchPage:]
	t.changes = append(t.changes, change{addr, binary.LittleEndian.Uint32(at), insn})
	binary.LittleEndian.PutUint32(at, insn)
	return nil
}

// Order does what [BatchText.Flush] can have done before threads are stopped.
func (t *BatchText) Order() {
	byAddr := func(a, b change) int { return cmp.Compare(a.addr, b.addr) }
	if !slices.IsSortedFunc(t.changes, byAddr) {
		slices.SortStableFunc(t.changes, byAddr)
	}
}

// Flush writes what was changed. Pages are read again first, so what others have
// changed meanwhile (a debugger's breakpoint) stays; where that is one of our
// instructions it is left alone, and the error names it. Pages are written by rising
// address, so a site's slot 1 is never behind its slot 2.
func (t *BatchText) Flush() error {
	const most = 1 << 20 // bytes written at once
	t.Order()
	var errs []error
	for i := 0; i < len(t.changes); {
		start := t.changes[i].addr &^ (batchPage - 1)
		end := start
		j := i
		for ; j < len(t.changes); j++ {
			page := t.changes[j].addr &^ (batchPage - 1)
			if page > end || page+batchPage-start > most {
				break
			}
			end = page + batchPage
		}
		if err := t.flushRun(start, end, t.changes[i:j]); err != nil {
			errs = append(errs, err)
		}
		i = j
	}
	t.changes = nil
	return errors.Join(errs...)
}

// flushRun writes the changes in [start, end).
func (t *BatchText) flushRun(start, end uint64, changes []change) error {
	run := make([]byte, end-start)
	if _, err := t.Memory.ReadAt(run, int64(start)); err != nil {
		t.failed = end - arm64.InsnSize
		return fmt.Errorf("read text at %#x: %w", start, err)
	}
	var errs []error
	for _, c := range changes {
		at := run[c.addr-start:]
		if found := binary.LittleEndian.Uint32(at); found != c.old {
			errs = append(errs, &arm64.MismatchError{Op: "write text", Site: c.addr, Addr: c.addr, Expected: c.old, Found: found})
			t.failed = c.addr
			continue
		}
		if c.addr == t.failed+arm64.InsnSize {
			// Slot 2 without its slot 1 would call with a stale x9.
			continue
		}
		binary.LittleEndian.PutUint32(at, c.new)
	}
	if _, err := t.Memory.WriteAt(run, int64(start)); err != nil {
		errs = append(errs, fmt.Errorf("write text at %#x: %w", start, err))
		t.failed = end - arm64.InsnSize
	}
	return errors.Join(errs...)
}
