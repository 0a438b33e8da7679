package unwind

import (
	"encoding/binary"
	"testing"
)

// frameSection makes an .eh_frame at address 0x1000 with one function at 0x2000 of 0x100
// bytes: CIE program, FDE program.
func frameSection(augmentation string, initial, program []byte) []byte {
	entry := func(id uint32, body []byte) []byte {
		for (len(body)+4)%8 != 4 {
			body = append(body, cfaNop)
		}
		b := binary.LittleEndian.AppendUint32(nil, uint32(len(body)+4))
		b = binary.LittleEndian.AppendUint32(b, id)
		return append(b, body...)
	}
	cie := append([]byte{1}, augmentation...)
	cie = append(cie, 0, 4, 0x78, lrColumn, 1, 0) // align 4, -8; one byte: absolute addresses
	all := entry(0, append(cie, initial...))
	fde := binary.LittleEndian.AppendUint64(nil, 0x2000)
	fde = binary.LittleEndian.AppendUint64(fde, 0x100)
	fde = append(fde, 0)
	return append(all, entry(uint32(len(all)+4), append(fde, program...))...)
}

var defCFA = []byte{cfaDefCFA, spColumn, 0}

func rowOf(t *testing.T, pc uint64, program ...byte) *row {
	t.Helper()
	s := section{data: frameSection("zR", defCFA, program), addr: 0x1000}
	all := s.index()
	f, ok := find(all, pc)
	if !ok {
		t.Fatalf("no entry of %d covers %#x", len(all), pc)
	}
	r, reason := f.rowAt(pc)
	if r == nil {
		t.Fatal(reason)
	}
	return r
}

func TestRows(t *testing.T) {
	prologue := []byte{
		cfaAdvance | 1, cfaDefCFAOffset, 32, cfaOffset | 29, 4, cfaOffset | 30, 3,
		cfaAdvance | 1, cfaDefCFARegister, 29,
		cfaAdvance | 2, cfaRemember, cfaRestoreLow | 29, cfaRestoreLow | 30, cfaDefCFA, spColumn, 0,
		cfaAdvance | 1, cfaRestore,
	}
	for _, c := range []struct {
		pc     uint64
		base   uint64
		off    int64
		lr, fp rule
	}{
		{0x2000, spColumn, 0, rule{}, rule{}},
		{0x2004, spColumn, 32, rule{kind: ruleOffset, off: -24}, rule{kind: ruleOffset, off: -32}},
		{0x2008, 29, 32, rule{kind: ruleOffset, off: -24}, rule{kind: ruleOffset, off: -32}},
		{0x200c, 29, 32, rule{kind: ruleOffset, off: -24}, rule{kind: ruleOffset, off: -32}},
		{0x2010, spColumn, 0, rule{}, rule{}},
		{0x2014, 29, 32, rule{kind: ruleOffset, off: -24}, rule{kind: ruleOffset, off: -32}},
		{0x20fc, 29, 32, rule{kind: ruleOffset, off: -24}, rule{kind: ruleOffset, off: -32}},
	} {
		r := rowOf(t, c.pc, prologue...)
		if r.base != c.base || r.off != c.off || r.regs[30].kind != c.lr.kind || r.regs[30].off != c.lr.off || r.regs[29].kind != c.fp.kind || r.regs[29].off != c.fp.off {
			t.Errorf("%#x: CFA = x%d + %d, x30 %+v, x29 %+v", c.pc, r.base, r.off, r.regs[30], r.regs[29])
		}
	}
	if r := rowOf(t, 0x2004, cfaAdvance|1, cfaNegateRA); !r.signed {
		t.Error("the return address is not signed behind negate_ra_state")
	}
	if r := rowOf(t, 0x2000, cfaUndefined, 30); r.regs[30].kind != ruleUndefined {
		t.Error("the return address is not undefined")
	}
	if r := rowOf(t, 0x2000, cfaValOffset, 19, 2, cfaRegister, 20, 21, cfaOffsetExtendedSF, 22, 2); r.regs[19].off != -16 || r.regs[20].off != 21 || r.regs[22].off != -16 {
		t.Errorf("%+v", r.regs)
	}
}

// What cannot be understood is said, and not passed over.
func TestMalformedFrames(t *testing.T) {
	for name, program := range map[string][]byte{
		"unknown instruction":       {0x3f},
		"restore without remember":  {cfaRestore},
		"base register 40":          {cfaDefCFA, 40, 0},
		"register in a vector":      {cfaRegister, 19, 64},
		"expression beyond the end": {cfaDefCFAExpression, 100},
		"number beyond 64 bits":     {cfaDefCFAOffset, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"remembered more than 64":   append(make([]byte, 0), repeat(cfaRemember, 70)...),
	} {
		s := section{data: frameSection("zR", defCFA, program), addr: 0x1000}
		f, ok := find(s.index(), 0x2000)
		if !ok {
			t.Errorf("%s: no entry", name)
			continue
		}
		if r, reason := f.rowAt(0x2000); r != nil || reason == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	s := section{data: frameSection("zQ", defCFA, nil), addr: 0x1000}
	if all := s.index(); len(all) != 0 {
		t.Error("an unknown augmentation was understood")
	}
}

func repeat(b byte, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = b
	}
	return out
}

func TestExpressions(t *testing.T) {
	e := evaluator{
		reg: func(n uint64) (uint64, bool) { return 1000 * n, n < 31 },
		load: func(addr uint64, p []byte) bool {
			binary.LittleEndian.PutUint64(append(p[:0:0], make([]byte, 8)...), 0)
			p[0] = byte(addr)
			return addr < 100000
		},
	}
	for _, c := range []struct {
		name string
		expr []byte
		want uint64
		ok   bool
	}{
		{"breg", []byte{opBreg0 + 2, 8}, 2008, true},
		{"breg, negative", []byte{opBreg0 + 2, 0x78}, 1992, true},
		{"bregx", []byte{opBregx, 29, 0}, 29000, true},
		{"deref", []byte{opBreg0 + 1, 1, opDeref}, 1001 & 0xff, true},
		{"not readable", []byte{opConst4u, 0, 0, 0, 1, opDeref}, 0, false},
		{"arithmetic", []byte{opLit0 + 7, opLit0 + 3, opMinus, opLit0 + 5, opMul}, 20, true},
		{"skip", []byte{opSkip, 1, 0, opLit0 + 9, opLit0 + 1}, 1, true},
		{"branch", []byte{opLit0 + 5, opLit0 + 1, opBra, 1, 0, opDrop, opLit0 + 2, opPlus}, 7, true},
		{"rot", []byte{opLit0 + 1, opLit0 + 2, opLit0 + 3, opRot, opDrop, opDrop}, 3, true},
		{"lazy PLT of x86", []byte{opBreg0 + 7, 8, opBreg0 + 16, 0, opLit0 + 15, opAnd, opLit0 + 11, opGe, opLit0 + 3, opShl, opPlus}, 7008, true},
		{"empty", nil, 0, false},
		{"underflow", []byte{opPlus}, 0, false},
		{"division by 0", []byte{opLit0 + 1, opLit0, opDiv}, 0, false},
		{"for ever", []byte{opSkip, 0xfd, 0xff}, 0, false},
		{"unknown", []byte{0x03, 0, 0, 0, 0, 0, 0, 0, 0}, 0, false},
		{"unknown register", []byte{opBregx, 31, 0}, 0, false},
	} {
		got, ok := e.eval(c.expr)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %d, %v; want %d, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(frameSection("zR", defCFA, []byte{cfaAdvance | 1, cfaDefCFAOffset, 32}), uint64(0x2004))
	f.Add(frameSection("zRS", defCFA, []byte{cfaDefCFAExpression, 3, opBreg0 + 31, 16, opDeref}), uint64(0x2000))
	f.Fuzz(func(_ *testing.T, data []byte, pc uint64) {
		for _, debug := range []bool{false, true} {
			s := section{data: data, addr: 0x1000, debug: debug}
			if e, ok := find(s.index(), pc); ok {
				if r, _ := e.repairedAt(pc); r != nil {
					_, _ = stateOf(r)
					u := New(0, fileMemory{}, Options{})
					st := state{known: 1<<31 - 1, sp: 0x8000, pc: pc, exact: true}
					_ = u.apply(&st, &step{}, r)
				}
				_ = e.pads(fileMemory{})
			}
		}
	})
}

func FuzzFlow(f *testing.F) {
	f.Add([]byte("\xfd\x7b\xbe\xa9\xfd\x03\x00\x91\xfd\x7b\xc2\xa8\xc0\x03\x5f\xd6"))
	f.Fuzz(func(t *testing.T, b []byte) {
		code := make([]uint32, min(len(b)/4, 1000))
		for i := range code {
			code[i] = binary.LittleEndian.Uint32(b[4*i:])
		}
		if len(code) == 0 {
			return
		}
		g := newFlow(0x1000, code, entryState(), nil)
		g.fill(true)
		for i := range code {
			if s, ok := g.at(0x1000 + uint64(i)*4); ok {
				if p, ok := s.places(); ok && p.base == spColumn && s.reg[spColumn].v+p.off != 0 {
					t.Fatalf("%d: %+v", i, p)
				}
			}
		}
	})
}
