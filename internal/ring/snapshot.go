package ring

import (
	"slices"
	"sync/atomic"
	"time"

	"nopal/internal/entry"
)

// lookAgain is after how many pages a snapshot looks whether others are to be freed.
const lookAgain = 64

// Snapshot hands on what Close would hand on now, and leaves everything as it is:
// the kept pages, and what is committed in those that threads are writing. The words
// that the sink gets are a copy. It returns the number of events lost for want of a
// slot.
//
// Threads go on meanwhile. What they write is collected, and pages that have been
// copied are given up for it as without a snapshot, so that no event is lost because
// copying takes its time.
//
// Events and losses are those of one moment for each stream: a thread that runs may
// have made more by the time that the next stream is looked at.
func (d *Drainer) Snapshot(sink Sink) (noSlot uint64, err error) {
	p := &snapshot{d: d, sink: sink, lost: make(map[*stream]lossCount, len(d.streams)), waits: maxWaits}
	d.collect()
	if d.overwrite {
		p.next = d.reclaimed
		d.copied = &p.next
		defer func() { d.copied = nil }()
		// What becomes full meanwhile is left to the next pass, which is the shorter.
		for range 3 {
			if err := p.keptPages(true); err != nil {
				return 0, err
			}
		}
		if err := p.keptPages(false); err != nil {
			return 0, err
		}
	}
	ids := make([]uint32, 0, len(d.streams))
	for id := range d.streams {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	slots := d.slotLosses()
	for _, id := range ids {
		if err := p.stream(d.streams[id], slots[id]); err != nil {
			return 0, err
		}
	}
	for id, slot := range slots {
		// A thread that never got a page.
		if d.streams[id] == nil && slot.Lost > 0 {
			if err := sink.Lost(id, slot.Tid, slot.Lost); err != nil {
				return 0, err
			}
		}
	}
	return atomic.LoadUint64(&d.ring.header.LostNoSlot), nil
}

// keptPages hands on the kept pages that have not been yet. While it is at it, it
// looks at the ring now and then, if it may.
func (p *snapshot) keptPages(look bool) error {
	d := p.d
	for n, end := 0, d.reclaimed+uint64(len(d.kept)); p.next < end; n++ {
		if look && n%lookAgain == 0 {
			if _, err := d.Look(false); err != nil {
				return err
			}
		}
		k := d.kept[p.next-d.reclaimed]
		if err := p.page(k.s, k.page, entry.PageHeaderWords, 0); err != nil {
			return err
		}
		p.next++
	}
	return nil
}

// slotLosses reads what the streams that have a slot have lost. They are read before
// the pages: an event that is lost meanwhile belongs to the time after the snapshot.
func (d *Drainer) slotLosses() map[uint32]entry.SlotStat {
	losses := map[uint32]entry.SlotStat{}
	for i, id := range d.ring.Streams() {
		st := &d.ring.stats[i]
		losses[id] = entry.SlotStat{Stream: id, Tid: atomic.LoadUint32(&st.Tid), Lost: atomic.LoadUint64(&st.Lost)}
	}
	return losses
}

// maxWaits bounds how long a snapshot waits for words, in tenths of a millisecond.
const maxWaits = 100

// snapshot is a walk over a drainer's pages that changes nothing of it.
type snapshot struct {
	d     *Drainer
	sink  Sink
	lost  map[*stream]lossCount
	next  uint64 // kept page to copy, counted as Drainer.reclaimed is
	words []uint64
	waits int // how many more times waitFor waits
}

// lossCount is stream.lost and stream.dropped as far as the snapshot has come.
type lossCount struct{ lost, dropped uint64 }

func (p *snapshot) losses(s *stream) lossCount {
	if l, ok := p.lost[s]; ok {
		return l
	}
	return lossCount{s.lost, s.dropped}
}

// stream hands on the pages that are not full yet, and what was lost behind them.
func (p *snapshot) stream(s *stream, slot entry.SlotStat) error {
	for i, page := range s.pages {
		if p.d.void(page) || p.d.seq(page) <= s.doneSeq {
			continue
		}
		from, high := entry.PageHeaderWords, uint64(0)
		if i == 0 && s.off > 0 {
			from, high = s.from, s.fromHigh
		}
		if err := p.page(s, page, from, high); err != nil {
			return err
		}
	}
	l := p.losses(s)
	if n := l.dropped + max(s.dead, slot.Lost, l.lost) - l.lost; n > 0 {
		return p.sink.Lost(s.id, s.tid, n)
	}
	return nil
}

// page hands on what is committed in a page from a place on. high is the time there,
// if from is not the page's beginning.
func (p *snapshot) page(s *stream, page uint32, from int, high uint64) error {
	words := p.d.ring.page(page)
	l := p.losses(s)
	lost := l.dropped
	if from == entry.PageHeaderWords {
		high = words[3] >> entry.TimeBits
		if words[2] > l.lost {
			lost += words[2] - l.lost
			l.lost = words[2]
		}
	}
	p.words = p.committed(p.words[:0], words, from)
	if len(p.words) == 0 {
		return nil // what was lost before is told with what comes next
	}
	l.dropped = 0
	p.lost[s] = l
	return p.sink.Chunk(s.id, s.tid, high<<entry.TimeBits, lost, p.words)
}

// waitFor gives the thread that is about to commit a word a moment. What is behind a
// place that is skipped may have needed the TIME word in it.
func (p *snapshot) waitFor(word *uint64) {
	for ; p.waits > 0 && atomic.LoadUint64(word) == 0; p.waits-- {
		time.Sleep(100 * time.Microsecond)
	}
}

func allZero(words []uint64) bool {
	for i := range words {
		if atomic.LoadUint64(&words[i]) != 0 {
			return false
		}
	}
	return true
}

// committed appends the committed records of page[from:] to words. A record is looked
// at word by word, its first one before the rest: its thread writes that one last.
func (p *snapshot) committed(words, page []uint64, from int) []uint64 {
	for i := from; i < len(page); {
		w := atomic.LoadUint64(&page[i])
		switch kind := w >> entry.WordIndexShift; {
		case kind >= entry.FirstIndex || kind == entry.WordTime:
			words = append(words, w)
			i++
		case w == 0:
			if allZero(page[i:]) {
				return words
			}
			if p.waitFor(&page[i]); atomic.LoadUint64(&page[i]) == 0 {
				i++
			}
		case kind == entry.WordPad:
			return words
		default:
			n := int(w & 0xffff)
			if n == 0 || n > len(page)-i {
				return words // not written by our code
			}
			if kind != entry.WordReserved {
				words = append(words, w)
				for j := 1; j < n; j++ {
					words = append(words, atomic.LoadUint64(&page[i+j]))
				}
			}
			i += n
		}
	}
	return words
}

// Usage is how full a ring is.
type Usage struct {
	Used, Pages uint64 // pages that are with a thread, or kept, and all
	Kept        uint64 // events in the kept pages
	Lost        uint64 // events lost that the sink has not been told of
}

// Usage looks at the ring.
func (d *Drainer) Usage() Usage {
	u := Usage{Used: d.used, Pages: d.ring.header.PoolPages, Lost: atomic.LoadUint64(&d.ring.header.LostNoSlot)}
	for _, k := range d.kept {
		u.Kept += k.events
	}
	slots := d.slotLosses()
	for id, s := range d.streams {
		u.Lost += s.dropped + max(s.dead, slots[id].Lost, s.lost) - s.lost
	}
	for id, slot := range slots {
		if d.streams[id] == nil {
			u.Lost += slot.Lost
		}
	}
	return u
}
