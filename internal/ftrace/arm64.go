package ftrace

import (
	"errors"
	"fmt"
	"iter"

	"nopal/internal/arch/arm64"
	"nopal/internal/ring"
)

// ARM64 is the method of arm64: two instructions at a function's entry, of which the
// second is exchanged while threads run (arch/arm64, site.go), and stubs for the
// instructions by which the function is left (exit.go).
type ARM64 struct{}

// Reach is how far B and BL get.
func (ARM64) Reach() uint64 { return arm64.BranchReach }

// Inside is slot 2: a thread that goes on there has not saved its link register. Slot 1 is
// a NOP as long as the site is not prepared.
func (ARM64) Inside(r *Record) iter.Seq2[uint64, uint64] {
	return func(yield func(uint64, uint64) bool) { yield(r.Addr+arm64.SiteBranchOffset, r.Addr) }
}

// Journal notes both slots, and each exit.
func (ARM64) Journal(r *Record) []ring.JournalEntry {
	entries := []ring.JournalEntry{{Addr: r.Addr, Old: [2]uint32{arm64.Nop, arm64.Nop}}}
	for _, e := range r.exits {
		entries = append(entries, ring.JournalEntry{Addr: e.Addr, Old: [2]uint32{e.Insn, 0}})
	}
	return entries
}

// look leaves it to prepareSite, which finds the same thing by each instruction.
func (ARM64) look(Text, *Record) error { return nil }

func (ARM64) prepareSite(text Text, _ *Object, r *Record) error { return arm64.InitNop(text, r.Addr) }

func (ARM64) prepareExits(text Text, o *Object, r *Record) error { return o.prepareExits(text, r) }

// update exchanges slot 2.
//
// Exits are switched on before their entry and off behind it, so that a call whose
// entry is recorded is not left without its exit but where it runs meanwhile.
func (ARM64) update(text Text, o *Object, r *Record, want uint64) error {
	err := error(nil)
	if want != 0 && r.prepared {
		err = o.switchExits(text, r, true)
	}
	switch {
	case err != nil || want == r.target:
	case r.target == 0:
		err = arm64.MakeCall(text, r.Addr, want)
	case want == 0:
		err = arm64.MakeNop(text, r.Addr, r.target)
	default:
		err = arm64.ModifyCall(text, r.Addr, r.target, want)
	}
	if err != nil {
		return err
	}
	r.target = want
	if want == 0 && r.exitsTo != 0 {
		return o.switchExits(text, r, false)
	}
	return nil
}

// hookInsns is how many instructions the loader's hook may consist of.
const hookInsns = 4

// Hook finds the RET of the loader's debugger hook.
func (ARM64) Hook(text Text, hook uint64, _ Span) (Hook, error) {
	for a := hook; a < hook+hookInsns*arm64.InsnSize; a += arm64.InsnSize {
		insn, err := text.Load(a)
		if err != nil {
			return Hook{}, err
		}
		if insn == retX30 {
			return Hook{Span: Span{a, a + arm64.InsnSize}, changes: []hookChange{{
				addr: a, size: arm64.InsnSize, old: retX30, entry: ring.JournalEntry{Addr: a, Old: [2]uint32{retX30, 0}},
				encode: func(from, to uint64) (uint64, error) {
					b, err := arm64.EncodeB(from, to)
					return uint64(b), err
				},
			}}}, nil
		}
	}
	return Hook{}, errNoHook(hook)
}

// Site reads the two slots.
func (ARM64) Site(text Text, islands Islands, e ring.JournalEntry) (SiteState, bool, error) {
	if e.Old[1] == 0 {
		return SiteState{}, false, nil
	}
	first, err := text.Load(e.Addr)
	if err != nil {
		return SiteState{}, true, err
	}
	at := e.Addr + arm64.SiteBranchOffset
	second, err := text.Load(at)
	if err != nil {
		return SiteState{}, true, err
	}
	s := SiteState{Prepared: first == arm64.MovX9X30}
	if target, ok := arm64.BranchTarget(at, second); ok && islands.Has(target) {
		s.Target = target
	}
	return s, true, nil
}

// callsUs reports whether insn at pc branches into one of our islands.
func (i Islands) callsUs(pc uint64, insn uint32) bool {
	target, ok := arm64.BranchTarget(pc, insn)
	return ok && i.Has(target)
}

// Disarm turns an armed slot 2 into a NOP. NOP and BL may replace one another
// (Arm ARM B2.2.5).
func (ARM64) Disarm(live Text, islands Islands, e ring.JournalEntry) error {
	if e.Old[1] == 0 {
		return nil
	}
	at := e.Addr + arm64.SiteBranchOffset
	insn, err := live.Load(at)
	if err != nil || insn == e.Old[1] || !islands.callsUs(at, insn) {
		return err
	}
	if err := live.Store(at, e.Old[1]); err != nil {
		return &WriteError{err}
	}
	return nil
}

// Restore puts slot 1 back, or an exit, or the loader's RET.
func (ARM64) Restore(text Text, islands Islands, e ring.JournalEntry) (bool, string, error) {
	insn, err := text.Load(e.Addr)
	if err != nil {
		return false, "", err
	}
	foreign := ""
	// Where the object was unmapped another may be mapped now: a site is ours only
	// with its second slot as it has to be.
	ours := islands.callsUs(e.Addr, insn)
	if e.Old[1] != 0 {
		second, err := text.Load(e.Addr + arm64.SiteBranchOffset)
		if err != nil || second != e.Old[1] {
			return false, "", nil
		}
		ours = insn == arm64.MovX9X30
		if !ours && insn != e.Old[0] {
			foreign = fmt.Sprintf("%#x: %08x", e.Addr, insn)
		}
	}
	if !ours {
		return false, foreign, nil
	}
	old := e.Old[0]
	if to, ok := arm64.BranchTarget(e.Addr, insn); ok {
		// Another object may have been here before, with another instruction: the
		// stub has the right one. The loader's hook has no stub.
		stubbed, ok, err := originalExit(islands.Text, e.Addr, to)
		switch {
		case err != nil:
			return false, "", err // nothing is mapped there, or the process is gone
		case ok:
			old = stubbed
		}
	}
	if err := text.Store(e.Addr, old); err != nil {
		return false, "", &WriteError{err}
	}
	return true, "", nil
}

// WriteError says that text that could be read could not be written.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return e.Err.Error() }

func (e *WriteError) Unwrap() error { return e.Err }

// IsWriteError tells such an error from that of text that is not mapped any more.
func IsWriteError(err error) bool {
	var w *WriteError
	return errors.As(err, &w)
}
