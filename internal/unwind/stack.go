package unwind

import "fmt"

// maxDepth bounds a stack; a recursion deeper than this has no end that is waited
// for.
const maxDepth = 1 << 16

// state is what is known of the registers of a frame.
type state struct {
	x      [31]uint64
	known  registers
	sp, pc uint64
	exact  bool // see Frame.Exact
	kind   FrameKind
	// fromSignal: the frame before it is a signal handler's, which may run on another stack.
	fromSignal bool
}

func (s *state) reg(n uint64) (uint64, bool) {
	if n == spColumn {
		return s.sp, true
	}
	return s.x[n%31], n < 31 && s.known.has(n)
}

// caller is the state of a frame's caller while it is made.
func (s *state) set(n uint64, v uint64) {
	s.x[n] = v
	s.known |= 1 << n
}

// step is how a frame was unwound.
type step struct {
	cfa    uint64
	next   state
	end    bool   // there is no caller
	object string // that the frame is in
	// restorer: it is the code that returns from a signal handler, and no function.
	restorer bool
	// raInRegister: the return address was in x30 still, as in a leaf.
	raInRegister bool
}

// failure is why a frame could not be unwound.
type failure struct {
	reason  string
	passing bool
}

func fail(format string, args ...any) *failure { return &failure{reason: fmt.Sprintf(format, args...)} }

// Stack gives the frames of a thread whose registers are regs, from the
// innermost to the one that the thread began with. The thread has to be stopped. Where
// the stack cannot be known to its end the error is an *UnknownError, and the frames
// are those up to there, of which the last has no CFA.
func (u *Unwinder) Stack(regs Regs) ([]Frame, error) {
	clear(u.pages)
	if u.maps == nil {
		if err := u.Refresh(); err != nil {
			return nil, err
		}
	}
	s := state{x: regs.X, known: 1<<31 - 1, sp: regs.SP, pc: regs.PC, exact: true}
	var frames []Frame
	for range maxDepth {
		at, why := u.unwind(&s)
		f := Frame{PC: s.pc, CFA: at.cfa, Kind: s.kind, Exact: s.exact, Object: at.object}
		if at.next.kind == Trampoline {
			f.Kind, at.next.kind = Trampoline, Normal
		}
		if why == nil && !at.end {
			why = u.check(&s, &at)
		}
		if why != nil {
			f.CFA = 0
			// A thread that runs does not stay where it is.
			passing := why.passing || len(frames) == 0
			return append(frames, f), &UnknownError{PC: s.pc, Object: at.object, Reason: why.reason, Passing: passing}
		}
		if !at.restorer {
			frames = append(frames, f)
		}
		if at.end {
			return frames, nil
		}
		s = at.next
	}
	return frames, &UnknownError{PC: s.pc, Reason: fmt.Sprintf("more than %d frames", maxDepth)}
}

// unwind finds the caller of a frame.
func (u *Unwinder) unwind(s *state) (step, *failure) {
	if s.pc%insnSize != 0 {
		return step{}, fail("no instruction can be there")
	}
	i, ok := u.codeAt(s.pc)
	if !ok {
		return step{}, fail("that is no code")
	}
	at := step{object: u.maps[i].Path}
	if u.own(s.pc) {
		return at, u.leaveOwn(s, &at)
	}
	if s.exact || !u.plain[s.pc] {
		if frame, ok := u.signalFrame(s); ok {
			return at, u.leaveSignal(s, &at, frame)
		}
		if u.exitsThread(s) {
			at.cfa, at.end = s.sp, true
			return at, nil
		}
	}
	lookup := Frame{PC: s.pc, Exact: s.exact}.Lookup()
	o := u.object(i)
	r, reason := u.rowAt(o, lookup, &at)
	switch {
	case r != nil:
		if s.exact && r.regs[lrColumn].kind != ruleUndefined {
			if done, why := u.followed(s, &at, o, r); done {
				return at, why
			}
		}
		return at, u.apply(s, &at, r)
	case reason != "":
		return at, fail("%s", reason)
	}
	if s.exact && (u.inSite(o, s.pc) || u.inVeneer(s.pc)) {
		return at, u.apply(s, &at, &entryRow)
	}
	if off, ok := u.inPLT0(s); ok {
		return at, u.apply(s, &at, &row{base: spColumn, off: off, ra: lrColumn, regs: [columns]rule{lrColumn: {kind: ruleOffset, off: -8}}})
	}
	return at, u.uncovered(s, &at, o, lookup)
}

// entryRow is what holds at a function's entry: nothing is pushed, and x30 is the
// return address (AAPCS64 6.1.1, 6.4).
var entryRow = row{base: spColumn, ra: lrColumn}

// rowAt looks in all the call frame information that there is for an address.
func (u *Unwinder) rowAt(o *object, pc uint64, at *step) (*row, string) {
	for _, t := range u.tables {
		if t.start <= pc && pc < t.end {
			at.object = t.name
			if f, ok := find(t.all, pc); ok {
				return f.repairedAt(pc)
			}
		}
	}
	if o == nil || !o.has(pc) {
		return nil, ""
	}
	return o.rowAt(pc)
}

// apply makes the caller's state by a row.
func (u *Unwinder) apply(s *state, at *step, r *row) *failure {
	e := evaluator{reg: s.reg, load: func(addr uint64, p []byte) bool { return u.read(p, addr) }}
	var ok bool
	if r.expr != nil {
		at.cfa, ok = e.eval(r.expr)
	} else {
		at.cfa, ok = s.reg(r.base)
		at.cfa += uint64(r.off)
	}
	if !ok {
		return fail("the register that leads to its frame is not known there")
	}
	n := &at.next
	n.sp, n.exact, n.fromSignal = at.cfa, r.signal, r.signal
	if r.signal {
		n.kind = Signal
	}
	for c := range uint64(columns) {
		v, known, ok := u.recover(s, at.cfa, c, &r.regs[c], &e)
		switch {
		case !ok && c == r.ra:
			return fail("its return address cannot be read")
		case !ok || !known: // a register that nobody may need
		case c == spColumn:
			n.sp = v
		default:
			n.set(c, v)
		}
	}
	ra := r.regs[r.ra].kind
	if ra == ruleUndefined {
		at.end = true
		return nil
	}
	if r.ra == spColumn || !n.known.has(r.ra) {
		return fail("its return address is not known")
	}
	kept := ra == ruleDefault || ra == ruleSame
	at.raInRegister = kept || ra == ruleRegister
	if kept && !s.exact {
		// What made a call has another address in x30 by then. Where a thread begins,
		// nothing says so but the registers (AAPCS64 6.4.6).
		return fail("its return address is said to be in x30, which its call has changed")
	}
	n.pc = n.x[r.ra]
	if r.signed {
		n.pc &^= u.o.PACMask
		n.x[r.ra] = n.pc
	}
	return n.ends(at)
}

// recover gives the value that a register has in the caller. known is false where
// it is gone, ok where it should be there and cannot be read.
func (u *Unwinder) recover(s *state, cfa, c uint64, r *rule, e *evaluator) (v uint64, known, ok bool) {
	switch r.kind {
	case ruleDefault:
		if c < 19 || c == spColumn {
			return 0, false, true
		}
		v, known = s.reg(c)
		return v, known, true
	case ruleSame:
		v, known = s.reg(c)
		return v, known, true
	case ruleUndefined:
		return 0, false, true
	case ruleOffset:
		// What a frame has saved lies in it: not below the stack pointer, and not in
		// its caller's frame.
		if slot := cfa + uint64(r.off); slot >= s.sp && slot < cfa {
			v, ok = u.word(slot)
		}
	case ruleValOffset:
		v, ok = cfa+uint64(r.off), true
	case ruleRegister:
		v, known = s.reg(uint64(r.off))
		return v, known, true
	case ruleExpression:
		if v, ok = e.eval(r.expr, cfa); ok {
			v, ok = u.word(v)
		}
	case ruleValExpression:
		v, ok = e.eval(r.expr, cfa)
	}
	return v, ok, ok
}

// check refuses a caller that cannot be one.
func (u *Unwinder) check(s *state, at *step) *failure {
	n := &at.next
	if n.sp%16 != 0 {
		// AAPCS64 6.4.5.1
		return fail("its caller's stack pointer would be %#x, which is not aligned", n.sp)
	}
	if !n.fromSignal {
		if n.sp < s.sp || n.sp == s.sp && !at.raInRegister {
			return fail("its caller's frame would be at %#x, which is not above its own at %#x", n.sp, s.sp)
		}
	}
	if i, ok := u.mapping(n.sp - 1); !ok || u.maps[i].Perms[1] != 'w' {
		if err := u.Refresh(); err != nil { // stacks grow
			return fail("%v", err)
		}
		if i, ok = u.mapping(n.sp - 1); !ok || u.maps[i].Perms[1] != 'w' {
			return fail("its caller's stack pointer would be %#x, which is no stack", n.sp)
		}
	}
	if _, ok := u.codeAt(n.pc); !ok || n.pc%insnSize != 0 {
		return fail("its return address would be %#x, which is no code", n.pc)
	}
	if n.exact || u.plain[n.pc] || u.own(n.pc) {
		return nil
	}
	if _, ok := u.signalFrame(n); ok {
		return nil
	}
	if u.behindCall(n.pc) {
		if len(u.plain) >= maxRows {
			clear(u.plain)
		}
		u.plain[n.pc] = !u.exitsThread(n)
		return nil
	}
	return fail("its return address would be %#x, where no call returns to", n.pc)
}

// behindCall reports whether the instruction before pc is a call.
func (u *Unwinder) behindCall(pc uint64) bool {
	insn, ok := u.insn(pc - insnSize)
	if !ok {
		return false
	}
	const (
		bl, blMask   = 0x94000000, 0xfc000000
		blr, blrMask = 0xd63f0000, 0xfefff000 // BLRAA and the like, too (Arm ARM C4.1.95)
	)
	return insn&blMask == bl || insn&blrMask == blr
}

func (u *Unwinder) place(s *state, cfa uint64, p place) (uint64, bool) {
	switch p.kind {
	case register:
		return s.reg(uint64(p.n))
	case stacked:
		return u.word(cfa + uint64(p.off))
	}
	return 0, false
}

// places makes the caller's state by what is known of an instruction.
func (u *Unwinder) places(s *state, at *step, p *places) *failure {
	base, ok := s.reg(uint64(p.base))
	if !ok {
		return fail("the register that leads to its frame is not known there")
	}
	at.cfa = base + uint64(p.off)
	n := &at.next
	n.sp = at.cfa
	for i, saved := range p.saved {
		if v, ok := u.place(s, at.cfa, saved); ok {
			n.set(uint64(19+i), v)
		}
	}
	ret, ok := u.place(s, at.cfa, p.ret)
	if !ok {
		return fail("its return address is not known")
	}
	at.raInRegister = p.ret.kind == register
	n.pc = ret &^ u.o.PACMask // signed or not
	n.set(lrColumn, n.pc)
	return n.ends(at)
}

// ends decides whether a return address of 0 is the end of the stack, as where a thread
// begins (AAPCS64 6.4.6).
func (s *state) ends(at *step) *failure {
	if s.pc != 0 {
		return nil
	}
	if fp, ok := s.reg(fpColumn); !ok || fp != 0 {
		return fail("its return address is 0, but it is not the first frame of its thread")
	}
	at.end = true
	return nil
}

// followed makes the caller's state by what the instructions of the function do, which
// is asked where a thread stands at any instruction. done is false where that is not known.
func (u *Unwinder) followed(s *state, at *step, o *object, r *row) (done bool, why *failure) {
	if o == nil || !o.has(s.pc) {
		return false, nil
	}
	f := o.flowAt(s.pc)
	if f == nil {
		return false, nil
	}
	one := *at
	why = u.byFlow(s, &one, f, s.pc)
	if (f.broken || f.wrong) && why == nil {
		other := *at
		if u.apply(s, &other, r) != nil || one.cfa != other.cfa || one.next.pc != other.next.pc {
			return true, fail("its instructions and its call frame information do not agree")
		}
	}
	*at = one
	return true, why
}

// uncovered makes the caller's state where there is no call frame information.
func (u *Unwinder) uncovered(s *state, at *step, o *object, pc uint64) *failure {
	if o == nil || !o.has(pc) {
		return fail("it has no call frame information")
	}
	f := o.flowWithout(pc)
	if f == nil || f.broken || f.wrong || !f.reaches(pc) {
		return fail("it has no call frame information, and no way from the entry of a function leads there")
	}
	return u.byFlow(s, at, f, pc)
}

// byFlow makes the caller's state by what holds before the instruction at pc: the next
// one, or the call.
func (u *Unwinder) byFlow(s *state, at *step, f *flow, pc uint64) *failure {
	known, ok := f.at(pc)
	if !ok {
		return fail("no way through its function is known that leads there")
	}
	p, ok := known.places()
	if !ok {
		return fail("it is not known what its function has done to the stack pointer")
	}
	if !s.exact && p.ret.kind == register && (p.ret.n < 19 || p.ret.n == lrColumn) {
		return fail("its return address was in a register that its call has changed")
	}
	return u.places(s, at, &p)
}
