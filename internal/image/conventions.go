package image

import (
	"debug/dwarf"
	"debug/elf"
	"io"
)

// conventions are the calling conventions, by their DW_CC_LLVM_ numbers in LLVM's
// Dwarf.def, in which x9 to x15 belong to the caller or carry arguments. Only
// clang has them on arm64, and only clang writes them into DWARF.
var conventions = map[int64]string{
	0xc9: "preserve_most",
	0xca: "preserve_all",
	0xcd: "preserve_none",
}

// Limits of the DWARF that is looked through. Beyond, LiveIn has to do.
const (
	maxDWARF        = 512 << 20
	maxDWARFEntries = 1 << 24
)

// specialConventions gives the calling conventions of the functions that have
// one of those above, by the functions' addresses. What cannot be read says
// nothing: DWARF only adds to what the code shows.
func specialConventions(f *elf.File) map[uint64]string {
	if !mayHaveConventions(f) {
		return nil
	}
	data, err := f.DWARF()
	if err != nil {
		return nil
	}
	found := make(map[uint64]string)
	byOffset := make(map[dwarf.Offset]string)  // declarations
	waiting := make(map[uint64][]dwarf.Offset) // bodies: what they refer to
	r := data.Reader()
	for range maxDWARFEntries {
		// One by one: SkipChildren follows DW_AT_sibling, which may lead
		// backwards, for ever.
		entry, err := r.Next()
		if entry == nil || err != nil {
			break
		}
		if entry.Tag != dwarf.TagSubprogram {
			continue
		}
		number, _ := entry.Val(dwarf.AttrCalling).(int64)
		name, special := conventions[number]
		low, hasCode := entry.Val(dwarf.AttrLowpc).(uint64)
		switch {
		case special && hasCode:
			found[low] = name
		case special:
			byOffset[entry.Offset] = name
		case hasCode:
			for _, attr := range []dwarf.Attr{dwarf.AttrAbstractOrigin, dwarf.AttrSpecification} {
				if to, ok := entry.Val(attr).(dwarf.Offset); ok {
					waiting[low] = append(waiting[low], to)
				}
			}
		}
	}
	for low, offsets := range waiting {
		for _, to := range offsets {
			if name, ok := byOffset[to]; ok {
				found[low] = name
			}
		}
	}
	return found
}

// mayHaveConventions looks through the abbreviations, which are a small part of
// DWARF, for a subprogram that has a calling convention.
func mayHaveConventions(f *elf.File) bool {
	total := uint64(0)
	for _, s := range f.Sections {
		if len(s.Name) > 6 && (s.Name[:6] == ".debug" || s.Name[:7] == ".zdebug") {
			if s.Size > maxDWARF {
				return false
			}
			total += s.Size
		}
	}
	abbrev := f.Section(".debug_abbrev")
	if abbrev == nil || total > maxDWARF {
		return false
	}
	data, err := io.ReadAll(io.LimitReader(abbrev.Open(), maxDWARF))
	if err != nil {
		return false
	}
	for len(data) > 0 {
		has, rest, ok := nextAbbreviation(data)
		if has || !ok {
			return has
		}
		data = rest
	}
	return false
}

// nextAbbreviation reads one entry of .debug_abbrev or the end of a unit's list
// (DWARF 5, section 7.5.3), and reports whether it is a subprogram with a calling
// convention.
func nextAbbreviation(data []byte) (has bool, rest []byte, ok bool) {
	const formImplicitConst = 0x21
	code, data, ok := uleb(data)
	if !ok || code == 0 {
		return false, data, ok
	}
	tag, data, ok := uleb(data)
	if !ok || len(data) == 0 {
		return false, nil, false
	}
	data = data[1:] // has children
	for {
		var attr, form uint64
		if attr, data, ok = uleb(data); !ok {
			return false, nil, false
		}
		if form, data, ok = uleb(data); !ok {
			return false, nil, false
		}
		if form == formImplicitConst {
			if _, data, ok = uleb(data); !ok {
				return false, nil, false
			}
		}
		if attr == 0 && form == 0 {
			return has, data, true
		}
		has = has || dwarf.Tag(tag) == dwarf.TagSubprogram && dwarf.Attr(attr) == dwarf.AttrCalling
	}
}

// uleb reads a LEB128 number; what is beyond 64 bits is cut off.
func uleb(data []byte) (value uint64, rest []byte, ok bool) {
	for i, b := range data {
		if shift := 7 * i; shift < 64 {
			value |= uint64(b&0x7f) << shift
		}
		if b&0x80 == 0 {
			return value, data[i+1:], true
		}
	}
	return 0, nil, false
}
