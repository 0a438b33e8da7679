package trace

import "math/bits"

// up and down restore the heap after position i got an earlier or a later event.
func (e *Events) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !e.earlier(i, parent) {
			return
		}
		e.heap[i], e.heap[parent] = e.heap[parent], e.heap[i]
		i = parent
	}
}

func (e *Events) down(i int) {
	for {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(e.heap) && e.earlier(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		e.heap[i], e.heap[least] = e.heap[least], e.heap[i]
		i = least
	}
}

func (e *Events) earlier(i, j int) bool {
	a, b := e.heap[i], e.heap[j]
	return a.ticks < b.ticks || a.ticks == b.ticks && a.order < b.order
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
