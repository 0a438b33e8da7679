package ring

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"nopal/internal/entry"
)

func takeSnapshot(t testing.TB, d *Drainer) *collector {
	t.Helper()
	c := newCollector(t)
	if _, err := d.Snapshot(c); err != nil {
		t.Fatal(err)
	}
	return c
}

// Each snapshot accounts for all events up to it, and the recording goes on as if it
// had not been taken.
func TestSnapshotDisturbsNothing(t *testing.T) {
	r, c := newRing(t, testPages), newCollector(t)
	d := NewDrainer(r, c, true)
	p, q := newProducer(r, 0, 100), newProducer(r, 1, 101)
	for i := range 60000 {
		p.event([]uint64{1, 1, 36, 1}[i%4])
		if i%3 == 0 {
			q.event(1)
		}
		if i%700 == 0 {
			p.clock += 1 << entry.TimeBits
		}
		if i%100 == 0 && i%30000 > 8000 { // at times all pages are full and events lost
			look(t, d, false)
		}
		if i%2500 == 0 {
			look(t, d, false)
			free := freePages(r)
			one, two := takeSnapshot(t, d), takeSnapshot(t, d)
			for _, p := range []*producer{p, q} {
				one.check(p, 0)
				one.inOrder(p)
				if !slices.Equal(one.events[p.stream], two.events[p.stream]) || one.lost[p.stream] != two.lost[p.stream] {
					t.Fatalf("after %d events: a snapshot has changed what the next one has", i)
				}
			}
			if n := freePages(r); n != free {
				t.Fatalf("%d pages free, %d before the snapshot", n, free)
			}
		}
	}
	finish(t, d)
	for _, p := range []*producer{p, q} {
		c.check(p, 0)
		c.inOrder(p)
	}
	if n := freePages(r); n != testPages {
		t.Errorf("%d of %d pages free at the end", n, testPages)
	}
}

// What is not committed is not in a snapshot, and is in the recording when it is.
func TestSnapshotLeavesHoles(t *testing.T) {
	r, c := newRing(t, testPages), newCollector(t)
	d := NewDrainer(r, c, true)
	p := newProducer(r, 0, 100)
	p.event(1)
	big, _ := p.reserve(36)
	atomic.StoreUint64(&r.words[big.at+1], eventWord(big.id, big.tick)) // written, but not committed
	small, _ := p.reserve(1)
	p.event(1)
	takeSnapshot(t, d).check(p, 2)
	p.commit(big)
	p.commit(small)
	s := takeSnapshot(t, d)
	s.check(p, 0)
	s.inOrder(p)
	finish(t, d)
	c.check(p, 0)
}

// What was lost without a slot, by a thread that never got a page, and by one that is
// gone, is counted.
func TestSnapshotCountsLosses(t *testing.T) {
	r, c := newRing(t, 16), newCollector(t)
	d := NewDrainer(r, c, true)
	gone := newProducer(r, 1, 101)
	for range 2000 {
		gone.event(1)
	}
	look(t, d, false)
	if err := d.Reap(1); err != nil {
		t.Fatal(err)
	}
	p := newProducer(r, 0, 100)
	for range 20 * entry.PageWords {
		p.event(1)
	}
	late := newProducer(r, 2, 102)
	late.event(1)
	if late.lost != 1 {
		t.Fatal("the pool is not exhausted")
	}
	atomic.AddUint64(&r.header.LostNoSlot, 3)
	s := newCollector(t)
	noSlot, err := d.Snapshot(s)
	if err != nil || noSlot != 3 {
		t.Errorf("%d lost without a slot, %v", noSlot, err)
	}
	for _, p := range []*producer{p, gone, late} {
		s.check(p, 0)
	}
	finish(t, d)
	c.check(p, 0)
	c.check(gone, 0)
}

// slowSink is a file on a slow disk: while a page is written to it, threads fill others.
type slowSink struct {
	*collector
	each func()
}

func (s *slowSink) Chunk(stream, tid uint32, base, lost uint64, words []uint64) error {
	s.each()
	return s.collector.Chunk(stream, tid, base, lost, words)
}

// A thread that fills half as many pages as are copied loses nothing by it.
func TestSnapshotMakesRoom(t *testing.T) {
	r, c := newRing(t, 1024), newCollector(t)
	d := NewDrainer(r, c, true)
	p := newProducer(r, 0, 100)
	for i := range 1300 * entry.PageWords {
		p.event(1)
		if i%1000 == 0 {
			look(t, d, false)
		}
	}
	if p.lost > 0 {
		t.Fatalf("%d events lost before the snapshot", p.lost)
	}
	before := p.made
	s := &slowSink{newCollector(t), func() {
		for range entry.PageWords / 2 {
			p.event(1)
		}
	}}
	if _, err := d.Snapshot(s); err != nil {
		t.Fatal(err)
	}
	if p.lost > 0 {
		t.Errorf("%d of %d events were lost while the snapshot was taken", p.lost, p.made-before)
	}
	s.inOrder(p)
	if n := uint64(len(s.events[p.stream])) + s.lost[p.stream]; n < before || n > p.made {
		t.Errorf("%d events in the snapshot, or counted; %d were made before it and %d after it", n, before, p.made)
	}
	seen := s.events[p.stream]
	if missing := seen[len(seen)-1].id + 1 - seen[0].id - uint64(len(seen)); missing > 0 {
		t.Errorf("%d events are missing in the middle", missing)
	}
	finish(t, d)
	c.check(p, 0)
	c.inOrder(p)
}

// While threads write, a snapshot has nothing twice, nothing torn, and all in order.
func TestSnapshotWhileThreadsWrite(t *testing.T) {
	r := newRing(t, testPages)
	d := NewDrainer(r, newCollector(t), true)
	var stop atomic.Bool
	var threads sync.WaitGroup
	producers := make([]*producer, 3)
	for i := range producers {
		producers[i] = newProducer(r, i, uint32(100+i))
		threads.Go(func() {
			for n := 0; !stop.Load(); n++ {
				producers[i].event([]uint64{1, 1, 1, 36, 2}[n%5])
			}
		})
	}
	for range 300 {
		look(t, d, false)
		s := takeSnapshot(t, d)
		for stream, events := range s.events {
			for i := 1; i < len(events); i++ {
				if events[i].id <= events[i-1].id || events[i].ticks < events[i-1].ticks {
					t.Fatalf("stream %d: %+v after %+v", stream, events[i], events[i-1])
				}
			}
		}
	}
	stop.Store(true)
	threads.Wait()
	s := takeSnapshot(t, d)
	for _, p := range producers {
		s.check(p, 0)
	}
}
