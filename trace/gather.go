package trace

import (
	"encoding/binary"
	"fmt"
	"slices"
)

const (
	// gatherWords is the number of words that a chunk is gathered to.
	gatherWords = 64 << 10

	// maxGathered is the number of bytes that are gathered for all streams.
	maxGathered = 8 << 20

	// maxJobs is how many chunks are encoded at a time. Who gives more waits for
	// one of them, unless there is a hurry.
	maxJobs = 2

	// calmAfterLoss is for how many chunks the drainer has the processor for
	// itself after events were lost.
	calmAfterLoss = 32

	// maxQueued is the number of bytes that may wait for encoders.
	maxQueued = 64 << 20

	// headroom is room for headers before the words of a batch, so that they
	// can be written from where they are.
	headroom = blockHeader + chunkHeaderSize
)

// gatherer holds the events that were given to a Writer and have not got into
// its buffer.
type gatherer struct {
	batches  []*batch // of the streams that have words, in order of their first
	streams  map[streamKey]*batch
	bytes    int
	queue    []*queued
	jobs     int // in queue
	hurry    bool
	patient  bool
	calm     int // chunks to be written as they are before one is encoded again
	queued   int // bytes in queue that are not encoded
	encoders []*encoder
	spare    [][]byte
	ranges   map[uint32]*processRanges
}

// batch is the words of one stream that will be one chunk.
type batch struct {
	Chunk  // without words
	buf    []byte
	events uint64
	high   uint64 // time bits at the end of the words
}

// queued is a block that waits for those before it to be encoded.
type queued struct {
	typ     Type
	payload []byte // or, if nil, a chunk in buf

	// Of a chunk: the batch's.
	buf    []byte
	events uint64

	// Of a chunk that is being encoded. It is in the encoder's memory.
	done    chan struct{}
	encoder *encoder
}

// processRanges are the ranges of a process.
type processRanges struct {
	entries []Range
	exits   []exitRange
}

// addRange notes a range. What encoders have of it is never changed.
func (g *gatherer) addRange(r Range) {
	if g.ranges == nil {
		g.ranges = map[uint32]*processRanges{}
	}
	old := g.ranges[r.Proc]
	if old == nil {
		old = new(processRanges)
	}
	end := r.Index + r.Count
	p := &processRanges{
		entries: slices.DeleteFunc(slices.Clone(old.entries), func(o Range) bool {
			return o.Index < end && r.Index < o.Index+o.Count
		}),
		exits: slices.DeleteFunc(slices.Clone(old.exits), func(o exitRange) bool {
			return o.index < end && r.Index < o.index+o.count || r.Kind == RangeEntries && o.entries < end && r.Index < o.entries+o.count
		}),
	}
	if r.Kind == RangeEntries {
		p.entries = append(p.entries, r)
	} else {
		x := exitRange{index: r.Index, count: r.Count}
		for _, e := range p.entries {
			if e.Image == r.Image && e.VA == r.VA && e.Addr == r.Addr && e.Count == r.Count {
				x.entries = e.Index
			}
		}
		p.exits = append(p.exits, x)
	}
	g.ranges[r.Proc] = p
}

// WriteChunk writes events of a thread. The words are copied before anything
// is computed from them, so they may lie in memory that the target can change.
// Chunks that continue one another may be joined.
func (w *Writer) WriteChunk(c Chunk) error {
	if w.err != nil {
		return w.err
	}
	if len(c.Words)%8 != 0 || len(c.Words) > MaxChunk || c.Flags != 0 {
		return fmt.Errorf("write CHUNK block: %d bytes of words with flags %#x", len(c.Words), c.Flags)
	}
	g := &w.gather
	key := streamKey{c.Proc, c.Stream}
	b := g.streams[key]
	if b != nil && (b.TID != c.TID || c.Lost != 0 || len(b.buf)+len(c.Words)+8 > 8*gatherWords) {
		if err := w.submit(b); err != nil {
			return err
		}
		b = nil
	}
	if b == nil {
		b = &batch{Chunk: c, high: c.Base >> TimeBits, buf: g.buffer(headroom + len(c.Words))[:headroom]}
		b.Words = nil
		if g.streams == nil {
			g.streams = map[streamKey]*batch{}
		}
		g.streams[key] = b
		g.batches = append(g.batches, b)
	}
	before := len(b.buf)
	if high := c.Base >> TimeBits; high != b.high {
		b.buf = binary.LittleEndian.AppendUint64(b.buf, ControlWord(WordTime, high))
		b.high = high
	}
	old := len(b.buf)
	b.buf = append(b.buf, c.Words...)
	g.bytes += len(b.buf) - before
	s := scanWords(b.buf[old:])
	b.events += s.events
	if s.timed {
		b.high = s.high
	}
	w.stats.Events += s.events
	w.stats.Lost += c.Lost
	switch {
	case !s.whole || len(b.buf) >= 8*gatherWords:
		return w.submit(b)
	case g.bytes > maxGathered:
		return w.submitAll()
	}
	return nil
}

// Hurry says whether events are in danger of being lost because they are not
// taken away fast enough. Chunks are written as they are then, since encoders
// take processor time from whoever waits for it.
func (w *Writer) Hurry(hurry bool) { w.gather.hurry = hurry }

// Patient says whether no event can be lost any more, because all that are to come are
// there: then every chunk is encoded, whatever was lost before.
func (w *Writer) Patient(patient bool) { w.gather.patient = patient }

// submitAll ends all batches.
func (w *Writer) submitAll() error {
	for len(w.gather.batches) > 0 {
		if err := w.submit(w.gather.batches[0]); err != nil {
			return err
		}
	}
	return nil
}

// submit ends a batch and hands it to an encoder.
func (w *Writer) submit(b *batch) error {
	g := &w.gather
	delete(g.streams, streamKey{b.Proc, b.Stream})
	i := slices.Index(g.batches, b)
	g.batches = slices.Delete(g.batches, i, i+1)
	g.bytes -= len(b.buf) - headroom
	w.stats.Chunks++
	q := &queued{typ: TypeChunk, events: b.events, buf: b.buf}
	if b.Lost != 0 {
		g.calm = calmAfterLoss
	}
	plain := !g.patient && (g.hurry || g.calm > 0)
	if g.calm > 0 {
		g.calm--
	}
	if len(b.buf) < headroom+8*minEncoded || plain {
		b.header(b.buf[:blockHeader], 0)
		return w.enqueue(q)
	}
	if g.jobs >= maxJobs {
		if err := w.collect(maxJobs - 1); err != nil {
			return err
		}
	}
	e, err := g.encoder()
	if err != nil {
		w.err = fmt.Errorf("write recording: %w", err)
		return w.err
	}
	q.encoder, q.done = e, make(chan struct{})
	var exits []exitRange
	if r := g.ranges[b.Proc]; r != nil {
		exits = r.exits
	}
	g.jobs++
	go func() {
		defer close(q.done)
		p := e.encode(b.header(e.out[:0], chunkEncoded), b.buf[headroom:], b.Base, b.events, exits)
		if e.out = p; len(p) < len(b.buf)-blockHeader {
			q.payload = p
		} else {
			b.header(b.buf[:blockHeader], 0)
		}
	}()
	return w.enqueue(q)
}

// header appends the fields before a chunk's words.
func (c *Chunk) header(dst []byte, flags uint32) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, c.Proc)
	dst = binary.LittleEndian.AppendUint32(dst, c.Stream)
	dst = binary.LittleEndian.AppendUint32(dst, c.TID)
	dst = binary.LittleEndian.AppendUint32(dst, flags)
	dst = binary.LittleEndian.AppendUint64(dst, c.Base)
	return binary.LittleEndian.AppendUint64(dst, c.Lost)
}

func (w *Writer) enqueue(q *queued) error {
	g := &w.gather
	g.queue = append(g.queue, q)
	g.queued += len(q.buf)
	jobs := maxJobs
	if g.queued > maxQueued {
		jobs = 0
	}
	return w.collect(jobs)
}

// collect puts blocks from the head of the queue into the buffer: those that
// are ready, and as many more that at most so many jobs are left.
func (w *Writer) collect(jobs int) error {
	g := &w.gather
	for len(g.queue) > 0 {
		q := g.queue[0]
		if q.done != nil {
			if g.jobs <= jobs {
				select {
				case <-q.done:
				default:
					return nil
				}
			}
			<-q.done
			g.jobs--
			g.encoders = append(g.encoders, q.encoder)
		}
		g.queue[0] = nil
		g.queue = g.queue[1:]
		g.queued -= len(q.buf)
		if err := w.place(q); err != nil {
			return err
		}
	}
	return nil
}

// place puts a block into the buffer, or writes it.
func (w *Writer) place(q *queued) error {
	direct := q.payload == nil && len(q.buf) >= leastSpare
	if direct {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if q.typ == TypeChunk {
		w.placed.Events += q.events
		w.placed.Chunks++
		defer w.gather.recycle(q.buf)
	}
	if direct {
		w.seal(q.buf, TypeChunk)
		w.stats.Bytes += int64(len(q.buf))
		w.placed.Bytes = w.stats.Bytes
		return w.out(q.buf)
	}
	w.begin()
	if q.payload == nil {
		q.payload = q.buf[blockHeader:]
	}
	w.buf = append(w.buf, q.payload...)
	return w.end(q.typ)
}

// encoder returns an encoder that is not in use.
func (g *gatherer) encoder() (*encoder, error) {
	n := len(g.encoders) - 1
	if n < 0 {
		return newEncoder()
	}
	e := g.encoders[n]
	g.encoders = g.encoders[:n]
	return e, nil
}

// Only large buffers are kept, and few: there may be thousands of streams.
const (
	maxSpare   = maxJobs + 2
	leastSpare = 64 << 10
)

func (g *gatherer) buffer(n int) []byte {
	if k := len(g.spare) - 1; k >= 0 {
		b := g.spare[k]
		g.spare = g.spare[:k]
		return b
	}
	return make([]byte, 0, n)
}

func (g *gatherer) recycle(b []byte) {
	if cap(b) >= leastSpare && len(g.spare) < maxSpare {
		g.spare = append(g.spare, b[:0])
	}
}
