package ring

import (
	"slices"
	"sync/atomic"

	"nopal/internal/entry"
)

// Close hands on everything that is left. No thread may be inside our code any
// more, or the target is gone: what is not committed now never will be. It
// returns the number of events lost for want of a slot.
func (d *Drainer) Close() (noSlot uint64, err error) {
	d.collect()
	if err := d.emitKept(); err != nil {
		return 0, err
	}
	ids := make([]uint32, 0, len(d.streams))
	for id := range d.streams {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if err := d.closeStream(d.streams[id]); err != nil {
			return 0, err
		}
	}
	if err := d.lateEvents(); err != nil {
		return 0, err
	}
	for i := range d.ring.stats {
		if err := d.reportLost(&d.ring.stats[i]); err != nil {
			return 0, err
		}
	}
	for _, id := range ids {
		s := d.streams[id]
		if n := s.dropped + max(s.dead, s.lost) - s.lost; n > 0 {
			if err := d.sink.Lost(id, s.tid, n); err != nil {
				return 0, err
			}
		}
	}
	return atomic.LoadUint64(&d.ring.header.LostNoSlot), nil
}

// closeStream hands on the rest of a stream whose thread writes no more.
func (d *Drainer) closeStream(s *stream) error {
	for {
		if _, err := d.drain(s, true, true); err != nil {
			return err
		}
		if s.off != 0 || len(s.pages) == 0 {
			return nil
		}
		// A page is missing from the middle: its thread died between taking it
		// and saying so. Go on behind it.
		s.doneSeq = d.seq(s.pages[0]) - 1
	}
}

// lateEvents hands on records that were committed after their place had been
// given up.
func (d *Drainer) lateEvents() error {
	for _, l := range d.limbo {
		page := d.ring.page(l.page)
		end := 0 // behind what has been handed on: a record's words may have been holes each
		for _, h := range l.holes {
			if h.off < end || atomic.LoadUint64(&page[h.off]) == 0 {
				continue
			}
			s := &stream{off: h.off, high: h.high, pages: []uint32{l.page}}
			if !d.one(s, page) {
				continue
			}
			end = s.off
			if err := d.sink.Chunk(l.s.id, l.s.tid, h.high<<entry.TimeBits, 0, page[h.off:end]); err != nil {
				return err
			}
		}
	}
	d.limbo = nil
	return nil
}

// one moves s.off over the record at it, with the TIME word that may stand in front. It
// reports whether there is one.
func (d *Drainer) one(s *stream, page []uint64) bool {
	w := atomic.LoadUint64(&page[s.off])
	if w>>entry.WordIndexShift == entry.WordTime && s.off+1 < entry.PageWords {
		s.off++
		w = atomic.LoadUint64(&page[s.off])
	}
	switch kind := w >> entry.WordIndexShift; {
	case kind >= entry.FirstIndex:
		s.off++
	case kind == entry.WordRecord && int(w&0xffff) <= entry.PageWords-s.off:
		s.off += max(1, int(w&0xffff))
	default:
		return false
	}
	return true
}

// reportLost hands on what a slot's stream lost since its last page.
func (d *Drainer) reportLost(st *entry.SlotStat) error {
	id := atomic.LoadUint32(&st.Stream)
	lost := atomic.LoadUint64(&st.Lost)
	if id == 0 {
		return nil
	}
	var done, dropped uint64
	if s := d.streams[id]; s != nil {
		done, dropped = s.lost, s.dropped
		s.lost, s.dropped = max(s.lost, lost), 0
	}
	if lost > done {
		dropped += lost - done
	}
	if dropped == 0 {
		return nil
	}
	return d.sink.Lost(id, st.Tid, dropped)
}

// Dead lists the slots of threads that alive does not know. The caller first
// makes each slot a tombstone in the target, then calls [Drainer.Reap].
func (d *Drainer) Dead(alive func(tid uint32) bool) []int {
	var dead []int
	for i := range d.ring.stats {
		st := &d.ring.stats[i]
		if atomic.LoadUint32(&st.Stream) != 0 && !alive(atomic.LoadUint32(&st.Tid)) {
			dead = append(dead, i)
		}
	}
	return dead
}

// Reap ends the stream of a slot whose thread is gone and frees its pages.
func (d *Drainer) Reap(slot int) error {
	st := &d.ring.stats[slot]
	d.collect()
	s := d.streams[st.Stream]
	if s != nil && d.overwrite {
		// Its pages are history: kept, and given up when they are the oldest. The stream
		// keeps its counts, the slot is another's soon.
		for len(s.pages) > 0 {
			for d.next(s) {
				page := d.ring.page(s.pages[0])
				d.scan(s, page, true)
				d.keep(s, page)
			}
			if len(s.pages) > 0 {
				s.doneSeq = d.seq(s.pages[0]) - 1
			}
		}
		s.dead += max(atomic.LoadUint64(&st.Lost), s.lost)
		*st = entry.SlotStat{}
		return nil
	}
	if s != nil {
		if err := d.closeStream(s); err != nil {
			return err
		}
	}
	if err := d.reportLost(st); err != nil {
		return err
	}
	delete(d.streams, st.Stream)
	*st = entry.SlotStat{}
	return nil
}
