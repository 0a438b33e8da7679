package image

import "nopal/internal/arch/amd64"

// sysv is how functions of x86-64 are called: System V ABI, AMD64 supplement, section
// 3.2.3, whose names are used here.
type sysv struct{}

// class is what an eightbyte of a value is.
type class uint8

const (
	noClass class = iota
	classInteger
	classSSE
	classSSEUp
	classX87
	classX87Up
	classMemory
)

// eightbytes are the classes of a value in registers, which has two words at most.
type eightbytes [2]class

// merge joins the classes of two members in the same eightbyte.
func (c class) merge(d class) class {
	switch {
	case c == d || d == noClass:
		return c
	case c == noClass:
		return d
	case c == classMemory || d == classMemory:
		return classMemory
	case c == classInteger || d == classInteger:
		return classInteger
	case c == classX87 || d == classX87 || c == classX87Up || d == classX87Up:
		return classMemory
	}
	return classSSE
}

// classify gives the classes of a value of up to 16 bytes; memory is true where it, or
// something in it, cannot be in registers.
func (t *Type) classify() (c eightbytes, memory bool) {
	if t.Size > 2*wordBytes || !t.classifyAt(&c, 0, 0) {
		return c, true
	}
	// The post merger cleanup.
	if c[0] == classMemory || c[1] == classMemory || c[1] == classX87Up && c[0] != classX87 {
		return c, true
	}
	if c[1] == classSSEUp && c[0] != classSSE {
		c[1] = classSSE
	}
	return c, false
}

// classifyAt merges the classes of a member at an offset. It gives false for what is not
// aligned.
func (t *Type) classifyAt(c *eightbytes, at uint64, depth int) bool {
	put := func(low, high class, align uint64) bool {
		if at+t.Size > 2*wordBytes || align > 1 && at%align != 0 {
			return false
		}
		first := at / wordBytes
		c[first] = c[first].merge(low)
		if t.Size > wordBytes {
			c[first+1] = c[first+1].merge(high)
		}
		return true
	}
	switch {
	case depth > maxTypeDepth:
		return false
	case t.Size == 0:
		return true
	case t.Kind == Float && t.Extended:
		return put(classX87, classX87Up, 16)
	case t.Tag == memberFunction && t.Kind == Struct:
		return put(classInteger, classInteger, t.natural)
	case t.Kind == Float, t.Kind == Vector:
		return put(classSSE, classSSEUp, t.natural)
	}
	switch t.Kind {
	case Bool, Char, Int, Uint, Enum, Pointer, Opaque:
		return put(classInteger, classInteger, t.natural)
	case Complex:
		half := Type{Kind: Float, Size: t.Size / 2, natural: t.Size / 2}
		return half.classifyAt(c, at, depth+1) && half.classifyAt(c, at+half.Size, depth+1)
	case Array:
		if t.Elem == nil || t.Count > 2*wordBytes {
			return t.Elem != nil && t.Elem.Size == 0
		}
		for i := range t.Count {
			if !t.Elem.classifyAt(c, at+i*t.Elem.Size, depth+1) {
				return false
			}
		}
		return true
	}
	for _, m := range t.Members {
		if m.BitSize != 0 {
			first, last := at*8+m.BitOffset, at*8+m.BitOffset+m.BitSize-1
			if last/64 >= uint64(len(c)) {
				return false
			}
			c[first/64], c[last/64] = c[first/64].merge(classInteger), c[last/64].merge(classInteger)
			continue
		}
		if !m.Type.classifyAt(c, at+m.Offset, depth+1) {
			return false
		}
	}
	return true
}

// integerArguments and integerResults are the registers of class INTEGER in their order.
var (
	integerArguments = []int{amd64.RDI, amd64.RSI, amd64.RDX, amd64.RCX, amd64.R8, amd64.R9}
	integerResults   = []int{amd64.RAX, amd64.RDX}
)

const (
	sseArguments = 8
	sseResults   = 2
)

// sysvPlacer assigns values to registers and stack.
type sysvPlacer struct {
	integer []int // registers that are left
	sse     int   // the next one
	sses    int   // how many there are
	stackAt int64
	results bool // there is no stack, but the x87
	halves  bool // see callerKind
	lost    string
}

func (sysv) arguments(result *Type, by callerKind) placer {
	a := &sysvPlacer{integer: integerArguments, sses: sseArguments, halves: by.halves}
	if result == nil {
		return a
	}
	if p := (sysv{}).result(result, by); p.Address != nil {
		a.pointer() // where to put it comes first
	} else if p.Unknown != "" {
		a.lose(p.Unknown)
	}
	return a
}

// result is in memory at rax, if it is nowhere else: the callee gives back the address
// that it was given in rdi.
func (sysv) result(t *Type, by callerKind) Place {
	a := &sysvPlacer{integer: integerResults, sses: sseResults, results: true}
	if by.rust {
		return rustPlace(a, t)
	}
	return a.place(t)
}

func (a *sysvPlacer) lose(why string) string {
	if a.lost == "" {
		a.lost = why
	}
	return a.lost
}

func (a *sysvPlacer) pointer() Place {
	p := a.place(&Type{Kind: Pointer, Size: wordBytes, natural: wordBytes, align: wordBytes})
	if len(p.Pieces) == 0 {
		return p
	}
	return Place{Address: &p.Pieces[0]}
}

// place assigns the next argument, or the result.
func (a *sysvPlacer) place(t *Type) Place {
	switch {
	case a.lost == "" && t.unsure != "" && !t.indirect:
		return Place{Unknown: a.lose(t.unsure)}
	case a.lost != "":
		return comesAfter(a.lost)
	case t.indirect:
		return a.pointer() // Itanium C++ ABI, 3.1.2.3
	case t.Kind == Void || t.Size == 0:
		return Place{}
	}
	if wide := t.Kind == Int || t.Kind == Uint; wide && t.Size == 2*wordBytes && a.halves {
		return a.half()
	}
	c, memory := t.classify()
	if a.results {
		if p, ok := a.x87(t, c, memory); ok {
			return p
		}
		if memory {
			return a.pointer()
		}
	} else if memory || c[0] == classX87 {
		return a.stack(t)
	}
	integers, sses := 0, 0
	for _, class := range c {
		switch class {
		case classInteger:
			integers++
		case classSSE:
			sses++
		}
	}
	if integers > len(a.integer) || a.sse+sses > a.sses {
		if a.results {
			return Place{Unknown: a.lose("it does not fit into the registers of results")}
		}
		return a.stack(t)
	}
	var p Place
	for i, class := range c {
		at := i * wordBytes
		size := min(wordBytes, int(t.Size)-at)
		switch class {
		case classInteger:
			p.Pieces = append(p.Pieces, Piece{Kind: InX, N: a.integer[0], At: at, Size: size})
			a.integer = a.integer[1:]
		case classSSE:
			p.Pieces = append(p.Pieces, Piece{Kind: InV, N: a.sse, At: at, Size: size})
			a.sse++
		case classSSEUp:
			p.Pieces = append(p.Pieces, Piece{Kind: InVHigh, N: a.sse - 1, At: at, Size: size})
		}
	}
	return p
}

// half assigns both halves of a wide number, one after the other.
func (a *sysvPlacer) half() (p Place) {
	word := &Type{Kind: Uint, Size: wordBytes, natural: wordBytes}
	for at := 0; at < 2*wordBytes; at += wordBytes {
		piece := a.place(word).Pieces[0]
		piece.At = at
		p.Pieces = append(p.Pieces, piece)
	}
	return p
}

// extendedBytes is how much of a long double is its value.
const extendedBytes = 10

// x87 is where results of long double and its like are.
func (a *sysvPlacer) x87(t *Type, c eightbytes, memory bool) (Place, bool) {
	first := Piece{Kind: InX87, Size: extendedBytes}
	switch {
	case t.Kind == Complex && t.Size == 32 && t.Extended: // class COMPLEX_X87
		return Place{Pieces: []Piece{first, {Kind: InX87, N: 1, At: 16, Size: extendedBytes}}}, true
	case !memory && c[0] == classX87 && c[1] == classX87Up:
		return Place{Pieces: []Piece{first}}, true
	}
	return Place{}, false
}

// stack assigns a place in memory: class MEMORY, and what there are no registers for.
func (a *sysvPlacer) stack(t *Type) Place {
	align := int64(max(t.natural, wordBytes))
	if t.Kind >= Struct && t.align > t.natural {
		align = int64(t.align)
	}
	a.stackAt = (a.stackAt + align - 1) &^ (align - 1)
	p := onStackAt(a.stackAt, t)
	a.stackAt += (int64(t.Size) + wordBytes - 1) &^ (wordBytes - 1)
	return p
}

// dwarfIntegers are the general registers by their numbers in DWARF (System V ABI,
// figure 3.36).
var dwarfIntegers = [...]int{
	amd64.RAX, amd64.RDX, amd64.RCX, amd64.RBX, amd64.RSI, amd64.RDI, amd64.RBP, amd64.RSP,
	amd64.R8, amd64.R9, amd64.R10, amd64.R11, amd64.R12, amd64.R13, amd64.R14, amd64.R15,
}

const dwarfXMM0 = 17

func (sysv) register(n uint64) (kind PieceKind, number int, ok bool) {
	switch {
	case n >= dwarfXMM0 && n < dwarfXMM0+sseArguments:
		return InV, int(n - dwarfXMM0), true
	case n < uint64(len(dwarfIntegers)):
		for _, r := range integerArguments {
			if r == dwarfIntegers[n] {
				return InX, r, true
			}
		}
	}
	return 0, 0, false
}

// pair: numbers of DWARF are not in the order of arguments.
func (sysv) pair(int) bool { return false }
