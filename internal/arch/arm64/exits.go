package arm64

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
)

// ExitKind is how an instruction leaves its function.
type ExitKind uint8

// The kinds of exits.
const (
	ExitRet     ExitKind = iota // ret: through x30
	ExitRetAuth                 // retaa, retab
	ExitTailB                   // b to another function: a tail call
	ExitTailBR                  // br to another function: a tail call
)

func (k ExitKind) String() string {
	switch k {
	case ExitRet:
		return "ret"
	case ExitRetAuth:
		return "ret with authentication"
	case ExitTailB:
		return "tail call"
	case ExitTailBR:
		return "indirect tail call"
	}
	return "invalid"
}

// Exit is an instruction by which a function is left.
type Exit struct {
	Addr   uint64
	Insn   uint32
	Kind   ExitKind
	Target uint64 // of ExitTailB
	Reg    uint8  // of ExitTailBR: N of br xN
}

// Range is the addresses from Start up to, not including, End.
type Range struct {
	Start, End uint64
}

func (r Range) contains(va uint64) bool { return r.Start <= va && va < r.End }

// Part is a piece of a function's code, little-endian as it is in memory.
type Part struct {
	VA   uint64
	Code []byte
}

// Body is the code of one function and what is known about it.
type Body struct {
	// Parts is the code, the part with the entry first. A function has several
	// where a compiler moved what is seldom run out of it.
	Parts []Part
	// Entry is where callers call, Start the first instruction behind the NOPs of
	// the patch area. A branch to what lies between them enters the function anew.
	Entry, Start uint64
	// Mapped says that mapping symbols (AAELF64, 5.5.5) prove everything to be code
	// that is not in Data. Without, only what control reaches is code.
	Mapped bool
	Data   []Range // sorted
	// Pads are places where control arrives from elsewhere: the landing pads of
	// exceptions.
	Pads []uint64
	// Taken reports whether the object's data holds an address from start up to,
	// not including, end. Nil means that it may.
	Taken func(start, end uint64) bool
	// Read reads what the object holds at an address, all of p or nothing. Nil
	// means that nothing can be read.
	Read func(p []byte, va uint64) bool
	// Word gives an instruction of the object, the function's or not, and 0 where
	// there is none. Nil means that it is not known.
	Word func(va uint64) uint32
}

// maxBody is the largest function that is looked at, in instructions.
const maxBody = 1 << 20

// ExitFinder finds the exits of functions one after the other. Its zero value is
// ready for use; it keeps its memory from function to function.
type ExitFinder struct {
	body    *Body
	words   []uint32
	ends    []int    // the index behind the last word of each part
	what    []mark   // of each word
	hard    []int    // indexes of br
	exits   []Exit   // candidates
	states  []state  // before each word, when control flow is followed
	strong  []int    // words to continue at
	weak    callHeap // words behind calls to continue at
	seeds   []int    // words that nothing leads to directly
	targets []int    // of a jump table
	escape  bool     // an address of the function's own code is stored
	fell    int      // a word after which control leaves the function's parts, or -1
	steps   int      // that may still be taken
}

// mark says what a word is to the analysis.
type mark uint8

const (
	plain mark = iota
	data
	call
	jump     // b within the function
	cond     // conditional branch within the function
	leave    // an exit
	indirect // br
	stop     // nothing follows
)

// Find gives all exits of a function. If they cannot be proven to be all and
// to be exits, reason says why.
func (f *ExitFinder) Find(b *Body) (exits []Exit, reason string) {
	if reason := f.load(b); reason != "" {
		return nil, reason
	}
	if reason := f.sweep(); reason != "" {
		return nil, reason
	}
	calls := slices.ContainsFunc(f.exits, func(e Exit) bool { return e.Kind == ExitTailB })
	if len(f.hard) > 0 || calls || !b.Mapped {
		if reason := f.follow(); reason != "" {
			return nil, reason
		}
	}
	slices.SortFunc(f.exits, func(a, b Exit) int {
		if a.Addr < b.Addr {
			return -1
		}
		return 1
	})
	return slices.Clone(f.exits), ""
}

// load decodes the words of all parts.
func (f *ExitFinder) load(b *Body) (reason string) {
	f.body = b
	f.words, f.ends = f.words[:0], f.ends[:0]
	f.exits, f.hard = f.exits[:0], f.hard[:0]
	for _, p := range b.Parts {
		if p.VA%InsnSize != 0 || len(p.Code)/InsnSize > maxBody-len(f.words) {
			return "its code is misaligned or too large"
		}
		for code := p.Code; len(code) >= InsnSize; code = code[InsnSize:] {
			f.words = append(f.words, binary.LittleEndian.Uint32(code))
		}
		f.ends = append(f.ends, len(f.words))
	}
	if len(b.Parts) == 0 || b.Start < b.Parts[0].VA || b.Start >= b.Parts[0].VA+uint64(f.ends[0])*InsnSize {
		return "it has no code behind its patch area"
	}
	return ""
}

// address gives where a word is.
func (f *ExitFinder) address(i int) uint64 {
	first := 0
	for p, end := range f.ends {
		if i < end {
			return f.body.Parts[p].VA + uint64(i-first)*InsnSize
		}
		first = end
	}
	return 0
}

// index gives the word at an address, if it is the function's.
func (f *ExitFinder) index(va uint64) (i int, ok bool) {
	first := 0
	for p, end := range f.ends {
		if off := va - f.body.Parts[p].VA; off < uint64(end-first)*InsnSize {
			return first + int(off/InsnSize), true
		}
		first = end
	}
	return 0, false
}

// inside reports whether a branch to va stays in the function without entering it
// anew.
func (f *ExitFinder) inside(va uint64) bool {
	_, ok := f.index(va)
	return ok && !(f.body.Entry <= va && va < f.body.Start)
}

// offset says where a word is, for messages.
func (f *ExitFinder) offset(i int) string {
	va := f.address(i)
	if va >= f.body.Entry && va-f.body.Entry < maxBody*InsnSize {
		return fmt.Sprintf("+%#x", va-f.body.Entry)
	}
	return fmt.Sprintf("%#x", va)
}

// sweep looks at all words from first to last. It marks them, notes the exits
// that need no more proof than that they are code, and the indirect branches.
func (f *ExitFinder) sweep() (reason string) {
	f.what = slices.Grow(f.what[:0], len(f.words))[:len(f.words)]
	i := 0
	for p, end := range f.ends {
		va := f.body.Parts[p].VA
		ranges := f.body.Data
		ranges = ranges[sort.Search(len(ranges), func(i int) bool { return ranges[i].End > va }):]
		last := -1 // the last word that is neither data nor padding
		for ; i < end; i, va = i+1, va+InsnSize {
			for len(ranges) > 0 && ranges[0].End <= va {
				ranges = ranges[1:]
			}
			insn := f.words[i]
			switch {
			case len(ranges) > 0 && ranges[0].contains(va):
				f.what[i] = data
				continue
			case insn>>16 == 0: // udf
				f.what[i] = stop
			case field(insn, 26, 3) != 0b101: // C4.1: no branch, exception or system instruction
				f.what[i] = plain
			case f.body.Entry <= va && va < f.body.Start:
				f.what[i] = plain
			default:
				if f.what[i], reason = f.branch(i, va, insn); reason != "" {
					return reason
				}
			}
			if insn != Nop && insn != 0 {
				last = i
			}
		}
		if f.body.Mapped && last >= 0 {
			switch f.what[last] {
			case plain, cond:
				return fmt.Sprintf("its code runs on into what follows it (at %s)", f.offset(last))
			}
		}
	}
	return ""
}

// veneer recognises what linkers do about errata 835769 and 843419 of the
// Cortex-A53: they move one instruction elsewhere, from where it goes back behind
// the branch that replaces it.
func (f *ExitFinder) veneer(va, target uint64) (moved uint32, ok bool) {
	if f.body.Word == nil {
		return 0, false
	}
	moved, back := f.body.Word(target), f.body.Word(target+InsnSize)
	to, ok := BranchTarget(target+InsnSize, back)
	branchLike := field(moved, 26, 3) == 0b101 || moved == 0
	return moved, ok && Classify(back) == KindB && to == va+InsnSize && !branchLike
}

// branch looks at a branch, an exception or a system instruction.
func (f *ExitFinder) branch(i int, va uint64, insn uint32) (what mark, reason string) {
	switch Classify(insn) {
	case KindB:
		target, _ := BranchTarget(va, insn)
		if f.inside(target) {
			return jump, ""
		}
		if moved, ok := f.veneer(va, target); ok {
			f.words[i] = moved
			return plain, ""
		}
		f.exits = append(f.exits, Exit{Addr: va, Insn: insn, Kind: ExitTailB, Target: target})
		return leave, ""
	case KindBCond, KindCBZ, KindTBZ:
		if target, _ := BranchTarget(va, insn); !f.inside(target) {
			return 0, fmt.Sprintf("a conditional branch leaves it (at %s)", f.offset(i))
		}
		return cond, ""
	case KindBL:
		if target, _ := BranchTarget(va, insn); f.inside(target) {
			return 0, fmt.Sprintf("it calls into its own middle (at %s)", f.offset(i))
		}
		return call, ""
	case KindBLR, KindBLRA:
		return call, ""
	case KindRET:
		if reg := field(insn, 5, 5); reg != 30 {
			return 0, fmt.Sprintf("it returns through x%d (at %s)", reg, f.offset(i))
		}
		f.exits = append(f.exits, Exit{Addr: va, Insn: insn, Kind: ExitRet})
		return leave, ""
	case KindRETAA, KindRETAB:
		f.exits = append(f.exits, Exit{Addr: va, Insn: insn, Kind: ExitRetAuth})
		return leave, ""
	case KindBR:
		f.hard = append(f.hard, i)
		return indirect, ""
	case KindBRA, KindERET:
		return 0, fmt.Sprintf("an indirect branch with authentication (at %s)", f.offset(i))
	case KindBRK, KindHLT:
		return stop, ""
	case KindOther:
		// The group of unconditional branches to a register has forms that are not
		// known here.
		if insn>>25 == 0b1101011 {
			return 0, fmt.Sprintf("an unknown branch %08x (at %s)", insn, f.offset(i))
		}
		// So do conditional branches: compare and branch (FEAT_CMPBR).
		if field(insn, 24, 7) == 0b1110100 || field(insn, 24, 7) == 0b1110101 {
			return 0, fmt.Sprintf("an unknown branch %08x (at %s)", insn, f.offset(i))
		}
	}
	return plain, ""
}
