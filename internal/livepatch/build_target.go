package livepatch

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"nopal/internal/arch/arm64"
	"nopal/internal/image"
)

// original is the file of the object that is to be patched.
type original struct {
	im          *image.Image
	file        *os.File
	stripped    bool // has no symbol table
	soname      string
	symbols     map[string][]*oldSymbol // defined ones, by name
	stems       map[string][]*oldSymbol // local ones, by the name without the number that the compiler appends
	sites       map[uint64]image.Site   // by the function's entry
	reasons     map[uint64]string       // why a function has no site
	wanted      map[string]bool         // what it has from other objects
	imports     map[string]*imported
	slots       map[uint64]string // GOT slots of imports and of what may be interposed: the name
	stubs       map[uint64]uint64 // PLT stubs: the slot they load
	addends     map[uint64]uint64 // words that the dynamic linker relocates by the bias alone
	indirect    map[uint64]uint64 // slots by the ifunc resolver
	tls         *elf.ProgHeader
	tprels      map[uint64]uint64 // GOT slots with offsets from the thread pointer, by offset in the TLS segment
	handlers    []handlers        // by pc
	descriptors map[uint64]uint64 // of thread-local variables, by offset in the TLS segment
}

// oldSymbol is a function or variable of the target.
type oldSymbol struct {
	name, file string
	va, size   uint64
	typ        elf.SymType
	bind       elf.SymBind
	write      bool // lies in writable memory
}

func (s *oldSymbol) isFunc() bool { return s.typ == elf.STT_FUNC || s.typ == elf.STT_GNU_IFUNC }

// imported is how the target refers to something by name.
type imported struct {
	data uint64 // slot of its GOT with the address; 0: none
	call uint64 // slot that its PLT loads
	plt  uint64 // the stub
	tls  uint64 // slot with the offset from the thread pointer
	// descriptor is a descriptor of a thread-local variable: the address of a
	// function that finds it, and a word for that.
	descriptor uint64
	// canonical is the stub that stands for the function in all of a process, since
	// a program that is not position-independent has taken its address.
	canonical uint64
}

func openOriginal(path string) (o *original, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open target: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	im, err := image.New(file, path, image.Options{})
	if err != nil {
		return nil, err
	}
	o = &original{
		im: im, file: file,
		symbols: make(map[string][]*oldSymbol), stems: make(map[string][]*oldSymbol),
		sites: make(map[uint64]image.Site), reasons: make(map[uint64]string),
		imports: make(map[string]*imported), wanted: make(map[string]bool), slots: make(map[uint64]string), stubs: make(map[uint64]uint64),
		addends: make(map[uint64]uint64), indirect: make(map[uint64]uint64), tprels: make(map[uint64]uint64), descriptors: make(map[uint64]uint64),
	}
	if im.BuildID == "" {
		return nil, fmt.Errorf("open target %s: it has no build-id, so that a patch for it could not be told from one for another: link it with -Wl,--build-id", path)
	}
	for _, s := range im.Sites() {
		if s.Reason == "" {
			o.sites[s.Entry] = s
		} else {
			o.reasons[s.Entry] = s.Reason
		}
	}
	for _, u := range im.Untraceable() {
		o.reasons[im.Funcs()[u.Func].Addr] = u.Reason
	}
	f, err := elf.NewFile(file)
	if err != nil {
		return nil, fmt.Errorf("open target %s: %w", path, err)
	}
	if err := o.read(f); err != nil {
		return nil, fmt.Errorf("open target %s: %w", path, err)
	}
	return o, nil
}

func (o *original) close() error { return o.file.Close() }

func (o *original) read(f *elf.File) error {
	for _, p := range f.Progs {
		if p.Type == elf.PT_TLS {
			o.tls = &p.ProgHeader
		}
	}
	if names, err := f.DynString(elf.DT_SONAME); err == nil && len(names) > 0 {
		o.soname = names[0]
	}
	symbols, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return fmt.Errorf("read symbols: %w", err)
	}
	o.stripped = errors.Is(err, elf.ErrNoSymbols)
	dynamic, err := f.DynamicSymbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return fmt.Errorf("read dynamic symbols: %w", err)
	}
	file := ""
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FILE {
			file = s.Name
		}
		o.add(s, file)
	}
	for _, s := range dynamic {
		o.add(s, "")
	}
	for _, s := range dynamic {
		if s.Section == elf.SHN_UNDEF {
			o.wanted[s.Name] = true
		}
	}
	o.findStubs(f)
	o.readHandlers(f)
	return o.readRelocations(f, dynamic)
}

func (o *original) add(s elf.Symbol, file string) {
	typ, bind := elf.ST_TYPE(s.Info), elf.ST_BIND(s.Info)
	name, _, _ := strings.Cut(s.Name, "@")
	if s.Section == elf.SHN_UNDEF || s.Section >= elf.SHN_LORESERVE || name == "" || isMapping(name) {
		return
	}
	switch typ {
	case elf.STT_NOTYPE, elf.STT_OBJECT, elf.STT_FUNC, elf.STT_GNU_IFUNC, elf.STT_TLS:
	default:
		return
	}
	if bind != elf.STB_LOCAL {
		file = ""
	}
	for _, other := range o.symbols[name] {
		if other.va == s.Value && other.typ == typ {
			return
		}
	}
	y := &oldSymbol{name: name, file: file, va: s.Value, size: s.Size, typ: typ, bind: bind}
	for _, g := range o.im.Segments {
		if y.va-g.VA < g.Memsz {
			y.write = g.Flags&elf.PF_W != 0
		}
	}
	o.symbols[name] = append(o.symbols[name], y)
	if bind == elf.STB_LOCAL {
		o.stems[stem(name)] = append(o.stems[stem(name)], y)
	}
}

// stem is the name of a static variable in a function as it is in the source:
// the compiler appends a number.
func stem(name string) string {
	at := strings.LastIndexByte(name, '.')
	if at <= 0 || at+1 == len(name) || strings.Trim(name[at+1:], "0123456789") != "" {
		return name
	}
	return name[:at]
}

// findStubs finds the PLT by what its stubs do, since linkers lay it out in
// different ways: adrp x16, slot; ldr x17, [x16, slot].
func (o *original) findStubs(f *elf.File) {
	le := binary.LittleEndian
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_EXECINSTR == 0 || s.Type != elf.SHT_PROGBITS || !strings.Contains(s.Name, "plt") {
			continue
		}
		data, err := s.Data()
		if err != nil {
			continue
		}
		for at := 0; at+8 <= len(data); at += 4 {
			adrp, ldr := le.Uint32(data[at:]), le.Uint32(data[at+4:])
			if adrp&0x9f00001f != 0x90000010 || ldr&0xffc003ff != 0xf9400211 {
				continue
			}
			pc := s.Addr + uint64(at)
			slot := pc&^0xfff + referred(data[at:], howtos[elf.R_AARCH64_ADR_PREL_PG_HI21])<<12 + uint64(ldr>>10&0xfff)<<3
			if at >= 4 && le.Uint32(data[at-4:]) == arm64.BtiC {
				pc -= 4
			}
			o.stubs[pc] = slot
		}
	}
}

func (o *original) readRelocations(f *elf.File, dynamic []elf.Symbol) error {
	bySlot := make(map[uint64]uint64)
	for stub, slot := range o.stubs {
		bySlot[slot] = stub
	}
	le := binary.LittleEndian
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA || s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		data, err := s.Data()
		if err != nil {
			return fmt.Errorf("section %s: %w", s.Name, err)
		}
		for ; len(data) >= 24; data = data[24:] {
			at, info, addend := le.Uint64(data), le.Uint64(data[8:]), le.Uint64(data[16:])
			var y elf.Symbol
			if n := info >> 32; n > 0 && n <= uint64(len(dynamic)) {
				y = dynamic[n-1]
			}
			i := o.imports[y.Name]
			if i == nil {
				i = &imported{}
			}
			switch elf.R_AARCH64(uint32(info)) {
			case elf.R_AARCH64_GLOB_DAT:
				i.data = at
				o.slots[at] = y.Name
			case elf.R_AARCH64_JUMP_SLOT:
				i.call, i.plt = at, bySlot[at]
				if y.Section == elf.SHN_UNDEF {
					i.canonical = y.Value
				}
				o.slots[at] = y.Name
			case elf.R_AARCH64_TLS_TPREL64:
				i.tls = at
				if y.Name == "" {
					o.tprels[addend] = at
				} else if y.Section != elf.SHN_UNDEF {
					o.tprels[y.Value+addend] = at
				}
			case elf.R_AARCH64_TLSDESC:
				if y.Name == "" {
					o.descriptors[addend] = at
				} else if y.Section != elf.SHN_UNDEF {
					o.descriptors[y.Value+addend] = at
				}
			case elf.R_AARCH64_ABS64: // in data, which may have another value since
				if addend == 0 {
					o.slots[at] = y.Name
				}
			case elf.R_AARCH64_RELATIVE:
				o.addends[at] = addend
			case elf.R_AARCH64_IRELATIVE:
				o.indirect[addend] = at
			default:
				continue
			}
			if y.Name != "" {
				o.imports[y.Name] = i
			}
		}
	}
	for _, s := range f.Sections {
		if s.Type == elf.SectionType(19) { // SHT_RELR
			if err := o.readPacked(s); err != nil {
				return fmt.Errorf("section %s: %w", s.Name, err)
			}
		}
	}
	return nil
}

// readPacked reads SHT_RELR: addresses of relocated words, and bitmaps of the
// words behind them.
func (o *original) readPacked(s *elf.Section) error {
	data, err := s.Data()
	if err != nil {
		return err
	}
	relocated := func(at uint64) {
		var word [8]byte
		if _, err := o.im.ReadVA(word[:], at); err == nil {
			o.addends[at] = binary.LittleEndian.Uint64(word[:])
		}
	}
	next := uint64(0)
	for ; len(data) >= 8; data = data[8:] {
		w := binary.LittleEndian.Uint64(data)
		if w&1 == 0 {
			relocated(w)
			next = w + 8
			continue
		}
		for i, bits := uint64(0), w>>1; bits != 0; i, bits = i+1, bits>>1 {
			if bits&1 != 0 {
				relocated(next + i*8)
			}
		}
		next += 63 * 8
	}
	return nil
}

// read bytes of the target as they stand in its file.
func (o *original) bytes(va, size uint64) ([]byte, error) {
	if size > maxObject {
		return nil, fmt.Errorf("read %d bytes of the target at %#x: too many", size, va)
	}
	p := make([]byte, size)
	_, err := o.im.ReadVA(p, va)
	return p, err
}

// hash is that of the bytes of a function.
func (o *original) hash(y *oldSymbol) ([32]byte, error) {
	p, err := o.bytes(y.va, y.size)
	return sha256.Sum256(p), err
}

// pieces gives the parts of a function that the compiler moved away. Where
// several functions have the name all their parts are given: too many are safe.
func (o *original) pieces(name string) []*oldSymbol {
	var found []*oldSymbol
	for other, symbols := range o.symbols {
		if of, ok := pieceOf(other); ok && of == name {
			found = append(found, symbols...)
		}
	}
	slices.SortFunc(found, func(a, b *oldSymbol) int { return compareAddress(a.va, b.va) })
	return found
}

func compareAddress(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// padded reports whether an indirect branch may go to a function of the target.
func (o *original) padded(va uint64) bool {
	if !o.im.BTI {
		return true
	}
	p, err := o.bytes(va, 4)
	if err != nil {
		return false
	}
	return arm64.IsCallPad(binary.LittleEndian.Uint32(p))
}

// threadOffset gives how far a thread-local variable is from the thread pointer:
// a constant in a program, whose block is the first behind the two words of the
// thread control block.
func (o *original) threadOffset(y *oldSymbol) (offset uint64, ok bool) {
	if o.tls == nil || o.im.Shared {
		return 0, false
	}
	align := max(o.tls.Align, 1)
	// The block is congruent to its address in the file, modulo its alignment.
	first := (16 + align - 1) &^ (align - 1)
	return first + o.tls.Vaddr&(align-1) + y.va, true
}
