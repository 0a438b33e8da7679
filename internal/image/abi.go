package image

import "debug/elf"

// abi is how the functions of a machine are called, as far as DWARF leaves that to be
// known.
type abi interface {
	// arguments places the arguments of a function, from first to last. result is what it
	// gives back, or nil.
	arguments(result *Type, by callerKind) placer
	// result is where a result is, when the function returns.
	result(t *Type, by callerKind) Place
	// register says which register a number of DWARF stands for, if arguments are
	// passed in it.
	register(n uint64) (kind PieceKind, number int, ok bool)
	// pair says whether a value of two words, of which DWARF names register n, goes on
	// in the next one.
	pair(n int) bool
	// homes finds what a function that is compiled without optimisation stores to its
	// frame, relative to a register of DWARF, before it does anything else.
	homes(im *Image, body uint64, base byte) *homes
}

// callerKind is what a function was compiled by, where that matters.
type callerKind struct {
	rust bool
	// halves: two words of __int128 go where there is room for each, as clang before 18
	// had it for x86-64.
	halves bool
}

// placer assigns arguments to places.
type placer interface {
	place(t *Type) Place
	// pointer assigns the address of a value that is in memory.
	pointer() Place
	// lose says that it is not known where the rest is; why is empty if it is only asked,
	// and the answer is what was said before.
	lose(why string) string
}

// abi gives what is particular to the object's machine.
func (im *Image) abi() abi {
	if im.Machine == elf.EM_X86_64 {
		return sysv{}
	}
	return aapcs{}
}

// home is the register or the place on the stack that is stored to a place in the frame.
type home struct {
	kind PieceKind
	n    int // register, or offset on the stack
}

// homes are what a function begins with.
type homes struct {
	stored map[int64]home // by place in the frame
	// arguments is from where on places in the frame are those of arguments on the stack;
	// 0: not known.
	arguments int64
	// held is what registers hold then, if they are not as at the entry.
	held map[int]home
}

// at is what is at the entry where the value of a place in the frame comes from.
func (h *homes) at(offset int64) (home, bool) {
	v, ok := h.stored[offset]
	if !ok && h.arguments != 0 && offset >= h.arguments {
		return home{InStack, int(offset - h.arguments)}, true
	}
	return v, ok
}

// holds is what is in an integer register after the stores.
func (h *homes) holds(n int) home {
	if v, ok := h.held[n]; ok {
		return v
	}
	return home{InX, n}
}

// piece is a word that is there at the entry.
func (h home) piece(size int) Piece {
	p := Piece{Kind: h.kind, N: h.n, Size: size}
	if h.kind == InStack {
		p.N, p.Offset = 0, int64(h.n)
	}
	return p
}

// is reports whether a piece is the same.
func (h home) is(p Piece) bool {
	q := h.piece(p.Size)
	return p.Kind == q.Kind && p.N == q.N && p.Offset == q.Offset
}

// onStackAt is the place of a value on the stack.
func onStackAt(offset int64, t *Type) (p Place) {
	for at := 0; at < int(t.Size); at += wordBytes {
		p.Pieces = append(p.Pieces, Piece{Kind: InStack, Offset: offset + int64(at), At: at, Size: min(wordBytes, int(t.Size)-at)})
	}
	return p
}
