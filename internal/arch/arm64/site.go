package arm64

import "fmt"

// Text is code that can be patched: a stopped process, or a copy in a test.
// A Store must be one aligned 4-byte write, so that another core sees either
// the old or the new instruction.
type Text interface {
	Load(addr uint64) (uint32, error)
	Store(addr uint64, insn uint32) error
}

// MismatchError says that a site does not hold the instruction that a change
// starts from. Nothing was written.
type MismatchError struct {
	Op              string // what was tried, as "make call"
	Site, Addr      uint64 // slot 1 of the site, and the slot looked at
	Expected, Found uint32
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s at site %#x: expected instruction %08x at %#x, found %08x", e.Op, e.Site, e.Expected, e.Addr, e.Found)
}

// InitNop prepares a site: slot 1 turns from NOP into mov x9, x30.
//
// A change between these two is not on the list of those that another core may
// run into (Arm ARM B2.2.5, concurrent modification and execution of
// instructions), so all threads must be stopped and none of them may continue
// at slot 2, where x9 would be stale. Where slot 2 is not a NOP, as with the redirect of
// a live patch, nothing is changed: such a site is nobody's to arm or to put back.
func InitNop(t Text, site uint64) error {
	branch := site + SiteBranchOffset
	second, err := t.Load(branch)
	if err != nil {
		return fmt.Errorf("init nop at site %#x: load instruction at %#x: %w", site, branch, err)
	}
	if second != Nop {
		return &MismatchError{Op: "init nop", Site: site, Addr: branch, Expected: Nop, Found: second}
	}
	return Replace(t, "init nop", site, site, Nop, MovX9X30)
}

// RemoveMov undoes [InitNop]: slot 1 turns from mov x9, x30 into NOP. Slot 2
// has to be a NOP already; all threads must be stopped.
func RemoveMov(t Text, site uint64) error {
	return Replace(t, "remove mov", site, site, MovX9X30, Nop)
}

// MakeCall arms a site: slot 2 turns from NOP into bl target. NOP and BL may
// replace one another while other cores run them, so nobody needs to stop; the
// code at target has to be there already.
func MakeCall(t Text, site, target uint64) error {
	branch := site + SiteBranchOffset
	call, err := EncodeBL(branch, target)
	if err != nil {
		return fmt.Errorf("make call at site %#x: %w", site, err)
	}
	return Replace(t, "make call", site, branch, Nop, call)
}

// MakeNop disarms a site: slot 2 turns from bl target into NOP, stopping nobody.
// A thread may still be on its way to target or in it.
func MakeNop(t Text, site, target uint64) error {
	branch := site + SiteBranchOffset
	call, err := EncodeBL(branch, target)
	if err != nil {
		return fmt.Errorf("make nop at site %#x: %w", site, err)
	}
	return Replace(t, "make nop", site, branch, call, Nop)
}

// ModifyCall changes where an armed site calls: slot 2 turns from bl from into
// bl to, stopping nobody.
func ModifyCall(t Text, site, from, to uint64) error {
	branch := site + SiteBranchOffset
	old, err := EncodeBL(branch, from)
	if err != nil {
		return fmt.Errorf("modify call at site %#x: %w", site, err)
	}
	call, err := EncodeBL(branch, to)
	if err != nil {
		return fmt.Errorf("modify call at site %#x: %w", site, err)
	}
	return Replace(t, "modify call", site, branch, old, call)
}

// Replace writes insn over old at addr, after making sure that old is there. op says
// what for, site whose it is.
func Replace(t Text, op string, site, addr uint64, old, insn uint32) error {
	found, err := t.Load(addr)
	if err != nil {
		return fmt.Errorf("%s at site %#x: load instruction at %#x: %w", op, site, addr, err)
	}
	if found != old {
		return &MismatchError{Op: op, Site: site, Addr: addr, Expected: old, Found: found}
	}
	if err := t.Store(addr, insn); err != nil {
		return fmt.Errorf("%s at site %#x: store instruction at %#x: %w", op, site, addr, err)
	}
	return nil
}
