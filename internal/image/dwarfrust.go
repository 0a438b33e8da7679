package image

import (
	"cmp"
	"slices"
)

// Rust promises nothing about how its functions are called. What is here has
// been so in all compilers: numbers and pointers go where C's go, two of them in
// one structure as two arguments, and what is larger than 16 bytes by its
// address. The rest is not shown.

// maxScalarPair is the size of two i128, the largest value in registers.
const maxScalarPair = 32

// rustPlace assigns the next argument of a function of Rust.
func rustPlace(a placer, t *Type) Place {
	if a.lose("") == "" && t.Size > maxScalarPair {
		return a.pointer()
	}
	if a.lose("") != "" || t.unsure != "" || t.Kind < Struct && t.Kind != Opaque {
		return a.place(t)
	}
	scalars, ok := t.scalars(nil, 0, 0)
	switch {
	case t.Size == 0:
		return Place{}
	case ok && len(scalars) <= 2:
		var p Place
		for _, s := range scalars {
			for _, piece := range a.place(s.Type).Pieces {
				piece.At += int(s.Offset)
				p.Pieces = append(p.Pieces, piece)
			}
		}
		return p
	case t.Size > 16:
		return a.pointer()
	}
	return Place{Unknown: a.lose("Rust passes its type in a way of its own")}
}

// scalars gives the numbers and pointers in a structure, in the order of their
// places.
func (t *Type) scalars(list []Member, at uint64, depth int) ([]Member, bool) {
	switch t.Kind {
	case Bool, Char, Int, Uint, Float, Enum, Pointer:
		return append(list, Member{Type: t, Offset: at}), t.Size > 0
	case Struct:
	default:
		return list, t.Size == 0 && t.unsure == ""
	}
	members := slices.Clone(t.Members)
	slices.SortStableFunc(members, func(a, b Member) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, m := range members {
		var ok bool
		if list, ok = m.Type.scalars(list, at+m.Offset, depth+1); !ok || len(list) > 2 || depth > maxTypeDepth {
			return list, false
		}
	}
	return list, true
}
