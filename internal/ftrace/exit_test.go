package ftrace

import (
	"encoding/binary"
	"testing"

	"nopal/internal/arch/arm64"
)

const (
	retInsn = 0xd65f03c0
	br16    = 0xd61f0200
	br1     = 0xd61f0020
	retaa   = 0xd65f0bff
)

// withExits is alpha with every kind of exit.
func withExits(t *testing.T) (*text, *text, *Object, *Table) {
	t.Helper()
	m, o := newText()
	o.ExitRet, o.ExitGen, o.ExitPushed = 0x300200, 0x300300, 0x300400
	o.StubsAt = 0x301000
	tail, err := arm64.EncodeB(0x400030, 0x402000)
	if err != nil {
		t.Fatal(err)
	}
	exits := []Exit{
		{Addr: 0x400020, Insn: retInsn, Kind: arm64.ExitRet},
		{Addr: 0x400028, Insn: retInsn, Kind: arm64.ExitRet},
		{Addr: 0x400030, Insn: tail, Kind: arm64.ExitTailB, Target: 0x402000},
		{Addr: 0x400038, Insn: br16, Kind: arm64.ExitTailBR, Reg: 16},
		{Addr: 0x400040, Insn: br1, Kind: arm64.ExitTailBR, Reg: 1},
		{Addr: 0x400048, Insn: retaa, Kind: arm64.ExitRetAuth},
	}
	for _, e := range exits {
		m.set(e.Addr, e.Insn)
	}
	o.Records[0].SetExits(exits)
	table := &Table{Method: ARM64{}}
	if _, err := table.Register(&Ops{Name: "record", Match: matching("a*")}); err != nil {
		t.Fatal(err)
	}
	table.Add(o)
	size := table.LayoutStubs(o)
	if want := uint64(4*stubSize + stubSizePushed); size != want {
		t.Fatalf("stubs take %d bytes, want %d: returns share one", size, want)
	}
	stubs := &text{base: o.StubsAt, code: make([]byte, size)}
	table.Stubs(o, stubs.code, func(*Record) (uint64, uint64) { return 0, 0x1234567890abcdef }, nil)
	return m, stubs, o, table
}

// both is memory in two pieces.
type both struct{ text, stubs *text }

func (b both) of(at uint64) *text {
	if at >= b.text.base {
		return b.text
	}
	return b.stubs
}

func (b both) Load(at uint64) (uint32, error)     { return b.of(at).insn(at), nil }
func (b both) Store(at uint64, insn uint32) error { b.of(at).set(at, insn); return nil }

func (b both) LoadBytes(at uint64, size int) (uint64, error) {
	return LiveText{b.of(at)}.LoadBytes(at, size)
}
func (b both) StoreBytes(at uint64, size int, v uint64) error {
	return LiveText{b.of(at)}.StoreBytes(at, size, v)
}
func (b both) StoreWith(at uint64, size int, v uint64) error { return b.StoreBytes(at, size, v) }

// branch is where the instruction at an address leads, 0 for a NOP.
func branch(t *testing.T, m *text, at uint64) uint64 {
	t.Helper()
	insn := m.insn(at)
	if insn == arm64.Nop {
		return 0
	}
	to, ok := arm64.BranchTarget(at, insn)
	if !ok || arm64.Classify(insn) != arm64.KindB {
		t.Fatalf("%08x at %#x is no branch", insn, at)
	}
	return to
}

func TestStubs(t *testing.T) {
	m, stubs, o, table := withExits(t)
	live := both{m, stubs}
	if refused := table.Prepare(live, o); refused != nil {
		t.Fatal(refused)
	}
	if err := table.Update(live, o); err != nil {
		t.Fatal(err)
	}
	check := func(on bool) {
		t.Helper()
		for i, want := range []struct {
			stub, switchAt, literal, original uint64
			to                                uint64
			insn                              uint32
		}{
			{0, 4, 16, 8, o.ExitRet, retInsn},
			{0, 4, 16, 8, o.ExitRet, retInsn},
			{24, 8, 16, 12, o.ExitGen, 0}, // the branch is another from here
			{48, 12, 24, 20, o.ExitPushed, br16},
			{80, 8, 16, 12, o.ExitGen, br1},
			{104, 8, 16, 12, o.ExitGen, retaa},
		} {
			e := o.Records[0].Exits()[i]
			at := o.StubsAt + want.stub
			if got := branch(t, m, e.Addr); got != at {
				t.Errorf("exit %d goes to %#x, want %#x", i, got, at)
			}
			to := want.to
			if !on {
				to = 0
			}
			if got := branch(t, stubs, at+want.switchAt); got != to {
				t.Errorf("stub %d goes to %#x, want %#x", i, got, to)
			}
			if got := binary.LittleEndian.Uint64(stubs.code[want.stub+want.literal:]); got != 0x1234567890abcdef {
				t.Errorf("literal of stub %d is %#x", i, got)
			}
			if want.insn == 0 {
				if got := branch(t, stubs, at+want.original); got != e.Target {
					t.Errorf("tail call of stub %d goes to %#x, want %#x", i, got, e.Target)
				}
			} else if got := stubs.insn(at + want.original); got != want.insn {
				t.Errorf("stub %d has %08x, want %08x", i, got, want.insn)
			}
		}
	}
	check(true)
	table.SetOff(true)
	if err := table.Update(live, o); err != nil {
		t.Fatal(err)
	}
	check(false)
	if got := calls(t, m, o.Records[0].Addr); got != 0 {
		t.Errorf("the site calls %#x although all is off", got)
	}
	table.SetOff(false)
	if err := table.Update(live, o); err != nil {
		t.Fatal(err)
	}
	check(true)
}

// A function whose text is not as expected keeps all its exits.
func TestExitMismatch(t *testing.T) {
	m, stubs, o, table := withExits(t)
	m.set(0x400038, arm64.Nop)
	live := both{m, stubs}
	if refused := table.Prepare(live, o); len(refused) != 1 {
		t.Fatalf("refused: %v", refused)
	}
	if m.insn(0x400020) != retInsn || m.insn(0x400028) != retInsn || len(o.Records[0].Exits()) != 0 {
		t.Errorf("changed: %08x %08x, %d exits", m.insn(0x400020), m.insn(0x400028), len(o.Records[0].Exits()))
	}
	if err := table.Update(live, o); err != nil {
		t.Fatal(err)
	}
	if got := calls(t, m, o.Records[0].Addr); got != o.Caller {
		t.Errorf("its site calls %#x", got)
	}
}

// A forked process has sites of its own.
func TestClone(t *testing.T) {
	m, stubs, o, table := withExits(t)
	live := both{m, stubs}
	if refused := table.Prepare(live, o); refused != nil {
		t.Fatal(refused)
	}
	if err := table.Update(live, o); err != nil {
		t.Fatal(err)
	}
	child, copies := table.Clone()
	child.SetOff(true)
	if err := child.Update(live, copies[o]); err != nil {
		t.Fatal(err)
	}
	if _, armed := o.Records[0].Armed(); !armed {
		t.Error("switching the child off has changed the parent's table")
	}
	if _, armed := copies[o].Records[0].Armed(); armed {
		t.Error("the child's site is armed")
	}
}

func TestOriginal(t *testing.T) {
	m, stubs, o, table := withExits(t)
	all := both{m, stubs}
	if errs := table.Prepare(all, o); errs != nil {
		t.Fatal(errs)
	}
	if _, ok, err := originalExit(all, 0x400020, 0x400000); ok || err != nil {
		t.Fatalf("what is no stub is taken for one: %v", err)
	}
	for _, on := range []bool{true, false} {
		for _, e := range o.Records[0].Exits() {
			insn, ok, err := originalExit(all, e.Addr, branch(t, m, e.Addr))
			if insn != e.Insn || !ok || err != nil {
				t.Errorf("stub of %08x at %#x: %08x, %v, %v", e.Insn, e.Addr, insn, ok, err)
			}
		}
		table.SetOff(on)
		if err := table.Update(all, o); err != nil {
			t.Fatal(err)
		}
	}
}
