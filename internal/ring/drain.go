package ring

import (
	"slices"
	"sync/atomic"

	"nopal/internal/entry"
)

// Sink takes what the drainer finds. words lies in shared memory and is valid
// during the call only; base is a counter value whose high part is that of the
// first word; lost is how many events the stream lost just before it.
type Sink interface {
	Chunk(stream, tid uint32, base, lost uint64, words []uint64) error
	Lost(stream, tid uint32, count uint64) error
}

// Drainer collects pages and hands their words on, without decoding more of
// them than where records end.
type Drainer struct {
	ring    *Ring
	sink    Sink
	streams map[uint32]*stream
	started []uint32
	limbo   []limboPage // pages with holes that may still be filled
	used    uint64      // pages known to be with a thread

	overwrite bool
	stalling  bool       // pages are scarce: do not wait for places that are not committed
	kept      []keptPage // overwrite: full pages, oldest first
	reclaimed uint64     // how many have been in front of those
	copied    *uint64    // of both together, how many a snapshot has copied; nil: there is none
}

// stream is one thread's sequence of pages.
type stream struct {
	id, tid  uint32
	pages    []uint32 // in order of their numbers; the first is being read
	off      int      // words of it already looked at; 0: no page chosen
	from     int      // first word not handed on
	high     uint64   // counter >> TimeBits at off
	fromHigh uint64   // and at from
	doneSeq  uint32   // pages up to this number are done
	holes    []hole   // of the first page: places given up for now
	lost     uint64   // of SlotStat.Lost, what has been handed on
	dropped  uint64   // events overwritten since the last chunk
	dead     uint64   // of a thread that has ended, whose slot is another's: its last SlotStat.Lost
}

// hole is a place that was not committed when its page was handed on.
type hole struct {
	off  int
	size int    // words that were skipped
	high uint64 // of the time there
}

type limboPage struct {
	page  uint32
	s     *stream
	holes []hole
}

type keptPage struct {
	page   uint32
	s      *stream
	events uint64
}

// NewDrainer returns a drainer of r into sink. With overwrite it keeps full
// pages, gives up the oldest when pages become scarce, and hands the rest on
// when it is closed.
func NewDrainer(r *Ring, sink Sink, overwrite bool) *Drainer {
	return &Drainer{ring: r, sink: sink, streams: map[uint32]*stream{}, overwrite: overwrite}
}

// Crowded reports whether pages or slots are becoming scarce, so that it is worth
// looking for those of threads that have ended.
func (d *Drainer) Crowded() bool {
	return d.used > d.ring.header.PoolPages/8 || len(d.streams) > entry.SlotCount/8
}

// Filling reports whether pages are taken faster than they are given back, so that
// events may be lost soon.
func (d *Drainer) Filling() bool { return !d.overwrite && d.used > d.ring.header.PoolPages/4 }

// Look collects what has been committed. Full pages are handed on and freed;
// with flush, so is what stands in pages that are still being written. It
// returns how many words it has handed on.
func (d *Drainer) Look(flush bool) (int, error) {
	d.collect()
	// Where pages become scarce, several streams may wait for places in vain.
	d.stalling = d.used > d.ring.header.PoolPages/2
	n := 0
	for _, s := range d.streams {
		k, err := d.drain(s, flush, false)
		n += k
		if err != nil {
			return n, err
		}
	}
	if d.overwrite {
		d.reclaim()
	}
	d.limbo = slices.DeleteFunc(d.limbo, func(l limboPage) bool {
		if len(l.holes) > 0 || !d.void(l.page) {
			return false
		}
		d.release(l.page)
		return true
	})
	return n, nil
}

// collect sorts newly started pages into their streams.
func (d *Drainer) collect() {
	d.started = d.ring.takeStarted(d.started[:0])
	for _, p := range d.started {
		d.used++
		h := d.ring.page(p)
		id, seq := uint32(h[0]), uint32(h[0]>>32)
		if id == 0 {
			// A child that was forked in the middle of our code took it: leave it.
			continue
		}
		s := d.streams[id]
		if s == nil {
			s = &stream{id: id, tid: uint32(h[1])}
			d.streams[id] = s
		}
		if seq <= s.doneSeq {
			// Announced late: a signal handler, or a thread with the same thread
			// pointer, took and filled another page of this number meanwhile. This
			// one will be said to be void; it must not get in front of what is read.
			d.limbo = append(d.limbo, limboPage{page: p, s: s})
			continue
		}
		i := len(s.pages)
		for i > 0 && d.seq(s.pages[i-1]) > seq {
			i--
		}
		s.pages = slices.Insert(s.pages, i, p)
	}
}

func (d *Drainer) seq(p uint32) uint32 { return uint32(d.ring.page(p)[0] >> 32) }

// void says that a page never became its stream's.
func (d *Drainer) void(p uint32) bool {
	return atomic.LoadUint64(&d.ring.page(p)[1])>>32&entry.PageVoid != 0
}

// drain hands on what is committed in s. With force, places that are not
// committed and never will be (their thread left our code by longjmp or died)
// are skipped.
func (d *Drainer) drain(s *stream, flush, force bool) (int, error) {
	total := 0
	for d.next(s) {
		page := d.ring.page(s.pages[0])
		stalled := d.scan(s, page, force)
		full := s.off == entry.PageWords
		if stalled && (len(s.pages) > int(d.ring.header.PoolPages/4)+1 || d.stalling && len(s.pages) > 2) {
			// A signal handler in the middle of a record does not come back: go on
			// without it and look again later.
			n := d.skip(page, s.off)
			s.holes = append(s.holes, hole{s.off, n, s.high})
			s.off += n
			continue
		}
		if full && d.overwrite && !force {
			d.keep(s, page)
			continue
		}
		if (full || flush && !d.overwrite || force) && s.off > s.from {
			if err := d.emit(s, page); err != nil {
				return total, err
			}
			total += s.off - s.from
			s.from, s.fromHigh = s.off, s.high
		}
		if !full {
			break
		}
		d.finish(s)
	}
	return total, nil
}

// next makes s.pages[0] the page to read. Until something has been read from a
// page it is chosen anew each time: a signal handler may have taken another page
// of the same number, and the one that is not used is said to be void later.
func (d *Drainer) next(s *stream) bool {
	if s.off > entry.PageHeaderWords {
		return true
	}
	for len(s.pages) > 0 {
		p := s.pages[0]
		if d.void(p) {
			d.release(p)
		} else if d.seq(p) <= s.doneSeq {
			d.limbo = append(d.limbo, limboPage{page: p, s: s})
		} else {
			break
		}
		s.pages = s.pages[1:]
	}
	s.off = 0
	if len(s.pages) == 0 {
		return false
	}
	for i := 1; i < len(s.pages) && d.seq(s.pages[i]) == d.seq(s.pages[0]); i++ {
		if d.empty(s.pages[0]) && !d.void(s.pages[i]) {
			s.pages[0], s.pages[i] = s.pages[i], s.pages[0]
		}
	}
	if d.seq(s.pages[0]) != s.doneSeq+1 {
		return false // its predecessor is not known yet
	}
	s.off, s.from = entry.PageHeaderWords, entry.PageHeaderWords
	s.high = d.ring.page(s.pages[0])[3] >> entry.TimeBits
	s.fromHigh = s.high
	return true
}

func (d *Drainer) empty(p uint32) bool {
	page := d.ring.page(p)
	for i := entry.PageHeaderWords; i < entry.PageWords; i++ {
		if atomic.LoadUint64(&page[i]) != 0 {
			return false
		}
	}
	return true
}

// scan moves s.off over committed records. It reports whether it stopped at a
// place that is not committed while later ones are, or the page is followed.
func (d *Drainer) scan(s *stream, page []uint64, force bool) (stalled bool) {
	for s.off < entry.PageWords {
		w := atomic.LoadUint64(&page[s.off])
		kind := w >> entry.WordIndexShift
		switch {
		case kind >= entry.FirstIndex:
			s.off++
		case w == 0 || kind == entry.WordReserved:
			if !force {
				return d.seq(s.pages[len(s.pages)-1]) > d.seq(s.pages[0])
			}
			s.off += d.skip(page, s.off)
		case kind == entry.WordTime:
			s.high = w & (1<<entry.WordIndexShift - 1)
			s.off++
		case kind == entry.WordPad:
			s.off = entry.PageWords
		default:
			n := int(w & 0xffff)
			if n == 0 || n > entry.PageWords-s.off {
				// Not written by our code: the target has damaged the page.
				n = entry.PageWords - s.off
				atomic.StoreUint64(&page[s.off], entry.WordPad<<entry.WordIndexShift|uint64(n))
			}
			s.off += n
		}
	}
	return false
}

// skip is the length of the record at off that is not committed: as RESERVED
// says, or one word where nothing has been written.
func (d *Drainer) skip(page []uint64, off int) int {
	w := atomic.LoadUint64(&page[off])
	if w>>entry.WordIndexShift == entry.WordReserved {
		if n := int(w & 0xffff); n > 0 && n <= entry.PageWords-off {
			return n
		}
	}
	return 1
}

func (d *Drainer) emit(s *stream, page []uint64) error {
	lost := s.dropped
	if s.from == entry.PageHeaderWords && page[2] > s.lost {
		lost += page[2] - s.lost
		s.lost = page[2]
	}
	words := page[s.from:s.off]
	if len(s.holes) > 0 && s.holes[len(s.holes)-1].off >= s.from {
		// What is committed from now on is handed on when the page is: once, not here.
		words = d.without(page, s)
	}
	if err := d.sink.Chunk(s.id, s.tid, s.fromHigh<<entry.TimeBits, lost, words); err != nil {
		return err
	}
	s.dropped = 0
	return nil
}

// finish is done with the first page.
func (d *Drainer) finish(s *stream) {
	p := s.pages[0]
	s.doneSeq = d.seq(p)
	s.pages = s.pages[1:]
	s.off = 0
	if len(s.holes) > 0 {
		d.limbo = append(d.limbo, limboPage{p, s, s.holes})
		s.holes = nil
		return
	}
	d.release(p)
}

func (d *Drainer) release(p uint32) {
	d.used--
	d.ring.free(p)
}

// without copies what is handed on of the first page and leaves the holes out.
func (d *Drainer) without(page []uint64, s *stream) []uint64 {
	words := make([]uint64, s.off-s.from)
	next := 0
	for next < len(s.holes) && s.holes[next].off < s.from {
		next++
	}
	for i := s.from; i < s.off; {
		if next < len(s.holes) && i == s.holes[next].off {
			end := s.off
			if next+1 < len(s.holes) {
				end = s.holes[next+1].off
			}
			i += min(s.holes[next].size, end-i)
			next++
			continue
		}
		words[i-s.from] = atomic.LoadUint64(&page[i])
		i++
	}
	return words
}
