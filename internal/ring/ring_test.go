package ring

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nopal/internal/entry"
)

const testPages = 64

// newRing lays a ring of pages pages out in ordinary memory.
func newRing(t testing.TB, pages int) *Ring {
	t.Helper()
	buffer := int64(pages) * entry.PageSize
	size, err := Size(buffer)
	if err != nil {
		t.Fatal(err)
	}
	words := make([]uint64, size/8)
	r, err := Format(bytesOfWords(words), buffer, 0x1000, 0x2000)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// producer is a thread of the target: it follows entry_arm64.s step by step.
type producer struct {
	r      *Ring
	slot   int
	stream uint32
	tid    uint32
	cur    uint64 // Slot.Cur
	high   uint64 // Slot.TidTime's time
	clock  uint64
	next   uint64 // payload of the next event
	made   uint64 // events that were begun
	lost   uint64
}

func newProducer(r *Ring, slot int, tid uint32) *producer {
	p := &producer{r: r, slot: slot, tid: tid, stream: uint32(atomic.AddUint64(&r.header.NextStream, 1)), clock: 1 << 30}
	st := &r.stats[slot]
	atomic.StoreUint64(&st.Lost, 0)
	atomic.StoreUint32(&st.Tid, tid)
	atomic.StoreUint32(&st.Stream, p.stream)
	return p
}

// pop takes a page from the pool, 0 if there is none.
func (p *producer) pop() uint32 {
	head := &p.r.header.FreeHead
	for {
		old := atomic.LoadUint64(head)
		if uint32(old) == 0 {
			return 0
		}
		next := atomic.LoadUint32(&p.r.links[uint32(old)])
		if atomic.CompareAndSwapUint64(head, old, (old>>32+1)<<32|uint64(next)) {
			return uint32(old)
		}
	}
}

// start takes a page, writes its header and announces it.
func (p *producer) start() uint32 {
	n := p.prepare()
	if n != 0 {
		p.announce(n)
	}
	return n
}

func (p *producer) prepare() uint32 {
	n := p.pop()
	if n == 0 {
		return 0
	}
	h := p.r.page(n)
	h[0] = (p.cur>>32+1)<<32 | uint64(p.stream)
	atomic.StoreUint64(&h[1], uint64(p.tid))
	h[2] = atomic.LoadUint64(&p.r.stats[p.slot].Lost)
	h[3] = p.clock
	return n
}

func (p *producer) announce(n uint32) {
	head := &p.r.header.StartedHead
	for {
		old := atomic.LoadUint64(head)
		atomic.StoreUint32(&p.r.links[n], uint32(old))
		if atomic.CompareAndSwapUint64(head, old, (old>>32+1)<<32|uint64(n)) {
			return
		}
	}
}

// take makes a started page the thread's.
func (p *producer) take(n uint32) {
	p.cur = (p.cur>>32+1)<<32 | uint64(n)*entry.PageWords + entry.PageHeaderWords
	p.high = p.clock >> entry.TimeBits
}

func (p *producer) void(n uint32) {
	atomic.StoreUint64(&p.r.page(n)[1], entry.PageVoid<<32|uint64(p.tid))
}

// place is a reserved place: the index of its first word, and of a TIME word in front.
type place struct {
	at, words uint64
	time      bool
	high      uint64
	tick      uint64
	id        uint64
}

// reserve gives a place for a record of n words; false if the event is lost.
func (p *producer) reserve(n uint64) (place, bool) {
	p.clock += 3
	for {
		off := p.cur & (entry.PageWords - 1)
		if off == 0 {
			page := p.start()
			if page == 0 {
				atomic.AddUint64(&p.r.stats[p.slot].Lost, 1)
				p.lost++
				return place{}, false
			}
			p.take(page)
			continue
		}
		index := p.cur & (1<<32 - 1)
		need, withTime := n, p.clock>>entry.TimeBits != p.high
		if withTime {
			need++
		}
		if off+need > entry.PageWords {
			left := entry.PageWords - off
			p.cur += left
			atomic.StoreUint64(&p.r.words[index], entry.WordPad<<entry.WordIndexShift|left)
			continue
		}
		p.cur += need
		pl := place{at: index, words: n, time: withTime, high: p.clock >> entry.TimeBits, tick: p.clock, id: p.next}
		if n > 1 {
			atomic.StoreUint64(&p.r.words[index], entry.WordReserved<<entry.WordIndexShift|need)
		}
		if withTime {
			p.high = pl.high
			pl.at++
		}
		p.next++
		p.made++
		return pl, true
	}
}

// event is an event word that carries id.
func eventWord(id, tick uint64) uint64 {
	return (entry.FirstIndex+id%(1<<20))<<entry.WordIndexShift | tick&(1<<entry.TimeBits-1)
}

// commit writes the record.
func (p *producer) commit(pl place) {
	if pl.words == 1 {
		atomic.StoreUint64(&p.r.words[pl.at], eventWord(pl.id, pl.tick))
	} else {
		atomic.StoreUint64(&p.r.words[pl.at+1], eventWord(pl.id, pl.tick))
		for i := uint64(2); i < pl.words; i++ {
			atomic.StoreUint64(&p.r.words[pl.at+i], 1<<entry.WordIndexShift-i) // any bits
		}
		atomic.StoreUint64(&p.r.words[pl.at], entry.WordRecord<<entry.WordIndexShift|entry.RecordRegs|pl.words)
	}
	if pl.time {
		atomic.StoreUint64(&p.r.words[pl.at-1], entry.WordTime<<entry.WordIndexShift|pl.high)
	}
}

func (p *producer) event(n uint64) {
	if pl, ok := p.reserve(n); ok {
		p.commit(pl)
	}
}

// got is an event that was handed on.
type got struct{ id, ticks uint64 }

// collector is a sink that decodes as a reader does.
type collector struct {
	t      testing.TB
	events map[uint32][]got
	lost   map[uint32]uint64
}

func newCollector(t testing.TB) *collector {
	return &collector{t: t, events: map[uint32][]got{}, lost: map[uint32]uint64{}}
}

func (c *collector) Chunk(stream, _ uint32, base, lost uint64, shared []uint64) error {
	words := make([]uint64, len(shared))
	for i := range words {
		words[i] = atomic.LoadUint64(&shared[i])
	}
	c.lost[stream] += lost
	high := base >> entry.TimeBits
	add := func(w uint64) {
		c.events[stream] = append(c.events[stream], got{w>>entry.WordIndexShift - entry.FirstIndex, high<<entry.TimeBits | w&(1<<entry.TimeBits-1)})
	}
	for i := 0; i < len(words); {
		w := words[i]
		kind := w >> entry.WordIndexShift
		switch {
		case w == 0:
			i++
		case kind >= entry.FirstIndex:
			add(w)
			i++
		case kind == entry.WordTime:
			high = w & (1<<entry.WordIndexShift - 1)
			i++
		case kind == entry.WordPad:
			i += int(w & (1<<entry.WordIndexShift - 1))
		case kind == entry.WordReserved:
			i += int(w & 0xffff)
		case kind == entry.WordRecord:
			add(words[i+1])
			i += int(w & 0xffff)
		default:
			c.t.Errorf("stream %d: word %#x of kind %d", stream, w, kind)
			return nil
		}
	}
	return nil
}

func (c *collector) Lost(stream, _ uint32, count uint64) error {
	c.lost[stream] += count
	return nil
}

// check makes sure that every event of p is there once or counted as lost, in order.
func (c *collector) check(p *producer, uncommitted uint64) {
	c.t.Helper()
	events := c.events[p.stream]
	if n := uint64(len(events)); n+uncommitted+c.lost[p.stream] != p.made+p.lost {
		c.t.Errorf("stream %d: %d recorded + %d lost + %d never committed, want %d", p.stream, n, c.lost[p.stream], uncommitted, p.made+p.lost)
	}
	seen := map[uint64]bool{}
	for _, e := range events {
		if seen[e.id] {
			c.t.Errorf("stream %d: event %d is there twice", p.stream, e.id)
			return
		}
		seen[e.id] = true
		if e.id >= p.made {
			c.t.Errorf("stream %d: event %d was never made", p.stream, e.id)
			return
		}
	}
}

// inOrder makes sure that ids and times rise.
func (c *collector) inOrder(p *producer) {
	c.t.Helper()
	var last got
	for i, e := range c.events[p.stream] {
		if i > 0 && (e.id <= last.id || e.ticks < last.ticks) {
			c.t.Fatalf("stream %d: event %d at %d comes after %d at %d", p.stream, e.id, e.ticks, last.id, last.ticks)
		}
		last = e
	}
}

func look(t testing.TB, d *Drainer, flush bool) {
	t.Helper()
	if _, err := d.Look(flush); err != nil {
		t.Fatal(err)
	}
}

func finish(t testing.TB, d *Drainer) {
	t.Helper()
	if _, err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// freePages counts the pool.
func freePages(r *Ring) int {
	n := 0
	for p := uint32(r.header.FreeHead); p != 0; p = r.links[p] {
		n++
	}
	return n
}

func TestLayoutFitsItsLinks(t *testing.T) {
	for _, buffer := range []int64{MinBuffer, 1 << 20, 64 << 20, 1 << 30, MaxBuffer} {
		l := layoutFor(buffer)
		first := l.pool / entry.PageSize
		if l.next+4*(first+stride*l.pages) > l.stat {
			t.Errorf("buffer %d: links up to %#x overlap stats at %#x", buffer, l.next+4*(first+stride*l.pages), l.stat)
		}
		if l.size != l.pool+stride*uint64(buffer) {
			t.Errorf("buffer %d: size %#x, pool at %#x", buffer, l.size, l.pool)
		}
		if l.size/8 > 1<<32 {
			t.Errorf("buffer %d: word indexes do not fit 32 bits", buffer)
		}
	}
}

func TestRecordsOfAllSizes(t *testing.T) {
	r, c := newRing(t, testPages), newCollector(t)
	d := NewDrainer(r, c, false)
	p := newProducer(r, 0, 100)
	for i := range 20000 {
		p.event([]uint64{1, 1, 1, 36, 2, 99, 7}[i%7])
		if i%500 == 0 {
			p.clock += 1 << entry.TimeBits // so that a TIME word is needed
		}
		if i%100 == 0 {
			look(t, d, i%300 == 0)
		}
	}
	finish(t, d)
	c.check(p, 0)
	c.inOrder(p)
	if p.lost != 0 {
		t.Errorf("%d lost although there was room", p.lost)
	}
}

func TestLossIsCountedExactly(t *testing.T) {
	for _, every := range []int{3000, 40000, 1 << 30} {
		r, c := newRing(t, testPages), newCollector(t)
		d := NewDrainer(r, c, false)
		p, q := newProducer(r, 0, 100), newProducer(r, 77, 101)
		for i := range 200000 {
			p.event(1)
			if i%3 == 0 {
				q.event(36)
			}
			if i%every == every-1 {
				look(t, d, true)
			}
		}
		finish(t, d)
		c.check(p, 0)
		c.check(q, 0)
		c.inOrder(p)
		if every > 3000 && c.lost[p.stream] == 0 {
			t.Errorf("look every %d events: nothing lost in a full ring", every)
		}
	}
}

func TestOverwriteKeepsTheNewest(t *testing.T) {
	r, c := newRing(t, testPages), newCollector(t)
	d := NewDrainer(r, c, true)
	p := newProducer(r, 0, 100)
	for i := range 300000 {
		p.event(1)
		if i%2000 == 0 {
			look(t, d, true)
			if len(c.events) > 0 {
				t.Fatal("handed on before the end")
			}
		}
	}
	finish(t, d)
	c.check(p, 0)
	c.inOrder(p)
	e := c.events[p.stream]
	if p.lost != 0 || len(e) < testPages/2*500 || e[len(e)-1].id != p.next-1 {
		t.Errorf("%d events kept, %d lost for want of pages", len(e), p.lost)
	}
}

// TestHoleIsWaitedFor: nothing behind a place that may still be filled is handed on.
func TestHoleIsWaitedFor(t *testing.T) {
	for _, words := range []uint64{1, 36} {
		r, c := newRing(t, testPages), newCollector(t)
		d := NewDrainer(r, c, false)
		p := newProducer(r, 0, 100)
		p.event(1)
		hole, _ := p.reserve(words)
		for range 2000 {
			p.event(1)
		}
		look(t, d, true)
		if n := len(c.events[p.stream]); n != 1 {
			t.Errorf("record of %d words: %d events before it is committed, want 1", words, n)
		}
		p.commit(hole)
		look(t, d, true)
		finish(t, d)
		c.check(p, 0)
		c.inOrder(p)
	}
}

// TestAbandonedPlaces: their threads left by longjmp, or died.
func TestAbandonedPlaces(t *testing.T) {
	for _, words := range []uint64{1, 36} {
		r, c := newRing(t, testPages), newCollector(t)
		d := NewDrainer(r, c, false)
		p := newProducer(r, 0, 100)
		for i := range 3000 {
			if i%1000 == 500 {
				p.reserve(words)
			}
			p.event(1)
		}
		finish(t, d)
		c.check(p, 3)
		c.inOrder(p)
	}
}

// TestStalledStreamGoesOn: a place that stays open does not hold up the ring for ever.
func TestStalledStreamGoesOn(t *testing.T) {
	r, c := newRing(t, testPages), newCollector(t)
	d := NewDrainer(r, c, false)
	p := newProducer(r, 0, 100)
	p.event(1)
	hole, _ := p.reserve(1)
	for i := range 100000 {
		p.event(1)
		if i%1000 == 0 {
			look(t, d, true)
		}
	}
	if p.lost != 0 {
		t.Errorf("%d lost behind an open place", p.lost)
	}
	p.commit(hole)
	finish(t, d)
	c.check(p, 0)
}

// TestHandlerTakesThePage: a signal handler takes a page in the middle of its thread
// taking one.
func TestHandlerTakesThePage(t *testing.T) {
	for _, when := range []string{"before", "during", "after"} {
		r, c := newRing(t, testPages), newCollector(t)
		d := NewDrainer(r, c, false)
		p := newProducer(r, 0, 100)
		for range 300 {
			for p.cur&(entry.PageWords-1) != 0 {
				p.event(1)
			}
			outer := p.start()
			if when == "before" {
				look(t, d, true)
			}
			for range 700 { // the handler's: more than a page
				p.event(1)
			}
			if when == "during" {
				look(t, d, true)
			}
			p.void(outer)
			look(t, d, true)
		}
		look(t, d, true)
		if used := int(r.header.PoolPages) - freePages(r); used > 1 {
			t.Errorf("%s: %d pages are not in the pool, want the one in use", when, used)
		}
		finish(t, d)
		c.check(p, 0)
		c.inOrder(p)
		if p.lost != 0 {
			t.Errorf("%s: %d lost", when, p.lost)
		}
	}
}

func TestReapFreesWhatAThreadHeld(t *testing.T) {
	r, c := newRing(t, testPages), newCollector(t)
	d := NewDrainer(r, c, false)
	var all []*producer
	for i := range 10 * testPages {
		p := newProducer(r, i%8, uint32(100+i))
		all = append(all, p)
		for range i % 700 {
			p.event(1)
		}
		look(t, d, i%2 == 0)
		dead := d.Dead(func(tid uint32) bool { return tid != p.tid })
		if len(dead) != 1 || dead[0] != p.slot {
			t.Fatalf("dead slots %v, want %d", dead, p.slot)
		}
		if err := d.Reap(p.slot); err != nil {
			t.Fatal(err)
		}
	}
	if n := freePages(r); n != testPages {
		t.Errorf("%d of %d pages are in the pool", n, testPages)
	}
	finish(t, d)
	for _, p := range all {
		c.check(p, 0)
		if p.lost != 0 {
			t.Fatalf("thread %d lost %d", p.tid, p.lost)
		}
	}
}

// TestConcurrentThreads runs producers against the drainer; the race detector checks
// that a page is nobody else's while it is written or read.
func TestConcurrentThreads(t *testing.T) {
	for _, overwrite := range []bool{false, true} {
		t.Run(fmt.Sprintf("overwrite=%v", overwrite), func(t *testing.T) {
			r, c := newRing(t, testPages), newCollector(t)
			d := NewDrainer(r, c, overwrite)
			var wg sync.WaitGroup
			var all []*producer
			for i := range 6 {
				p := newProducer(r, 100*i, uint32(100+i))
				all = append(all, p)
				wg.Go(func() {
					for i := range 30000 {
						p.event([]uint64{1, 1, 36, 1, 3}[i%5])
						if i%1000 == 0 {
							runtime.Gosched()
						}
					}
				})
			}
			done := make(chan struct{})
			go func() { wg.Wait(); close(done) }()
			for n, open := 0, true; open; n++ {
				select {
				case <-done:
					open = false
				default:
				}
				look(t, d, n%3 == 0)
				time.Sleep(20 * time.Microsecond)
			}
			finish(t, d)
			for _, p := range all {
				c.check(p, 0)
				c.inOrder(p)
			}
		})
	}
}

func TestJournalAndState(t *testing.T) {
	r := newRing(t, testPages)
	if err := r.AddJournal([]JournalEntry{{Addr: 0x1000, Old: [2]uint32{1, 2}}, {Addr: 0x2000, Old: [2]uint32{3, 0}}}); err != nil {
		t.Fatal(err)
	}
	if err := r.AddIsland(0x5000, 0x1000); err != nil {
		t.Fatal(err)
	}
	const addr = 0x10000
	s, err := ReadState(memoryAt{addr, r.Memory()}, addr, uint64(len(r.Memory())))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Journal) != 2 || s.Journal[1].Addr != 0x2000 || len(s.Islands) != 1 || s.Islands[0].Addr != 0x5000 || s.Control != 0x1000 {
		t.Errorf("state %+v", s)
	}
	if err := r.AddJournal(make([]JournalEntry, JournalCap)); err == nil {
		t.Error("a journal takes more than it has room for")
	}
	r.header.PoolPages = 1 << 40
	if _, err := Open(r.Memory()); err == nil {
		t.Error("a damaged ring is opened")
	}
	r.header.Magic = 0
	if _, err := ReadState(memoryAt{addr, r.Memory()}, addr, uint64(len(r.Memory()))); err == nil {
		t.Error("no ring is taken for one")
	}
}

type memoryAt struct {
	base int64
	mem  []byte
}

func (m memoryAt) ReadAt(b []byte, at int64) (int, error) { return copy(b, m.mem[at-m.base:]), nil }
