package image

// aapcs is how functions of arm64 are called: AAPCS64.
type aapcs struct{}

func (aapcs) arguments(*Type, callerKind) placer { return new(allocator) }

// result is where a parameter of its type would be that is the only one, or in memory
// at x8 (AAPCS64, 6.9).
func (aapcs) result(t *Type, by callerKind) Place {
	var p Place
	if by.rust {
		p = rustPlace(new(allocator), t)
	} else {
		p = new(allocator).place(t)
	}
	if p.Address != nil {
		p.Address, p.AtEntry = &Piece{Kind: InX, N: 8, Size: 8}, true
	}
	return p
}

// The DWARF register numbers of AArch64 (DWARF for the Arm 64-bit
// Architecture, 4.1).
const (
	dwarfV0  = 64
	lastArgX = 7
	lastArgV = 7
)

func (aapcs) register(n uint64) (kind PieceKind, number int, ok bool) {
	switch {
	case n <= lastArgX:
		return InX, int(n), true
	case n >= dwarfV0 && n <= dwarfV0+lastArgV:
		return InV, int(n - dwarfV0), true
	}
	return 0, 0, false
}

func (aapcs) pair(n int) bool { return n < lastArgX }

// allocator assigns arguments to registers and stack by AAPCS64, section 6.8.2,
// whose names it uses.
type allocator struct {
	ngrn, nsrn int   // next x and v register
	nsaa       int64 // next address on the stack, from sp
	// lost is why it is not known where the rest is; empty if it is.
	lost string
}

const argumentRegisters = 8

// maxHomogeneous is the size of the largest HFA: four numbers of 16 bytes.
const maxHomogeneous = 64

// place assigns the next argument.
func (a *allocator) place(t *Type) Place {
	if a.lost == "" && t.Size > maxHomogeneous {
		return a.pointer() // B.4, whatever it is
	}
	if a.lost == "" && t.unsure != "" && !t.indirect {
		return Place{Unknown: a.lose(t.unsure)}
	}
	if a.lost != "" {
		return comesAfter(a.lost)
	}
	if t.indirect {
		// C++ ABI for the Arm 64-bit Architecture, 3.1 (Itanium C++ ABI,
		// 3.1.2.3): not trivially copyable, so the address is passed.
		return a.pointer()
	}
	switch t.Kind {
	case Void:
		return Place{}
	case Float, Vector:
		return a.floating(t)
	case Bool, Char, Int, Uint, Enum, Pointer:
		return a.integral(t)
	case Opaque:
		return a.integral(t) // a pointer to a member
	}
	return a.composite(t)
}

func (a *allocator) lose(why string) string {
	if a.lost == "" {
		a.lost = why
	}
	return a.lost
}

func (a *allocator) pointer() Place {
	p := a.integral(&Type{Kind: Pointer, Size: 8, natural: 8})
	return Place{Address: &p.Pieces[0]}
}

// comesAfter is the place of an argument when the rest is lost.
func comesAfter(lost string) Place {
	return Place{Unknown: "it comes after a parameter of which this is not known: " + lost}
}

// floating is C.1, C.4, C.5 and C.6.
func (a *allocator) floating(t *Type) Place {
	if a.nsrn < argumentRegisters {
		a.nsrn++
		return Place{Pieces: vector(nil, a.nsrn-1, 0, int(t.Size))}
	}
	return a.stack(t)
}

// integral is C.9, C.10, C.11 and C.13 to C.17.
func (a *allocator) integral(t *Type) Place {
	words := (int(t.Size) + 7) / 8
	if words > 1 {
		a.ngrn += a.ngrn % 2 // C.10
	}
	if a.ngrn+words <= argumentRegisters {
		return a.registers(t, words)
	}
	a.ngrn = argumentRegisters
	return a.stack(t)
}

// registers takes the next x registers.
func (a *allocator) registers(t *Type, words int) Place {
	var p Place
	for i := range words {
		p.Pieces = append(p.Pieces, Piece{Kind: InX, N: a.ngrn + i, At: 8 * i, Size: min(8, int(t.Size)-8*i)})
	}
	a.ngrn += words
	return p
}

// stack is C.4 to C.6 and C.14 to C.17.
func (a *allocator) stack(t *Type) Place {
	align := int64(8)
	if t.natural >= 16 {
		align = 16
	}
	a.nsaa = (a.nsaa + align - 1) &^ (align - 1)
	p := onStackAt(a.nsaa, t)
	a.nsaa += (int64(t.Size) + 7) &^ 7
	return p
}

// composite is what concerns structures and unions, complex numbers among them:
// B.3 to B.6, C.2, C.3, C.12.
func (a *allocator) composite(t *Type) Place {
	if elem, n, ok := t.homogeneous(); ok {
		if a.nsrn+n > argumentRegisters {
			a.nsrn = argumentRegisters // C.3
			return a.stack(t)
		}
		var p Place
		for i := range n {
			p.Pieces = vector(p.Pieces, a.nsrn+i, i*int(elem), int(elem))
		}
		a.nsrn += n
		return p
	}
	if t.Size > 16 {
		return a.pointer() // B.4
	}
	if t.Size == 0 {
		return Place{} // GNU C: takes nothing
	}
	if t.natural >= 16 {
		a.ngrn += a.ngrn % 2 // C.10
	}
	words := (int(t.Size) + 7) / 8
	if a.ngrn+words <= argumentRegisters {
		return a.registers(t, words)
	}
	a.ngrn = argumentRegisters // C.13
	return a.stack(t)
}

// vector adds the pieces of a value of up to 16 bytes in a v register.
func vector(pieces []Piece, n, at, size int) []Piece {
	pieces = append(pieces, Piece{Kind: InV, N: n, At: at, Size: min(8, size)})
	if size > 8 {
		pieces = append(pieces, Piece{Kind: InVHigh, N: n, At: at + 8, Size: size - 8})
	}
	return pieces
}

// homogeneous reports whether a type is an HFA or HVA (AAPCS64, 5.9.5): one to four
// members of the same floating-point or short vector type and nothing else.
func (t *Type) homogeneous() (elem uint64, n int, ok bool) {
	var of Type
	n, ok = t.flatten(&of, 0)
	return of.Size, n, ok && n >= 1 && n <= 4 && uint64(n)*of.Size == t.Size
}

// flatten counts the members of the one type of which all are; of tells the type
// and is filled in by the first.
func (t *Type) flatten(of *Type, depth int) (n int, ok bool) {
	same := func(kind TypeKind, size uint64) bool {
		if of.Kind == Void {
			of.Kind, of.Size = kind, size
		}
		return of.Kind == kind && of.Size == size
	}
	if depth > maxTypeDepth {
		return 0, false
	}
	switch t.Kind {
	case Float, Vector:
		return 1, same(t.Kind, t.Size)
	case Complex:
		return 2, same(Float, t.Size/2)
	case Array:
		if t.Count > 4 || t.Elem == nil {
			return 0, false
		}
		n, ok = t.Elem.flatten(of, depth+1)
		return n * int(t.Count), ok
	case Struct, Union:
		for _, m := range t.Members {
			if m.BitSize != 0 {
				return 0, false
			}
			k, ok := m.Type.flatten(of, depth+1)
			if !ok {
				return 0, false
			}
			if t.Kind == Union {
				n = max(n, k)
			} else {
				n += k
			}
		}
		return n, n <= 4
	}
	return 0, false
}
