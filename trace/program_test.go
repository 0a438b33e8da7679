package trace

import (
	"encoding/binary"
	"math/rand/v2"
)

// prog makes the events of a thread that runs something like an
// interpreter: some hundred functions, each of which has favourite callees.
type prog struct {
	rnd   *rand.Rand
	funcs []progFunc
	stack []progCall
	time  uint64
	exits bool // else only entries
}

type progFunc struct {
	frame   uint64
	callees []int
	calls   int // on average
	exit    bool
}

type progCall struct {
	f    int
	sp   uint64
	left int
}

func newProg(seed uint64, n int, unproven float64) *prog {
	p := &prog{rnd: rand.New(rand.NewPCG(seed, 1)), time: 1 << 40, exits: true}
	for i := range n {
		f := progFunc{frame: uint64(2+p.rnd.IntN(20)) * 16, calls: p.rnd.IntN(4), exit: p.rnd.Float64() >= unproven}
		for range 1 + p.rnd.IntN(6) {
			// Callees are rather leaves the higher their number.
			f.callees = append(f.callees, min(n-1, i+1+p.rnd.IntN(n/3+1)))
		}
		if p.rnd.IntN(10) == 0 {
			f.callees = append(f.callees, p.rnd.IntN(n))
		}
		if i > n*2/3 {
			f.calls = 0
		}
		p.funcs = append(p.funcs, f)
	}
	return p
}

// tick is the time between two events: mostly alike, sometimes long.
func (p *prog) tick() uint64 {
	d := 2 + p.rnd.Uint64N(3)
	switch p.rnd.IntN(64) {
	case 0:
		d += p.rnd.Uint64N(2000)
	case 1, 2, 3, 4:
		d += p.rnd.Uint64N(30)
	}
	p.time += d
	return p.time
}

// appendWords appends the words of n events, and a TIME word where the high
// bits change from those of high.
func (p *prog) appendWords(b []byte, n int, high *uint64) []byte {
	for range n {
		var w uint64
		for w == 0 {
			w = p.step()
		}
		if h := p.time >> TimeBits; h != *high {
			*high = h
			b = binary.LittleEndian.AppendUint64(b, ControlWord(WordTime, h))
		}
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// step goes on until the next event, and returns 0 if there is none.
func (p *prog) step() uint64 {
	if len(p.stack) == 0 {
		return p.enter(0, 0x7ff0)
	}
	top := &p.stack[len(p.stack)-1]
	f := &p.funcs[top.f]
	if top.left > 0 && len(p.stack) < 40 {
		top.left--
		// The first callees are the favourites.
		k := int(float64(len(f.callees)) * p.rnd.Float64() * p.rnd.Float64())
		return p.enter(f.callees[k], top.sp-f.frame)
	}
	n, sp := top.f, top.sp
	p.stack = p.stack[:len(p.stack)-1]
	if !p.exits || !f.exit {
		return 0
	}
	return EventWord(exitIndex(n), sp, p.tick())
}

func (p *prog) enter(n int, sp uint64) uint64 {
	calls := p.funcs[n].calls
	if calls > 0 {
		calls = 1 + p.rnd.IntN(2*calls)
	}
	p.stack = append(p.stack, progCall{n, sp, calls})
	return EventWord(funcIndex(n), sp, p.tick())
}

// progExits are the ranges of exits of a program of up to 1000 functions.
var progExits = []exitRange{{index: funcIndex(progFuncs) - 2, count: 16 * progFuncs, entries: funcIndex(0) - 2}}
