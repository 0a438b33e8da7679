package image

import (
	"debug/dwarf"
	"encoding/binary"

	"nopal/internal/arch/arm64"
)

// clang leaves parameters out of DWARF that are passed by reference and not
// used, if it does not optimise; those behind them would be looked for in the
// wrong registers. But then it also stores each parameter at once to its place in
// the frame, of which it says where it is. So the code shows the registers.

// home is the register that is stored to a place in the frame.
type home struct {
	kind PieceKind
	n    int
}

// maxPrologue is how many instructions are looked through for stores.
const maxPrologue = 64

const (
	opReg29 = opReg0 + 29
	opFbreg = 0x91
	opDeref = 0x06
)

// frameBase gives the register that locations in the frame are relative to, if
// it is one.
func (b *builder) frameBase() (reg uint32, ok bool) {
	expr, _ := b.fn[0].Val(dwarf.AttrFrameBase).([]byte)
	if len(expr) != 1 || expr[0] != opReg31 && expr[0] != opReg29 {
		return 0, false
	}
	return uint32(expr[0] - opReg0), true
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

// homes finds which argument registers a function stores to its frame before it
// does anything else.
func (im *Image) homes(body uint64, base uint32) map[int64]home {
	code := make([]byte, maxPrologue*arm64.InsnSize)
	n, _ := im.ReadVA(code, body) // what cannot be read has no stores
	found := make(map[int64]home)
	var written uint32 // registers, x or v, that no longer hold arguments
	for at := 0; at+arm64.InsnSize <= n; at += arm64.InsnSize {
		insn := binary.LittleEndian.Uint32(code[at:])
		if insn&0x1c000000 == 0x14000000 { // a branch, or what only the kernel needs
			break
		}
		if s, offset, ok := storeTo(insn, base); ok {
			if _, again := found[offset]; !again && s.n < argumentRegisters && written>>s.n&1 == 0 {
				found[offset] = s
			}
			continue
		}
		written |= 1 << (insn & 31)        // or, of a store, no longer believed
		if insn&0x3a000000 == 0x28000000 { // a pair
			written |= 1 << (insn >> 10 & 31)
		}
	}
	return found
}

// storeTo decodes STR and STUR of one register relative to base (Arm ARM C4.1,
// "Loads and Stores").
func storeTo(insn, base uint32) (s home, offset int64, ok bool) {
	if insn>>5&31 != base || insn&0x3a000000 != 0x38000000 {
		return s, 0, false
	}
	size, opc := insn>>30, insn>>22&3
	if insn>>26&1 != 0 {
		s.kind = InV
		if size == 0 && opc == 2 {
			size, opc = 4, 0 // Q
		}
	}
	if opc != 0 {
		return s, 0, false
	}
	s.n = int(insn & 31)
	switch {
	case insn>>24&1 != 0: // unsigned, scaled
		return s, int64(insn>>10&0xfff) << size, true
	case insn>>21&1 == 0 && insn>>10&3 == 0: // unscaled
		return s, int64(int32(insn<<11) >> 23), true
	}
	return s, 0, false
}

// checkHomes compares places with the stores to the frame. Where one is another
// register, DWARF lacks parameters, and only what is stored is known.
func (b *builder) checkHomes(s *Signature, found []param) {
	base, ok := b.frameBase()
	if !ok {
		return
	}
	homes := b.im.homes(b.body, base)
	lacking := false
	for i, f := range found {
		if offset, ok := homeOf(f.concrete); ok {
			h, stored := homes[offset]
			p := s.Params[i].Place
			lacking = lacking || stored && p.Unknown == "" && !p.begins(h)
		}
	}
	for i, f := range found {
		p := &s.Params[i]
		offset, inFrame := homeOf(f.concrete)
		h, stored := homes[offset]
		switch {
		case !lacking && p.Place.Unknown == "":
		case inFrame && stored && p.Type.Size <= wordBytes && p.Type.Kind < Struct:
			p.Place = Place{Pieces: []Piece{{Kind: h.kind, N: h.n, Size: int(p.Type.Size)}}}
		case inFrame && stored && p.Place.begins(h):
		case inFrame && stored && p.Place.Address != nil && h.kind == InX:
			p.Place = Place{Address: &Piece{Kind: InX, N: h.n, Size: wordBytes}}
		case !inFrame && f.concrete != nil && p.Place.Address != nil:
			p.Place = b.byReference(f.concrete)
		case lacking:
			p.Place = Place{Unknown: "debug information lacks parameters before it"}
		}
	}
}

// byReference is the place of a parameter that is described by the register
// with its address.
func (b *builder) byReference(e *dwarf.Entry) Place {
	if l := b.location(e, b.body, 0); l.known {
		return l.place
	}
	expr, _ := e.Val(dwarf.AttrLocation).([]byte)
	if p, ok := registers(expr, 0); ok && p.Address != nil {
		return p
	}
	return Place{Unknown: "debug information lacks parameters before it"}
}

// begins reports whether a value, or its address, begins in this register.
func (p Place) begins(h home) bool {
	first := p.Address
	if len(p.Pieces) > 0 {
		first = &p.Pieces[0]
	}
	return first != nil && first.Kind == h.kind && first.N == h.n
}
