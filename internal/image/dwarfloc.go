package image

import (
	"debug/dwarf"
	"encoding/binary"
	"slices"
)

// Location descriptions say where a parameter is at the function's first
// instruction, if the compiler optimised. They do not say more than the ABI,
// but for functions that are called in another way: those of which the compiler
// knows all calls.

// location is where a parameter is at the entry.
type location struct {
	// known is false where the description says nothing or something that is
	// not understood, absent is true where there is none.
	known, absent bool
	listed        bool // for the entry only, not for the whole function
	place         Place
}

const wordBytes = 8

const (
	opReg0   = 0x50
	opReg31  = 0x6f
	opBreg0  = 0x70
	opBreg31 = 0x8f
	opRegx   = 0x90
	opPiece  = 0x93
)

// location reads where a parameter is at pc.
func (b *builder) location(e *dwarf.Entry, pc uint64, size uint64) location {
	if e == nil {
		return location{absent: true}
	}
	f := e.AttrField(dwarf.AttrLocation)
	if f == nil {
		return location{absent: e.Val(dwarf.AttrConstValue) == nil || b.clone}
	}
	var expr []byte
	listed := false
	switch v := f.Val.(type) {
	case []byte:
		expr = v
	case int64:
		expr = b.fromList(uint64(v), f.Class == dwarf.ClassLocList, pc)
		listed = true
	case uint64:
		expr = b.fromList(v, f.Class == dwarf.ClassLocList, pc)
		listed = true
	}
	if len(expr) == 0 {
		return location{absent: true, listed: listed}
	}
	place, ok := registers(b.abi, expr, size)
	// For a value behind a pointer GCC names a register in which it has the
	// pointer later.
	ok = ok && (listed || place.Address == nil)
	return location{known: ok, listed: listed, place: place}
}

// registers understands descriptions of argument registers.
func registers(abi abi, expr []byte, size uint64) (p Place, ok bool) {
	at := 0
	for len(expr) > 0 {
		op := expr[0]
		expr = expr[1:]
		n := uint64(op) - opReg0
		switch {
		case op == opPiece: // of which nothing is known
			bytes, rest, ok := uleb(expr)
			if !ok || bytes > size {
				return p, false
			}
			at, expr = at+int(bytes), rest
			continue
		case op >= opReg0 && op <= opReg31:
		case op == opRegx:
			if n, expr, ok = uleb(expr); !ok {
				return p, false
			}
		case op >= opBreg0 && op <= opBreg31:
			n = uint64(op) - opBreg0
			if kind, x, ok := abi.register(n); ok && kind == InX && len(expr) == 1 && expr[0] == 0 {
				return Place{Address: &Piece{Kind: InX, N: x, Size: wordBytes}}, true
			}
			return p, false
		default:
			return p, false
		}
		bytes := size - min(size, uint64(at))
		if len(expr) > 0 {
			if expr[0] != opPiece {
				return p, false
			}
			var ok bool
			if bytes, expr, ok = uleb(expr[1:]); !ok {
				return p, false
			}
		}
		kind, x, known := abi.register(n)
		switch {
		case bytes > 2*wordBytes || !known:
			return p, false
		case kind == InV:
			p.Pieces = vector(p.Pieces, x, at, int(bytes))
		case bytes <= wordBytes:
			p.Pieces = append(p.Pieces, Piece{Kind: InX, N: x, At: at, Size: int(bytes)})
		case bytes == 2*wordBytes && len(p.Pieces) == 0 && abi.pair(x): // for __int128
			p.Pieces = append(p.Pieces, Piece{Kind: InX, N: x, Size: wordBytes}, Piece{Kind: InX, N: x + 1, At: wordBytes, Size: wordBytes})
		default:
			return p, false
		}
		at += int(bytes)
	}
	return p, len(p.Pieces) > 0
}

// agrees reports whether a location does not contradict a place.
func (l location) agrees(p Place) bool {
	if !l.known || p.Unknown != "" {
		return true
	}
	if l.place.Address != nil {
		return p.Address != nil && p.Address.Kind == InX && p.Address.N == l.place.Address.N
	}
	if p.Address != nil {
		// GCC describes the pointer.
		return p.Address.Kind == InX && l.place.Pieces[0].Kind == InX && p.Address.N == l.place.Pieces[0].N
	}
	for _, piece := range l.place.Pieces {
		if !slices.ContainsFunc(p.Pieces, func(q Piece) bool {
			return q.Kind == piece.Kind && q.N == piece.N && q.At <= piece.At && piece.At < q.At+q.Size
		}) {
			return false
		}
	}
	return true
}

// checkPlaces compares what the ABI says with the locations, and believes these
// where the function is one that need not keep to it.
func (b *builder) checkPlaces(s *Signature, found []param) {
	locations := make([]location, len(found))
	own := b.clone || b.noCall()
	optimised := false
	for i, f := range found {
		locations[i] = b.location(f.concrete, b.body, s.Params[i].Type.Size)
		optimised = optimised || locations[i].known
		if !locations[i].agrees(s.Params[i].Place) && (b.internal || locations[i].listed) {
			own = true
		}
	}
	b.changedCall = own
	for i := range s.Params {
		p, l := &s.Params[i], locations[i]
		switch {
		case (own || p.Place.Unknown != "") && l.known && !p.Type.Incomplete:
			p.Place = l.place
		case own:
			p.Place = Place{Unknown: "the compiler has changed how the function is called"}
		case b.internal && optimised && l.absent && p.Type.Size > 0:
			b.removed = true
			p.Place = Place{Unknown: "the compiler has removed it"}
		}
	}
}

// noCall reports whether the compiler says that the function is not called by
// the standard (DW_CC_nocall).
func (b *builder) noCall() bool {
	cc, _ := b.fn.val(dwarf.AttrCalling).(int64)
	return cc == ccNoCall
}

// fromList finds the description for an address in a location list.
func (b *builder) fromList(at uint64, isIndex bool, pc uint64) []byte {
	base, _ := b.unit.top.Val(dwarf.AttrLowpc).(uint64)
	if b.unit.version < 5 {
		return fromLoc(b.d.loc, at, base, pc)
	}
	lists, _ := number(b.unit.top, dwarf.AttrLoclistsBase)
	if isIndex {
		size := b.unit.offsetSize()
		off, ok := readAt(b.d.loclists, lists+at*size, int(size))
		if !ok {
			return nil
		}
		at = lists + off
	}
	return b.fromLoclists(at, base, pc)
}

func (u *unit) offsetSize() uint64 {
	if u.wide {
		return 8
	}
	return 4
}

// readAt reads a number of 4 or 8 bytes.
func readAt(data []byte, at uint64, size int) (uint64, bool) {
	if at > uint64(len(data)) || uint64(len(data))-at < uint64(size) {
		return 0, false
	}
	if size == 4 {
		return uint64(binary.LittleEndian.Uint32(data[at:])), true
	}
	return binary.LittleEndian.Uint64(data[at:]), true
}

// fromLoc reads a list of .debug_loc (DWARF 4, section 2.6.2).
func fromLoc(data []byte, at, base, pc uint64) []byte {
	for {
		low, ok := readAt(data, at, 8)
		high, ok2 := readAt(data, at+8, 8)
		if !ok || !ok2 || low == 0 && high == 0 {
			return nil
		}
		at += 16
		if low == ^uint64(0) {
			base = high
			continue
		}
		if uint64(len(data))-at < 2 {
			return nil
		}
		size := uint64(binary.LittleEndian.Uint16(data[at:]))
		at += 2
		if uint64(len(data))-at < size {
			return nil
		}
		if base+low <= pc && pc < base+high {
			return data[at : at+size]
		}
		at += size
	}
}

// fromLoclists reads a list of .debug_loclists (DWARF 5, section 7.7.3).
func (b *builder) fromLoclists(at, base, pc uint64) []byte {
	data := b.d.loclists
	if at >= uint64(len(data)) {
		return nil
	}
	data = data[at:]
	ok := true
	next := func() (v uint64) {
		if ok {
			v, data, ok = uleb(data)
		}
		return v
	}
	address := func() (v uint64) {
		if v, ok = readAt(data, 0, 8); ok {
			data = data[8:]
		}
		return v
	}
	addrBase, _ := number(b.unit.top, dwarf.AttrAddrBase)
	indexed := func() (v uint64) {
		if i := next(); ok {
			v, ok = readAt(b.d.addr, addrBase+8*i, 8)
		}
		return v
	}
	for ok && len(data) > 0 {
		kind := data[0]
		data = data[1:]
		var low, high uint64
		switch kind { // DW_LLE_
		case 1:
			base = indexed()
			continue
		case 2:
			low = indexed()
			high = indexed()
		case 3:
			low = indexed()
			high = low + next()
		case 4:
			low = base + next()
			high = base + next()
		case 5:
			low, high = 0, ^uint64(0)
		case 6:
			base = address()
			continue
		case 7:
			low = address()
			high = address()
		case 8:
			low = address()
			high = low + next()
		default: // the end
			return nil
		}
		size := next()
		if !ok || size > uint64(len(data)) {
			return nil
		}
		if low <= pc && pc < high {
			return data[:size]
		}
		data = data[size:]
	}
	return nil
}
