package image

import (
	"cmp"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// unit is a unit of .debug_info.
type unit struct {
	die     dwarf.Offset // its first entry
	end     dwarf.Offset // of the unit
	version uint16
	wide    bool // 64-bit DWARF

	searched bool
	funcs    []dwarfFunc // sorted by low
	// What its first entry says, once it was read.
	top *dwarf.Entry
}

// unitRange is code that a unit describes.
type unitRange struct {
	low, high uint64
	// reach is the largest high of this and all ranges before it.
	reach uint64
	unit  int
}

// dwarfFunc is an entry of a function with code.
type dwarfFunc struct {
	low, high uint64
	die       dwarf.Offset
}

// attrGNUDwoName is what DW_AT_dwo_name was before DWARF 5.
const attrGNUDwoName = dwarf.Attr(0x2130)

var errSplit = fmt.Errorf("%w: it is in .dwo files (-gsplit-dwarf), which are not read", ErrNoDWARF)

// maxUnits and maxRanges, of units and functions together, are more than the largest
// browsers have. For one function so many ranges are looked at, and units that they are of.
const (
	maxUnits    = 1 << 18
	maxRanges   = 1 << 22
	maxOverlap  = 1 << 16
	maxUnitsFor = 1 << 8
)

// spend counts ranges: many entries may refer to one long list of them.
func (d *dwarfData) spend(ranges int) error {
	if d.ranged += ranges; d.ranged > maxRanges {
		return fmt.Errorf("more than %d ranges of code", maxRanges)
	}
	return nil
}

// readUnits reads the headers of the units (DWARF 5, section 7.5.1), which
// debug/dwarf keeps to itself, and which code each describes.
func (d *dwarfData) readUnits(info *elf.Section) error {
	r := info.Open()
	for at := uint64(0); at+12 < info.Size; {
		if len(d.units) == maxUnits {
			return fmt.Errorf("more than %d units", maxUnits)
		}
		var head [40]byte
		if _, err := r.Seek(int64(at), io.SeekStart); err != nil {
			return err
		}
		if _, err := io.ReadFull(r, head[:]); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		u, next, signature, typeAt := readUnitHeader(head, at)
		if next <= at || next > info.Size {
			return fmt.Errorf("unit at %#x ends at %#x", at, next)
		}
		at = next
		if u.version == 0 {
			continue // padding
		}
		if signature != 0 {
			d.typeUnits[signature] = typeAt
		}
		d.units = append(d.units, u)
	}
	for i := range d.units {
		top, err := d.entry(d.units[i].die)
		if err != nil {
			return err
		}
		d.units[i].top = top
		d.split = d.split || top.AttrField(dwarf.AttrDwoName) != nil || top.AttrField(attrGNUDwoName) != nil
		ranges, err := d.dwarf.Ranges(top)
		if err != nil {
			return err
		}
		if err := d.spend(len(ranges)); err != nil {
			return err
		}
		for _, r := range ranges {
			if r[0] < r[1] {
				d.ranges = append(d.ranges, unitRange{low: r[0], high: r[1], unit: i})
			}
		}
	}
	slices.SortFunc(d.ranges, func(a, b unitRange) int { return cmp.Compare(a.low, b.low) })
	reach := uint64(0)
	for i := range d.ranges {
		reach = max(reach, d.ranges[i].high)
		d.ranges[i].reach = reach
	}
	return nil
}

// readUnitHeader gives the unit at an offset, where the next one begins, and of
// a type unit its signature and where the type is.
func readUnitHeader(head [40]byte, at uint64) (u unit, next, signature uint64, typeAt dwarf.Offset) {
	le := binary.LittleEndian
	length, p := uint64(le.Uint32(head[:])), 4
	word := func() uint64 { return uint64(le.Uint32(head[p:])) }
	size := 4
	if length == 0xffffffff {
		length, p, size = le.Uint64(head[4:]), 12, 8
		word = func() uint64 { return le.Uint64(head[p:]) }
	}
	next = at + uint64(p) + length
	if length == 0 {
		return unit{}, next, 0, 0
	}
	u = unit{version: le.Uint16(head[p:]), wide: size == 8, end: dwarf.Offset(next)}
	p += 2
	kind := uint8(0)
	if u.version >= 5 {
		kind = head[p]
		p += 2
	} else {
		p++
	}
	p += size
	const typeUnit, skeleton, splitCompile, splitType = 2, 4, 5, 6 // DW_UT_
	switch kind {
	case skeleton, splitCompile:
		p += 8
	case typeUnit, splitType:
		signature = le.Uint64(head[p:])
		p += 8
		typeAt = dwarf.Offset(at + word())
		p += size
	}
	u.die = dwarf.Offset(at + uint64(p))
	return u, next, signature, typeAt
}

// unitOf gives the unit that an entry is in.
func (d *dwarfData) unitOf(at dwarf.Offset) *unit {
	i, found := slices.BinarySearchFunc(d.units, at, func(u unit, at dwarf.Offset) int { return cmp.Compare(u.die, at) })
	if !found {
		i--
	}
	if i < 0 || at >= d.units[i].end {
		return nil
	}
	return &d.units[i]
}

// functionsIn gives the functions that begin in an interval, its ends included.
func (d *dwarfData) functionsIn(low, high uint64) ([]dwarfFunc, error) {
	var found []dwarfFunc
	after, _ := slices.BinarySearchFunc(d.ranges, high, func(r unitRange, high uint64) int {
		if r.low <= high {
			return -1
		}
		return 1
	})
	var units []int
	for i := after - 1; i >= 0 && d.ranges[i].reach > low; i-- {
		if after-i > maxOverlap || len(units) > maxUnitsFor {
			return nil, errTooMuch
		}
		if r := d.ranges[i]; r.high > low && !slices.Contains(units, r.unit) {
			units = append(units, r.unit)
		}
	}
	for _, i := range units {
		u := &d.units[i]
		if !u.searched {
			u.searched = true
			if err := d.search(u); err != nil {
				return nil, err
			}
		}
		first, _ := slices.BinarySearchFunc(u.funcs, low, func(f dwarfFunc, low uint64) int { return cmp.Compare(f.low, low) })
		for _, f := range u.funcs[first:] {
			if f.low > high {
				break
			}
			found = append(found, f)
		}
	}
	return found, nil
}

// search finds the functions of a unit.
func (d *dwarfData) search(u *unit) error {
	d.reader.Seek(u.die)
	depth, outer := 0, -1 // outer is the depth of the function that this is inside of
	for {
		e, err := d.reader.Next()
		if err != nil {
			return err
		}
		if e == nil || e.Offset >= u.end {
			break
		}
		if e.Tag == 0 {
			if depth--; depth <= outer {
				outer = -1
			}
			continue
		}
		if e.Tag == dwarf.TagSubprogram {
			ranges, err := d.dwarf.Ranges(e)
			if err != nil {
				return err
			}
			if err := d.spend(len(ranges)); err != nil {
				return err
			}
			for _, r := range ranges {
				u.funcs = append(u.funcs, dwarfFunc{r[0], r[1], e.Offset})
			}
			if outer < 0 {
				outer = depth
			}
		}
		if !e.Children {
			continue
		}
		// A sibling that leads backwards would be followed for ever.
		if to, ok := e.Val(dwarf.AttrSibling).(dwarf.Offset); ok && hasNoCode(e.Tag, outer >= 0) && to > e.Offset && to < u.end {
			d.reader.Seek(to)
			continue
		}
		depth++
	}
	slices.SortStableFunc(u.funcs, func(a, b dwarfFunc) int { return cmp.Compare(a.low, b.low) })
	return nil
}

// hasNoCode reports whether no functions with code are described inside of such
// an entry. GCC has those of classes that are local to a function inside of them.
func hasNoCode(tag dwarf.Tag, local bool) bool {
	switch tag {
	case dwarf.TagEnumerationType, dwarf.TagArrayType, dwarf.TagSubroutineType, dwarf.TagInlinedSubroutine:
		return true
	case dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType:
		return !local
	}
	return false
}

// function finds the entry of a site's function, and where its code begins behind
// the NOPs. GCC's low_pc may be there, clang's is at the symbol.
func (im *Image) function(d *dwarfData, site Site) (at dwarf.Offset, body uint64, err error) {
	isa := im.isa()
	low := site.Entry - uint64(min(site.Before, maxNops))*isa.unit()
	high := site.Addr
	if site.Short != 0 {
		high = site.Short
	}
	window := make([]byte, maxNops*isa.unit())
	n, _ := im.ReadVA(window, high) // what cannot be read has no NOPs
	area := &code{parts: []part{{high, window[:n]}}}
	high += uint64(isa.nops(area, high, maxNops)) * isa.unit()
	found, err := d.functionsIn(low, high)
	if err != nil {
		return 0, 0, err
	}
	best, score := dwarf.Offset(0), 0
	for _, f := range found {
		s := 1
		if site.Func >= 0 {
			s = 0
			fn := im.funcs[site.Func]
			// A function that the linker has dropped may seem to be anywhere;
			// of one with several names DWARF may have another.
			if f.high == fn.Addr+fn.Size {
				s++
			}
			if d.isNamed(f.die, fn.Name) {
				s += 2
			}
		}
		if s > score {
			best, score = f.die, s
		}
	}
	if score == 0 && d.split {
		return 0, 0, errSplit
	}
	if score == 0 {
		return 0, 0, ErrNoDWARF
	}
	return best, high, nil
}

// isNamed reports whether an entry is of the function with a symbol, which may
// have a suffix that says what the compiler made of the function.
func (d *dwarfData) isNamed(at dwarf.Offset, symbol string) bool {
	die, err := d.resolve(at)
	if err != nil {
		return false
	}
	name, ok := die.val(dwarf.AttrLinkageName).(string)
	if !ok {
		name, _ = die.val(dwarf.AttrName).(string)
	}
	base, _, _ := strings.Cut(symbol, ".")
	return name != "" && (name == symbol || name == base)
}

// findGlobals notes which functions other objects may call. What link-time
// optimisation has made local is called as the compiler likes, whatever DWARF says.
func (d *dwarfData) findGlobals(tables []symbolTable) {
	for _, t := range tables {
		d.symbols = d.symbols || !t.dynamic && t.len() > 0
		for i := range t.len() {
			if s := t.at(i); t.isFunc(i) && s.bind != elf.STB_LOCAL {
				d.globals = append(d.globals, s.value)
			}
		}
	}
	slices.Sort(d.globals)
	d.globals = slices.Compact(d.globals)
}

// isLocal reports whether no other object can know the function at an address.
func (d *dwarfData) isLocal(entry uint64) bool {
	_, global := slices.BinarySearch(d.globals, entry)
	return d.symbols && !global
}
