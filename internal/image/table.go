package image

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
)

// tableSection is where GCC and clang put the address of each patch area. It is
// allocated, so it survives strip, but it is found only through section headers.
const tableSection = "__patchable_function_entries"

// tableEntries gives the addresses in all tables with the name of a section, sorted,
// each once. ok is false where the object has no table.
func (im *Image) tableEntries(f *elf.File, section string) (entries []uint64, ok bool, err error) {
	var tables []table
	for _, s := range f.Sections {
		if s.Name != section || s.Type == elf.SHT_NOBITS || s.Size == 0 {
			continue
		}
		data, err := readSection(s)
		if err != nil {
			return nil, false, fmt.Errorf("read sites: %w", err)
		}
		tables = append(tables, table{s.Addr, data})
	}
	if len(tables) == 0 {
		return nil, false, nil
	}
	if f.Type == elf.ET_DYN {
		if err := im.relocate(tables); err != nil {
			return nil, false, fmt.Errorf("read relocations of sites: %w", err)
		}
	}
	for _, t := range tables {
		for data := t.data; len(data) >= 8; data = data[8:] {
			entries = append(entries, binary.LittleEndian.Uint64(data))
		}
	}
	slices.Sort(entries)
	return slices.Compact(entries), true, nil
}

// table is one section of entries, as loaded at va.
type table struct {
	va   uint64
	data []byte
}

// slot gives the entry that the loader would relocate at va, if va is one.
func slot(tables []table, va uint64) []byte {
	for _, t := range tables {
		if at := va - t.va; va >= t.va && at < uint64(len(t.data)) && at+8 <= uint64(len(t.data)) {
			return t.data[at : at+8]
		}
	}
	return nil
}

// relocate does what the loader does at load address 0. Relocations come with
// addends of their own (RELA: the linker may leave zeros in place) or take what
// is in place (RELR: nothing to do then). An entry without a relocation stays:
// linkers leave one, mostly 0, of a function that they dropped.
func (im *Image) relocate(tables []table) error {
	const relaSize = 24
	abs64, relative := im.isa().relocations()
	tags := im.dynamicTags()
	size := tags[elf.DT_RELASZ]
	if size == 0 {
		return nil
	}
	rela := im.readVASize(tags[elf.DT_RELA], size)
	if rela == nil {
		return fmt.Errorf("no %d bytes at %#x", size, tags[elf.DT_RELA])
	}
	for ; len(rela) >= relaSize; rela = rela[relaSize:] {
		at := slot(tables, binary.LittleEndian.Uint64(rela))
		if at == nil {
			continue
		}
		info := binary.LittleEndian.Uint64(rela[8:])
		value := binary.LittleEndian.Uint64(rela[16:])
		switch uint32(info) {
		case relative:
		case abs64:
			base, ok := im.dynamicSymbol(info >> 32)
			if !ok {
				continue
			}
			value += base
		default:
			continue
		}
		binary.LittleEndian.PutUint64(at, value)
	}
	return nil
}

// dynamicSymbol gives the address of symbol number i of .dynsym.
func (im *Image) dynamicSymbol(i uint64) (va uint64, ok bool) {
	for _, t := range im.tables {
		if t.dynamic && i < uint64(t.len()) {
			return t.at(int(i)).address()
		}
	}
	return 0, false
}
