package ftrace

import (
	"encoding/binary"
	"errors"
	"io"
	"path"
	"testing"

	"nopal/internal/arch/arm64"
)

// text is a piece of memory with code.
type text struct {
	base uint64
	code []byte
}

func (m *text) ReadAt(b []byte, at int64) (int, error) {
	off := uint64(at) - m.base
	if off > uint64(len(m.code)) || uint64(len(b)) > uint64(len(m.code))-off {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(b, m.code[off:]), nil
}

func (m *text) WriteAt(b []byte, at int64) (int, error) {
	return copy(m.code[uint64(at)-m.base:], b), nil
}

func (m *text) insn(at uint64) uint32 { return binary.LittleEndian.Uint32(m.code[at-m.base:]) }

func (m *text) set(at uint64, insn uint32) { binary.LittleEndian.PutUint32(m.code[at-m.base:], insn) }

type names []string

func (n names) SiteNames(site int) (raw, demangled string) { return n[site], n[site] }

// newText is three pages of NOPs with four sites, one of them across a page border.
func newText() (*text, *Object) {
	m := &text{base: 0x400000, code: make([]byte, 3*batchPage)}
	for at := m.base; at < m.base+3*batchPage; at += 4 {
		m.set(at, arm64.Nop)
	}
	o := &Object{
		Path: "/bin/x", Names: names{"alpha", "beta", "across", "gamma"}, Trampolines: Trampolines{Caller: 0x300000, RegsCaller: 0x300100},
		Records: []Record{{Addr: 0x400010, Site: 0}, {Addr: 0x400100, Site: 1}, {Addr: 0x400ffc, Site: 2}, {Addr: 0x402000, Site: 3}},
	}
	return m, o
}

func matching(glob string) func(raw, demangled, object string) bool {
	return func(raw, _, _ string) bool {
		ok, _ := path.Match(glob, raw)
		return ok
	}
}

// calls is what slot 2 of a site calls, 0 for a NOP.
func calls(t *testing.T, m *text, site uint64) uint64 {
	t.Helper()
	insn := m.insn(site + arm64.SiteBranchOffset)
	if insn == arm64.Nop {
		return 0
	}
	to, ok := arm64.BranchTarget(site+arm64.SiteBranchOffset, insn)
	if !ok {
		t.Fatalf("%08x at slot 2 of %#x", insn, site)
	}
	return to
}

func TestOpsCombine(t *testing.T) {
	m, o := newText()
	table := &Table{Method: ARM64{}}
	plain := &Ops{Name: "plain", Match: matching("a*")}
	regs := &Ops{Name: "regs", Flags: FlagRegs, Match: matching("*a")}
	for _, op := range []*Ops{plain, regs} {
		if _, err := table.Register(op); err != nil {
			t.Fatal(err)
		}
	}
	if n := table.Add(o); n != 4 {
		t.Fatalf("%d sites wanted, want 4", n)
	}
	live := LiveText{m}
	update := func(want ...uint64) {
		t.Helper()
		if err := table.Update(live, o); err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			if got := calls(t, m, o.Records[i].Addr); got != w {
				t.Errorf("%s calls %#x, want %#x", o.Names.(names)[i], got, w)
			}
		}
	}
	update(0, 0, 0, 0) // not prepared yet
	if refused := table.Prepare(live, o); refused != nil {
		t.Fatal(refused)
	}
	for _, r := range o.Records {
		if m.insn(r.Addr) != arm64.MovX9X30 {
			t.Errorf("slot 1 of %#x is %08x", r.Addr, m.insn(r.Addr))
		}
	}
	update(o.RegsCaller, o.RegsCaller, o.Caller, o.RegsCaller)
	table.Unregister(regs)
	update(o.Caller, 0, o.Caller, 0)
	table.Unregister(plain)
	update(0, 0, 0, 0)
}

func TestForeignInstructionsAreRefused(t *testing.T) {
	const breakpoint = 0xd4200000
	for slot := uint64(0); slot < 8; slot += 4 {
		m, o := newText()
		table := &Table{Method: ARM64{}}
		if _, err := table.Register(&Ops{Name: "all"}); err != nil {
			t.Fatal(err)
		}
		table.Add(o)
		m.set(o.Records[1].Addr+slot, breakpoint)
		refused := table.Prepare(LiveText{m}, o)
		err := errors.Join(append(refused, table.Update(LiveText{m}, o))...)
		var mismatch *arm64.MismatchError
		if !errors.As(err, &mismatch) || mismatch.Site != o.Records[1].Addr || mismatch.Found != breakpoint {
			t.Errorf("slot at +%d: error %v", slot, err)
		}
		if m.insn(o.Records[1].Addr+slot) != breakpoint {
			t.Errorf("slot at +%d: a breakpoint is written over", slot)
		}
		if _, armed := o.Records[1].Armed(); armed {
			t.Errorf("slot at +%d: the site counts as armed", slot)
		}
		for _, i := range []int{0, 2, 3} {
			if calls(t, m, o.Records[i].Addr) != o.Caller {
				t.Errorf("slot at +%d: site %d is not armed for another's sake", slot, i)
			}
		}
	}
}

func TestOnlyOneChangesThePC(t *testing.T) {
	_, o := newText()
	table := &Table{Method: ARM64{}}
	table.Add(o)
	if _, err := table.Register(&Ops{Name: "first", Flags: FlagIPModify, Match: matching("alpha")}); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Register(&Ops{Name: "other", Flags: FlagIPModify, Match: matching("beta")}); err != nil {
		t.Fatal(err)
	}
	_, err := table.Register(&Ops{Name: "second", Flags: FlagIPModify, Match: matching("al*")})
	var conflict *ConflictError
	if !errors.As(err, &conflict) || conflict.Function != "alpha" || conflict.First != "first" || conflict.Second != "second" {
		t.Errorf("error %v", err)
	}
	for i := range MaxOps {
		if _, err = table.Register(&Ops{Name: "more"}); err != nil {
			if i != MaxOps-2 {
				t.Errorf("%d more ops registered, want %d", i, MaxOps-2)
			}
			return
		}
	}
	t.Error("ops without end can be registered")
}

// TestBatchEqualsLive: both ways of writing leave the same code.
func TestBatchEqualsLive(t *testing.T) {
	m1, o1 := newText()
	m2, o2 := newText()
	batch := &BatchText{Memory: m2}
	for _, c := range []struct {
		text Text
		o    *Object
	}{{LiveText{m1}, o1}, {batch, o2}} {
		table := &Table{Method: ARM64{}}
		if _, err := table.Register(&Ops{Name: "all"}); err != nil {
			t.Fatal(err)
		}
		table.Add(c.o)
		if refused := table.Prepare(c.text, c.o); refused != nil {
			t.Fatal(refused)
		}
		if err := table.Update(c.text, c.o); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range o2.Records {
		if m2.insn(r.Addr) != arm64.Nop {
			t.Fatal("written before Flush")
		}
	}
	// What another has changed meanwhile, in a page that is written, stays.
	const breakpoint = 0xd4200000
	m1.set(0x400200, breakpoint)
	m2.set(0x400200, breakpoint)
	if err := batch.Flush(); err != nil {
		t.Fatal(err)
	}
	if string(m1.code) != string(m2.code) {
		t.Error("the batch has written something else")
	}
}

// A function's own code is called in place of the common trampoline, which it can be told of; what changes the pc
// goes before it, and neither arms a function that no ops wants.
func TestOwnCode(t *testing.T) {
	const inject, entry, ret = 0x30000, 0x31000, 0x32000
	_, object := newText()
	object.Trampolines = Trampolines{Caller: 0x20000, Root: 0x21000, ExitRet: 0x22000}
	table := &Table{Method: ARM64{}, Objects: []*Object{object}}
	r := &object.Records[0]
	r.SetOwn(Own{Entry: entry, ExitRet: ret})
	r.SetInject(inject)
	if got := table.target(object, r, true); got != 0 {
		t.Errorf("a function that nobody wants calls %#x", got)
	}
	root := &Ops{Name: "root", Flags: FlagRoot}
	changes := &Ops{Name: "inject", Flags: FlagIPModify}
	for _, c := range []struct {
		register                   *Ops
		calls, beside, common, out uint64
	}{
		{root, entry, entry, 0x21000, ret},
		{changes, inject, entry, 0x21000, ret},
	} {
		if _, err := table.Register(c.register); err != nil {
			t.Fatal(err)
		}
		if got := table.target(object, r, true); got != c.calls {
			t.Errorf("with %s it calls %#x, want %#x", c.register.Name, got, c.calls)
		}
		if got := table.Beside(object, r, FlagIPModify); got != c.beside {
			t.Errorf("with %s, %#x without changes, want %#x", c.register.Name, got, c.beside)
		}
		if got := table.Common(object, r, FlagIPModify); got != c.common {
			t.Errorf("with %s, %#x in common, want %#x", c.register.Name, got, c.common)
		}
		if got := object.exitsGo(r); got != c.out {
			t.Errorf("with %s it leaves by %#x, want %#x", c.register.Name, got, c.out)
		}
	}
	table.Unregister(root)
	if got := table.Beside(object, r, FlagIPModify); got != 0 {
		t.Errorf("%#x without changes, where only they want it", got)
	}
	r.SetOwn(Own{})
	if got := object.exitsGo(r); got != 0x22000 {
		t.Errorf("without code of its own it leaves by %#x", got)
	}
}
