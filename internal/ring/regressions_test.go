package ring

import (
	"testing"

	"nopal/internal/entry"
)

// Overwrite: pages of dead threads are history too, and may be given up for the newest.
func TestOverwriteOutlivesManyThreads(t *testing.T) {
	r, c := newRing(t, testPages), newCollector(t)
	d := NewDrainer(r, c, true)
	var all []*producer
	for i := range 10 * testPages {
		p := newProducer(r, i%8, uint32(100+i))
		all = append(all, p)
		for range 100 {
			p.event(1)
		}
		look(t, d, true)
		d.Dead(func(tid uint32) bool { return tid != p.tid })
		if err := d.Reap(p.slot); err != nil {
			t.Fatal(err)
		}
	}
	finish(t, d)
	last := all[len(all)-1]
	if len(c.events[last.stream]) != 100 {
		t.Errorf("the newest thread has %d events, want 100 (lost %d)", len(c.events[last.stream]), last.lost)
	}
	for _, p := range all {
		c.check(p, 0)
		if t.Failed() {
			return
		}
	}
}

// Slots are used again while overwriting: counts of their former threads stay.
func TestOverwriteCountsOfDeadThreads(t *testing.T) {
	r, c := newRing(t, testPages), newCollector(t)
	d := NewDrainer(r, c, true)
	p := newProducer(r, 0, 100)
	for i := range 200000 {
		p.event(1)
		if i%5000 == 0 {
			look(t, d, true)
		}
	}
	if err := d.Reap(0); err != nil {
		t.Fatal(err)
	}
	q := newProducer(r, 0, 101)
	for i := range 200000 {
		q.event(1)
		if i%5000 == 0 {
			look(t, d, true)
		}
	}
	finish(t, d)
	c.check(p, 0)
	c.check(q, 0)
}

// A given-up place that is committed later is handed on once, whole.
func TestLateRecords(t *testing.T) {
	for _, words := range []uint64{1, 36} {
		for _, timed := range []bool{false, true} {
			r, c := newRing(t, testPages), newCollector(t)
			d := NewDrainer(r, c, false)
			p := newProducer(r, 0, 100)
			p.event(1)
			if timed {
				p.clock += 1 << 25
			}
			hole, _ := p.reserve(words)
			for i := range 30000 {
				p.event(1)
				if i%1000 == 0 {
					look(t, d, true)
				}
			}
			p.commit(hole)
			finish(t, d)
			t.Logf("words %d timed %v", words, timed)
			c.check(p, 0)
		}
	}
}

// A handler's page is full before the page that it interrupted is announced. That one comes when
// the next is being read, and its number has been.
func TestLatePage(t *testing.T) {
	r, c := newRing(t, testPages), newCollector(t)
	d := NewDrainer(r, c, false)
	p := newProducer(r, 0, 100)
	for range 100 {
		for p.cur&(entry.PageWords-1) != 0 {
			p.event(1)
		}
		late := p.prepare()
		for range 700 {
			p.event(1)
		}
		look(t, d, true)
		p.announce(late)
		p.event(1)
		look(t, d, true)
		p.void(late)
		p.event(1)
		look(t, d, true)
	}
	if used := int(r.header.PoolPages) - freePages(r); used > 1 {
		t.Errorf("%d pages are not in the pool, want the one in use", used)
	}
	finish(t, d)
	c.check(p, 0)
	c.inOrder(p)
}

// A hole that fills between scan and copy is there once.
func TestLateBeforeCopy(t *testing.T) {
	r, c := newRing(t, testPages), newCollector(t)
	d := NewDrainer(r, c, false)
	p := newProducer(r, 0, 100)
	p.event(1)
	hole, _ := p.reserve(1)
	for range 12000 {
		p.event(1)
	}
	d.sink = &committing{c, func() {
		if p != nil && hole.words != 0 {
			p.commit(hole)
			hole.words = 0
		}
	}}
	look(t, d, true)
	finish(t, d)
	c.check(p, 0)
}

type committing struct {
	*collector
	f func()
}

func (c *committing) Chunk(stream, tid uint32, base, lost uint64, w []uint64) error {
	c.f()
	return c.collector.Chunk(stream, tid, base, lost, w)
}

// Several threads with places that are never filled do not hold up all.
func TestSeveralStalled(t *testing.T) {
	r, c := newRing(t, testPages), newCollector(t)
	d := NewDrainer(r, c, false)
	var all []*producer
	for i := range 6 {
		p := newProducer(r, i, uint32(100+i))
		p.event(1)
		p.reserve(1)
		all = append(all, p)
	}
	for i := range 60000 {
		for _, p := range all {
			p.event(1)
		}
		if i%100 == 0 {
			look(t, d, true)
		}
	}
	finish(t, d)
	for _, p := range all {
		c.check(p, 1)
		if p.lost > p.made/10 {
			t.Errorf("thread %d lost %d of %d", p.tid, p.lost, p.made+p.lost)
		}
	}
}

func TestSizeIsWholePages(t *testing.T) {
	for _, b := range []int64{MinBuffer, 100 << 10, 1<<20 + 4096} {
		if n, _ := Size(b); n%(64<<10) != 0 {
			t.Errorf("buffer %d: %d bytes are no whole pages of 64 KB: the mapping's end is not the ring's", b, n)
		}
	}
}
