package ftrace

import (
	"fmt"

	"golang.org/x/arch/x86/x86asm"

	"nopal/internal/arch/amd64"
	"nopal/internal/ring"
)

// Detour is a function of the program on x86-64, compiled without room for us, that is to
// begin with code of ours: a jump replaces its first instructions, which are executed
// elsewhere.
type Detour struct {
	At    uint64 // where the jump stands
	old   uint64
	moved []byte   // the instructions that it replaces
	ends  []uint64 // where each of them ends, from At on
}

// kindDetour in a journal entry is a jump that stays until all else is gone: see
// [RestoreDetour].
const kindDetour = 4

// FindDetour looks at the function at an address. Instructions that depend on where they
// stand are not moved.
func FindDetour(text Text, function uint64) (*Detour, error) {
	const most = 16
	var code [most]byte
	for i := 0; i < most; i += maxBytes {
		v, err := text.LoadBytes(function+uint64(i), maxBytes)
		if err != nil {
			return nil, err
		}
		putBytes(code[i:], maxBytes, v)
	}
	skip := 0
	if amd64.IsLanding(code[:]) {
		skip = amd64.LandingSize
	}
	d := &Detour{At: function + uint64(skip)}
	for at := skip; at < skip+jumpSize; {
		insn, err := x86asm.Decode(code[at:], 64)
		if err != nil || !movable(insn) {
			return nil, fmt.Errorf("the instruction at %#x cannot be moved", function+uint64(at))
		}
		at += insn.Len
		d.ends = append(d.ends, uint64(at-skip))
		d.moved = code[skip:at]
	}
	if !onePage(d.At, d.At+jumpSize) {
		return nil, fmt.Errorf("the function at %#x crosses a page border", function)
	}
	d.old = getBytes(d.moved, jumpSize)
	return d, nil
}

// movable reports whether an instruction does the same elsewhere and goes on behind itself.
func movable(insn x86asm.Inst) bool {
	switch insn.Op {
	case x86asm.PUSH, x86asm.MOV, x86asm.SUB, x86asm.XOR, x86asm.LEA, x86asm.TEST, x86asm.NOP:
	default:
		return false
	}
	for _, a := range insn.Args {
		if m, ok := a.(x86asm.Mem); ok && m.Base == x86asm.RIP {
			return false
		}
	}
	return true
}

// Moved is what the instructions that are replaced are at an address: with a jump behind
// them to where the function goes on.
func (d *Detour) Moved(at uint64) ([]byte, error) {
	jmp, err := amd64.EncodeJmp(at+uint64(len(d.moved)), d.At+uint64(len(d.moved)))
	if err != nil {
		return nil, err
	}
	code := append([]byte(nil), d.moved...)
	for i := range jumpSize {
		code = append(code, byte(jmp>>(8*i)))
	}
	return code, nil
}

// Journal is what is to be noted before it is made.
func (d *Detour) Journal() ring.JournalEntry {
	return journalEntry(d.At, d.old, jumpSize, kindDetour)
}

// Inside gives for each address between the instructions that are replaced where a thread
// goes on instead if they stand at moved.
func (d *Detour) Inside(moved uint64) map[uint64]uint64 {
	inside := map[uint64]uint64{}
	for _, end := range d.ends {
		if end < uint64(len(d.moved)) {
			inside[d.At+end] = moved + end
		}
	}
	return inside
}

// Put writes the jump. All threads have to be stopped, none inside, or the function not
// running yet.
func (d *Detour) Put(text Text, to uint64) error {
	jmp, err := amd64.EncodeJmp(d.At, to)
	if err != nil {
		return err
	}
	return replace(text, "change function", d.At, jumpSize, d.old, jmp)
}

// IsDetour reports whether a journal entry notes a detour.
func IsDetour(e ring.JournalEntry) bool {
	_, _, kind := journalled(e)
	return e.Addr != 0 && kind == kindDetour
}

// RestoreDetour puts back what a detour that the journal notes has replaced. All threads
// are stopped, and none is in an island.
func RestoreDetour(text Text, islands Islands, e ring.JournalEntry) error {
	old, size, kind := journalled(e)
	if kind != kindDetour {
		return nil
	}
	found, err := text.LoadBytes(e.Addr, size)
	if err != nil {
		return nil // unmapped since
	}
	to, call, ok := amd64.BranchTarget(e.Addr, found)
	if !ok || call || !islands.Has(to) {
		return nil
	}
	return text.StoreBytes(e.Addr, size, old)
}
