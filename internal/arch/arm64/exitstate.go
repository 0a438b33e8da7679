package arm64

// state is what is known before an instruction. All offsets are relative to
// sp at the function's entry. It only ever gets less as more ways lead to the
// instruction, so that following control ends.
type state struct {
	reached bool
	called  bool // first reached from the call before it
	lr      lrState
	sp      int32 // sp
	fp      int32 // x29, where it is the frame pointer
	saved   int32 // where x30 of the entry is saved
	// Where the registers' values come from; bit n is xn.
	inner uint32 // an address within the function
	near  uint32 // perhaps one: a page that the function is in
	pcrel uint32 // made from the pc
	small uint32 // made from what a load of less than 64 bits gave
	made  uint32 // the result of a computation: no pointer as it was loaded
}

// unknown stands for an offset that is not known.
const unknown = -1 << 31

// lrState is what x30 holds.
type lrState uint8

const (
	lrEntry   lrState = iota // the return address
	lrCalled                 // what a call left there
	lrUnclear                // one of these, or something else
)

// merge makes s what is true in s and in t, and reports whether s changed.
func (s *state) merge(t *state) bool {
	if !s.reached {
		*s = *t
		s.reached = true
		return true
	}
	old := *s
	if s.lr != t.lr {
		s.lr = lrUnclear
	}
	for _, o := range [...]struct{ mine, other *int32 }{{&s.sp, &t.sp}, {&s.fp, &t.fp}, {&s.saved, &t.saved}} {
		if *o.mine != *o.other {
			*o.mine = unknown
		}
	}
	s.inner |= t.inner
	s.near |= t.near
	s.pcrel |= t.pcrel
	s.small |= t.small
	s.made |= t.made
	return *s != old
}

// sameFrame reports whether s and t agree about everything but the registers.
func (s *state) sameFrame(t *state) bool {
	return s.lr == t.lr && s.sp == t.sp && s.fp == t.fp && s.saved == t.saved
}

// plus moves a known offset.
func plus(base int32, by int64) int32 {
	sum := int64(base) + by
	if base == unknown || sum <= unknown/2 || sum >= -(unknown/2) {
		return unknown
	}
	return int32(sum)
}

// base gives the offset that a base register holds.
func (s *state) base(reg uint32) int32 {
	switch reg {
	case 31:
		return s.sp
	case 29:
		return s.fp
	}
	return unknown
}

// origin gives where the values of the registers in regs come from, as a set of
// one register in the place of into.
func (s *state) origin(regs, into uint32) (o origin) {
	spread := func(set uint32) uint32 {
		if set&regs != 0 {
			return into
		}
		return 0
	}
	return origin{spread(s.inner), spread(s.near), spread(s.pcrel), spread(s.small), spread(s.made)}
}

type origin struct{ inner, near, pcrel, small, made uint32 }

// set gives the registers in regs a new origin.
func (s *state) set(regs uint32, o origin) {
	s.inner = s.inner&^regs | o.inner
	s.near = s.near&^regs | o.near
	s.pcrel = s.pcrel&^regs | o.pcrel
	s.small = s.small&^regs | o.small
	s.made = s.made&^regs | o.made
	if regs&bit(30) != 0 {
		s.lr = lrUnclear
	}
	if regs&bit(29) != 0 {
		s.fp = unknown
	}
}

// step applies what word i does.
func (f *ExitFinder) step(s *state, i int) {
	insn := f.words[i]
	switch field(insn, 25, 4) {
	case 0b1000, 0b1001:
		f.stepImmediate(s, i, insn)
	case 0b1010, 0b1011:
		f.stepBranch(s, i, insn)
	case 0b0100, 0b0110, 0b1100, 0b1110:
		f.stepMemory(s, insn)
	case 0b0101, 0b1101:
		s.stepRegister(insn)
	case 0b0010: // SVE: addvl and addpl move sp, others count into a register
		if insn&0xffa0f01f == 0x0420501f {
			s.sp = unknown
		}
		s.set(rd(insn), origin{made: rd(insn)})
	default:
		if w := usesOf(insn).writes; w != 0 {
			s.set(w, origin{made: w})
		}
	}
}

// stepImmediate applies data processing with an immediate.
func (f *ExitFinder) stepImmediate(s *state, i int, insn uint32) {
	d := rd(insn)
	switch op := field(insn, 23, 3); op {
	case 0, 1: // adr, adrp
		o := origin{pcrel: d}
		if target, page := pcTarget(f.address(i), insn); !page {
			if f.inside(target) {
				o.inner = d
			}
		} else if f.nearPage(target) {
			o.near = d
		}
		s.set(d, o)
	case 2: // add, sub
		imm := int64(field(insn, 10, 12))
		if field(insn, 22, 1) != 0 {
			imm <<= 12
		}
		if field(insn, 30, 1) != 0 {
			imm = -imm
		}
		from := field(insn, 5, 5)
		to := field(insn, 0, 5)
		wide := field(insn, 31, 1) != 0
		sum := plus(s.base(from), imm)
		if to == 31 {
			if field(insn, 29, 1) == 0 {
				s.sp = unknown
				if wide {
					s.sp = sum
				}
			}
			return
		}
		o := s.origin(rn(insn), d)
		if o.near != 0 && o.inner == 0 {
			if page, ok := f.pageOf(i, from); ok {
				o.near = 0
				if f.inside(page + uint64(imm)) {
					o.inner = d
				}
			}
		}
		if o.pcrel == 0 {
			o.made = d
		}
		s.set(d, o)
		if to == 29 && wide {
			s.fp = sum
		}
	case 3: // addg, subg, saturating forms
		if field(insn, 0, 5) == 31 {
			s.sp = unknown
			return
		}
		s.set(d, origin{made: d})
	case 4: // logical: and, orr and eor may write sp
		if field(insn, 0, 5) == 31 && field(insn, 29, 2) != 3 {
			s.sp = unknown
			return
		}
		o := s.origin(rn(insn), d)
		o.made = d
		s.set(d, o)
	default:
		u := usesOf(insn)
		o := s.origin(u.reads, u.writes)
		o.made = u.writes
		s.set(u.writes, o)
	}
}

// pcTarget gives what adr or adrp computes.
func pcTarget(pc uint64, insn uint32) (target uint64, page bool) {
	imm := int64(int32(insn<<8)>>13)<<2 | int64(field(insn, 29, 2))
	if insn>>31 != 0 {
		return pc&^0xfff + uint64(imm)<<12, true
	}
	return pc + uint64(imm), false
}

// nearPage reports whether part of the function lies in the 4 KiB from page on.
func (f *ExitFinder) nearPage(page uint64) bool {
	first := 0
	for p, end := range f.ends {
		start := f.body.Parts[p].VA
		if start < page+0x1000 && page < start+uint64(end-first)*InsnSize {
			return true
		}
		first = end
	}
	return false
}

// pageOf finds the adrp shortly before word i that reg's value is from.
func (f *ExitFinder) pageOf(i int, reg uint32) (page uint64, ok bool) {
	const window = 16
	for j := i - 1; j >= 0 && j > i-window; j-- {
		insn := f.words[j]
		if Classify(insn) == KindADRP && field(insn, 0, 5) == reg {
			page, _ := pcTarget(f.address(j), insn)
			return page, true
		}
		if f.what[j] != plain || usesOf(insn).writes&(1<<reg) != 0 {
			return 0, false
		}
	}
	return 0, false
}

// stepBranch applies branches and system instructions.
func (f *ExitFinder) stepBranch(s *state, i int, insn uint32) {
	if f.what[i] == call {
		const callerSaved = 1<<18 - 1 // x0 to x17 (AAPCS64, 6.1.1)
		s.set(callerSaved|bit(30), origin{})
		s.lr = lrCalled
		return
	}
	// pac and aut of x30 leave it what it is; of x17, a pointer is a pointer.
	if insn&0xffe00000 == 0xd5200000 { // mrs
		s.set(rd(insn), origin{made: rd(insn)})
	}
}

// stepMemory applies loads and stores.
func (f *ExitFinder) stepMemory(s *state, insn uint32) {
	u := usesOf(insn)
	if field(insn, 28, 2) == 1 && field(insn, 24, 1) == 0 { // literal
		s.set(u.writes, origin{made: u.writes})
		return
	}
	if u.flow != falls { // memory tags and what else is not known
		w := rd(insn) | rn(insn)
		s.set(w, origin{made: w})
		if field(insn, 5, 5) == 31 {
			s.sp = unknown
		}
		return
	}
	pairs := field(insn, 28, 2) == 2
	single := field(insn, 28, 2) == 3
	vector := field(insn, 26, 1) != 0
	from := field(insn, 5, 5)

	// Where it loads or stores, and how the base moves.
	at := s.base(from)
	moved := int64(0)
	writeback := false
	switch {
	case pairs:
		scale := 2 + field(insn, 31, 1)
		if vector {
			scale = 2 + field(insn, 30, 2)
		}
		by := int64(int32(insn<<10)>>25) << scale
		mode := field(insn, 23, 2) // 0 non-temporal, 1 post-indexed, 2 offset, 3 pre-indexed
		writeback = mode&1 != 0
		moved = by
		if mode != 1 {
			at = plus(at, by)
		}
	case single && field(insn, 24, 1) != 0:
		scale := field(insn, 30, 2)
		if vector && scale == 0 && field(insn, 23, 1) != 0 {
			scale = 4
		}
		at = plus(at, int64(field(insn, 10, 12))<<scale)
	case single && field(insn, 21, 1) == 0:
		moved = int64(int32(insn<<11) >> 23)
		form := field(insn, 10, 2)
		writeback = form&1 != 0
		if form != 1 {
			at = plus(at, moved)
		}
	default:
		at = unknown
		writeback = u.writes&rn(insn) != 0
	}

	const lr, data = 30, 31
	load := u.writes
	if writeback {
		load &^= rn(insn)
	}
	store := load == 0 && !vector
	if store && u.reads&^rn(insn)&(s.inner|s.near) != 0 {
		f.escape = true
	}
	// The place of x30: the second of a pair lies 8 behind.
	second := pairs && field(insn, 10, 5) == lr
	slot := at
	if second {
		slot = plus(at, 8)
	}
	names := second || (pairs || single) && field(insn, 0, 5) == lr
	sixtyFour := pairs && field(insn, 30, 2) == 2 || single && field(insn, 30, 2) == 3
	if store && names && !vector && sixtyFour && s.lr == lrEntry && slot != unknown {
		s.saved = slot
	}
	if load != 0 {
		o := origin{}
		if !sixtyFour && (pairs || field(insn, 30, 2) != 3) {
			o.small = load
		}
		was := s.lr
		s.set(load, o)
		if load&bit(lr) != 0 {
			s.lr = lrUnclear
			if names && sixtyFour && slot != unknown && slot == s.saved {
				s.lr = lrEntry
			}
		} else {
			s.lr = was
		}
	}
	if writeback {
		switch from {
		case data:
			s.sp = unknown
			if pairs || single {
				s.sp = plus(s.base2(at, moved, insn, pairs), 0)
			}
		case 29:
			s.fp = unknown
		default:
			s.made |= rn(insn)
		}
	}
}

// base2 gives sp after writeback: at is where it loaded or stored, which
// post-indexed is sp before.
func (s *state) base2(at int32, moved int64, insn uint32, pairs bool) int32 {
	post := field(insn, 10, 2) == 1
	if pairs {
		post = field(insn, 23, 2) == 1
	}
	if post {
		return plus(at, moved)
	}
	return at
}

// stepRegister applies data processing on registers.
func (s *state) stepRegister(insn uint32) {
	d := rd(insn)
	const movMask, mov = 0xffe0ffe0, 0xaa0003e0 // orr xd, xzr, xm
	const selMask, sel = 0xffe00c00, 0x9a800000 // csel
	const pacMask, pac = 0xffff0000, 0xdac10000 // pacia, autia and so on: a pointer stays what it points at
	switch {
	case insn&pacMask == pac:
		return
	case insn&movMask == mov:
		s.set(d, s.origin(rm(insn), d))
		return
	case insn&selMask == sel:
		s.set(d, s.origin(rn(insn)|rm(insn), d))
		return
	case field(insn, 24, 5) == 0b01011 && field(insn, 21, 1) != 0 && field(insn, 0, 5) == 31 && field(insn, 29, 1) == 0:
		s.sp = unknown // add or sub sp, with an extended register
		return
	}
	u := usesOf(insn)
	o := s.origin(u.reads, u.writes)
	o.made = u.writes
	s.set(u.writes, o)
}
