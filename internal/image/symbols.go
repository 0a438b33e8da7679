package image

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// Func is a function, named by a symbol.
type Func struct {
	Name       string // raw, without a symbol version
	Addr, Size uint64
}

// Demangled gives the name as it was written in C++ or Rust, or the raw name.
// It is worked out anew each time: most names of a large object are never shown.
func (f Func) Demangled() string { return Demangle(f.Name) }

// demangleLimit bounds a demangled name to 2^16 bytes: a few bytes of mangled
// name can repeat themselves exponentially.
const demangleLimit = 16

// Demangle gives the C++ or Rust name that a symbol stands for, or the symbol.
func Demangle(name string) string {
	if len(name) < 3 || name[0] != '_' || len(name) > 1<<demangleLimit {
		return name
	}
	return demangle.Filter(name, demangle.MaxLength(demangleLimit))
}

// Funcs gives all functions, sorted by address, with one name for each address.
// The caller must not change them.
func (im *Image) Funcs() []Func { return im.funcs }

// FuncAt gives the function that an address lies in. A function of size 0, as
// assembly has, reaches up to the next one.
func (im *Image) FuncAt(va uint64) (i int, ok bool) {
	i, found := slices.BinarySearchFunc(im.funcs, va, func(f Func, va uint64) int { return cmp.Compare(f.Addr, va) })
	if found {
		return i, true
	}
	i--
	if i < 0 || im.funcs[i].Size != 0 && va-im.funcs[i].Addr >= im.funcs[i].Size {
		return -1, false
	}
	return i, true
}

// DynSym gives the address of a symbol that the object exports.
func (im *Image) DynSym(name string) (va uint64, ok bool) {
	for _, t := range im.tables {
		if t.dynamic {
			if va, ok := t.find(name); ok {
				return va, true
			}
		}
	}
	return 0, false
}

// Symbol gives the address of a symbol of any table, a local one included.
func (im *Image) Symbol(name string) (va uint64, ok bool) {
	for _, t := range im.tables {
		if va, ok := t.find(name); ok {
			return va, true
		}
	}
	return 0, false
}

// symbolTable is a table as it stands in the file. Names are parts of one
// string: an object may have a million of them.
type symbolTable struct {
	dynamic bool
	entries []byte
	names   string
}

// symbolSize is the size of an Elf64_Sym.
const symbolSize = 24

// symbol is an Elf64_Sym with its name.
type symbol struct {
	name        string
	typ         elf.SymType
	bind        elf.SymBind
	section     elf.SectionIndex
	value, size uint64
}

func (t symbolTable) len() int { return len(t.entries) / symbolSize }

// isFunc reports whether symbol i is a function.
func (t symbolTable) isFunc(i int) bool {
	typ := elf.ST_TYPE(t.entries[i*symbolSize+4])
	return typ == elf.STT_FUNC || typ == elf.STT_GNU_IFUNC
}

// at gives symbol i without its name.
func (t symbolTable) at(i int) symbol {
	e := t.entries[i*symbolSize : (i+1)*symbolSize]
	return symbol{
		typ:     elf.ST_TYPE(e[4]),
		bind:    elf.ST_BIND(e[4]),
		section: elf.SectionIndex(binary.LittleEndian.Uint16(e[6:])),
		value:   binary.LittleEndian.Uint64(e[8:]),
		size:    binary.LittleEndian.Uint64(e[16:]),
	}
}

// named gives symbol i with its name.
func (t symbolTable) named(i int) symbol {
	s := t.at(i)
	at := uint64(binary.LittleEndian.Uint32(t.entries[i*symbolSize:]))
	if at < uint64(len(t.names)) {
		name := t.names[at:]
		if end := strings.IndexByte(name, 0); end >= 0 {
			s.name = unversioned(name[:end])
		}
	}
	return s
}

// unversioned cuts what the linker appends to names in .symtab: foo@@VERSION.
func unversioned(name string) string {
	if at := strings.IndexByte(name, '@'); at > 0 {
		return name[:at]
	}
	return name
}

// address gives the address a symbol stands for, if it is defined here.
func (s symbol) address() (va uint64, ok bool) {
	if s.section == elf.SHN_UNDEF || s.section == elf.SHN_ABS || s.section == elf.SHN_COMMON {
		return 0, false
	}
	switch s.typ {
	case elf.STT_NOTYPE, elf.STT_OBJECT, elf.STT_FUNC, elf.STT_GNU_IFUNC:
		return s.value, true
	}
	return 0, false
}

func (t symbolTable) find(name string) (va uint64, ok bool) {
	for i := range t.len() {
		if s := t.named(i); s.name == name {
			if va, ok := s.address(); ok {
				return va, true
			}
		}
	}
	return 0, false
}

// readSymbolTables reads .symtab and .dynsym, whichever there are.
func readSymbolTables(f *elf.File) ([]symbolTable, error) {
	var tables []symbolTable
	for _, s := range f.Sections {
		if s.Type != elf.SHT_SYMTAB && s.Type != elf.SHT_DYNSYM || s.Link >= uint32(len(f.Sections)) {
			continue
		}
		entries, err := readSection(s)
		if err != nil {
			return nil, fmt.Errorf("read symbols: %w", err)
		}
		names, err := readSection(f.Sections[s.Link])
		if err != nil {
			return nil, fmt.Errorf("read symbol names: %w", err)
		}
		tables = append(tables, symbolTable{s.Type == elf.SHT_DYNSYM, entries, string(names)})
	}
	return tables, nil
}

// chooseFuncs makes one list of all tables' functions, with the best name for
// each address.
func chooseFuncs(tables []symbolTable) []Func {
	type key struct { // small, since sorting is most of the work
		addr         uint64
		table, index uint32
	}
	total := 0
	for _, t := range tables {
		total += t.len()
	}
	keys := make([]key, 0, total)
	for at, t := range tables {
		for i := range t.len() {
			if !t.isFunc(i) {
				continue
			}
			if va, ok := t.at(i).address(); ok {
				keys = append(keys, key{va, uint32(at), uint32(i)})
			}
		}
	}
	slices.SortFunc(keys, func(a, b key) int { return cmp.Compare(a.addr, b.addr) })
	funcs := make([]Func, 0, len(keys))
	for len(keys) > 0 {
		best := tables[keys[0].table].named(int(keys[0].index))
		size := best.size
		n := 1
		for ; n < len(keys) && keys[n].addr == keys[0].addr; n++ {
			s := tables[keys[n].table].named(int(keys[n].index))
			size = max(size, s.size)
			if s.better(best) {
				best = s
			}
		}
		if best.name != "" {
			funcs = append(funcs, Func{best.name, best.value, size})
		}
		keys = keys[n:]
	}
	return funcs
}

// better orders the names of one address: by rank, then the shorter.
func (s symbol) better(than symbol) bool {
	order := cmp.Or(cmp.Compare(s.rank(), than.rank()), cmp.Compare(len(s.name), len(than.name)), cmp.Compare(s.name, than.name))
	return order < 0
}

// rank orders names of one address: what is exported before what is local, then
// the name with fewer underscores in front, since in C libraries the plain name
// is often a weak alias of a global __name.
func (s symbol) rank() int {
	underscores := len(s.name) - len(strings.TrimLeft(s.name, "_"))
	rank := min(underscores, 9) * 2
	if s.name == "" {
		rank += 1000
	}
	if s.bind == elf.STB_LOCAL {
		rank += 100
	}
	if s.typ == elf.STT_GNU_IFUNC {
		rank++
	}
	return rank
}
