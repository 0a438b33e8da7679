package livepatch

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"slices"
)

// The handlers of a C++ function, which exceptions it catches and where, are no
// code: its call frame information refers to a table of them. Functions whose
// code is the same may differ in it.

// handlers is the table of a function of the target.
type handlers struct{ pc, table uint64 }

// Encodings of pointers in call frame information (LSB, DWARF extensions).
const (
	omitted    = 0xff
	fourBytes  = 0x0b // signed
	eightBytes = 0x0c // signed
	fromItself = 0x10 // relative to where it stands
)

// readHandlers finds the tables of the target's functions. What is encoded in
// another way than compilers for arm64 do is left out.
func (o *original) readHandlers(f *elf.File) {
	s := f.Section(".eh_frame")
	if s == nil || s.Type == elf.SHT_NOBITS {
		return
	}
	data, err := s.Data()
	if err != nil {
		return
	}
	encodings := make(map[uint64][2]byte) // of the table and of code, by the CIE's offset
	le := binary.LittleEndian
	for at := uint64(0); at+8 <= uint64(len(data)); {
		length := uint64(le.Uint32(data[at:]))
		end := at + 4 + length
		if length == 0 {
			at += 4
			continue
		}
		if length < 4 || end > uint64(len(data)) {
			return
		}
		if back := uint64(le.Uint32(data[at+4:])); back == 0 {
			encodings[at] = encodingsOf(data[at+8 : end])
		} else if e, ok := encodings[at+4-back]; ok && e[1] == fromItself|fourBytes && end >= at+18 {
			pc := s.Addr + at + 8 + signExtend(uint64(le.Uint32(data[at+8:])), 32)
			place := at + 16
			for ; place < end && data[place]&0x80 != 0; place++ { // the length of what follows
			}
			place++
			var v uint64
			switch {
			case e[0] == fromItself|fourBytes && place+4 <= end:
				v = signExtend(uint64(le.Uint32(data[place:])), 32)
			case e[0] == fromItself|eightBytes && place+8 <= end:
				v = le.Uint64(data[place:])
			}
			if v != 0 {
				o.handlers = append(o.handlers, handlers{pc, s.Addr + place + v})
			}
		}
		at = end
	}
	slices.SortFunc(o.handlers, func(a, b handlers) int { return cmp.Compare(a.pc, b.pc) })
}

// encodingsOf reads a CIE behind its id: how its FDEs encode the address of the
// table of handlers, and that of code.
func encodingsOf(cie []byte) (e [2]byte) {
	e = [2]byte{omitted, 0}
	zero := slices.Index(cie, 0)
	if zero < 1 || cie[1] != 'z' {
		return e
	}
	augmentation, rest := string(cie[1:zero]), cie[zero+1:]
	skip := func() { // a LEB128 number
		for len(rest) > 0 && rest[0]&0x80 != 0 {
			rest = rest[1:]
		}
		rest = rest[min(1, len(rest)):]
	}
	for range 4 { // alignments of code and data, the return address, the length
		skip()
	}
	for _, c := range augmentation[1:] {
		switch {
		case c == 'S' || c == 'B':
		case len(rest) == 0:
			return e
		case c == 'L':
			e[0], rest = rest[0], rest[1:]
		case c == 'R':
			e[1], rest = rest[0], rest[1:]
		case c == 'P' && rest[0]&0xf == fourBytes && len(rest) >= 5:
			rest = rest[5:]
		case c == 'P' && rest[0]&0xf == eightBytes && len(rest) >= 9:
			rest = rest[9:]
		default:
			return e
		}
	}
	return e
}

// handlersOf gives the table of a function, if it has one.
func (o *original) handlersOf(y *oldSymbol) (table uint64, ok bool) {
	i, _ := slices.BinarySearchFunc(o.handlers, y.va, func(h handlers, va uint64) int { return cmp.Compare(h.pc, va) })
	if i < len(o.handlers) && o.handlers[i].pc-y.va < max(y.size, 1) {
		return o.handlers[i].table, true
	}
	return 0, false
}

// sameHandlers compares the tables of handlers.
func (b *builder) sameHandlers(u *unit) bool {
	at, has := b.old.handlersOf(u.old)
	var table *section
	var off uint64
	for _, f := range u.frames {
		for _, r := range f.sec.relocs {
			if r.off > 8 && r.sym.sec != nil && !r.sym.sec.executable() {
				table, off = r.sym.sec, r.sym.value+uint64(r.addend)
			}
		}
	}
	if table == nil {
		return !has
	}
	if !has || off >= table.size {
		return false
	}
	length, err := tableLength(table.data[off:])
	if err != nil || length > table.size-off {
		return false
	}
	return b.sameRange(table, off, off+length, at, 0)
}

// tableLength gives the length of a table of handlers (the Itanium C++ ABI's
// exception handling tables), up to where the specifications of functions that
// promise to throw nothing else begin.
func tableLength(data []byte) (uint64, error) {
	malformed := errors.New("malformed table of handlers")
	if len(data) < 4 || data[0] != omitted {
		return 0, malformed
	}
	at := 2
	number := func() uint64 {
		v, n := binary.Uvarint(data[min(at, len(data)):])
		if n <= 0 {
			at = len(data) + 1
			return 0
		}
		at += n
		return v
	}
	if data[1] != omitted {
		if types := number(); at <= len(data) && types <= uint64(len(data)-at) {
			return uint64(at) + types, nil
		}
		return 0, malformed
	}
	at++ // the encoding of call sites
	if sites := number(); at <= len(data) && sites <= uint64(len(data)-at) {
		return uint64(at) + sites, nil
	}
	return 0, malformed
}
