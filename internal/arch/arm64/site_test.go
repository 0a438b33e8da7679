package arm64

import (
	"errors"
	"testing"
)

// text is a few instructions of memory.
type text map[uint64]uint32

var errUnmapped = errors.New("unmapped")

func (m text) Load(addr uint64) (uint32, error) {
	insn, ok := m[addr]
	if !ok {
		return 0, errUnmapped
	}
	return insn, nil
}

func (m text) Store(addr uint64, insn uint32) error {
	m[addr] = insn
	return nil
}

func (m text) slots(site uint64) [2]uint32 { return [2]uint32{m[site], m[site+SiteBranchOffset]} }

const (
	testSite  = 0x10000
	testPlain = 0x20000
	testRegs  = 0x8000
)

func TestLifeOfASite(t *testing.T) {
	m := text{testSite: Nop, testSite + 4: Nop}
	callPlain, _ := EncodeBL(testSite+4, testPlain)
	callRegs, _ := EncodeBL(testSite+4, testRegs)
	for _, step := range []struct {
		name string
		do   func() error
		want [2]uint32
	}{
		{"InitNop", func() error { return InitNop(m, testSite) }, [2]uint32{MovX9X30, Nop}},
		{"MakeCall", func() error { return MakeCall(m, testSite, testPlain) }, [2]uint32{MovX9X30, callPlain}},
		{"ModifyCall", func() error { return ModifyCall(m, testSite, testPlain, testRegs) }, [2]uint32{MovX9X30, callRegs}},
		{"MakeNop", func() error { return MakeNop(m, testSite, testRegs) }, [2]uint32{MovX9X30, Nop}},
		{"RemoveMov", func() error { return RemoveMov(m, testSite) }, [2]uint32{Nop, Nop}},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := m.slots(testSite); got != step.want {
			t.Fatalf("%s leaves %08x, want %08x", step.name, got, step.want)
		}
	}
}

// TestMismatch has every change refuse what it does not expect, and write
// nothing.
func TestMismatch(t *testing.T) {
	const strange = 0xd10043ff // sub sp, sp, #16
	plain, _ := EncodeBL(testSite+4, testPlain)
	regs, _ := EncodeBL(testSite+4, testRegs)
	for _, c := range []struct {
		op       string
		slots    [2]uint32
		do       func(text) error
		addr     uint64
		expected uint32
		found    uint32
	}{
		{"init nop", [2]uint32{strange, Nop}, func(m text) error { return InitNop(m, testSite) }, testSite, Nop, strange},
		{"init nop", [2]uint32{MovX9X30, Nop}, func(m text) error { return InitNop(m, testSite) }, testSite, Nop, MovX9X30},
		{"init nop", [2]uint32{Nop, plain}, func(m text) error { return InitNop(m, testSite) }, testSite + 4, Nop, plain},
		{"remove mov", [2]uint32{Nop, Nop}, func(m text) error { return RemoveMov(m, testSite) }, testSite, MovX9X30, Nop},
		{"make call", [2]uint32{MovX9X30, plain}, func(m text) error { return MakeCall(m, testSite, testPlain) }, testSite + 4, Nop, plain},
		{"make nop", [2]uint32{MovX9X30, regs}, func(m text) error { return MakeNop(m, testSite, testPlain) }, testSite + 4, plain, regs},
		{"make nop", [2]uint32{MovX9X30, Nop}, func(m text) error { return MakeNop(m, testSite, testPlain) }, testSite + 4, plain, Nop},
		{"modify call", [2]uint32{MovX9X30, Nop}, func(m text) error { return ModifyCall(m, testSite, testPlain, testRegs) }, testSite + 4, plain, Nop},
		{"modify call", [2]uint32{MovX9X30, regs}, func(m text) error { return ModifyCall(m, testSite, testPlain, testRegs) }, testSite + 4, plain, regs},
	} {
		m := text{testSite: c.slots[0], testSite + 4: c.slots[1]}
		err := c.do(m)
		want := MismatchError{Op: c.op, Site: testSite, Addr: c.addr, Expected: c.expected, Found: c.found}
		var got *MismatchError
		if !errors.As(err, &got) || *got != want {
			t.Errorf("%s on %08x: error %v, want %v", c.op, c.slots, err, &want)
		}
		if m.slots(testSite) != c.slots {
			t.Errorf("%s on %08x wrote %08x", c.op, c.slots, m.slots(testSite))
		}
	}
	const want = "make call at site 0x10000: expected instruction d503201f at 0x10004, found d10043ff"
	if got := (&MismatchError{"make call", testSite, testSite + 4, Nop, strange}).Error(); got != want {
		t.Errorf("error text %q, want %q", got, want)
	}
}

func TestSiteOutOfReach(t *testing.T) {
	const far = testSite + BranchReach + 4
	m := text{testSite: MovX9X30, testSite + 4: Nop}
	for name, err := range map[string]error{
		"MakeCall":        MakeCall(m, testSite, far),
		"MakeNop":         MakeNop(m, testSite, far),
		"ModifyCall from": ModifyCall(m, testSite, far, testPlain),
		"ModifyCall to":   ModifyCall(m, testSite, testPlain, far),
	} {
		var reach *ReachError
		if !errors.As(err, &reach) {
			t.Errorf("%s: error %v, want a ReachError", name, err)
		}
	}
	if got := m.slots(testSite); got != [2]uint32{MovX9X30, Nop} {
		t.Errorf("out of reach, and yet written: %08x", got)
	}
	// The branch starts at slot 2, so the reach counts from there.
	if err := MakeCall(m, testSite, testSite+BranchReach); err != nil {
		t.Errorf("MakeCall to the last instruction in reach: %v", err)
	}
}

func TestSiteUnmapped(t *testing.T) {
	if err := InitNop(text{}, testSite); !errors.Is(err, errUnmapped) {
		t.Errorf("InitNop on unmapped text: %v", err)
	}
}
