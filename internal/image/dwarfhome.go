package image

import (
	"debug/dwarf"
)

// clang leaves parameters out of DWARF that are passed by reference and not
// used, if it does not optimise; those behind them would be looked for in the
// wrong registers. But then it also stores each parameter at once to its place in
// the frame, of which it says where it is. So the code shows the registers.

const (
	opFbreg = 0x91
	opDeref = 0x06
)

// frameBase gives the register that locations in the frame are relative to, if
// it is one.
func (b *builder) frameBase() (op byte, ok bool) {
	expr, _ := b.fn[0].Val(dwarf.AttrFrameBase).([]byte)
	if len(expr) != 1 {
		return 0, false
	}
	return expr[0], true
}

// homeOf gives where in the frame a parameter, or its address, is.
func homeOf(e *dwarf.Entry) (offset int64, ok bool) {
	if e == nil {
		return 0, false
	}
	expr, _ := e.Val(dwarf.AttrLocation).([]byte)
	if len(expr) < 2 || len(expr) > 9 || expr[0] != opFbreg {
		return 0, false
	}
	v, rest, ok := uleb(expr[1:])
	if !ok || len(rest) > 1 || len(rest) == 1 && rest[0] != opDeref {
		return 0, false
	}
	shift := 64 - 7*(len(expr)-1-len(rest))
	return int64(v<<shift) >> shift, true // SLEB128
}

// checkHomes compares places with the stores to the frame. Where one is another
// register, DWARF lacks parameters, and only what is stored is known.
func (b *builder) checkHomes(s *Signature, found []param) {
	base, ok := b.frameBase()
	if !ok {
		return
	}
	homes := b.abi.homes(b.im, b.body, base)
	if homes == nil {
		return
	}
	lacking := false
	for i, f := range found {
		if offset, ok := homeOf(f.concrete); ok {
			h, stored := homes.at(offset)
			p := s.Params[i].Place
			lacking = lacking || stored && p.Unknown == "" && !p.begins(h)
		}
	}
	for i, f := range found {
		p := &s.Params[i]
		offset, inFrame := homeOf(f.concrete)
		h, stored := homes.at(offset)
		switch {
		case !lacking && p.Place.Unknown == "":
		case inFrame && stored && p.Type.Size <= wordBytes && p.Type.Kind < Struct:
			p.Place = Place{Pieces: []Piece{h.piece(int(p.Type.Size))}}
		case inFrame && stored && p.Place.begins(h):
		case inFrame && stored && h.kind == InStack && p.Place.Address == nil && !p.Type.indirect:
			p.Place = onStackAt(int64(h.n), p.Type)
		case inFrame && stored && p.Place.Address != nil && h.kind != InV:
			address := h.piece(wordBytes)
			p.Place = Place{Address: &address}
		case !inFrame && f.concrete != nil && p.Place.Address != nil:
			p.Place = b.byReference(f.concrete, homes)
		case lacking:
			p.Place = Place{Unknown: "debug information lacks parameters before it"}
		}
	}
}

// byReference is the place of a parameter that is described by the register
// with its address.
func (b *builder) byReference(e *dwarf.Entry, homes *homes) Place {
	if l := b.location(e, b.body, 0); l.known {
		return l.place
	}
	expr, _ := e.Val(dwarf.AttrLocation).([]byte)
	if p, ok := registers(b.abi, expr, 0); ok && p.Address != nil {
		address := homes.holds(p.Address.N).piece(wordBytes)
		return Place{Address: &address}
	}
	return Place{Unknown: "debug information lacks parameters before it"}
}

// begins reports whether a value, or its address, begins in this register.
func (p Place) begins(h home) bool {
	first := p.Address
	if len(p.Pieces) > 0 {
		first = &p.Pieces[0]
	}
	return first != nil && h.is(*first)
}
