package image

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"slices"
	"sort"

	"nopal/internal/arch/arm64"
)

// mappings is what the mapping symbols $x and $d say (AAELF64, 5.5.5): each holds
// up to the next of its section.
type mappings struct {
	first []uint64 // of each executable section: the first $x, or its end
	data  []arm64.Range
}

// cover reports whether mapping symbols say of va what it is.
func (m *mappings) cover(c *code, va uint64) bool {
	for i := range c.parts {
		if off := va - c.parts[i].va; va >= c.parts[i].va && off < uint64(len(c.parts[i].data)) {
			return va >= m.first[i]
		}
	}
	return false
}

// mappings reads the mapping symbols of the code.
func (im *Image) mappings(c *code) mappings {
	type symbol struct {
		va   uint64
		data bool
	}
	var all []symbol
	for _, t := range im.tables {
		for i := range t.len() {
			kind := t.mapping(i)
			if kind == 0 {
				continue
			}
			if va := t.at(i).value; c.contains(va) {
				all = append(all, symbol{va, kind == 'd'})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b symbol) int { return cmp.Compare(a.va, b.va) })
	var m mappings
	for _, p := range c.parts {
		end := p.va + uint64(len(p.data))
		first := end
		from := sort.Search(len(all), func(i int) bool { return all[i].va >= p.va })
		for i := from; i < len(all) && all[i].va < end; i++ {
			s := all[i]
			next := end
			if i+1 < len(all) {
				next = min(end, all[i+1].va)
			}
			switch {
			case !s.data:
				first = min(first, s.va)
			case next > s.va:
				m.data = append(m.data, arm64.Range{Start: s.va, End: next})
			}
		}
		m.first = append(m.first, first)
	}
	slices.SortFunc(m.data, func(a, b arm64.Range) int { return cmp.Compare(a.Start, b.Start) })
	return m
}

// mapping gives 'x' or 'd' for a mapping symbol, $x, $d, $x.foo, and else 0.
func (t symbolTable) mapping(i int) byte {
	e := t.entries[i*symbolSize:]
	if elf.ST_TYPE(e[4]) != elf.STT_NOTYPE || elf.ST_BIND(e[4]) != elf.STB_LOCAL {
		return 0
	}
	at := uint64(binary.LittleEndian.Uint32(e))
	if at+2 >= uint64(len(t.names)) || t.names[at] != '$' {
		return 0
	}
	kind, next := t.names[at+1], t.names[at+2]
	if kind != 'x' && kind != 'd' || next != 0 && next != '.' {
		return 0
	}
	return kind
}

// isTaken reports whether data of the object holds a code address from start up
// to, not including, end.
func (x *exitIndex) isTaken(start, end uint64) bool {
	if !x.looked {
		x.looked = true
		x.taken = x.im.takenAddresses(x.code)
	}
	i := sort.Search(len(x.taken), func(i int) bool { return x.taken[i] >= start })
	return i < len(x.taken) && x.taken[i] < end
}

// takenAddresses gives, sorted, all addresses in the code that data holds once
// the object is loaded: where relocations put them, and in a program at a fixed
// address, which needs none, all words that look like one.
func (im *Image) takenAddresses(c *code) []uint64 {
	var taken []uint64
	add := func(va uint64) {
		if c.contains(va) {
			taken = append(taken, va)
		}
	}
	if im.Type == elf.ET_EXEC {
		for _, s := range im.Segments {
			start := (s.VA + 7) &^ 7
			data := im.readVASize(start, s.Filesz-min(s.Filesz, start-s.VA))
			for ; len(data) >= 8; data = data[8:] {
				add(binary.LittleEndian.Uint64(data))
			}
		}
	}
	const relaSize = 24
	tags := im.dynamicTags()
	rela := im.readVASize(tags[elf.DT_RELA], tags[elf.DT_RELASZ])
	for ; len(rela) >= relaSize; rela = rela[relaSize:] {
		info := binary.LittleEndian.Uint64(rela[8:])
		value := binary.LittleEndian.Uint64(rela[16:])
		switch elf.R_AARCH64(uint32(info)) {
		case elf.R_AARCH64_ABS64:
			base, ok := im.dynamicSymbol(info >> 32)
			if !ok {
				continue
			}
			value += base
		case elf.R_AARCH64_RELATIVE:
		default:
			continue
		}
		add(value)
	}
	im.relativeWords(tags, add)
	slices.Sort(taken)
	return slices.Compact(taken)
}

// relativeWords gives the words that RELR relocates (gABI, "Relative Relocation
// Table"): an even entry is the address of one, an odd one a bit mask of which of
// the 63 words behind the last are relocated too.
func (im *Image) relativeWords(tags map[elf.DynTag]uint64, add func(uint64)) {
	const tagSize, tag = 35, 36 // DT_RELRSZ, DT_RELR
	relr := im.readVASize(tags[tag], tags[tagSize])
	if len(relr) < 8 {
		return
	}
	segments := make([][]byte, len(im.Segments))
	for i, s := range im.Segments {
		if s.Flags&elf.PF_W != 0 {
			segments[i] = im.readVASize(s.VA, s.Filesz)
		}
	}
	word := func(va uint64) {
		for i, s := range im.Segments {
			if at := va - s.VA; va >= s.VA && at < uint64(len(segments[i])) && at+8 <= uint64(len(segments[i])) {
				add(binary.LittleEndian.Uint64(segments[i][at:]))
			}
		}
	}
	next := uint64(0)
	for ; len(relr) >= 8; relr = relr[8:] {
		entry := binary.LittleEndian.Uint64(relr)
		if entry&1 == 0 {
			word(entry)
			next = entry + 8
			continue
		}
		for i := range uint64(63) {
			if entry>>(i+1)&1 != 0 {
				word(next + 8*i)
			}
		}
		next += 63 * 8
	}
}
