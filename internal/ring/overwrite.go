package ring

import "nopal/internal/entry"

// keep puts the stream's first page, which is full, behind the others that are
// kept.
func (d *Drainer) keep(s *stream, page []uint64) {
	d.kept = append(d.kept, keptPage{s.pages[0], s, events(page, entry.PageHeaderWords, entry.PageWords)})
	s.doneSeq = d.seq(s.pages[0])
	s.pages = s.pages[1:]
	s.off = 0
	s.holes = nil
}

// reclaim gives up the oldest pages until a quarter of the pool is free.
func (d *Drainer) reclaim() {
	n, most := 0, len(d.kept)
	if d.copied != nil {
		most = int(*d.copied - d.reclaimed)
	}
	for ; n < most && d.used > d.ring.header.PoolPages-d.ring.header.PoolPages/4; n++ {
		k := d.kept[n]
		h := d.ring.page(k.page)
		k.s.dropped += k.events
		if h[2] > k.s.lost {
			k.s.dropped += h[2] - k.s.lost
			k.s.lost = h[2]
		}
		d.release(k.page)
	}
	d.kept = d.kept[n:]
	d.reclaimed += uint64(n)
}

// Dump hands the kept pages on and frees them.
func (d *Drainer) Dump() error { return d.emitKept() }

// emitKept hands the kept pages on, oldest first.
func (d *Drainer) emitKept() error {
	for _, k := range d.kept {
		page := d.ring.page(k.page)
		s := &stream{id: k.s.id, tid: k.s.tid, pages: []uint32{k.page}, lost: k.s.lost, dropped: k.s.dropped}
		s.off, s.from = entry.PageHeaderWords, entry.PageHeaderWords
		s.high = page[3] >> entry.TimeBits
		s.fromHigh = s.high
		d.scan(s, page, true)
		if err := d.emit(s, page); err != nil {
			return err
		}
		k.s.lost, k.s.dropped = s.lost, s.dropped
		d.release(k.page)
	}
	d.reclaimed += uint64(len(d.kept))
	d.kept = nil
	return nil
}

// events counts the records in page[from:to].
func events(page []uint64, from, to int) uint64 {
	var n uint64
	for i := from; i < to; {
		w := page[i]
		switch kind := w >> entry.WordIndexShift; {
		case kind >= entry.FirstIndex:
			n++
			i++
		case kind == entry.WordPad:
			i = to
		case kind == entry.WordRecord:
			n++
			i += max(1, int(w&0xffff))
		case kind == entry.WordReserved:
			i += max(1, int(w&0xffff))
		default:
			i++
		}
	}
	return n
}
