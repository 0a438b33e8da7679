package analyze

import (
	"math/bits"
)

// stats sums up calls. Times are ticks. Its size follows the longest
// duration, not the number of calls. What can be worked out at the end is not
// counted: a large recording has a billion calls.
type stats struct {
	sum    uint64 // of all durations
	nested uint64 // of those of calls inside of calls of their own kind
	self   uint64
	max    uint64
	invMin uint64 // ^min, so that no calls at all is 0
	hist   []uint64
	bare   uint64 // calls whose duration is not known
}

func (s *stats) min() uint64 { return ^s.invMin }

// known is the number of calls whose duration is known.
func (s *stats) known() (n uint64) {
	for _, c := range s.hist {
		n += c
	}
	return n
}

func (s *stats) calls() uint64 { return s.bare + s.known() }

// A histogram has subBuckets buckets for each power of two, so a bucket is at
// most 1/16 of its lower bound wide, and its middle at most 3.2 % from what is in it.
const (
	subBits    = 4
	subBuckets = 1 << subBits
)

// bucketOf is the number of a duration's bucket. Durations below 32 have
// buckets of their own.
func bucketOf(d uint64) int {
	e := uint(bits.Len64(d|subBuckets)) - (subBits + 1)
	return int(uint64(e)<<subBits + d>>(e&63))
}

// bucketStart is the least duration of a bucket.
func bucketStart(b int) uint64 {
	if b < 2*subBuckets {
		return uint64(b)
	}
	e := b>>subBits - 1
	return uint64(b-e<<subBits) << e
}

// add counts a call of known duration. A nested one lies within another call
// of the same kind.
func (s *stats) add(total, self uint64, nested bool) {
	b := bucketOf(total)
	if b >= len(s.hist) {
		s.grow(b)
	}
	s.hist[b]++
	s.sum += total
	s.self += self
	if nested {
		s.nested += total
	}
	if total > s.max {
		s.max = total
	}
	if ^total > s.invMin {
		s.invMin = ^total
	}
}

func (s *stats) grow(b int) {
	h := make([]uint64, (b|(subBuckets-1))+1)
	copy(h, s.hist)
	s.hist = h
}

// merge adds the calls of another.
func (s *stats) merge(o *stats) {
	s.sum += o.sum
	s.nested += o.nested
	s.self += o.self
	s.max = max(s.max, o.max)
	s.invMin = max(s.invMin, o.invMin)
	s.bare += o.bare
	if len(o.hist) > len(s.hist) {
		s.grow(len(o.hist) - 1)
	}
	for i, n := range o.hist {
		s.hist[i] += n
	}
}

// quantile is the duration that num/den of the calls do not exceed.
func (s *stats) quantile(num, den uint64) uint64 {
	known := s.known()
	hi, lo := bits.Mul64(known, num)
	rank, rem := bits.Div64(hi, lo, den)
	if rem != 0 {
		rank++
	}
	switch {
	case rank <= 1:
		return s.min()
	case rank >= known:
		return s.max
	}
	below := uint64(0)
	for b, n := range s.hist {
		if below += n; n != 0 && below >= rank {
			start := bucketStart(b)
			return min(max(start+(bucketStart(b+1)-start)/2, s.min()), s.max)
		}
	}
	return s.max
}

// row converts the sums to nanoseconds.
func (s *stats) row(ns func(ticks uint64) int64) Row {
	r := Row{Calls: s.calls(), Total: Unknown, Self: Unknown, Avg: Unknown, Min: Unknown, Max: Unknown, P50: Unknown, P99: Unknown}
	if known := s.known(); known > 0 {
		r.Total, r.Self, r.Avg = ns(s.sum-s.nested), ns(s.self), ns(s.sum)/int64(known)
		r.Min, r.Max = ns(s.min()), ns(s.max)
		r.P50, r.P99 = ns(s.quantile(1, 2)), ns(s.quantile(99, 100))
	}
	return r
}
