package inject

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"

	"nopal/internal/arch/arm64"
	"nopal/internal/probe"
)

// Counters are what a rule counts, in memory that nopal and the target share.
type Counters struct {
	Calls uint64 // that met the condition and came from the caller asked for
	Fired uint64
}

// CountersSize is how far the counters of two rules are apart: a cache line, so that rules do not slow down one another.
const CountersSize = 64

const firedOffset = 8

// Range is the code of a function: addresses in [Start, End).
type Range struct{ Start, End uint64 }

// MaxCallers bounds the ranges of one rule.
const MaxCallers = 256

// Site is a function with rules: what its code is made from.
type Site struct {
	Effects []*Effect
	// Callers are the functions that a call may come from, for each effect whose rule has a caller. See [Merge].
	Callers [][]Range
}

// Env is what the code refers to. All of it is known when the site is armed.
type Env struct {
	At        uint64 // where the code will be, a multiple of 16
	Table     uint64 // address of the first thread slot; the ring's address stands 8 bytes before it
	NoSystem  uint64 // address of the word that forbids system calls if it is not 0
	Counters  uint64 // address of the first rule's counters
	Frequency uint64 // of the counter, in Hz
	Seed      uint64
	Errno     int64 // from the thread pointer
	Shared    probe.Shared
	// Record gives the probe number of a rule's records; nil: nothing is recorded.
	Record func(rule int) uint32
	// Next is where the call goes on with everything as at the site; 0: in the function.
	Next uint64
}

// A piece is a part of a site's code. next is where the piece behind it begins, skip where the next rule does.
type piece struct {
	make  func(at, next, skip uint64) ([]uint32, error)
	probe int // its size if it is a probe, which is not known to be the same everywhere; or 0
	rule  int
	last  bool
	at    uint64
}

const pieceAlign = 16

// Code makes what slot 2 of the site calls. For each rule, one after the other:
//
//	condition   a probe without fields (package probe); where it does not hold, the next rule
//	decide      from which function? count the call; is it its turn? if not, the next rule
//	record      a probe with the rule's number, where there is a recording
//	act         wait; then change arguments and go on with the next rule, or return to the caller
//
// and behind the last rule the way on. Each piece begins and ends as a site does: x9 is the caller's address, x30 that behind slot 2,
// the rest is the program's. The rules at the head of internal/entry/entry_arm64.s hold: nothing is stored below sp,
// the frame records come first, NZCV is left alone. FP registers are written only where an argument or a result is replaced.
func (s *Site) Code(env Env) ([]uint32, error) {
	pieces := s.pieces(&env)
	// Lengths do not depend on addresses, but of probes, which give theirs.
	at := env.At
	starts := make([]uint64, len(s.Effects)+1)
	for i := range pieces {
		p := &pieces[i]
		p.at = at
		if i == 0 || pieces[i-1].rule != p.rule {
			starts[p.rule] = at
		}
		size := uint64(p.probe)
		if size == 0 {
			words, err := p.make(env.At, env.At, env.At)
			if err != nil {
				return nil, err
			}
			size = 4 * uint64(len(words))
		}
		at += (size + pieceAlign - 1) &^ (pieceAlign - 1)
	}
	var code []uint32
	for i := range pieces {
		p := &pieces[i]
		next, skip := at, at
		if !p.last {
			next, skip = pieces[i+1].at, starts[p.rule+1]
		}
		words, err := p.make(p.at, next, skip)
		if err != nil {
			return nil, fmt.Errorf("make code of rules at %#x: %w", env.At, err)
		}
		for env.At+4*uint64(len(code)) < p.at {
			code = append(code, arm64.Nop)
		}
		code = append(code, words...)
	}
	return code, nil
}

// Size is how many bytes of code there are at most.
func (s *Site) Size(record bool) (int, error) {
	// Values that no other is equal to, since equal literals share a place, and that take the most instructions.
	const large = 0x0123_4567_89ab_cdef
	env := Env{At: 1 << 20, Table: large, Counters: large << 1, NoSystem: large << 2, Errno: large, Frequency: 1}
	if record {
		env.Record = func(int) uint32 { return 1 }
	}
	total := 0
	for _, p := range s.pieces(&env) {
		size := p.probe
		if size == 0 {
			words, err := p.make(env.At, env.At, env.At)
			if err != nil {
				return 0, err
			}
			size = 4 * len(words)
		}
		total += (size + pieceAlign - 1) &^ (pieceAlign - 1)
	}
	return total, nil
}

// pieces lists what the site's code consists of.
func (s *Site) pieces(env *Env) []piece {
	var list []piece
	for i, e := range s.Effects {
		if e.cond != nil {
			p := &probe.Program{Cond: e.cond}
			list = append(list, piece{rule: i, probe: p.Size(), make: func(at, next, skip uint64) ([]uint32, error) {
				return p.Entry(probe.Target{At: at, Shared: env.Shared, Next: next, Else: skip})
			}})
		}
		var callers []Range
		if e.Rule.Caller != nil {
			callers = s.Callers[i]
		}
		list = append(list, piece{rule: i, make: func(at, next, skip uint64) ([]uint32, error) {
			return e.decide(env, callers, at, next, skip)
		}})
		if env.Record != nil {
			p := &probe.Program{Fields: recordFields(e.Index), Number: env.Record(e.Index)}
			list = append(list, piece{rule: i, probe: p.Size(), make: func(at, next, _ uint64) ([]uint32, error) {
				return p.Entry(probe.Target{At: at, Shared: env.Shared, Next: next})
			}})
		}
		list = append(list, piece{rule: i, make: func(at, _, skip uint64) ([]uint32, error) {
			return e.act(env, at, skip)
		}})
	}
	return append(list, piece{rule: len(s.Effects), last: true, make: func(at, _, _ uint64) ([]uint32, error) {
		return goOn(env, at)
	}})
}

// recordFields are the fields of a record: the rule's number as nopal shows it.
func recordFields(index int) []probe.Field {
	number := probe.Expr{Base: probe.Operand{Kind: probe.Const, Off: int64(index) + 1}}
	return []probe.Field{{Size: 4, Parts: []probe.Part{{From: number, Size: 4}}}}
}

// Registers of a site.
const (
	fp     = arm64.X29
	lr     = arm64.X30
	caller = arm64.X9
)

// pushFrames is FRAME_RECORDS of internal/entry.
func pushFrames(a *arm64.Assembler) {
	a.StpPre(fp, caller, arm64.SP, -16)
	a.MovSP(fp, arm64.SP)
	a.StpPre(fp, lr, arm64.SP, -16)
	a.MovSP(fp, arm64.SP)
}

// popFrames makes everything as at the site.
func popFrames(a *arm64.Assembler) {
	a.Ldp(fp, caller, arm64.SP, 16)
	a.AddImm(arm64.SP, arm64.SP, 32)
}

// goOn leaves for the trampoline of others, or for the function. The first instruction is the one that differs: NOP and B may be
// exchanged while others run them.
func goOn(env *Env, at uint64) ([]uint32, error) {
	a := arm64.NewAssembler(at)
	if env.Next != 0 {
		a.BTo(env.Next)
	} else {
		a.Raw(arm64.Nop)
	}
	a.Mov(arm64.X10, lr)
	a.Mov(lr, caller)
	a.Ret(arm64.X10)
	return a.Finish()
}

// decide goes to next if it is the rule's turn, else to skip.
func (e *Effect) decide(env *Env, callers []Range, at, next, skip uint64) ([]uint32, error) {
	r := e.Rule
	a := arm64.NewAssembler(at)
	out := a.Label()
	pushFrames(a)
	// The child of a fork that is not followed has no ring, and no rules.
	a.LdrLiteral(arm64.X11, env.Table)
	a.Ldp(arm64.X12, arm64.X13, arm64.X11, -16)
	a.Cbz(arm64.X13, out)
	if r.Caller != nil {
		in := a.Label()
		callerIn(a, callers, in, out)
		a.Bind(in)
	}
	// x12 = the number of this call, from 1; no other thread gets the same.
	a.LdrLiteral(arm64.X11, env.Counters+uint64(e.Index)*CountersSize)
	increment(a, arm64.X12, arm64.X11)
	a.Mov(arm64.X13, arm64.X12)
	if r.After > 0 {
		a.LdrLiteral(arm64.X14, r.After)
		a.Sub(arm64.X13, arm64.X12, arm64.X14, 0)
		a.Tbnz(arm64.X13, 63, out)
		a.Cbz(arm64.X13, out)
	}
	if r.Every > 1 {
		a.LdrLiteral(arm64.X14, r.Every)
		a.Udiv(arm64.X15, arm64.X13, arm64.X14)
		a.Msub(arm64.X15, arm64.X15, arm64.X14, arm64.X13)
		a.Cbnz(arm64.X15, out)
	}
	if !math.IsNaN(r.Prob) {
		chance(a, stream(env.Seed, e.Index), r.Prob, out)
	}
	a.AddImm(arm64.X11, arm64.X11, firedOffset)
	if r.Count > 0 {
		a.LdrLiteral(arm64.X14, r.Count)
		again := a.Here()
		a.Ldxr(arm64.X12, arm64.X11)
		a.Sub(arm64.X13, arm64.X12, arm64.X14, 0)
		a.Tbz(arm64.X13, 63, out)
		a.AddImm(arm64.X12, arm64.X12, 1)
		a.Stxr(arm64.X13, arm64.X12, arm64.X11)
		a.Cbnz32(arm64.X13, again)
	} else {
		increment(a, arm64.X12, arm64.X11)
	}
	popFrames(a)
	a.BTo(next)
	a.Bind(out)
	popFrames(a)
	a.BTo(skip)
	return a.Finish()
}

// increment adds 1 to the word at an address and leaves the sum in v; x13 is lost. A signal handler that comes in between makes the
// store fail (Arm ARM B2.9.4).
func increment(a *arm64.Assembler, v, addr arm64.Reg) {
	again := a.Here()
	a.Ldxr(v, addr)
	a.AddImm(v, v, 1)
	a.Stxr(arm64.X13, v, addr)
	a.Cbnz32(arm64.X13, again)
}

// Merge sorts ranges and joins those that touch.
func Merge(list []Range) []Range {
	slices.SortFunc(list, func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	var merged []Range
	for _, r := range list {
		if n := len(merged); n > 0 && r.Start <= merged[n-1].End {
			merged[n-1].End = max(merged[n-1].End, r.End)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// callerIn goes to in if x9 is behind a call in one of the ranges, else to out: by a binary search that is written out.
// Addresses of user space have 56 bits at most, so signs of differences compare them.
func callerIn(a *arm64.Assembler, ranges []Range, in, out arm64.Label) {
	if len(ranges) == 0 {
		a.B(out)
		return
	}
	mid := len(ranges) / 2
	r := ranges[mid]
	below := out
	if mid > 0 {
		below = a.Label()
	}
	// What a call returns to is behind it: in (Start, End].
	a.LdrLiteral(arm64.X10, r.Start+arm64.InsnSize)
	a.Sub(arm64.X10, caller, arm64.X10, 0)
	a.Tbnz(arm64.X10, 63, below)
	a.LdrLiteral(arm64.X11, r.End-r.Start)
	a.Sub(arm64.X10, arm64.X10, arm64.X11, 0)
	a.Tbnz(arm64.X10, 63, in)
	callerIn(a, ranges[mid+1:], in, out)
	if mid > 0 {
		a.Bind(below)
		callerIn(a, ranges[:mid], in, out)
	}
}

// The choice by chance depends on the seed, the rule and the number of the call alone, so that it is the same in every run, whichever
// threads call. The function is the finalizer of SplitMix64.
const (
	golden = 0x9e3779b97f4a7c15
	mix1   = 0xbf58476d1ce4e5b9
	mix2   = 0x94d049bb133111eb
)

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * mix1
	z = (z ^ z>>27) * mix2
	return z ^ z>>31
}

// stream is where a rule's sequence begins.
func stream(seed uint64, index int) uint64 { return mix(seed + golden*uint64(index+1)) }

// threshold is the probability in units of 2^-63.
func threshold(p float64) uint64 {
	f := new(big.Float).SetMantExp(big.NewFloat(p), 63)
	n, _ := f.Uint64()
	return n
}

// Chosen reports whether a rule with this probability fires at its call number n, as the code in the target decides it.
func Chosen(seed uint64, index int, p float64, n uint64) bool {
	return mix(stream(seed, index)+golden*n)>>1 < threshold(p)
}

// chance goes to out unless the call with number x12 is chosen.
func chance(a *arm64.Assembler, stream uint64, p float64, out arm64.Label) {
	t := threshold(p)
	switch {
	case t == 0:
		a.B(out)
		return
	case t >= 1<<63:
		return
	}
	a.LdrLiteral(arm64.X14, golden)
	a.LdrLiteral(arm64.X15, stream)
	a.Mul(arm64.X12, arm64.X12, arm64.X14)
	a.Add(arm64.X12, arm64.X12, arm64.X15, 0)
	a.LdrLiteral(arm64.X14, mix1)
	a.EorLSR(arm64.X12, arm64.X12, arm64.X12, 30)
	a.Mul(arm64.X12, arm64.X12, arm64.X14)
	a.LdrLiteral(arm64.X14, mix2)
	a.EorLSR(arm64.X12, arm64.X12, arm64.X12, 27)
	a.Mul(arm64.X12, arm64.X12, arm64.X14)
	a.EorLSR(arm64.X12, arm64.X12, arm64.X12, 31)
	a.LsrImm(arm64.X12, arm64.X12, 1)
	a.LdrLiteral(arm64.X14, t)
	a.Sub(arm64.X12, arm64.X12, arm64.X14, 0)
	a.Tbz(arm64.X12, 63, out)
}
