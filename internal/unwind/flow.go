package unwind

import (
	"slices"

	"nopal/internal/arch/arm64"
)

// Call frame information need not be true between calls: clang before version 15
// does not describe epilogues, nor all of a prologue, since exceptions do not pass
// there. So where a thread is stopped at some instruction its function is followed from
// the entry, on all ways, and what every instruction does to the stack
// pointer and to saved registers is taken note of. It is what compilers and
// assemblers do the other way round, and it needs no promise by anybody.

// valueKind says what is known of a value.
type valueKind uint8

const (
	valueUnknown valueKind = iota
	valueEntry             // what register v held at the entry
	valueFrame             // CFA + v
	valueConst
)

type value struct {
	kind valueKind
	v    int64
}

// frameSlot is a place on the stack that holds what register reg held at the entry.
type frameSlot struct {
	off int64 // from the CFA
	reg int64
}

// maxSlots is how many registers a frame saves at most: x19 to x30, twice.
const maxSlots = 24

// flowState is what is known before an instruction. It only gets less as more ways lead to
// the instruction.
type flowState struct {
	reg   [32]value   // 31: sp
	slots []frameSlot // sorted; shared, never changed in place
}

// flow is a piece of code that was followed.
type flow struct {
	start  uint64
	code   []uint32
	known  map[int]*flowState // before the instructions that branches lead to
	pads   map[int]bool       // landing pads, into which no call returns
	leads  []bool             // a branch leads there
	broken bool               // not all of it could be followed
	wrong  bool               // a way leads to a return that cannot be: not all of it is one function
}

// maxFlow is how many instructions a function may have to be followed.
const maxFlow = 1 << 17

// newFlow follows code from its entry on.
func newFlow(start uint64, code []uint32, entry *flowState, pads map[int]bool) *flow {
	f := &flow{start: start, code: code, pads: pads, known: map[int]*flowState{}}
	f.leads = make([]bool, len(code))
	for i := range code {
		if to, ok := f.target(i); ok {
			f.leads[to] = true
		}
	}
	f.follow(map[int]*flowState{0: entry})
	return f
}

func entryState() *flowState {
	s := &flowState{}
	for i := range s.reg {
		s.reg[i] = value{valueEntry, int64(i)}
	}
	s.reg[spColumn] = value{valueFrame, 0}
	return s
}

// stateOf makes a state of a row of call frame information, if that can be.
func stateOf(r *row) (*flowState, bool) {
	s := entryState()
	s.reg[spColumn] = value{}
	if r.expr != nil || r.ra != lrColumn {
		return nil, false
	}
	for n := range uint64(columns) {
		switch rule := r.regs[n]; rule.kind {
		case ruleDefault, ruleSame:
		case ruleOffset:
			s.reg[n] = value{}
			s.slots = withSlot(s.slots, frameSlot{rule.off, int64(n)})
		default:
			return nil, false
		}
	}
	s.reg[r.base] = value{valueFrame, -r.off}
	return s, len(s.slots) <= maxSlots
}

// follow goes on from new entries until nothing more is learnt.
func (f *flow) follow(entries map[int]*flowState) {
	var todo []int
	arrive := func(i int, s *flowState) {
		if i >= len(f.code) {
			return
		}
		old, known := f.known[i]
		if !known {
			c := *s
			f.known[i] = &c
			todo = append(todo, i)
			return
		}
		if old.merge(s) {
			todo = append(todo, i)
		}
	}
	for i := range entries {
		f.leads[i] = true
	}
	for i, s := range entries {
		arrive(i, s)
	}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		s := *f.known[i]
		for {
			f.wrong = f.wrong || f.isWrongReturn(i, &s)
			next, target, branches := f.step(&s, i)
			if branches {
				arrive(target, &s)
			}
			if !next {
				break
			}
			i++
			if i >= len(f.code) || f.leads[i] {
				arrive(i, &s)
				break
			}
		}
	}
}

// step does what instruction i does. next says whether the one behind it is
// reached, branches whether target is.
func (f *flow) step(s *flowState, i int) (next bool, target int, branches bool) {
	insn := f.code[i]
	switch arm64.Classify(insn) {
	case arm64.KindB:
		to, ok := f.target(i)
		return false, to, ok
	case arm64.KindBCond, arm64.KindCBZ, arm64.KindTBZ:
		to, ok := f.target(i)
		return true, to, ok
	case arm64.KindBL, arm64.KindBLR, arm64.KindBLRA:
		s.call()
		return f.returns(i), 0, false
	case arm64.KindBR, arm64.KindBRA, arm64.KindRET, arm64.KindRETAA, arm64.KindRETAB, arm64.KindERET, arm64.KindUDF, arm64.KindHLT:
		return false, 0, false
	case arm64.KindBRK:
		// What compilers make of __builtin_trap has no next; a debugger's has.
		const gcc, clang = 0xd4207d00, 0xd4200020 // brk #1000, brk #1
		return insn != gcc && insn != clang, 0, false
	}
	if !s.step(insn) {
		return false, 0, false
	}
	return true, 0, false
}

// reaches reports whether the instruction at pc is reached.
func (f *flow) reaches(pc uint64) bool {
	_, ok := f.at(pc)
	return ok
}

// target gives where a branch within the code leads to.
func (f *flow) target(i int) (to int, ok bool) {
	switch arm64.Classify(f.code[i]) {
	case arm64.KindB, arm64.KindBCond, arm64.KindCBZ, arm64.KindTBZ:
	default:
		return 0, false
	}
	at, ok := arm64.BranchTarget(f.start+uint64(i)*insnSize, f.code[i])
	if !ok || at < f.start || at >= f.start+uint64(len(f.code))*insnSize {
		return 0, false
	}
	return int((at - f.start) / insnSize), true
}

// isPrologue tells instructions that only begin a function: a landing pad for calls, a
// return address signed, or pushed. Behind a call x30 is no return address that is worth it.
func isPrologue(insn uint32) bool {
	const (
		pushFrame, pushFrameMask = 0xa9807bfd, 0xffc07fff // stp x29, x30, [sp, #-N]!
		pushLR, pushLRMask       = 0xf8000ffe, 0xffe00fff // str x30, [sp, #-N]!
		paciasp, pacibsp         = 0xd503233f, 0xd503237f
	)
	return insn&pushFrameMask == pushFrame || insn&pushLRMask == pushLR || insn == paciasp || insn == pacibsp || insn == arm64.BtiC
}

// returns reports whether a call may return: what is behind one that does not may be a
// landing pad, or another function.
func (f *flow) returns(i int) bool {
	next := i + 1
	for i++; i < len(f.code) && f.code[i] == arm64.Nop && !f.pads[i]; i++ {
	}
	if i == len(f.code) {
		return true
	}
	// Compilers align functions, and loops, which a branch leads to.
	const align = 16
	padded := i > next && !f.leads[i] && (f.start+uint64(i)*insnSize)%align == 0
	return !f.pads[i] && !padded && !isPrologue(f.code[i])
}

// at gives what is known before the instruction at pc.
func (f *flow) at(pc uint64) (s *flowState, ok bool) {
	if pc < f.start || (pc-f.start)/insnSize >= uint64(len(f.code)) {
		return nil, false
	}
	i := int((pc - f.start) / insnSize)
	from := i
	for ; ; from-- {
		if from < 0 {
			return nil, false
		}
		if _, ok := f.known[from]; ok {
			break
		}
	}
	c := *f.known[from]
	for j := from; j < i; j++ {
		if next, _, _ := f.step(&c, j); !next {
			return nil, false
		}
	}
	return &c, true
}

// fill reaches what only computed jumps lead to: what is not reached otherwise, since
// landing pads are entries. If all such jumps have one frame, so have the places that they
// lead to. Where that is not so, the function is broken: nothing is certain then but what
// the call frame information says as well. whole: all of the code belongs to the
// function; if not, there may be others behind it.
func (f *flow) fill(whole bool) {
	reached, jumps, calls := f.sources()
	if !jumps.any {
		return
	}
	// A call that does not return may stand before a place that a jump leads to.
	if f.broken = jumps.several || !whole || calls.any && (calls.several || !calls.frame.equal(jumps.frame)); jumps.several || !whole {
		return
	}
	entries := map[int]*flowState{}
	for i := range f.code {
		if !reached[i] && f.code[i] != arm64.Nop && (i == 0 || reached[i-1] || f.ends(i-1)) {
			entries[i] = jumps.frame
		}
	}
	if len(entries) == 0 {
		return
	}
	f.follow(entries)
	_, jumps, calls = f.sources()
	f.broken = jumps.several || calls.any && (calls.several || !calls.frame.equal(jumps.frame))
}

// common is what the states at several places have in common.
type common struct {
	frame        *flowState
	any, several bool // states; which differ in what leads to the caller
}

func (c *common) add(s *flowState) {
	if !c.any {
		own := *s
		c.frame, c.any = &own, true
		return
	}
	c.several = c.several || !c.frame.equal(s)
	c.frame.merge(s)
}

// sources gives what is reached, and what is common to the computed jumps in it, and
// to the calls.
func (f *flow) sources() (reached []bool, jumps, calls common) {
	reached = make([]bool, len(f.code))
	for i := range f.known {
		s := *f.known[i]
		for j := i; ; {
			reached[j] = true
			switch arm64.Classify(f.code[j]) {
			case arm64.KindBL, arm64.KindBLR, arm64.KindBLRA:
				calls.add(&s)
			case arm64.KindBR, arm64.KindBRA:
				if !f.isTailCall(j, &s) {
					jumps.add(&s)
				}
			}
			next, _, _ := f.step(&s, j)
			j++
			if !next || j >= len(f.code) || f.leads[j] {
				break
			}
		}
	}
	return reached, jumps, calls
}

// isTailCall reports whether a computed jump leaves the function: all is as at the entry,
// and its target was loaded or passed as a pointer, while that of a jump by a table is a sum.
func (f *flow) isTailCall(i int, s *flowState) bool {
	if s.reg[spColumn] != (value{valueFrame, 0}) || s.reg[lrColumn] != (value{valueEntry, lrColumn}) {
		return false
	}
	const (
		addMask, add = 0x7f000000, 0x0b000000 // with a shifted or extended register
		enough       = 16
	)
	reg := f.code[i] >> 5 & 31
	for j := i - 1; j >= max(0, i-enough); j-- {
		writes, ok := arm64.Writes(f.code[j])
		switch {
		case f.leads[j+1] || !ok:
			return false
		case writes>>reg&1 != 0:
			return f.code[j]&addMask != add
		}
	}
	return i <= enough
}

// isWrongReturn reports whether instruction i returns without what a return needs.
func (f *flow) isWrongReturn(i int, s *flowState) bool {
	switch arm64.Classify(f.code[i]) {
	case arm64.KindRET, arm64.KindRETAA, arm64.KindRETAB:
	default:
		return false
	}
	sp, lr := s.reg[spColumn], s.reg[lrColumn]
	return sp.kind == valueFrame && sp.v != 0 || lr.kind == valueEntry && lr.v != lrColumn
}

// ends reports whether the instruction behind i is only reached from elsewhere.
func (f *flow) ends(i int) bool {
	s := flowState{}
	next, _, _ := f.step(&s, i)
	return !next
}

// merge makes s what is true in s and in t, and reports whether it changed.
func (s *flowState) merge(t *flowState) bool {
	changed := false
	for i := range s.reg {
		if s.reg[i] != t.reg[i] && s.reg[i].kind != valueUnknown {
			s.reg[i], changed = value{}, true
		}
	}
	kept := make([]frameSlot, 0, len(s.slots))
	for _, a := range s.slots {
		if slices.Contains(t.slots, a) {
			kept = append(kept, a)
		}
	}
	if len(kept) != len(s.slots) {
		s.slots, changed = kept, true
	}
	return changed
}

// equal compares what leads to the caller.
func (s *flowState) equal(t *flowState) bool {
	return s.reg[spColumn] == t.reg[spColumn] && s.reg[fpColumn] == t.reg[fpColumn] && s.saved(lrColumn) == t.saved(lrColumn)
}

// saved gives where a register is saved.
func (s *flowState) saved(reg int64) frameSlot {
	for _, a := range s.slots {
		if a.reg == reg {
			return a
		}
	}
	return frameSlot{}
}

// forget drops what registers hold.
func (s *flowState) forget(regs uint32) {
	for i := range s.reg {
		if regs>>i&1 != 0 {
			s.reg[i] = value{}
		}
	}
}

// call forgets what a called function may change (AAPCS64 6.1.1).
func (s *flowState) call() { s.forget(1<<18 - 1 | 1<<lrColumn) }

// withSlot adds a slot in its place.
func withSlot(slots []frameSlot, add frameSlot) []frameSlot {
	out := make([]frameSlot, 0, len(slots)+1)
	i := 0
	for ; i < len(slots) && slots[i].off < add.off; i++ {
		out = append(out, slots[i])
	}
	out = append(out, add)
	return append(out, slots[i:]...)
}

// clobber drops the slots that a store of size bytes overwrites.
func (s *flowState) clobber(off, size int64) {
	hit := func(a frameSlot) bool { return a.off < off+size && off < a.off+8 }
	if !slices.ContainsFunc(s.slots, hit) {
		return
	}
	kept := make([]frameSlot, 0, len(s.slots))
	for _, a := range s.slots {
		if !hit(a) {
			kept = append(kept, a)
		}
	}
	s.slots = kept
}

// moveSP drops the slots that are not part of the stack any more.
func (s *flowState) moveSP() {
	sp := s.reg[spColumn]
	if sp.kind != valueFrame || len(s.slots) == 0 || s.slots[0].off >= sp.v {
		return
	}
	i := 0
	for i < len(s.slots) && s.slots[i].off < sp.v {
		i++
	}
	s.slots = s.slots[i:]
}
