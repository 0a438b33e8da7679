package ftrace

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"nopal/internal/arch/amd64"
	"nopal/internal/entry"
	"nopal/internal/ring"
)

// jumps is a page of code of x86-64 with sites of all kinds, and an island far from it.
type jumps struct {
	both
	o     *Object
	table *Table
	as    []byte // the code as compiled
}

const (
	jumpsText   = 0x7f0000400000
	jumpsIsland = 0x7f0000000000 + 0x10000 // 4 MiB below
	jumpsStubs  = jumpsIsland + 0x1000
	jumpsCaller = jumpsIsland + 0x40
	jumpsRegs   = jumpsIsland + 0x80
)

func newJumps(t *testing.T) *jumps {
	t.Helper()
	code := bytes.Repeat([]byte{0xcc}, 2*batchPage)
	put := func(at int, b ...byte) { copy(code[at:], b) }
	put(0x100, 0x90, 0x90, 0x90, 0x90, 0x90, 0x55)
	put(0x200, 0x0f, 0x1f, 0x44, 0, 0x08, 0x55)
	put(0x300, 0x0f, 0x1f, 0x84, 0, 0, 0x02, 0, 0, 0x55) // eight bytes
	put(0x400, bytes.Repeat([]byte{0x90}, 16)...)        // =16,14
	put(0xffe, 0x90, 0x90, 0x90, 0x90, 0x90, 0x55)       // across a page border
	put(0x500, 0x55, 0x90, 0x90, 0x90, 0x90)             // somebody else's
	const base = jumpsText
	j := &jumps{
		both: both{&text{base: base, code: code}, &text{base: jumpsIsland, code: make([]byte, 0x2000)}},
		o: &Object{
			Path: "/bin/x", Names: names{"nops", "nop", "long", "short", "border", "other"},
			Trampolines: Trampolines{Caller: jumpsCaller, Called: jumpsCaller, RegsCaller: jumpsRegs}, StubsAt: jumpsStubs,
			Records: []Record{
				{Addr: base + 0x100, Body: base + 0x105, Site: 0},
				{Addr: base + 0x200, Body: base + 0x205, Site: 1},
				{Addr: base + 0x300, Body: base + 0x308, Site: 2},
				{Addr: base + 0x408, Short: base + 0x40e, Body: base + 0x410, Site: 3},
				{Addr: base + 0xffe, Body: base + 0x1003, Site: 4},
				{Addr: base + 0x500, Body: base + 0x505, Site: 5},
			},
		},
		table: &Table{Method: AMD64{}},
		as:    bytes.Clone(code),
	}
	if _, err := j.table.Register(&Ops{Name: "all"}); err != nil {
		t.Fatal(err)
	}
	j.table.Add(j.o)
	return j
}

// prepare takes the sites through the stages up to the last.
func (j *jumps) prepare(t *testing.T) (journal []ring.JournalEntry, batch *BatchText, refused []error) {
	t.Helper()
	size := j.table.LayoutStubs(j.o)
	if size != 6*amd64.StubSize {
		t.Fatalf("stubs take %d bytes", size)
	}
	batch = &BatchText{Memory: j.text}
	refused = j.table.Look(batch, j.o)
	stubs := j.stubs.code[jumpsStubs-jumpsIsland:]
	refused = append(refused, j.table.Stubs(j.o, stubs, func(r *Record) (uint64, uint64) { return r.Addr << 1, r.Addr << 2 }, nil)...)
	for i := range j.o.Records {
		if r := &j.o.Records[i]; j.o.Wants(r) {
			journal = append(journal, j.table.Method.Journal(r)...)
		}
	}
	refused = append(refused, j.table.Prepare(batch, j.o)...)
	if err := j.table.Update(batch, j.o); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(j.text.code, j.as) {
		t.Fatal("text is written before Flush")
	}
	return journal, batch, refused
}

// leads follows a site to its stub.
func (j *jumps) leads(t *testing.T, r *Record) amd64.Stub {
	t.Helper()
	at := r.Addr
	if r.Short != 0 {
		two, _ := j.LoadBytes(r.Short, 2)
		if to, ok := amd64.ShortTarget(r.Short, two); !ok || to != r.Addr {
			t.Fatalf("%04x at %#x does not lead to %#x", two, r.Short, r.Addr)
		}
	}
	five, _ := j.LoadBytes(at, 5)
	to, call, ok := amd64.BranchTarget(at, five)
	if !ok || call {
		t.Fatalf("%010x at %#x is no jump", five, at)
	}
	s, ok := amd64.ParseStub(to, j.stubs.code[to-jumpsIsland:])
	if !ok {
		t.Fatalf("%#x leads to %#x, which is no stub", at, to)
	}
	return s
}

func TestJumps(t *testing.T) {
	j := newJumps(t)
	journal, batch, refused := j.prepare(t)
	if len(refused) != 2 || !strings.Contains(refused[0].Error(), "border") || !strings.Contains(refused[1].Error(), "other") {
		t.Errorf("refused: %v", refused)
	}
	if err := batch.Flush(); err != nil {
		t.Fatal(err)
	}
	check := func(target uint64, call, on bool) {
		t.Helper()
		for i := range 4 {
			r := &j.o.Records[i]
			s := j.leads(t, r)
			if s.Body != r.Body || s.Target != target || s.Call != call || s.On != on || s.Index != r.Addr<<1 || s.Exit != r.Addr<<2 {
				t.Errorf("%s: stub %+v", j.o.Name(r), s)
			}
			if got, armed := r.Armed(); armed != on || on && got != target {
				t.Errorf("%s is armed with %#x, %v", j.o.Name(r), got, armed)
			}
		}
	}
	update := func() {
		t.Helper()
		live := &LiveBatch{Memory: j.memory()}
		if err := errors.Join(j.table.Update(live, j.o), live.Flush(nil)); err != nil {
			t.Fatal(err)
		}
	}
	check(jumpsCaller, true, true)
	text := bytes.Clone(j.text.code)
	regs := &Ops{Name: "regs", Flags: FlagRegs}
	if _, err := j.table.Register(regs); err != nil {
		t.Fatal(err)
	}
	update()
	check(jumpsRegs, false, true)
	j.table.SetOff(true)
	update()
	check(jumpsRegs, false, false)
	j.table.Unregister(regs)
	j.table.SetOff(false)
	update()
	check(jumpsCaller, true, true)
	if !bytes.Equal(text, j.text.code) {
		t.Error("switching has changed the text itself")
	}

	islands := Islands{List: []entry.IslandEntry{{Addr: jumpsIsland, Size: 0x2000}}, Text: LiveText{j.stubs}}
	undo := &BatchText{Memory: j.text}
	n := 0
	for _, e := range journal {
		state, ok, err := AMD64{}.Site(LiveText{j.text}, islands, e)
		if err != nil || ok && (!state.Prepared || state.Target != jumpsCaller) {
			t.Errorf("%#x: %+v, %v", e.Addr, state, err)
		}
		restored, foreign, err := AMD64{}.Restore(undo, islands, e)
		if err != nil || foreign != "" {
			t.Errorf("restore %#x: %s %v", e.Addr, foreign, err)
		}
		if restored {
			n++
		}
	}
	if err := undo.Flush(); err != nil || n != 5 {
		t.Errorf("%d restored, %v", n, err)
	}
	if !bytes.Equal(j.text.code, j.as) {
		t.Error("the code is not what it was")
	}
}

// memory is both pieces for what reads pages.
func (j *jumps) memory() Memory { return pieces{j.both} }

type pieces struct{ both }

func (p pieces) ReadAt(b []byte, at int64) (int, error)  { return p.of(uint64(at)).ReadAt(b, at) }
func (p pieces) WriteAt(b []byte, at int64) (int, error) { return p.of(uint64(at)).WriteAt(b, at) }

// A thread may stand at any byte of a site, and goes on where NOPs begin.
func TestInsideOfJumps(t *testing.T) {
	got := map[uint64]uint64{}
	for pc, to := range (AMD64{}).Inside(&Record{Addr: 0x100, Body: 0x105}) {
		got[pc] = to
	}
	if len(got) != 4 || got[0x101] != 0x100 || got[0x104] != 0x100 {
		t.Errorf("%x", got)
	}
	for pc, to := range (AMD64{}).Inside(&Record{Addr: 0x100, Short: 0x10e, Body: 0x110}) {
		if pc != 0x10f || to != 0x10e {
			t.Errorf("%#x -> %#x", pc, to)
		}
	}
}

// What another has written over a site between looking and writing stays, and a short
// jump is not written without the jump that it leads to.
func TestJumpMismatch(t *testing.T) {
	j := newJumps(t)
	_, batch, _ := j.prepare(t)
	const area = 0x408
	j.text.code[area] = amd64.Breakpoint
	err := batch.Flush()
	var mismatch *MismatchError
	if !errors.As(err, &mismatch) || mismatch.Addr != jumpsText+area {
		t.Errorf("error %v", err)
	}
	if j.text.code[area] != amd64.Breakpoint || j.text.code[0x40e] != 0x90 {
		t.Errorf("% x", j.text.code[0x400:0x410])
	}
}

// The loader's hook takes a jump in its padding, or in ENDBR64 and RET; or the calls of it do.
func TestHookJump(t *testing.T) {
	const base = 0x400000
	to := uint64(base + 0x100000)
	for _, c := range []struct {
		name   string
		code   []byte
		places []int // where the jumps and calls are
		ops    []byte
	}{
		{"padding", append([]byte{0xc3}, bytes.Repeat([]byte{0x66, 0x90}, 20)...), []int{0}, []byte{0xe9}},
		{"breakpoints", append([]byte{0xc3}, bytes.Repeat([]byte{0xcc}, 20)...), []int{0}, []byte{0xe9}},
		{"landing pad", []byte{0xf3, 0x0f, 0x1e, 0xfa, 0xc3, 0x55, 0x48, 0x89, 0xe5, 0, 0, 0, 0, 0, 0, 0}, []int{0}, []byte{0xe9}},
		{"called", []byte{
			0xc3, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55,
			0xe8, 0xf3, 0xff, 0xff, 0xff, // call hook
			0xe8, 0, 0, 0, 0, // another
			0xe9, 0xe9, 0xff, 0xff, 0xff, // jmp hook
			0x55,
		}, []int{8, 18}, []byte{0xe8, 0xe9}},
	} {
		m := &text{base: base, code: append(bytes.Clone(c.code), make([]byte, 64)...)}
		h, err := AMD64{}.Hook(LiveText{m}, base, Span{base, base + uint64(len(c.code))})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if err := errors.Join(h.Lead(to), h.Put(LiveText{m})); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		for i, at := range c.places {
			insn := getBytes(m.code[at:], 5)
			if got, _, ok := amd64.BranchTarget(base+uint64(at), insn); !ok || got != to || byte(insn) != c.ops[i] {
				t.Errorf("%s: %010x at +%d leads to %#x", c.name, insn, at, got)
			}
		}
		if len(h.Journal()) != len(c.places) {
			t.Errorf("%s: %d entries", c.name, len(h.Journal()))
		}
	}
	m := &text{base: base, code: make([]byte, 64)}
	if _, err := (AMD64{}).Hook(LiveText{m}, base, Span{base, base + 64}); err == nil {
		t.Error("what is no empty function is taken for a hook")
	}
}
