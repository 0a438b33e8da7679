package livepatch

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"

	"nopal/internal/image"
)

// exports is what an object offers to others, read by its program headers: a
// stripped object has nothing else.
type exports struct {
	im       *image.Image
	symtab   uint64
	strtab   uint64
	strsize  uint64
	count    uint64
	versions uint64
	rela     [2]uint64 // address, size
	jmprel   [2]uint64
}

// maxSymbols is more than any library exports.
const maxSymbols = 1 << 22

func readExports(im *image.Image) (*exports, error) {
	e := &exports{im: im}
	if im.Dynamic == 0 {
		return e, nil
	}
	var hash, gnuHash uint64
	for at := im.Dynamic; at+16 <= im.Dynamic+im.DynamicSize; at += 16 {
		tag, err := e.word(at)
		if err != nil {
			return nil, err
		}
		v, err := e.word(at + 8)
		if err != nil {
			return nil, err
		}
		switch elf.DynTag(tag) {
		case elf.DT_SYMTAB:
			e.symtab = v
		case elf.DT_STRTAB:
			e.strtab = v
		case elf.DT_STRSZ:
			e.strsize = v
		case elf.DT_HASH:
			hash = v
		case elf.DT_GNU_HASH:
			gnuHash = v
		case elf.DT_VERSYM:
			e.versions = v
		case elf.DT_RELA:
			e.rela[0] = v
		case elf.DT_RELASZ:
			e.rela[1] = v
		case elf.DT_JMPREL:
			e.jmprel[0] = v
		case elf.DT_PLTRELSZ:
			e.jmprel[1] = v
		}
	}
	var err error
	switch {
	case hash != 0:
		var head [8]byte
		_, err = im.ReadVA(head[:], hash)
		e.count = uint64(binary.LittleEndian.Uint32(head[4:]))
	case gnuHash != 0:
		e.count, err = e.countGNU(gnuHash)
	}
	if err == nil && e.count > maxSymbols {
		err = errors.New("too many symbols")
	}
	return e, err
}

func (e *exports) word(va uint64) (uint64, error) {
	var p [8]byte
	_, err := e.im.ReadVA(p[:], va)
	return binary.LittleEndian.Uint64(p[:]), err
}

func (e *exports) half(va uint64) (uint32, error) {
	var p [4]byte
	_, err := e.im.ReadVA(p[:], va)
	return binary.LittleEndian.Uint32(p[:]), err
}

// countGNU finds the last symbol of a DT_GNU_HASH, which has no count: the end
// of the chain of the bucket with the highest symbol.
func (e *exports) countGNU(at uint64) (uint64, error) {
	var head [16]byte
	if _, err := e.im.ReadVA(head[:], at); err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	buckets, first, bloom := uint64(le.Uint32(head[:])), uint64(le.Uint32(head[4:])), uint64(le.Uint32(head[8:]))
	if buckets > maxSymbols || bloom > maxSymbols {
		return 0, errors.New("malformed table of symbols")
	}
	table := make([]byte, buckets*4)
	if _, err := e.im.ReadVA(table, at+16+bloom*8); err != nil {
		return 0, err
	}
	last := uint64(0)
	for i := range buckets {
		last = max(last, uint64(le.Uint32(table[i*4:])))
	}
	if last < first {
		return first, nil
	}
	chains := at + 16 + bloom*8 + buckets*4
	for ; last < maxSymbols; last++ {
		h, err := e.half(chains + (last-first)*4)
		if err != nil {
			return 0, err
		}
		if h&1 != 0 {
			return last + 1, nil
		}
	}
	return 0, errors.New("malformed table of symbols")
}

// exported is what an object has under a name.
type exported struct {
	va  uint64
	typ elf.SymType
}

// find finds exported symbols by name. All names are looked for in one pass.
func (e *exports) find(names map[string]bool) (map[string]exported, error) {
	found := make(map[string]exported)
	if e.count == 0 || e.strsize > maxFile {
		return found, nil
	}
	symbols := make([]byte, e.count*24)
	if _, err := e.im.ReadVA(symbols, e.symtab); err != nil {
		return nil, err
	}
	strings := make([]byte, e.strsize)
	if _, err := e.im.ReadVA(strings, e.strtab); err != nil {
		return nil, err
	}
	var versions []byte
	if e.versions != 0 {
		versions = make([]byte, e.count*2)
		if _, err := e.im.ReadVA(versions, e.versions); err != nil {
			return nil, err
		}
	}
	le := binary.LittleEndian
	for i := range e.count {
		s := symbols[i*24:]
		section, bind := elf.SectionIndex(le.Uint16(s[6:])), elf.ST_BIND(s[4])
		at := uint64(le.Uint32(s))
		if section == elf.SHN_UNDEF || section == elf.SHN_ABS || bind == elf.STB_LOCAL || at >= e.strsize {
			continue
		}
		end := at
		for end < e.strsize && strings[end] != 0 {
			end++
		}
		name := string(strings[at:end])
		if !names[name] {
			continue
		}
		const hidden = 0x8000 // not the version that a program is linked with today
		if versions != nil && le.Uint16(versions[i*2:])&hidden != 0 {
			if _, have := found[name]; have {
				continue
			}
		} else if versions != nil {
			delete(found, name)
		}
		if _, have := found[name]; !have {
			found[name] = exported{le.Uint64(s[8:]), elf.ST_TYPE(s[4])}
		}
	}
	return found, nil
}

// chosen finds the word in which an object keeps what an indirect function has
// chosen: it is relocated with the address of the resolver.
func (e *exports) chosen(resolver uint64) (slot uint64, ok bool) {
	for _, table := range [][2]uint64{e.jmprel, e.rela} {
		if table[1] > maxFile {
			continue
		}
		data := make([]byte, table[1])
		if _, err := e.im.ReadVA(data, table[0]); table[0] == 0 || err != nil {
			continue
		}
		le := binary.LittleEndian
		for ; len(data) >= 24; data = data[24:] {
			if elf.R_AARCH64(uint32(le.Uint64(data[8:]))) == elf.R_AARCH64_IRELATIVE && le.Uint64(data[16:]) == resolver {
				return le.Uint64(data), true
			}
		}
	}
	return 0, false
}

// covers reports whether an address of a process lies in an object.
func (m Mapped) covers(addr uint64) bool {
	for _, s := range m.Image.Segments {
		if addr-m.Bias-s.VA < s.Memsz {
			return true
		}
	}
	return false
}

// reach gives the range of an object's code.
func (m Mapped) reach() (lo, hi uint64, err error) {
	for _, s := range m.Image.Segments {
		if s.Flags&elf.PF_X == 0 {
			continue
		}
		if hi == 0 {
			lo = s.VA
		}
		lo, hi = min(lo, s.VA), max(hi, s.VA+s.Memsz)
	}
	if hi == 0 {
		return 0, 0, fmt.Errorf("%s has no code", m.Image.Path)
	}
	return m.Bias + lo, m.Bias + hi, nil
}
