package probe

import (
	"cmp"
	"math"
	"testing"
)

func (w *world) holds(cond Cond) bool {
	switch x := cond.(type) {
	case And:
		return w.holds(x.A) && w.holds(x.B)
	case Or:
		return w.holds(x.A) || w.holds(x.B)
	case Not:
		return !w.holds(x.X)
	case Compare:
		v, bad := w.eval(x.X.Expr)
		return bad == 0 && x.interpret(v)
	}
	return true
}

// interpret says whether a comparison holds of the 8 bytes of a value.
func (x Compare) interpret(v uint64) bool {
	bits := 8 * x.X.Width
	low := v & (1<<(bits-1)<<1 - 1)
	if x.X.Float {
		is, than := math.Float64frombits(v), x.Y.Float
		if x.X.Width == 4 {
			is, than = float64(math.Float32frombits(uint32(v))), float64(float32(than))
		}
		switch x.Op {
		case Equal:
			return is == than
		case NotEqual:
			return is != than
		case Less:
			return is < than
		case LessEqual:
			return is <= than
		case Greater:
			return is > than
		}
		return is >= than
	}
	order := cmp.Compare(low, uint64(x.Y.Int))
	switch {
	case x.X.Mask != 0:
		order = cmp.Compare(low&x.X.Mask, uint64(x.Y.Int))
	case x.X.Signed:
		order = cmp.Compare(int64(v<<(64-bits))>>(64-bits), x.Y.Int)
	}
	switch x.Op {
	case Equal:
		return order == 0
	case NotEqual:
		return order != 0
	case Less:
		return order < 0
	case LessEqual:
		return order <= 0
	case Greater:
		return order > 0
	}
	return order >= 0
}

func (w *world) cond(depth int, memory bool) Cond {
	if depth < 4 {
		switch w.rng.IntN(5) {
		case 0:
			return And{w.cond(depth+1, memory), w.cond(depth+1, memory)}
		case 1:
			return Or{w.cond(depth+1, memory), w.cond(depth+1, memory)}
		case 2:
			return Not{w.cond(depth+1, memory)}
		}
	}
	saved := w.saved
	w.saved = 0 // conditions do not look at it
	x := Compare{X: Value{Expr: w.expr(memory), Width: 1 << w.rng.IntN(4), Signed: w.rng.IntN(2) == 0}, Op: Op(w.rng.IntN(6))}
	if !memory && x.X.Base.Kind == Stack {
		x.X.Base = Operand{Kind: RegX, N: w.rng.IntN(9)}
	}
	w.saved = saved
	v, _ := w.eval(x.X.Expr)
	switch w.rng.IntN(4) {
	case 0:
		x.X.Width = 4 << w.rng.IntN(2)
		x.X.Float, x.X.Signed = true, false
		x.Y.Float = []float64{0, 1, -1, 0.5, 1e-300, math.Inf(1), math.NaN(), w.rng.NormFloat64()}[w.rng.IntN(8)]
		if w.rng.IntN(3) == 0 {
			x.Y.Float = math.Float64frombits(v)
			if x.X.Width == 4 {
				x.Y.Float = float64(math.Float32frombits(uint32(v)))
			}
		}
		return x
	case 1:
		x.X.Mask = w.rng.Uint64() >> w.rng.IntN(64)
		if w.rng.IntN(2) == 0 {
			x.X.Mask = 1 << w.rng.IntN(64)
		}
		v &= x.X.Mask
	}
	x.Y.Int = int64(w.rng.Uint64()) >> w.rng.IntN(64)
	if w.rng.IntN(2) == 0 { // near the value
		bits := 8 * x.X.Width
		x.Y.Int = int64(v<<(64-bits))>>(64-bits) + int64(w.rng.IntN(3)) - 1
		if !x.X.Signed {
			x.Y.Int = int64(v<<(64-bits)>>(64-bits)) + int64(w.rng.IntN(3)) - 1
		}
	}
	return x
}

// Conditions hold when an interpreter says so.
func TestConditions(t *testing.T) {
	w := newWorld(t, 7)
	held := 0
	for i := range 800 {
		w.exit = i%2 == 1
		w.place()
		p := &Program{Cond: w.cond(0, i%8 == 0)}
		if w.holds(p.Cond) {
			held++
		}
		w.check(p, true, w.rng.IntN(2) == 0)
	}
	t.Logf("%d of 800 conditions held", held)
}
