package ftrace

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"nopal/internal/arch/arm64"
)

// LiveBatch collects changes to text that others run meanwhile, and writes those that
// are near to one another at once. Only instructions that may be replaced while others
// run them (NOP, B, BL) may be stored.
//
// A run of changes is written with what lies between, which stays as it is. The kernel
// copies it with stores of 8 or 16 bytes, aligned since the run is; each contains
// whole instructions and is seen whole (Arm ARM B2.2.1), so of each instruction others
// see the old or the new one.
type LiveBatch struct {
	Memory  Memory
	cache   BatchText
	changes []change
}

// fewChanges is up to how many in a page are written one by one.
const fewChanges = 2

// Load reads the instruction at addr as it will be.
func (t *LiveBatch) Load(addr uint64) (uint32, error) {
	t.cache.Memory = t.Memory
	return t.cache.Load(addr)
}

// Store changes the instruction at addr; [LiveBatch.Flush] writes it.
func (t *LiveBatch) Store(addr uint64, insn uint32) error {
	t.cache.Memory = t.Memory
	p, err := t.cache.page(addr)
	if err != nil {
		return err
	}
	at := p[addr%batchPage:]
	if old := binary.LittleEndian.Uint32(at); old != insn {
		t.changes = append(t.changes, change{addr, old, insn})
		binary.LittleEndian.PutUint32(at, insn)
	}
	return nil
}

// Flush writes what was changed, first the changes that first selects. What somebody
// else has changed meanwhile is left alone, and named in the error.
func (t *LiveBatch) Flush(first func(addr uint64) bool) error {
	var turns [2][]change
	for _, c := range t.changes {
		turn := 1
		if first != nil && first(c.addr) {
			turn = 0
		}
		turns[turn] = append(turns[turn], c)
	}
	var errs []error
	for _, changes := range turns {
		slices.SortStableFunc(changes, func(a, b change) int { return cmp.Compare(a.addr, b.addr) })
		for i := 0; i < len(changes); {
			j := i + 1
			for j < len(changes) && changes[j].addr/batchPage == changes[i].addr/batchPage {
				j++
			}
			if err := t.flushPage(changes[i:j]); err != nil {
				errs = append(errs, err)
			}
			i = j
		}
	}
	t.changes, t.cache = nil, BatchText{}
	return errors.Join(errs...)
}

// flushPage writes the changes of one page.
func (t *LiveBatch) flushPage(changes []change) error {
	const align = 16
	var errs []error
	start := changes[0].addr &^ (align - 1)
	end := (changes[len(changes)-1].addr + arm64.InsnSize + align - 1) &^ (align - 1)
	run := make([]byte, end-start)
	if _, err := t.Memory.ReadAt(run, int64(start)); err != nil {
		return fmt.Errorf("read text at %#x: %w", start, err)
	}
	live := LiveText{t.Memory}
	some := false
	for _, c := range changes {
		at := run[c.addr-start:]
		switch found := binary.LittleEndian.Uint32(at); {
		case found == c.new:
		case found != c.old:
			errs = append(errs, &arm64.MismatchError{Op: "write text", Site: c.addr, Addr: c.addr, Expected: c.old, Found: found})
		case len(changes) <= fewChanges:
			if err := live.Store(c.addr, c.new); err != nil {
				errs = append(errs, err)
			}
			binary.LittleEndian.PutUint32(at, c.new)
		default:
			binary.LittleEndian.PutUint32(at, c.new)
			some = true
		}
	}
	if some {
		if _, err := t.Memory.WriteAt(run, int64(start)); err != nil {
			errs = append(errs, fmt.Errorf("write text at %#x: %w", start, err))
		}
	}
	return errors.Join(errs...)
}
