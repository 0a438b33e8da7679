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
		st := &d.ring.stats[i]
		if err := d.reportLost(st); err != nil {
			return 0, err
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
		for _, off := range l.holes {
			w := atomic.LoadUint64(&page[off])
			if kind := w >> entry.WordIndexShift; w == 0 || kind == entry.WordReserved {
				continue
			}
			n := 1
			if w>>entry.WordIndexShift == entry.WordRecord {
				n = int(w & 0xffff)
			}
			high := page[3] >> entry.TimeBits
			for i := entry.PageHeaderWords; i < off; i++ {
				if page[i]>>entry.WordIndexShift == entry.WordTime {
					high = page[i] & (1<<entry.WordIndexShift - 1)
				}
			}
			if off+n > entry.PageWords {
				continue
			}
			if err := d.sink.Chunk(l.s.id, l.s.tid, high<<entry.TimeBits, 0, page[off:off+n]); err != nil {
				return err
			}
		}
	}
	d.limbo = nil
	return nil
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
	if s != nil && !d.overwrite {
		if err := d.closeStream(s); err != nil {
			return err
		}
		for _, p := range s.pages {
			d.release(p)
		}
		s.pages = nil
	}
	if s != nil && d.overwrite {
		return nil // its pages are history that is wanted
	}
	if err := d.reportLost(st); err != nil {
		return err
	}
	delete(d.streams, st.Stream)
	*st = entry.SlotStat{}
	return nil
}
