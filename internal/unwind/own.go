package unwind

import (
	"maps"

	"nopal/internal/arch/arm64"
)

// nopal's own code is entered at sites, at exits and at redirected functions, calls nothing
// of the program and goes on in it. Where a thread is in it, it is followed from there
// until it leaves, on any way: what the program's registers are then does not
// depend on the way. So no tables are needed for code that is made at run time.

const (
	maxOwnSteps = 1 << 14 // instructions of it that are followed
	maxOwnFrame = 1 << 12 // what it has on the stack
)

func (u *Unwinder) own(pc uint64) bool { return u.o.Own != nil && u.o.Own(pc) }

// walker is a thread in nopal's code on one of the ways out.
type walker struct {
	state
	stored map[uint64]stored // what it writes on its way
}

type stored struct {
	v     uint64
	known bool
}

// leaveOwn makes the state with which a thread comes out of nopal's code.
func (u *Unwinder) leaveOwn(s *state, at *step) *failure {
	at.next.kind = Trampoline
	ways := u.waysOut(s)
	if len(ways) == 0 {
		return &failure{reason: "it is not known where nopal's code goes on in the program", passing: true}
	}
	way := ways[0]
	for _, w := range ways[1:] {
		switch {
		case w.sp != way.sp:
			return &failure{reason: "nopal's code goes on in the program with one or another stack", passing: true}
		case w.pc == way.pc || w.pc == way.x[lrColumn]:
			// Another way returns for the function; by this way that comes later.
		case way.pc == w.x[lrColumn]:
			way = w
		default:
			return &failure{reason: "nopal's code goes on at one or another place in the program", passing: true}
		}
	}
	kind := at.next.kind
	at.next = way
	at.next.kind = kind
	at.cfa = way.sp
	at.raInRegister = true
	return at.next.ends(at)
}

// visit is an instruction in one of the calls that lead to it.
type visit struct{ pc, sp, lr uint64 }

// waysOut follows all ways and gives the states in which they leave.
func (u *Unwinder) waysOut(s *state) []state {
	var out []state
	seen := map[visit]bool{}
	todo := []walker{{state: *s}}
	for steps := 0; len(todo) > 0; {
		w := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for ; steps < maxOwnSteps; steps++ {
			if !u.own(w.pc) {
				out = append(out, w.state)
				break
			}
			at := visit{w.pc, w.sp, w.x[lrColumn]}
			if seen[at] {
				break
			}
			seen[at] = true
			branch, goes := u.walk(&w)
			if branch != 0 {
				todo = append(todo, w.from(branch))
			}
			if !goes {
				break
			}
		}
	}
	return out
}

// from is a walker that goes on elsewhere with the same state.
func (w *walker) from(pc uint64) walker {
	other := walker{state: w.state, stored: maps.Clone(w.stored)}
	other.pc = pc
	return other
}

// walk executes one instruction. branch is where a conditional branch may lead
// besides; goes is false where the way ends.
func (u *Unwinder) walk(w *walker) (branch uint64, goes bool) {
	insn, ok := u.insn(w.pc)
	if !ok {
		return 0, false
	}
	w.exact = true
	to, _ := arm64.BranchTarget(w.pc, insn)
	switch kind := arm64.Classify(insn); kind {
	case arm64.KindB:
		w.pc = to
		return 0, true
	case arm64.KindCBZ:
		// Whether an exit returns or goes on in its stub is seen by comparing the two.
		if v, known := w.reg(uint64(insn & 31)); known && insn>>31 != 0 {
			w.pc += insnSize
			if (v == 0) == (insn>>24&1 == 0) {
				w.pc = to
			}
			return 0, true
		}
		w.pc += insnSize
		return to, true
	case arm64.KindBCond, arm64.KindTBZ:
		w.pc += insnSize
		return to, true
	case arm64.KindBL, arm64.KindBLR:
		known := true
		if kind == arm64.KindBLR {
			to, known = w.reg(uint64(insn >> 5 & 31))
		}
		next := w.pc + insnSize
		w.set(lrColumn, next)
		w.pc = to
		if !known || !u.own(to) { // not that of nopal's: it comes back
			w.known &^= 1<<18 - 1 | 1<<lrColumn
			w.pc = next
		}
		return 0, true
	case arm64.KindRET, arm64.KindBR, arm64.KindRETAA, arm64.KindRETAB:
		reg := uint64(insn >> 5 & 31)
		if insn == 0xd65f0bff || insn == 0xd65f0fff { // retaa, retab
			reg = lrColumn
		}
		pc, known := w.reg(reg)
		// A return that another function's call awaits.
		w.exact = reg != lrColumn
		w.pc = pc &^ u.o.PACMask
		return 0, known
	case arm64.KindADR:
		imm := int64(int32(insn<<8)>>13)<<2 | int64(insn>>29&3)
		w.set(uint64(insn&31)%31, w.pc+uint64(imm))
		w.pc += insnSize
		return 0, true
	case arm64.KindLDRLiteral:
		w.known &^= 1 << (insn & 31)
		if at := w.pc + uint64(int64(int32(insn<<8)>>13)<<2); insn>>24 == 0x58 {
			if v, ok := u.word(at); ok {
				w.set(uint64(insn&31)%31, v)
			}
		}
		w.pc += insnSize
		return 0, true
	}
	ok = u.compute(w, insn)
	w.pc += insnSize
	return 0, ok
}

// compute executes an instruction that is no branch, by what the following of functions
// knows of instructions: to it, a register that is known is a constant.
func (u *Unwinder) compute(w *walker, insn uint32) bool {
	var f flowState
	for n := range uint64(31) {
		if v, ok := w.reg(n); ok {
			f.reg[n] = value{valueConst, int64(v)}
		}
	}
	f.reg[spColumn] = value{valueConst, int64(w.sp)}
	var a access
	var held []value
	if isTransfer(insn) {
		a = f.accessOf(insn)
		for _, n := range a.regs {
			held = append(held, f.operand(n))
		}
	}
	if !f.step(insn) || f.reg[spColumn].kind != valueConst {
		return false
	}
	w.known = 0
	for n := range uint64(31) {
		if v := f.reg[n]; v.kind == valueConst {
			w.set(n, uint64(v.v))
		}
	}
	sp := w.sp
	w.sp = uint64(f.reg[spColumn].v)
	if !a.wide || a.at.kind != valueConst {
		return true
	}
	for i, n := range a.regs {
		at := uint64(a.at.v) + uint64(i)*8
		switch {
		case !a.load:
			if w.stored == nil {
				w.stored = map[uint64]stored{}
			}
			w.stored[at] = stored{uint64(held[i].v), held[i].kind == valueConst}
		case n < 31:
			// What other threads may change is not known.
			own, ok := w.stored[at]
			if !ok && (at >= sp && at-sp < maxOwnFrame || u.own(at)) {
				own.v, own.known = u.word(at)
			}
			if own.known {
				w.set(uint64(n), own.v)
			}
		}
	}
	return true
}
