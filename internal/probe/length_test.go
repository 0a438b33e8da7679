package probe

import (
	"testing"

	"nopal/internal/arch/arm64"
)

// arguments is a program that records the first n integer arguments.
func arguments(n int) *Program {
	p := &Program{Number: 1}
	for i := range n {
		x := Expr{Base: Operand{Kind: RegX, N: i}}
		p.Fields = append(p.Fields, Field{Size: 8, Parts: []Part{{From: x, Size: 8}}})
	}
	return p
}

// A call with two integer arguments and a result takes so many instructions at most, where
// all goes well: the code up to its RET, and what leads to it.
func TestLength(t *testing.T) {
	target := Target{At: 1 << 20, Shared: Shared{1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20}}
	entry, err := arguments(2).Entry(target)
	if err != nil {
		t.Fatal(err)
	}
	exit, err := arguments(1).Exit(target)
	if err != nil {
		t.Fatal(err)
	}
	const site, stub = 2, 3 // mov, bl; b, ldr, b
	n := upToRet(entry) + upToRet(exit) + site + stub
	t.Logf("%d + %d instructions, %d in all", upToRet(entry), upToRet(exit), n)
	if n > 80 {
		t.Errorf("a call with two arguments and a result takes %d instructions", n)
	}
}

func upToRet(code []uint32) int {
	for i, insn := range code {
		if arm64.Classify(insn) == arm64.KindRET {
			return i + 1
		}
	}
	return 0
}

// Code that differs only in where it goes on differs in branches only, so that it can be
// led elsewhere while others run it.
func TestOnlyBranchesDiffer(t *testing.T) {
	p := arguments(3)
	p.Cond = Compare{X: Value{Expr: Expr{Base: Operand{Kind: RegX, N: 1}}, Width: 8}, Op: Less, Y: Constant{Int: 7}}
	for _, generate := range []func(Target) ([]uint32, error){p.Entry, p.Exit} {
		target := Target{At: 1 << 20, Shared: Shared{1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20}, Next: 1 << 20, Else: 1 << 20}
		one, err := generate(target)
		if err != nil {
			t.Fatal(err)
		}
		target.Next, target.Else = 1<<20+4096, 1<<20+8192
		other, err := generate(target)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for i := range one {
			if one[i] == other[i] {
				continue
			}
			n++
			if arm64.Classify(one[i]) != arm64.KindB || arm64.Classify(other[i]) != arm64.KindB {
				t.Errorf("instruction %d is %08x or %08x", i, one[i], other[i])
			}
		}
		if n == 0 || len(one) != len(other) {
			t.Errorf("%d branches differ, %d and %d instructions", n, len(one), len(other))
		}
	}
}
