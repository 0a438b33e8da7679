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
	for len(frames) < maxDepth {
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
			return append(frames, f), &UnknownError{PC: s.pc, Object: at.object, Reason: why.reason, Passing: why.passing}
		}
		frames = append(frames, f)
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
	if u.o.Ours != nil {
		if ours, ok := u.o.Ours(s.pc); ok {
			return at, u.leaveOurs(s, &at, &ours)
		}
	}
	if frame, ok := u.signalFrame(s); ok {
		return at, u.leaveSignal(s, &at, frame)
	}
	if u.exitsThread(s) {
		at.cfa, at.end = s.sp, true
		return at, nil
	}
	lookup := Frame{PC: s.pc, Exact: s.exact}.Lookup()
	o := u.object(i)
	r, reason := u.rowAt(o, lookup, &at)
	switch {
	case r != nil:
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
	return at, fail("it has no call frame information")
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
				return f.rowAt(pc)
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
	r = r.repaired()
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
	if n.pc == 0 {
		if fp, ok := n.reg(fpColumn); !ok || fp != 0 {
			return fail("its return address is 0, but it is not the first frame of its thread")
		}
		at.end = true
	}
	return nil
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
	if n.exact || u.behindCall(n.pc) {
		return nil
	}
	if u.o.Ours != nil {
		if _, ok := u.o.Ours(n.pc); ok {
			return nil
		}
	}
	if _, ok := u.signalFrame(n); ok {
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

// leaveOurs makes the state of the program that came to our code.
func (u *Unwinder) leaveOurs(s *state, at *step, ours *Ours) *failure {
	at.next.kind = Trampoline
	base, ok := s.reg(uint64(ours.Base))
	if !ok {
		return &failure{reason: "nopal's code is where its frame is not known", passing: true}
	}
	at.cfa = base + uint64(ours.Off)
	n := &at.next
	n.sp = at.cfa
	get := func(p Place) (uint64, bool) {
		switch p.Kind {
		case Register:
			return s.reg(uint64(p.N))
		case Stacked:
			return u.word(at.cfa + uint64(p.Off))
		}
		return 0, false
	}
	for i, p := range ours.Saved {
		if v, ok := get(p); ok {
			n.set(uint64(19+i), v)
		}
	}
	ret, ok := get(ours.Return)
	if !ok {
		return &failure{reason: "nopal's code is where the return address is not known", passing: true}
	}
	n.pc = ret &^ u.o.PACMask // at the exit of a function that RETAA leaves it is signed
	at.raInRegister = true
	if ours.Func.Kind == Nowhere {
		return nil
	}
	n.set(lrColumn, ret)
	if n.pc, ok = get(ours.Func); !ok {
		return &failure{reason: "nopal's code is where the traced function is not known", passing: true}
	}
	n.exact = true
	return nil
}
