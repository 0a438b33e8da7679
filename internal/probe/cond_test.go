package probe

import (
	"cmp"
	"math"
	"testing"
)

// The integers that floats are mapped to compare as the floats do.
func TestOrder(t *testing.T) {
	values := []float64{0, math.Copysign(0, -1), 1, -1, 0.5, -0.5, 1e300, -1e300, math.Inf(1), math.Inf(-1), 5e-324, -5e-324}
	for _, a := range values {
		for _, b := range values {
			if got, want := cmp.Compare(order(math.Float64bits(a), 8), order(math.Float64bits(b), 8)), cmp.Compare(a, b); got != want {
				t.Errorf("%g and %g compare %d, want %d", a, b, got, want)
			}
			x, y := float32(a), float32(b)
			got := cmp.Compare(order(uint64(math.Float32bits(x)), 4), order(uint64(math.Float32bits(y)), 4))
			if want := cmp.Compare(x, y); got != want {
				t.Errorf("%g and %g compare %d, want %d", x, y, got, want)
			}
		}
	}
}

// What cannot be made code of is refused.
func TestRefused(t *testing.T) {
	x0 := Expr{Base: Operand{Kind: RegX}}
	deep := Cond(Compare{X: Value{Expr: x0, Width: 8}})
	for range 100 {
		deep = Not{deep}
	}
	for name, p := range map[string]*Program{
		"number":       {Number: 1 << 18},
		"payload":      {PayloadMax: 2000},
		"too much":     {Fields: []Field{{Size: 1000}, {Size: 1000}}},
		"no size":      {Fields: []Field{{}}},
		"part outside": {Fields: []Field{{Size: 4, Parts: []Part{{From: x0, Size: 8}}}}},
		"part across":  {Fields: []Field{{Size: 16, Parts: []Part{{From: x0, Off: 4, Size: 8}}}}},
		"x9":           {Fields: []Field{{Size: 8, Parts: []Part{{From: Expr{Base: Operand{N: 9}}, Size: 8}}}}},
		"x32":          {Fields: []Field{{Size: 8, Parts: []Part{{From: Expr{Base: Operand{N: 32}}, Size: 8}}}}},
		"no limit":     {Fields: []Field{{Mem: &Mem{Addr: x0}}}},
		"both":         {Fields: []Field{{Size: 8, Mem: &Mem{Addr: x0, Max: 8}}}},
		"no width":     {Cond: Compare{X: Value{Expr: x0}}},
		"half float":   {Cond: Compare{X: Value{Expr: x0, Width: 2, Float: true}}},
		"float mask":   {Cond: Compare{X: Value{Expr: x0, Width: 8, Float: true, Mask: 1}}},
		"operator":     {Cond: Compare{X: Value{Expr: x0, Width: 8}, Op: 6}},
		"half and":     {Cond: And{A: Compare{X: Value{Expr: x0, Width: 8}}}},
		"deep":         {Cond: deep},
	} {
		if _, err := p.Entry(Target{At: 1 << 20, Shared: Shared{1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20}}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
