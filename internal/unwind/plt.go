package unwind

import (
	"sort"

	"nopal/internal/arch/arm64"
)

// Linkers write code of their own, which has no call frame information: the
// procedure linkage table, and veneers for branches that reach too far. It uses x16
// and x17 only, and leaves by a branch with everything as at a function's entry
// (AAPCS64 6.1.1). It is recognised as a whole, from its first instruction on.
type shape []struct{ insn, mask uint32 }

const (
	exactly = 0xffffffff
	adrp    = 0x9f00001f // ADRP and its register
	imm12   = 0xffc003ff // all but the immediate of ADD and LDR
)

var veneers = []shape{
	// adrp x16; ldr x17, [x16, #]; add x16, x16, #; br x17
	{{0x90000010, adrp}, {0xf9400211, imm12}, {0x91000210, imm12}, {0xd61f0220, exactly}},
	// the same with autia1716 before the branch
	{{0x90000010, adrp}, {0xf9400211, imm12}, {0x91000210, imm12}, {0xd503219f, exactly}, {0xd61f0220, exactly}},
	// adrp x16; add x16, x16, #; br x16
	{{0x90000010, adrp}, {0x91000210, imm12}, {0xd61f0200, exactly}},
}

// plt0 is the head of the table: stp x16, x30, [sp, #-16]!, then as any other.
const plt0 = 0xa9bf7bf0

// veneerAt finds the piece of linker's code that pc is in, and where it begins. Its last
// instruction is the branch.
func (u *Unwinder) veneerAt(pc uint64) (start uint64, ok bool) {
	for _, s := range veneers {
		for back := range s {
			start := pc - uint64(back)*insnSize
			if u.matches(start, s) {
				return start, true
			}
		}
	}
	return 0, false
}

func (u *Unwinder) matches(at uint64, s shape) bool {
	for i, want := range s {
		insn, ok := u.insn(at + uint64(i)*insnSize)
		if !ok || insn&want.mask != want.insn {
			return false
		}
	}
	return true
}

// inVeneer reports whether all is as at a function's entry.
func (u *Unwinder) inVeneer(pc uint64) bool {
	start, ok := u.veneerAt(pc)
	if !ok {
		// The landing pad, or the first instruction of the table's head.
		first, ok := u.insn(pc)
		if !ok || first != arm64.BtiC && first != plt0 {
			return false
		}
		start, ok = u.veneerAt(pc + insnSize)
		if !ok && first == arm64.BtiC {
			return u.inVeneer(pc + insnSize)
		}
		return ok && start == pc+insnSize
	}
	before, ok := u.insn(start - insnSize)
	return !ok || before != plt0
}

// inPLT0 reports whether pc is in the head of the table behind its push, and how
// much that is.
func (u *Unwinder) inPLT0(s *state) (pushed int64, ok bool) {
	start, ok := u.veneerAt(s.pc)
	if !ok || !s.exact {
		return 0, false
	}
	before, ok := u.insn(start - insnSize)
	return 16, ok && before == plt0
}

// inSite reports whether pc is in a function's site, where compilers let the call
// frame information begin only behind it.
func (u *Unwinder) inSite(o *object, pc uint64) bool {
	if u.o.Site != nil {
		return u.o.Site(pc)
	}
	if o == nil {
		return false
	}
	im, err := o.image()
	if err != nil {
		return false
	}
	sites, va := im.Sites(), pc-o.bias
	const size = 2 * insnSize
	i := sort.Search(len(sites), func(i int) bool { return sites[i].Addr+size > va })
	return i < len(sites) && sites[i].Entry <= va
}
