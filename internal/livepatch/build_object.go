package livepatch

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// objectFile is a relocatable file, as a compiler makes it.
type objectFile struct {
	path     string
	sections []*section // by number; nil where it is not part of a program in memory
	symbols  []*symbol  // by number
	// anchors: the compiler may address several things of a section from one place
	// in it. clang does so only by symbols.
	anchors bool
}

// section is a piece of an object that comes into memory.
type section struct {
	obj      *objectFile
	name     string
	flags    elf.SectionFlag
	align    uint64
	entsize  uint64
	size     uint64
	data     []byte // nil: zeros
	relocs   []reloc
	units    []*unit // what is in it, by offset, without a gap
	marks    []mark  // its mapping symbols
	comdat   bool    // another object has brought the same
	signed   string  // the name of its comdat group
	out      uint64  // where it lies in the patch
	placed   bool
	original *block // not nil: it is the target's own data
}

func (s *section) executable() bool { return s.flags&elf.SHF_EXECINSTR != 0 }

// variable reports whether the section is written while a program runs. What
// only the dynamic linker writes (RELRO) is not.
func (s *section) variable() bool {
	return s.flags&elf.SHF_WRITE != 0 && !strings.HasPrefix(s.name, ".data.rel.ro") && s.flags&elf.SHF_TLS == 0
}

func (s *section) String() string { return s.obj.path + ": " + s.name }

// mark is a mapping symbol: from here on there is code, or data.
type mark struct {
	off  uint64
	code bool
}

// isCode reports whether there are instructions at an offset.
func (s *section) isCode(off uint64) bool {
	i, found := slices.BinarySearchFunc(s.marks, off, func(m mark, off uint64) int { return cmp.Compare(m.off, off) })
	if !found {
		i--
	}
	return i < 0 || s.marks[i].code
}

// reloc is a reference from an offset of a section to a symbol.
type reloc struct {
	off    uint64
	typ    elf.R_AARCH64
	sym    *symbol
	addend int64
}

// symbol is a symbol of an object.
type symbol struct {
	obj         *objectFile
	name, file  string
	typ         elf.SymType
	bind        elf.SymBind
	index       elf.SectionIndex
	value, size uint64
	sec         *section // nil if it is not defined in a section of the program
	old         *oldSymbol
	variant     bool // keeps other registers than most functions
	sourced     bool // file is what the user said
}

func (s *symbol) defined() bool { return s.index != elf.SHN_UNDEF && s.index != elf.SHN_COMMON }

func (s *symbol) local() bool { return s.bind == elf.STB_LOCAL }

// unit is a piece of a section that comes along or not: a function, what lies
// between functions, or a whole section of data.
type unit struct {
	sec       *section
	off, size uint64
	fn        *symbol // nil: no function
	old       *oldSymbol
	fate      fate
	live      bool
	frames    []*frame
	gate      *section // by which it is entered; nil if it has none
}

func (u *unit) end() uint64 { return u.off + u.size }

// name is for messages.
func (u *unit) name() string {
	if u.fn != nil {
		return u.fn.name
	}
	return fmt.Sprintf("%s+%#x", u.sec.name, u.off)
}

// fate is what a patch makes of a function.
type fate uint8

const (
	along     fate = iota // it is new, and comes along if something refers to it
	replaces              // it replaces the function of that name
	unchanged             // the target has the same
	kept                  // the target's is to stay
	piece                 // a part of another function that the compiler moved away
)

// unitAt gives what lies at an offset of a section.
func (s *section) unitAt(off uint64) *unit {
	i, found := slices.BinarySearchFunc(s.units, off, func(u *unit, off uint64) int { return cmp.Compare(u.off, off) })
	if !found {
		i--
	}
	if i < 0 || off > s.units[i].end() {
		return nil
	}
	return s.units[i]
}

// relocsIn gives the relocations of [from, to).
func (s *section) relocsIn(from, to uint64) []reloc {
	at := func(off uint64) int {
		i, _ := slices.BinarySearchFunc(s.relocs, off, func(r reloc, off uint64) int { return cmp.Compare(r.off, off) })
		return i
	}
	return s.relocs[at(from):max(at(from), at(to))]
}

// maxObject is the largest object that is read.
const maxObject = 512 << 20

// openObject reads a relocatable file.
func openObject(path string) (*objectFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open object: %w", err)
	}
	defer f.Close()
	o, err := readObject(f, path)
	if err != nil {
		return nil, fmt.Errorf("read object %s: %w", path, err)
	}
	return o, nil
}

func readObject(file *os.File, path string) (*objectFile, error) {
	if info, err := file.Stat(); err != nil {
		return nil, err
	} else if info.Size() > maxObject {
		return nil, errors.New("it is too large")
	}
	f, err := elf.NewFile(file)
	if err != nil {
		return nil, err
	}
	switch {
	case f.Machine != elf.EM_AARCH64 || f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB:
		return nil, fmt.Errorf("it is for %v: only arm64 (aarch64, 64-bit, little-endian) can be patched", f.Machine)
	case f.Type != elf.ET_REL:
		return nil, errors.New("it is linked already: give the object files that the compiler makes with -c (or link them with -r)")
	}
	o := &objectFile{path: path, sections: make([]*section, len(f.Sections)), anchors: true}
	if s := f.Section(".comment"); s != nil && s.Size < 1<<16 {
		made, err := s.Data()
		o.anchors = err != nil || !bytes.Contains(made, []byte("clang version"))
	}
	for i, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		if s.Flags&elf.SHF_COMPRESSED != 0 || s.Size > maxObject || s.Addralign > 1<<16 || s.Addralign&(s.Addralign-1) != 0 {
			return nil, fmt.Errorf("section %s is malformed", s.Name)
		}
		sec := &section{obj: o, name: s.Name, flags: s.Flags, align: max(s.Addralign, 1), entsize: s.Entsize, size: s.Size}
		if s.Type != elf.SHT_NOBITS {
			if sec.data, err = s.Data(); err != nil {
				return nil, fmt.Errorf("section %s: %w", s.Name, err)
			}
			if uint64(len(sec.data)) != s.Size {
				return nil, fmt.Errorf("section %s is not all there", s.Name)
			}
		}
		o.sections[i] = sec
	}
	if err := o.readSymbols(f); err != nil {
		return nil, err
	}
	for _, s := range f.Sections {
		if err := o.readSpecial(f, s); err != nil {
			return nil, fmt.Errorf("section %s: %w", s.Name, err)
		}
	}
	for _, s := range o.sections {
		if s != nil {
			o.divide(s)
		}
	}
	return o, nil
}

func (o *objectFile) readSymbols(f *elf.File) error {
	symbols, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return err
	}
	o.symbols = append(o.symbols, &symbol{obj: o}) // number 0 refers to nothing
	file := ""
	for _, e := range symbols {
		s := &symbol{obj: o, name: e.Name, typ: elf.ST_TYPE(e.Info), bind: elf.ST_BIND(e.Info), index: e.Section, value: e.Value, size: e.Size, variant: isVariant(e.Other)}
		o.symbols = append(o.symbols, s)
		if s.typ == elf.STT_FILE {
			file = s.name
			continue
		}
		s.file = file
		if e.Section < elf.SHN_LORESERVE && int(e.Section) < len(o.sections) {
			s.sec = o.sections[e.Section]
		}
		if s.sec == nil {
			continue
		}
		if s.value > s.sec.size {
			return fmt.Errorf("symbol %s lies outside of its section", s.name)
		}
		if s.typ == elf.STT_SECTION {
			s.name = s.sec.name
		}
		if s.typ == elf.STT_NOTYPE && s.local() && isMapping(s.name) {
			s.sec.marks = append(s.sec.marks, mark{s.value, s.name[1] == 'x'})
		}
	}
	for _, s := range o.sections {
		if s != nil {
			slices.SortStableFunc(s.marks, func(a, b mark) int { return cmp.Compare(a.off, b.off) })
		}
	}
	return nil
}

// isMapping recognises $x and $d, also as $x.3 (aaelf64, section 5.5.5).
func isMapping(name string) bool {
	return len(name) >= 2 && name[0] == '$' && (name[1] == 'x' || name[1] == 'd') && (len(name) == 2 || name[2] == '.')
}

// readSpecial reads relocations and comdat groups.
func (o *objectFile) readSpecial(f *elf.File, s *elf.Section) error {
	le := binary.LittleEndian
	switch s.Type {
	case elf.SHT_REL:
		return errors.New("relocations without addends")
	case elf.SHT_GROUP:
		data, err := s.Data()
		if err != nil || len(data) < 4 {
			return errors.Join(errors.New("malformed"), err)
		}
		if le.Uint32(data) != 1 || int(s.Info) >= len(o.symbols) { // GRP_COMDAT
			return nil
		}
		sign := o.symbols[s.Info]
		for data = data[4:]; len(data) >= 4; data = data[4:] {
			if i := int(le.Uint32(data)); i < len(o.sections) && o.sections[i] != nil {
				o.sections[i].signed = sign.name
			}
		}
	case elf.SHT_RELA:
		if int(s.Info) >= len(o.sections) || o.sections[s.Info] == nil {
			return nil
		}
		data, err := s.Data()
		if err != nil {
			return err
		}
		to := o.sections[s.Info]
		for ; len(data) >= 24; data = data[24:] {
			info := le.Uint64(data[8:])
			r := reloc{le.Uint64(data), elf.R_AARCH64(uint32(info)), nil, int64(le.Uint64(data[16:]))}
			if info>>32 >= uint64(len(o.symbols)) || r.off >= to.size {
				return errors.New("malformed")
			}
			size := uint64(4) // of an instruction
			if h, known := howtos[r.typ]; known {
				size = h.size()
			}
			if to.size-r.off < size || to.data == nil || to.flags&elf.SHF_EXECINSTR != 0 && r.off%4 != 0 && size == 4 {
				return errors.New("malformed")
			}
			r.sym = o.symbols[info>>32]
			if r.typ != elf.R_AARCH64_NONE {
				to.relocs = append(to.relocs, r)
			}
		}
		slices.SortStableFunc(to.relocs, func(a, b reloc) int { return cmp.Compare(a.off, b.off) })
	}
	return nil
}

// divide finds the units of a section.
func (o *objectFile) divide(s *section) {
	if !s.executable() {
		s.units = []*unit{{sec: s, size: s.size}}
		return
	}
	best := make(map[uint64]*symbol)
	for _, y := range o.symbols {
		if y.sec == s && (y.typ == elf.STT_FUNC || y.typ == elf.STT_GNU_IFUNC) && (best[y.value] == nil || best[y.value].local() && !y.local()) {
			best[y.value] = y
		}
	}
	var starts []*symbol
	for _, y := range best {
		starts = append(starts, y)
	}
	slices.SortFunc(starts, func(a, b *symbol) int { return cmp.Compare(a.value, b.value) })
	at := uint64(0)
	for i, y := range starts {
		if y.value < at { // inside of the one before
			continue
		}
		if y.value > at {
			s.units = append(s.units, &unit{sec: s, off: at, size: y.value - at})
		}
		next := s.size
		if i+1 < len(starts) {
			next = starts[i+1].value
		}
		u := &unit{sec: s, off: y.value, size: min(y.size, s.size-y.value), fn: y}
		if y.size == 0 {
			u.size = next - y.value
		}
		if isPiece(y.name) {
			u.fate = piece
		}
		s.units = append(s.units, u)
		at = u.end()
	}
	if at < s.size {
		s.units = append(s.units, &unit{sec: s, off: at, size: s.size - at})
	}
}

// isPiece reports whether a symbol is what GCC or clang moved out of a function.
func isPiece(name string) bool { _, ok := pieceOf(name); return ok }

// pieceOf gives the function that a part was moved out of.
func pieceOf(name string) (string, bool) {
	if at := strings.Index(name, ".cold"); at > 0 {
		return name[:at], true
	}
	return "", false
}
