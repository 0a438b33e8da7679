package ftrace

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// LiveBatch collects changes to text that others run meanwhile, and writes those that
// are near to one another at once. Only what may be replaced while others run it may be
// stored: see [Method].
//
// Of instructions of 4 bytes a run of changes is written with what lies between, which
// stays as it is. The kernel copies it with stores of 8 or 16 bytes, aligned since the run
// is; each contains whole instructions and is seen whole (Arm ARM B2.2.1), so of each
// instruction others see the old or the new one. Words of 8 bytes, those of x86-64, are
// written one by one: the kernel copies by REP MOVSB there, which promises nothing about
// more than one.
type LiveBatch struct {
	Memory  Memory
	cache   BatchText
	changes []change
}

// fewChanges is up to how many in a page are written one by one.
const fewChanges = 2

// Load reads the instruction at addr as it will be.
func (t *LiveBatch) Load(addr uint64) (uint32, error) {
	v, err := t.LoadBytes(addr, word)
	return uint32(v), err
}

// LoadBytes reads some bytes at addr as they will be.
func (t *LiveBatch) LoadBytes(addr uint64, size int) (uint64, error) {
	t.cache.Memory = t.Memory
	return t.cache.LoadBytes(addr, size)
}

// Store changes the instruction at addr; [LiveBatch.Flush] writes it.
func (t *LiveBatch) Store(addr uint64, insn uint32) error {
	return t.StoreBytes(addr, word, uint64(insn))
}

// StoreBytes changes some bytes at addr, a multiple of how many they are.
func (t *LiveBatch) StoreBytes(addr uint64, size int, v uint64) error {
	if addr%uint64(size) != 0 {
		return fmt.Errorf("write %d bytes of text at %#x while others run it: they are not aligned", size, addr)
	}
	t.cache.Memory = t.Memory
	p, err := t.cache.page(addr)
	if err != nil {
		return err
	}
	at := p[addr%batchPage:]
	if old := getBytes(at, size); old != v {
		t.changes = append(t.changes, change{addr: addr, size: size, old: old, new: v})
		putBytes(at, size, v)
	}
	return nil
}

// StoreWith is not for text that others run: no change there depends on another.
func (t *LiveBatch) StoreWith(addr uint64, size int, v uint64) error {
	return t.StoreBytes(addr, size, v)
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
	last := changes[len(changes)-1]
	end := (last.addr + uint64(last.size) + align - 1) &^ (align - 1)
	run := make([]byte, end-start)
	if _, err := t.Memory.ReadAt(run, int64(start)); err != nil {
		return fmt.Errorf("read text at %#x: %w", start, err)
	}
	live := LiveText{t.Memory}
	some := false
	for _, c := range changes {
		at := run[c.addr-start:]
		switch found := getBytes(at, c.size); {
		case found == c.new:
		case found != c.old:
			errs = append(errs, &MismatchError{"write text", c.addr, c.size, c.old, found})
		case len(changes) <= fewChanges || c.size != word:
			if err := live.StoreBytes(c.addr, c.size, c.new); err != nil {
				errs = append(errs, err)
			}
			putBytes(at, c.size, c.new)
		default:
			putBytes(at, c.size, c.new)
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
