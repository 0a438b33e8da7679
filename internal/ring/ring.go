// Package ring is nopal's side of the memory it shares with a target: it lays
// the ring out, and drains the pages that the target's threads write.
//
// The target's side is internal/entry. Its rules, as far as this package relies
// on them: a page is put on the started list before it is used; within a stream
// pages are numbered; a word that is zero is not committed; a larger record is
// committed by its first word, which says RESERVED until then.
package ring

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"sync/atomic"

	"nopal/internal/entry"
)

// JournalCap is how many instructions the journal has room for. Shared memory
// that is never written costs nothing, so it is generous.
const JournalCap = 4 << 20

// MinBuffer and MaxBuffer bound the bytes of pages. Positions in the ring are
// 32-bit word indexes, and only every other page is used.
const (
	MinBuffer = 16 * entry.PageSize
	MaxBuffer = 8 << 30
)

// stride is the distance of the pages that are used, in pages: those with odd numbers
// (entry.PageBit).
const stride = 2

// Ring is a mapping of the shared memory.
type Ring struct {
	mem    []byte
	words  []uint64 // the same memory
	links  []uint32 // the page links
	header *entry.RingHeader
	stats  []entry.SlotStat
}

// layout says where things are, as offsets in bytes.
type layout struct {
	next, stat, journal, pool uint64
	pages                     uint64
	size                      uint64
}

func layoutFor(buffer int64) layout {
	pages := uint64(buffer) / entry.PageSize
	if os.Getpagesize() > entry.PageSize {
		pages /= stride // the unused pages in between take memory too
	}
	align := func(n uint64) uint64 { return (n + 0xffff) &^ 0xffff } // any kernel's page size
	var l layout
	l.pages = pages
	l.next = align(sizeofHeader)
	l.stat = align(l.next + 4*(stride*pages+1)) // links are by page index: grown below
	l.journal = align(l.stat + entry.SlotCount*sizeofStat)
	l.pool = align(l.journal + JournalCap*sizeofJournal)
	// The links are indexed by a page's number from the start of the ring, not of the pool.
	first := l.pool / entry.PageSize
	l.stat = align(l.next + 4*(first+stride*pages))
	l.journal = align(l.stat + entry.SlotCount*sizeofStat)
	l.pool = align(l.journal + JournalCap*sizeofJournal)
	// Moving the pool by its own links moves it by less than a page's worth of
	// links each time; one more round settles it.
	first = l.pool / entry.PageSize
	l.stat = align(l.next + 4*(first+stride*pages))
	l.journal = align(l.stat + entry.SlotCount*sizeofStat)
	l.pool = align(l.journal + JournalCap*sizeofJournal)
	l.size = align(l.pool + stride*pages*entry.PageSize) // whole pages of any kernel: a mapping ends where the ring does
	return l
}

// Size returns the bytes of shared memory for a buffer of that many bytes of pages.
func Size(buffer int64) (uint64, error) {
	if buffer < MinBuffer || buffer > MaxBuffer {
		return 0, fmt.Errorf("buffer of %d bytes: need %d to %d", buffer, MinBuffer, int64(MaxBuffer))
	}
	return layoutFor(buffer).size, nil
}

// Format lays a ring out in mem, fresh zeroed memory of [Size] bytes. control is
// the address of the control block in the target.
func Format(mem []byte, buffer int64, control, controlSize uint64) (*Ring, error) {
	l := layoutFor(buffer)
	if uint64(len(mem)) != l.size {
		return nil, fmt.Errorf("format ring: %d bytes of memory, need %d", len(mem), l.size)
	}
	h := headerOf(mem)
	h.Version = entry.RingVersion
	h.Control = control
	h.ControlSize = controlSize
	h.Size = l.size
	h.NextOff = l.next
	h.StatOff = l.stat
	h.JournalOff = l.journal
	h.JournalCap = JournalCap
	h.PoolFirst = l.pool / entry.PageSize
	h.PoolPages = l.pages
	r, err := view(mem)
	if err != nil {
		return nil, err
	}
	// The first page ends up on top, so that the same few pages are used again
	// and again and stay in the caches.
	for i := h.PoolPages; i > 0; i-- {
		p := h.PoolFirst + stride*i - 1
		r.links[p] = uint32(h.FreeHead)
		h.FreeHead = p
	}
	atomic.StoreUint64(&h.Magic, entry.RingMagic)
	return r, nil
}

// ErrNotARing says that memory is not a ring of this version.
var ErrNotARing = errors.New("not a nopal ring")

// Open looks at a ring that another nopal has laid out.
func Open(mem []byte) (*Ring, error) {
	if uint64(len(mem)) < sizeofHeader {
		return nil, ErrNotARing
	}
	h := headerOf(mem)
	if atomic.LoadUint64(&h.Magic) != entry.RingMagic {
		return nil, ErrNotARing
	}
	if h.Version != entry.RingVersion {
		return nil, fmt.Errorf("%w of this version: it has version %d, this nopal knows %d", ErrNotARing, h.Version, entry.RingVersion)
	}
	return view(mem)
}

// view checks the header's offsets against the memory and makes the slices.
func view(mem []byte) (*Ring, error) {
	h := headerOf(mem)
	size := uint64(len(mem))
	inside := func(off, n, each uint64) bool {
		return off%8 == 0 && off <= size && n <= (size-off)/each
	}
	if h.Size != size || h.PoolPages == 0 || h.PoolFirst > size/entry.PageSize ||
		h.PoolFirst%stride != 0 || !inside(h.PoolFirst*entry.PageSize, h.PoolPages, stride*entry.PageSize) ||
		!inside(h.NextOff, h.PoolFirst+stride*h.PoolPages, 4) ||
		!inside(h.StatOff, entry.SlotCount, sizeofStat) ||
		!inside(h.JournalOff, h.JournalCap, sizeofJournal) {
		return nil, fmt.Errorf("%w: its header is damaged", ErrNotARing)
	}
	return &Ring{
		mem:    mem,
		words:  wordsOf(mem),
		links:  linksOf(mem[h.NextOff:], h.PoolFirst+stride*h.PoolPages),
		header: h,
		stats:  statsOf(mem[h.StatOff:]),
	}, nil
}

// Header gives access to the ring's header. Fields that the target writes have
// to be read with sync/atomic.
func (r *Ring) Header() *entry.RingHeader { return r.header }

// Memory returns the mapping.
func (r *Ring) Memory() []byte { return r.mem }

// Streams yields the slots that are in use with the numbers of their streams.
func (r *Ring) Streams() iter.Seq2[int, uint32] {
	return func(yield func(int, uint32) bool) {
		for i := range r.stats {
			if stream := atomic.LoadUint32(&r.stats[i].Stream); stream != 0 && !yield(i, stream) {
				return
			}
		}
	}
}

// page returns the words of page p.
func (r *Ring) page(p uint32) []uint64 {
	return r.words[uint64(p)*entry.PageWords:][:entry.PageWords:entry.PageWords]
}

func (r *Ring) valid(p uint32) bool {
	return p%stride == stride-1 && uint64(p) >= r.header.PoolFirst && uint64(p)-r.header.PoolFirst < stride*r.header.PoolPages
}

// Prefault calls f with the offset of each page that is used first, of at most n bytes.
func (r *Ring) Prefault(n int64, f func(off, size int64) error) error {
	for i := uint64(1); i <= min(r.header.PoolPages, uint64(n)/entry.PageSize); i++ {
		if err := f(int64(r.header.PoolFirst+stride*i-1)*entry.PageSize, entry.PageSize); err != nil {
			return err
		}
	}
	return nil
}

// free zeroes a page and gives it back to the pool. The tag in the head's upper
// half changes with every push and pop, so that a head seen twice is the same.
func (r *Ring) free(p uint32) {
	clear(r.page(p))
	head := &r.header.FreeHead
	for {
		old := atomic.LoadUint64(head)
		atomic.StoreUint32(&r.links[p], uint32(old))
		if atomic.CompareAndSwapUint64(head, old, (old>>32+1)<<32|uint64(p)) {
			return
		}
	}
}

// takeStarted returns the pages begun since the last call, newest first.
func (r *Ring) takeStarted(buf []uint32) []uint32 {
	head := &r.header.StartedHead
	var old uint64
	for {
		old = atomic.LoadUint64(head)
		if uint32(old) == 0 {
			return buf
		}
		if atomic.CompareAndSwapUint64(head, old, (old>>32+1)<<32) {
			break
		}
	}
	// The target cannot make this list endless: it holds each page once.
	for p := uint32(old); r.valid(p) && uint64(len(buf)) < r.header.PoolPages; {
		buf = append(buf, p)
		p = atomic.LoadUint32(&r.links[p])
	}
	return buf
}
