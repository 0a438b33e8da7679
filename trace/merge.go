package trace

import "math/bits"

// heapEntry is a stream in the heap, with the time by which it stands there.
type heapEntry struct {
	ticks  uint64
	stream *stream
}

func (a *heapEntry) earlier(b *heapEntry) bool {
	return a.ticks < b.ticks || a.ticks == b.ticks && a.stream.order < b.stream.order
}

// up restores the heap after an entry was appended.
func (e *Events) up(i int) {
	h := e.heap
	x := h[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !x.earlier(&h[parent]) {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = x
}

// down restores the heap after the first entry got a later time.
func (e *Events) down() {
	h, i := e.heap, 0
	x := h[0]
	for {
		least := 2*i + 1
		if least >= len(h) {
			break
		}
		if least+1 < len(h) && h[least+1].earlier(&h[least]) {
			least++
		}
		if !h[least].earlier(&x) {
			break
		}
		h[i] = h[least]
		i = least
	}
	if i > 0 {
		h[i] = x
	}
}

// Buffers of chunks come in powers of two, so that small chunks do not hold
// large ones, and are used again.
const (
	bufShift   = 6
	bufClasses = 16
)

func bufClass(n int) int { return max(0, bits.Len(uint(max(0, n-64-1)))-bufShift) }

func (e *Events) buffer(n int) []byte {
	c := bufClass(n)
	if k := len(e.free[c]); k > 0 {
		b := e.free[c][k-1]
		e.free[c] = e.free[c][:k-1]
		return b
	}
	return make([]byte, 64+1<<(c+bufShift))
}

func (e *Events) recycle(b []byte) {
	c := bufClass(cap(b))
	e.free[c] = append(e.free[c], b[:cap(b)])
}

// release takes back the buffer of s's current chunk.
func (e *Events) release(s *stream) {
	e.pending -= s.cur.cost
	if s.cur.buf != nil {
		e.recycle(s.cur.buf)
	}
	s.cur.buf, s.cur.words, s.cur.cost = nil, nil, 0
}
