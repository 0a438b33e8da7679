package probe

import "testing"

// With -a, a large program has probes by the ten thousand.
func BenchmarkSize(b *testing.B) {
	p := arguments(3)
	s := Expr{Base: Operand{Kind: RegX, N: 3}}
	p.Fields = append(p.Fields, Field{Mem: &Mem{Addr: s, CString: true, Max: 256}})
	for b.Loop() {
		if p.Size() == 0 {
			b.Fatal("no size")
		}
	}
}
