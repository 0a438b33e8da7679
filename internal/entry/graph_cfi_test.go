//go:build amd64

package entry

import (
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

// TestCFI checks that of each instruction of entries and exits it is known where the
// return address is, and that the stack is at the end as it has to be.
func TestCFI(t *testing.T) {
	b, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name       string
		start, end uint64
		at         uint64
		s          cfiState
		leaves     []int // CFA - rsp at jumps out of the code, and RET
	}{
		{"entry", b.Graph.Caller, b.Graph.Exit, b.Graph.Caller, cfiState{off: 16}, []int{0, 16}},
		{"unknown", b.Graph.Caller, b.Graph.Exit, b.Graph.Unknown, cfiState{off: 16}, []int{0, 16}},
		{"exit", b.Graph.Exit, b.Graph.ExitEnd, b.Graph.Exit, cfiState{ra: raFrame}, []int{8}},
		{"plain", b.Caller, b.Reserve, b.Caller, cfiState{off: 24}, []int{24}},
	} {
		states := map[uint64]cfiState{}
		follow(b.Code, c.at, c.s, states)
		left := map[int]bool{}
		for at, s := range states {
			if at < c.start || at >= c.end {
				t.Errorf("%s: goes to %#x", c.name, at)
				continue
			}
			if s.ra == raLost {
				t.Errorf("%s: not known at %#x", c.name, at)
			}
			insn, err := x86asm.Decode(b.Code[at:], 64)
			if err != nil {
				t.Fatal(err)
			}
			if _, relative := insn.Args[0].(x86asm.Rel); insn.Op == x86asm.RET || insn.Op == x86asm.JMP && !relative {
				left[s.off] = true
				if s.ra != raStack || s.kept != [6]int{} {
					t.Errorf("%s: left at %#x with %+v", c.name, at, s)
				}
			}
		}
		if len(left) != len(c.leaves) {
			t.Errorf("%s: left with %v on the stack", c.name, left)
		}
		for _, off := range c.leaves {
			if !left[off] {
				t.Errorf("%s: not left with %d on the stack", c.name, off)
			}
		}
	}
}
