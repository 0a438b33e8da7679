package args

import (
	"strings"
	"testing"

	"nopal/internal/arch/amd64"
	"nopal/internal/image"
	"nopal/internal/probe"
	"nopal/trace"
)

func TestOperandsOfMachines(t *testing.T) {
	x := func(n int) probe.Operand { return probe.Operand{Kind: probe.RegX, N: n} }
	v := func(n int) probe.Operand { return probe.Operand{Kind: probe.RegV, N: n} }
	stack := func(off int64) probe.Operand { return probe.Operand{Kind: probe.Stack, Off: off} }
	for _, c := range []struct {
		spec       string
		arm, amd64 any // operand, or a part of the error
	}{
		{"arg1", x(0), x(amd64.RDI)},
		{"arg2", x(1), x(amd64.RSI)},
		{"arg3", x(2), x(amd64.RDX)},
		{"arg4", x(3), x(amd64.RCX)},
		{"arg5", x(4), x(amd64.R8)},
		{"arg6", x(5), x(amd64.R9)},
		{"arg7", x(6), stack(0)},
		{"arg9", stack(0), stack(16)},
		{"fparg1", v(0), v(0)},
		{"fparg8", v(7), v(7)},
		{"fparg9", "is on the stack", "is on the stack"},
		{"fparg9%stack+2", stack(8), stack(8)},
		{"arg1%x3", x(3), "%x3 is not a place of x86-64"},
		{"arg1%sp", x(31), "not a place"},
		{"arg1%x9", "hold no arguments", "not a place"},
		{"arg1%rbx", "%rbx is not a place of arm64", x(amd64.RBX)},
		{"arg1%edi", "not a place", x(amd64.RDI)},
		{"arg1%rsp", "not a place", x(amd64.RSP)},
		{"arg1%r10", "not a place", x(amd64.R10)},
		{"arg1%r15d", "not a place", x(amd64.R15)},
		{"fparg1%xmm15", "not a place", v(15)},
		{"fparg1%d31", v(31), "not a place"},
	} {
		specs, err := readSpecs("-A", c.spec, 0, false)
		if err != nil {
			t.Errorf("%s: %v", c.spec, err)
			continue
		}
		for m, want := range map[trace.Machine]any{trace.MachineARM64: c.arm, trace.MachineAMD64: c.amd64} {
			got, err := specs[0].operand(m)
			switch want := want.(type) {
			case probe.Operand:
				if err != nil || got != want {
					t.Errorf("%s on %v is %+v, %v, want %+v", c.spec, m, got, err, want)
				}
			case string:
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s on %v: error %v, want %q", c.spec, m, err, want)
				}
			}
		}
	}
	for _, bad := range []string{"arg1%rzz", "arg1%r16", "arg1%xmm16", "arg1%r8dd", "arg1%d", "arg1%xmm", "arg1%e8"} {
		if _, err := readSpecs("-A", bad, 0, false); err == nil {
			t.Errorf("%s is read", bad)
		}
	}
	for m, want := range map[trace.Machine]probe.Operand{trace.MachineARM64: x(0), trace.MachineAMD64: x(amd64.RAX)} {
		specs, err := readSpecs("-R", "ret", 0, true)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := specs[0].operand(m); err != nil || got != want {
			t.Errorf("ret on %v is %+v, %v", m, got, err)
		}
	}
}

// TestFieldsX86 has what only the System V ABI has: a result in memory at rax when the
// function returns, and one of the x87.
func TestFieldsX86(t *testing.T) {
	long := &image.Type{Kind: image.Int, Size: 8}
	large := &image.Type{Kind: image.Struct, Size: 24, Members: []image.Member{{Name: "a", Type: long}, {Name: "b", Type: long, Offset: 16}}}
	extended := &image.Type{Kind: image.Float, Size: 16, Extended: true}
	sig := &image.Signature{
		Params: []image.Param{{Name: "x", Type: extended, Place: image.Place{Pieces: []image.Piece{
			{Kind: image.InStack, Size: 8}, {Kind: image.InStack, Offset: 8, At: 8, Size: 8}}}}},
		Result: &image.Param{Type: large, Place: image.Place{Address: &image.Piece{Kind: image.InX, N: amd64.RAX, Size: 8}}},
	}
	entry, exit := fromSignature(sig)
	if len(entry) != 1 || entry[0].types[0].Kind != trace.KindExtended || entry[0].types[0].Size != 16 {
		t.Errorf("a long double is %+v", entry)
	}
	if len(exit) != 1 || exit[0].run.Mem == nil || exit[0].run.Mem.Addr.Base != (probe.Operand{Kind: probe.RegX, N: amd64.RAX}) || needsX8(exit) {
		t.Errorf("a result in memory is %+v", exit)
	}
	sig.Result = &image.Param{Type: extended, Place: image.Place{Pieces: []image.Piece{{Kind: image.InX87, Size: 10}}}}
	if _, exit := fromSignature(sig); len(exit) != 0 {
		t.Errorf("a result of the x87 is %+v", exit)
	}
}
