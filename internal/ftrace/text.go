package ftrace

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Memory is a target's memory.
type Memory interface {
	io.ReaderAt
	io.WriterAt
}

// Text is a target's code. What is changed at once is a number of up to 8 bytes, the
// first of them the lowest; Load and Store are for 4, an instruction where all have as
// many.
type Text interface {
	Load(addr uint64) (uint32, error)
	Store(addr uint64, insn uint32) error
	LoadBytes(addr uint64, size int) (uint64, error)
	StoreBytes(addr uint64, size int, v uint64) error
	// StoreWith is StoreBytes for what must not be changed if the last change, at a lower
	// address, cannot be made.
	StoreWith(addr uint64, size int, v uint64) error
}

// word is the size of what Load and Store are for.
const word = 4

// maxBytes is the most that is changed at once.
const maxBytes = 8

// getBytes and putBytes are how a number lies in memory.
func getBytes(b []byte, size int) uint64 {
	var all [maxBytes]byte
	copy(all[:size], b)
	return binary.LittleEndian.Uint64(all[:])
}

func putBytes(b []byte, size int, v uint64) {
	var all [maxBytes]byte
	binary.LittleEndian.PutUint64(all[:], v)
	copy(b[:size], all[:size])
}

// MismatchError says that text does not hold what a change starts from: somebody else
// has changed it meanwhile. It was left alone.
type MismatchError struct {
	Op              string // what was tried, as "write text"
	Addr            uint64
	Size            int
	Expected, Found uint64
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s at site %#x: expected instruction %0*x at %#x, found %0*x", e.Op, e.Addr, 2*e.Size, e.Expected, e.Addr, 2*e.Size, e.Found)
}

// replace writes v over old, after making sure that old is there.
func replace(text Text, op string, addr uint64, size int, old, v uint64) error {
	found, err := text.LoadBytes(addr, size)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if found != old {
		return &MismatchError{Op: op, Addr: addr, Size: size, Expected: old, Found: found}
	}
	if err := text.StoreBytes(addr, size, v); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// LiveText writes at once, each change by one store: for targets whose threads run, where
// a change may be made while they do.
type LiveText struct{ Memory Memory }

// Load reads the instruction at addr.
func (t LiveText) Load(addr uint64) (uint32, error) {
	v, err := t.LoadBytes(addr, word)
	return uint32(v), err
}

// LoadBytes reads some bytes at addr.
func (t LiveText) LoadBytes(addr uint64, size int) (uint64, error) {
	var b [maxBytes]byte
	if _, err := t.Memory.ReadAt(b[:size], int64(addr)); err != nil {
		return 0, fmt.Errorf("read instruction at %#x: %w", addr, err)
	}
	return getBytes(b[:], size), nil
}

// Store writes the instruction at addr.
func (t LiveText) Store(addr uint64, insn uint32) error {
	return t.StoreBytes(addr, word, uint64(insn))
}

// StoreBytes writes some bytes at addr.
func (t LiveText) StoreBytes(addr uint64, size int, v uint64) error {
	var b [maxBytes]byte
	putBytes(b[:], size, v)
	if _, err := t.Memory.WriteAt(b[:size], int64(addr)); err != nil {
		return fmt.Errorf("write instruction at %#x: %w", addr, err)
	}
	return nil
}

// StoreWith is StoreBytes: the last change was made, or has returned an error.
func (t LiveText) StoreWith(addr uint64, size int, v uint64) error {
	return t.StoreBytes(addr, size, v)
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
	failed  uint64 // behind the last change that could not be written
}

// change is what is to be replaced. It lies in one page.
type change struct {
	addr     uint64
	size     int
	old, new uint64
	with     bool // not without the change before it
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
	v, err := t.LoadBytes(addr, word)
	return uint32(v), err
}

// LoadBytes reads some bytes at addr as they will be.
func (t *BatchText) LoadBytes(addr uint64, size int) (uint64, error) {
	p, err := t.page(addr)
	if err != nil {
		return 0, err
	}
	b := p[addr%batchPage:]
	if len(b) >= size {
		return getBytes(b, size), nil
	}
	head := len(b)
	v := getBytes(b, head)
	rest, err := t.LoadBytes(addr+uint64(head), size-head)
	return v | rest<<(8*head), err
}

// Store changes the instruction at addr; [BatchText.Flush] writes it.
func (t *BatchText) Store(addr uint64, insn uint32) error {
	return t.StoreBytes(addr, word, uint64(insn))
}

// StoreBytes changes some bytes at addr. They may not lie in two pages: a write that a
// signal ends there would be left as a half of it (fs/proc/base.c, mem_rw).
func (t *BatchText) StoreBytes(addr uint64, size int, v uint64) error {
	return t.store(addr, size, v, false)
}

// StoreWith is StoreBytes for what must not be changed if the last change, at a lower
// address, cannot be made.
func (t *BatchText) StoreWith(addr uint64, size int, v uint64) error {
	return t.store(addr, size, v, true)
}

func (t *BatchText) store(addr uint64, size int, v uint64, with bool) error {
	if addr%batchPage+uint64(size) > batchPage {
		return fmt.Errorf("write %d bytes of text at %#x: they cross a page border", size, addr)
	}
	p, err := t.page(addr)
	if err != nil {
		return err
	}
	at := p[addr%batchPage:]
	t.changes = append(t.changes, change{addr, size, getBytes(at, size), v, with})
	putBytes(at, size, v)
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
		t.failed = end
		return fmt.Errorf("read text at %#x: %w", start, err)
	}
	var errs []error
	failed := false
	for _, c := range changes {
		at := run[c.addr-start:]
		if found := getBytes(at, c.size); found != c.old {
			errs = append(errs, &MismatchError{"write text", c.addr, c.size, c.old, found})
			t.failed, failed = c.addr+uint64(c.size), true
			continue
		}
		if c.addr == t.failed || c.with && failed {
			// Slot 2 without its slot 1 would call with a stale x9.
			failed = true
			continue
		}
		failed = false
		putBytes(at, c.size, c.new)
	}
	if _, err := t.Memory.WriteAt(run, int64(start)); err != nil {
		errs = append(errs, fmt.Errorf("write text at %#x: %w", start, err))
		t.failed = end
	}
	return errors.Join(errs...)
}
