package ftrace

import (
	"encoding/binary"
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

// BatchText collects changes and writes them a page at a time, for targets whose
// threads are stopped: the time they stand still is the number of pages, not of
// sites. Pages are written by rising address, so a site's slot 1 is never behind
// its slot 2.
type BatchText struct {
	Memory Memory
	pages  map[uint64]*[batchPage]byte
	dirty  map[uint64]bool
	last   uint64
	lastP  *[batchPage]byte
}

// Prefetch reads pages ahead, while the threads still run.
func (t *BatchText) Prefetch(addr uint64) error {
	_, err := t.page(addr)
	return err
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
			t.dirty = map[uint64]bool{}
		}
		t.pages[base] = p
	}
	t.last, t.lastP = base, p
	return p, nil
}

// Load reads the instruction at addr.
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
	binary.LittleEndian.PutUint32(p[addr%batchPage:], insn)
	t.dirty[addr&^(batchPage-1)] = true
	return nil
}

// Flush writes what was changed, contiguous pages in one call.
func (t *BatchText) Flush() error {
	bases := make([]uint64, 0, len(t.dirty))
	for b := range t.dirty {
		bases = append(bases, b)
	}
	slices.Sort(bases)
	var run []byte
	for i := 0; i < len(bases); {
		start := bases[i]
		run = run[:0]
		for ; i < len(bases) && bases[i] == start+uint64(len(run)) && len(run) < 1<<20; i++ {
			run = append(run, t.pages[bases[i]][:]...)
		}
		if _, err := t.Memory.WriteAt(run, int64(start)); err != nil {
			return fmt.Errorf("write text at %#x: %w", start, err)
		}
	}
	clear(t.dirty)
	return nil
}
