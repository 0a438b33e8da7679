package trace

import "math/bits"

// Clock relates the counter, in whose ticks all times of a recording are
// kept, to the clocks of the system.
type Clock struct {
	Source    string
	Frequency uint64
	Ticks     uint64
	Mono      int64
	Real      int64
}

// converter turns ticks into nanoseconds of CLOCK_MONOTONIC with one
// multiplication. A product of 64 bits would overflow within hours (1e9 ns
// times a 1 GHz counter is 2^60 after a second), so it is 128 bits wide.
type converter struct {
	ticks uint64
	mono  int64
	mult  uint64
	shift uint
}

func newConverter(c *Clock) converter {
	// mult = ceil(1e9 * 2^shift / frequency), scaled to use all 64 bits.
	// Rounding up makes whole results exact, where down would lose 1 ns.
	conv := converter{ticks: c.Ticks, mono: c.Mono}
	shift := uint(127)
	for ; shift > 0; shift-- {
		hi, lo := shl128(1e9, shift)
		if hi < c.Frequency {
			q, r := bits.Div64(hi, lo, c.Frequency)
			if r != 0 {
				q++
			}
			if q != 0 {
				conv.mult, conv.shift = q, shift
				break
			}
		}
	}
	return conv
}

// shl128 shifts a 30-bit number; bits above 128 make the result too large to
// be chosen by newConverter.
func shl128(x uint64, n uint) (hi, lo uint64) {
	if n >= 64 {
		if n-64 > 33 {
			return ^uint64(0), 0
		}
		return x << (n - 64), 0
	}
	return x >> (64 - n), x << n
}

// ns converts ticks to nanoseconds of CLOCK_MONOTONIC.
func (c *converter) ns(ticks uint64) int64 {
	if ticks >= c.ticks {
		return c.mono + c.scale(ticks-c.ticks)
	}
	return c.mono - c.scale(c.ticks-ticks)
}

func (c *converter) scale(d uint64) int64 {
	hi, lo := bits.Mul64(d, c.mult)
	if c.shift >= 64 {
		return int64(hi >> (c.shift - 64))
	}
	return int64(hi<<(64-c.shift) | lo>>c.shift)
}
