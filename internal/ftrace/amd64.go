package ftrace

import (
	"cmp"
	"fmt"
	"iter"

	"nopal/internal/arch/amd64"
	"nopal/internal/ring"
)

// AMD64 is the method of x86-64: five bytes at a function's entry become, once and for
// all and while all threads stand, a jump to the function's stub, in which words are
// switched while threads run it (arch/amd64, stub.go).
//
// Where there is no room for five bytes in the function they are before it, and two
// bytes in the function become a short jump to them (Record.Short).
type AMD64 struct{}

const (
	jumpSize  = amd64.JumpSize
	shortSize = amd64.ShortJumpSize
	jumpMask  = 1<<(8*jumpSize) - 1
)

// Journal entries hold up to five bytes, and in the rest of the second word how many, and
// what they are.
const (
	oldSizeShift = 8
	oldKindShift = 16

	shortNewShift = 16
	shortMask     = 1<<16 - 1

	kindSite  = 1 // the five bytes of a site
	kindShort = 2 // the two bytes that lead to those; what they become stands behind them
	kindHook  = 3 // in the loader
)

func journalEntry(addr uint64, old uint64, size int, kind uint32) ring.JournalEntry {
	return ring.JournalEntry{Addr: addr, Old: [2]uint32{uint32(old), uint32(old>>32) | uint32(size)<<oldSizeShift | kind<<oldKindShift}}
}

func journalled(e ring.JournalEntry) (old uint64, size int, kind uint32) {
	size = int(e.Old[1]>>oldSizeShift) & 0xff
	return uint64(e.Old[0]) | uint64(e.Old[1]&0xff)<<32, size, e.Old[1] >> oldKindShift
}

// Reach is how far JMP rel32 gets.
func (AMD64) Reach() uint64 { return amd64.BranchReach }

// Inside are the bytes behind the first of a site: those before, NOPs, did nothing.
func (AMD64) Inside(r *Record) iter.Seq2[uint64, uint64] {
	start := r.Addr
	if r.Short != 0 {
		start = r.Short
	}
	return func(yield func(uint64, uint64) bool) {
		for pc := start + 1; pc < r.Body; pc++ {
			if !yield(pc, start) {
				return
			}
		}
	}
}

// Journal notes the site.
func (AMD64) Journal(r *Record) []ring.JournalEntry {
	entries := []ring.JournalEntry{journalEntry(r.Addr, r.old, jumpSize, kindSite)}
	if r.Short != 0 {
		short, _ := amd64.EncodeShort(r.Short, r.Addr) // stubsOf has tried it
		entries = append(entries, journalEntry(r.Short, r.oldShort|short<<shortNewShift, shortSize, kindShort))
	}
	return entries
}

// onePage reports whether the bytes from a to b lie in one page. A write over the border
// of two can be broken off between them when nopal is killed.
func onePage(a, b uint64) bool { return a/batchPage == (b-1)/batchPage }

// look notes the NOPs that a site consists of: compilers use many.
func (AMD64) look(text Text, r *Record) error {
	end := r.Addr + jumpSize
	if r.Short != 0 {
		end = r.Short + shortSize
	}
	if end > r.Body || r.Short != 0 && r.Short < r.Addr+jumpSize {
		return fmt.Errorf("site at %#x ends at %#x, before what is changed", r.Addr, r.Body)
	}
	if !onePage(r.Addr, end) {
		return fmt.Errorf("site at %#x crosses a page border: it cannot be written at once", r.Addr)
	}
	var err error
	if r.old, err = nops(text, r.Addr, jumpSize); err != nil || r.Short == 0 {
		return err
	}
	r.oldShort, err = nops(text, r.Short, shortSize)
	return err
}

// nops reads bytes that have to be those of NOPs.
func nops(text Text, addr uint64, size int) (uint64, error) {
	var code [16]byte // a NOP may end behind them
	n := min(len(code), int(batchPage-addr%batchPage))
	for i := 0; i < n; i += maxBytes {
		part := min(maxBytes, n-i)
		v, err := text.LoadBytes(addr+uint64(i), part)
		if err != nil {
			return 0, fmt.Errorf("read site: %w", err)
		}
		putBytes(code[i:], part, v)
	}
	old := getBytes(code[:], size)
	if !amd64.IsNops(code[:n], size) {
		return 0, fmt.Errorf("site at %#x: expected NOPs, found % x", addr, code[:size])
	}
	return old, nil
}

// layoutStubs gives each function a stub.
func (AMD64) layoutStubs(o *Object) uint64 {
	at := uint32(0)
	for i := range o.Records {
		r := &o.Records[i]
		if r.Reason != "" {
			continue
		}
		r.stub, r.stubs = at, true
		at += amd64.StubSize
	}
	return uint64(at)
}

func (AMD64) stubsOf(t *Table, o *Object, r *Record, code []byte, literals func(r *Record) (entry, exit uint64), wrote func(off, size uint32)) error {
	want := t.target(o, r, true)
	s := amd64.Stub{
		At: o.StubsAt + uint64(r.stub), Body: r.Body, Target: want, Call: want != 0 && want == o.Called, On: want != 0, Old: r.old,
	}
	if _, err := amd64.EncodeJmp(r.Addr, s.At); err != nil {
		return err
	}
	if r.Short != 0 {
		if _, err := amd64.EncodeShort(r.Short, r.Addr); err != nil {
			return err
		}
	}
	s.Index, s.Exit = literals(r)
	if err := s.Put(code[r.stub : r.stub+amd64.StubSize]); err != nil {
		return err
	}
	wrote(r.stub, amd64.StubSize)
	r.leads = want
	return nil
}

// prepareSite writes the jump, and where it is before the function the short one to it. As a
// stub is complete before, the site does then what its stub does.
func (AMD64) prepareSite(text Text, o *Object, r *Record) error {
	jmp, err := amd64.EncodeJmp(r.Addr, o.StubsAt+uint64(r.stub))
	if err != nil {
		return err
	}
	short := uint64(0)
	if r.Short != 0 {
		if short, err = amd64.EncodeShort(r.Short, r.Addr); err != nil {
			return err
		}
		if found, err := text.LoadBytes(r.Short, shortSize); err != nil || found != r.oldShort {
			return cmp.Or(err, error(&MismatchError{"prepare", r.Short, shortSize, r.oldShort, found}))
		}
	}
	if err := replace(text, "prepare", r.Addr, jumpSize, r.old, jmp); err != nil {
		return err
	}
	if r.Short != 0 {
		if err := text.StoreWith(r.Short, shortSize, short); err != nil {
			return err
		}
	}
	r.target = r.leads
	return nil
}

// prepareExits has nothing to do: what sees a function's exit calls its body.
func (AMD64) prepareExits(Text, *Object, *Record) error { return nil }

// update switches words of the stub.
func (AMD64) update(text Text, o *Object, r *Record, want uint64) error {
	if want == r.target {
		return nil
	}
	s := amd64.Stub{At: o.StubsAt + uint64(r.stub), Body: r.Body, Target: r.leads, On: r.target != 0}
	if want != 0 && want != r.leads {
		at := s.At + amd64.StubSwitch
		old, err := text.LoadBytes(at, maxBytes)
		if err != nil {
			return err
		}
		if to, _, ok := amd64.BranchTarget(at, old); !ok || to != r.leads && (r.leads != 0 || to != s.At+amd64.StubTail) {
			return &MismatchError{"switch stub", at, jumpSize, 0, old & jumpMask}
		}
		s.Target, s.Call = want, want == o.Called
		v, err := s.SwitchWord(old)
		if err == nil {
			err = text.StoreBytes(at, maxBytes, v)
		}
		if err != nil {
			return err
		}
		r.leads = want
	}
	if (want != 0) != s.On {
		old, err := s.EnterWord()
		if err != nil {
			return err
		}
		s.On = want != 0
		v, err := s.EnterWord()
		if err == nil {
			err = replace(text, "switch stub", s.At+amd64.StubEnter, maxBytes, old, v)
		}
		if err != nil {
			return err
		}
	}
	r.target = want
	return nil
}

// stubAt reads the stub at an address in an island.
func (i Islands) stubAt(addr uint64) (amd64.Stub, bool, error) {
	var code [amd64.StubSize]byte
	for off := 0; off < len(code); off += maxBytes {
		v, err := i.Text.LoadBytes(addr+uint64(off), maxBytes)
		if err != nil {
			return amd64.Stub{}, false, err
		}
		putBytes(code[off:], maxBytes, v)
	}
	s, ok := amd64.ParseStub(addr, code[:])
	return s, ok, nil
}

// Site reads the jump and the stub that it leads to.
func (AMD64) Site(text Text, islands Islands, e ring.JournalEntry) (SiteState, bool, error) {
	_, _, kind := journalled(e)
	if kind != kindSite {
		return SiteState{}, false, nil
	}
	insn, err := text.LoadBytes(e.Addr, jumpSize)
	if err != nil {
		return SiteState{}, true, err
	}
	to, call, ok := amd64.BranchTarget(e.Addr, insn)
	if !ok || call || !islands.Has(to) {
		return SiteState{}, true, nil
	}
	s, ok, err := islands.stubAt(to)
	if err != nil || !ok {
		return SiteState{}, true, err
	}
	state := SiteState{Prepared: true}
	if s.On {
		state.Target = s.Target
	}
	return state, true, nil
}

// Disarm has nothing to do: a prepared site is put back whatever its stub does.
func (AMD64) Disarm(Text, Islands, ring.JournalEntry) error { return nil }

// Restore puts the bytes back that a branch into one of our islands has replaced.
func (AMD64) Restore(text Text, islands Islands, e ring.JournalEntry) (bool, string, error) {
	old, size, kind := journalled(e)
	if kind == kindDetour {
		return false, "", nil
	}
	found, err := text.LoadBytes(e.Addr, size)
	if err != nil || found == old {
		return false, "", err
	}
	if kind == kindShort {
		// It is ours if it leads to where a jump of ours has just been put back.
		to, ok := amd64.ShortTarget(e.Addr, found)
		if !ok || found != old>>shortNewShift {
			return false, "", nil
		}
		if _, err := nops(text, to, jumpSize); err != nil {
			return false, fmt.Sprintf("%#x: %04x", e.Addr, found), nil
		}
		return store(text, e.Addr, size, old&shortMask)
	}
	to, _, ok := amd64.BranchTarget(e.Addr, found)
	if !ok && byte(found) == amd64.Breakpoint {
		if to, _, ok := amd64.BranchTarget(e.Addr, found&^0xff|old&0xff); ok && islands.Has(to) {
			return false, fmt.Sprintf("%#x: a breakpoint", e.Addr), nil
		}
	}
	if !ok || !islands.Has(to) {
		return false, "", nil
	}
	// Another object may have been here before, with other NOPs: the stub has the right ones.
	// What the loader's hook leads to is no stub.
	stub, ok, err := islands.stubAt(to)
	if err != nil {
		return false, "", err
	}
	if ok {
		old = stub.Old
	}
	return store(text, e.Addr, size, old)
}

func store(text Text, addr uint64, size int, v uint64) (bool, string, error) {
	if err := text.StoreBytes(addr, size, v); err != nil {
		return false, "", &WriteError{err}
	}
	return true, "", nil
}

// Hook finds room for a jump in the loader's debugger hook: RET and the padding behind
// it, or ENDBR64 and RET. Where a function follows the RET at once, as functions do that
// are optimised for size, the calls of the hook are changed instead.
func (AMD64) Hook(text Text, hook uint64, loader Span) (Hook, error) {
	const most = 16
	var code [most]byte
	for i := 0; i < most; i += maxBytes {
		v, err := text.LoadBytes(hook+uint64(i), maxBytes)
		if err != nil {
			return Hook{}, err
		}
		putBytes(code[i:], maxBytes, v)
	}
	ret, inside := 0, map[uint64]uint64(nil)
	if amd64.IsLanding(code[:]) {
		ret = amd64.LandingSize
		inside = map[uint64]uint64{hook + amd64.LandingSize: hook}
	}
	if code[ret] != amd64.Ret {
		return Hook{}, errNoHook(hook)
	}
	if ret+1 == jumpSize || isPadding(code[1:], jumpSize-1) && onePage(hook, hook+jumpSize) {
		if !onePage(hook, hook+jumpSize) {
			return Hook{}, fmt.Errorf("the loader's debugger hook at %#x crosses a page border", hook)
		}
		return Hook{Span: Span{hook, hook + jumpSize}, changes: []hookChange{hookJump(hook, getBytes(code[:], jumpSize), amd64.EncodeJmp)}, inside: inside}, nil
	}
	return hookCalls(text, hook, loader)
}

// isPadding reports whether nothing is executed in the first bytes behind a function's end:
// they are NOPs or breakpoints.
func isPadding(code []byte, size int) bool {
	for _, b := range code[:size] {
		if b != amd64.Breakpoint {
			return amd64.IsNops(code, size)
		}
	}
	return true
}

func hookJump(addr, old uint64, encode func(from, to uint64) (uint64, error)) hookChange {
	return hookChange{addr: addr, size: jumpSize, old: old, encode: encode, entry: journalEntry(addr, old, jumpSize, kindHook)}
}

// hookCalls finds the calls of the hook, and jumps to it, in the loader. That four bytes
// that are something else lead to it by chance is as good as impossible.
func hookCalls(text Text, hook uint64, loader Span) (Hook, error) {
	h := Hook{}
	for at := loader.Start; at+jumpSize <= loader.End; at++ {
		op, err := text.LoadBytes(at, 1)
		if err != nil {
			return Hook{}, err
		}
		if _, _, ok := amd64.BranchTarget(at, op); !ok || !onePage(at, at+jumpSize) {
			continue
		}
		insn, err := text.LoadBytes(at, jumpSize)
		if err != nil {
			return Hook{}, err
		}
		to, call, ok := amd64.BranchTarget(at, insn)
		if !ok || to != hook {
			continue
		}
		encode := amd64.EncodeJmp
		if call {
			encode = amd64.EncodeCall
		}
		h.changes = append(h.changes, hookJump(at, insn, encode))
		if h.Start == 0 {
			h.Start = at
		}
		h.End = at + jumpSize
	}
	if h.None() {
		return Hook{}, fmt.Errorf("the loader's debugger hook at %#x is too short for a jump, and no call of it was found", hook)
	}
	return h, nil
}
