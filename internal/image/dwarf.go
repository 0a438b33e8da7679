package image

import (
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"sync"
)

// ErrNoDWARF is returned for a function that no debug information is found of.
var ErrNoDWARF = errors.New("no debug information")

// Signature is what DWARF says of a function: what it is given, what it gives
// back, and where the ABI puts that.
type Signature struct {
	Name     string // as written in the source
	Params   []Param
	Result   *Param // nil: there is none
	Variadic bool   // there may be arguments beyond Params
	NoReturn bool
}

// Param is a parameter, or the result.
type Param struct {
	Name  string
	Type  *Type
	Place Place
	// Artificial is a parameter that nobody wrote: this.
	Artificial bool
}

// Place says where a value is: of a parameter at the function's entry, of a
// result at its exit.
type Place struct {
	// Pieces hold the value's bytes, in the order of At. Bytes that no piece
	// holds are padding.
	Pieces []Piece
	// Address holds the address of the value, which is in memory.
	Address *Piece
	// AtEntry is set of a result of which Address is gone at the exit: it is x8 as it
	// was at the entry.
	AtEntry bool
	// Unknown is why the place is not known; empty if it is.
	Unknown string
}

// PieceKind is what a piece of a value is in.
type PieceKind uint8

// The kinds of pieces.
const (
	InX     PieceKind = iota // in x register N; on x86-64 in the general register that instructions number so
	InV                      // in the low 8 bytes of v register N, or xmm register N
	InVHigh                  // in the high 8 bytes of it
	InStack                  // Offset bytes above sp at the call, which is where arguments begin
	InX87                    // in st(N) of the x87: 10 bytes, of a result
)

// Piece is up to 8 bytes of a value, 10 of the x87, in the low end of a register or in
// memory.
type Piece struct {
	Kind   PieceKind
	N      int
	Offset int64
	At     int // where in the value
	Size   int
}

// TypeKind is what a type is, for who shows a value of it.
type TypeKind uint8

// The kinds of types.
const (
	Void   TypeKind = iota
	Opaque          // something of a known size that is not understood
	Bool
	Char // char of C: what strings are made of
	Int
	Uint
	Float
	Complex
	Enum
	Pointer // also a reference, or a pointer to a function
	Struct  // also a class
	Union
	Array
	Vector // short vector
)

func (k TypeKind) String() string {
	return [...]string{"void", "opaque", "bool", "char", "int", "uint", "float", "complex", "enum", "pointer", "struct",
		"union", "array", "vector"}[k]
}

// Type is a type as far as it is needed to show a value. Types that were reached
// through several pointers are Opaque.
type Type struct {
	Kind TypeKind
	Name string // the outermost typedef's, or its own; may be empty
	Tag  string // without typedefs
	Size uint64
	Elem *Type // of Pointer, Array and Vector
	// Count is the number of elements of an array or vector.
	Count      uint64
	Members    []Member // of Struct and Union, bases first
	Enums      []Enumerator
	Signed     bool // of Enum: its values are
	Extended   bool // of Float and Complex: of the 10 bytes of the x87, in 16
	Reference  bool // a pointer that is written as a reference
	Incomplete bool // declared only

	// align is the alignment of a variable of the type; natural is that of
	// AAPCS64, 6.8.2: before __attribute__((aligned)) on the whole type.
	align, natural uint64
	// indirect is a class that a copy constructor or destructor has to see at
	// its address.
	indirect bool
	unsure   string // why it is not known how it is passed
	class    bool   // of C++, where empty means one byte
}

// Member is a member or base class.
type Member struct {
	Name   string // empty for bases and anonymous members
	Type   *Type
	Offset uint64
	// BitSize is that of a bit field, which begins BitOffset bits above bit 0
	// of byte 0; otherwise 0.
	BitSize, BitOffset uint64
	Base               bool
}

// Enumerator is a name of a value of an enumeration.
type Enumerator struct {
	Name  string
	Value int64
}

// debugInfo is the DWARF of an object, read when it is first asked for.
type debugInfo struct {
	options Options
	mu      sync.Mutex
	opened  bool
	err     error
	data    *dwarfData
}

// Signature gives the parameters and the result of the function at a site. It
// can be asked by several goroutines at once.
func (im *Image) Signature(site Site) (sig *Signature, err error) {
	name := im.SiteName(site)
	defer func() {
		// debug/dwarf promises nothing about malformed files.
		if p := recover(); p != nil {
			sig, err = nil, fmt.Errorf("read debug information of %s in %s: malformed: %v", name, im.Path, p)
		}
	}()
	im.debug.mu.Lock()
	defer im.debug.mu.Unlock()
	im.debug.once(im)
	if im.debug.err != nil {
		return nil, fmt.Errorf("read debug information of %s in %s: %w", name, im.Path, im.debug.err)
	}
	sig, err = im.signature(im.debug.data, site)
	if err != nil {
		return nil, fmt.Errorf("read debug information of %s in %s: %w", name, im.Path, err)
	}
	return sig, nil
}

// NoDWARF is why the object has no signatures at all; nil if it has some.
func (im *Image) NoDWARF() error {
	im.debug.mu.Lock()
	defer im.debug.mu.Unlock()
	im.debug.once(im)
	if im.debug.err != nil {
		return fmt.Errorf("read debug information of %s: %w", im.Path, im.debug.err)
	}
	return nil
}

// once opens the DWARF when it is first asked for.
func (d *debugInfo) once(im *Image) {
	if d.opened {
		return
	}
	d.opened = true
	defer func() {
		if p := recover(); p != nil {
			d.err = fmt.Errorf("malformed: %v", p)
		}
	}()
	if d.data, d.err = im.openDWARF(); d.err == nil {
		d.data.findGlobals(im.tables)
	}
}

// openDWARF reads the debug sections of the object or of its debug file.
func (im *Image) openDWARF() (*dwarfData, error) {
	f, err := newELF(im.file)
	if err != nil {
		return nil, err
	}
	if hasDebugInfo(f) {
		return newDWARF(f)
	}
	d := searchDebugFile(f, im, im.debug.options)
	if d == nil {
		return nil, ErrNoDWARF
	}
	defer d.Close()
	if !hasDebugInfo(d.elf) {
		return nil, ErrNoDWARF
	}
	return newDWARF(d.elf)
}

func hasDebugInfo(f *elf.File) bool {
	for _, name := range []string{".debug_info", ".zdebug_info"} {
		if s := f.Section(name); s != nil && s.Type != elf.SHT_NOBITS && s.Size > 0 {
			return true
		}
	}
	return false
}

// dwarfData is the parsed headers of DWARF, and what was found in it so far.
type dwarfData struct {
	dwarf  *dwarf.Data
	reader *dwarf.Reader
	// budget is how many entries the question at hand may still read.
	budget int

	units     []unit      // sorted by die
	ranges    []unitRange // sorted by low
	ranged    int         // ranges that were read, see spend
	typeUnits map[uint64]dwarf.Offset
	known     map[typeKey]*Type
	split     bool     // a unit says that it is in another file
	globals   []uint64 // addresses of functions that are no local symbols
	symbols   bool     // there are local symbols, too
	// Sections that debug/dwarf does not read.
	loc, loclists, addr []byte
}

// maxQuestion bounds the entries that are read for one signature, besides the
// search for its function.
const maxQuestion = 1 << 18

func newDWARF(f *elf.File) (*dwarfData, error) {
	total := uint64(0)
	for _, s := range f.Sections {
		if len(s.Name) > 6 && (s.Name[:6] == ".debug" || s.Name[:7] == ".zdebug") {
			if s.Size > maxDWARF || total+s.Size > maxDWARF {
				return nil, fmt.Errorf("more than %d MiB of it", maxDWARF>>20)
			}
			total += s.Size
		}
	}
	data, err := f.DWARF()
	if err != nil {
		return nil, err
	}
	d := &dwarfData{dwarf: data, reader: data.Reader(), budget: maxUnits, typeUnits: make(map[uint64]dwarf.Offset)}
	for name, to := range map[string]*[]byte{".debug_loc": &d.loc, ".debug_loclists": &d.loclists, ".debug_addr": &d.addr} {
		if s := f.Section(name); s != nil && s.Type != elf.SHT_NOBITS {
			if *to, err = s.Data(); err != nil {
				return nil, fmt.Errorf("section %s: %w", name, err)
			}
		}
	}
	info := f.Section(".debug_info")
	if info == nil {
		info = f.Section(".zdebug_info")
	}
	return d, d.readUnits(info)
}
