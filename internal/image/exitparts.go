package image

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"nopal/internal/arch/arm64"
)

// coldPart is code that may have been moved out of a function because it is
// seldom run: it has a symbol of its own, foo.cold, or, in a stripped object, call
// frame information of its own and no site.
type coldPart struct {
	start, end uint64
	name       string
	framed     bool // it cannot be a function: its name or its frame says so
	called     bool // by bl: it is a function
	in         []int
	back       []int // sites it leads back into the middle of, or that catch exceptions in it
}

// owners gives the sites whose function the part belongs to. A part that only
// somebody branches to may as well be a function that is called last.
func (p *coldPart) owners() []int {
	switch {
	case len(p.back) > 0:
		return append(slices.Clone(p.back), p.in...)
	case p.framed && !p.called:
		return p.in
	}
	return nil
}

// ownedPart is a part with one of its owners.
type ownedPart struct {
	site, part int
	shared     bool
}

// findParts finds the cold parts and whose they are.
func (x *exitIndex) findParts() {
	x.candidates()
	if len(x.cold) == 0 {
		return
	}
	x.followBranches()
	x.followPads()
	for i := range x.cold {
		owners := x.cold[i].owners()
		slices.Sort(owners)
		owners = slices.Compact(owners)
		for _, site := range owners {
			x.owned = append(x.owned, ownedPart{site, i, len(owners) > 1})
		}
	}
	slices.SortFunc(x.owned, func(a, b ownedPart) int {
		return cmp.Or(cmp.Compare(a.site, b.site), cmp.Compare(a.part, b.part))
	})
}

// candidates lists what may be a cold part, by address.
func (x *exitIndex) candidates() {
	im := x.im
	siteAt := make(map[uint64]bool, len(im.sites))
	inRange := make([]bool, len(x.frames.ranges))
	for _, s := range im.sites {
		siteAt[s.Entry] = true
		if i, ok := x.frames.at(s.Body); ok {
			inRange[i] = true
		}
	}
	named := make(map[uint64]bool)
	for _, f := range im.funcs {
		named[f.Addr] = true
		if isCold(f.Name) && f.Size != 0 && !siteAt[f.Addr] && f.Addr+f.Size > f.Addr {
			x.cold = append(x.cold, coldPart{start: f.Addr, end: f.Addr + f.Size, name: f.Name, framed: true})
		}
	}
	for i, r := range x.frames.ranges {
		if inRange[i] || named[r.start] || !x.code.contains(r.start) {
			continue
		}
		x.cold = append(x.cold, coldPart{start: r.start, end: r.end, framed: r.framed, name: fmt.Sprintf("code at %#x", r.start)})
	}
	slices.SortFunc(x.cold, func(a, b coldPart) int { return cmp.Compare(a.start, b.start) })
	x.cold = slices.CompactFunc(x.cold, func(next, before coldPart) bool { return next.start < before.end })
}

// coldAt gives the cold part that an address lies in.
func (x *exitIndex) coldAt(va uint64) *coldPart {
	i := sort.Search(len(x.cold), func(i int) bool { return x.cold[i].end > va })
	if i < len(x.cold) && x.cold[i].start <= va {
		return &x.cold[i]
	}
	return nil
}

// siteOf gives the site whose function an address lies in.
func (x *exitIndex) siteOf(va uint64) (int, bool) {
	sites := x.im.sites
	i := sort.Search(len(sites), func(i int) bool { return sites[i].Entry > va }) - 1
	if i < 0 {
		return 0, false
	}
	end, _, _ := x.end(sites[i])
	return i, va < end
}

// followBranches looks at all direct branches and calls of the object.
func (x *exitIndex) followBranches() {
	x.code.branches(func(b branch) {
		source, target := x.coldAt(b.from), x.coldAt(b.to)
		switch {
		case source == target: // both nil, mostly
		case target != nil && b.call:
			target.called = target.called || b.to == target.start
		case target != nil:
			if site, ok := x.siteOf(b.from); ok && source == nil {
				target.in = appendNew(target.in, site)
			}
		case !b.call:
			if site, ok := x.siteOf(b.to); ok && b.to >= x.im.sites[site].Body {
				source.back = appendNew(source.back, site)
			}
		}
	})
}

// branch is a direct branch.
type branch struct {
	from, to uint64
	call     bool
}

// branches calls found for each direct branch of the code, calls included.
func (c *code) branches(found func(branch)) {
	for _, p := range c.parts {
		for off := 0; off+arm64.InsnSize <= len(p.data); off += arm64.InsnSize {
			insn := binary.LittleEndian.Uint32(p.data[off:])
			if insn>>26&7 != 0b101 { // Arm ARM C4.1: no branch at all
				continue
			}
			from := p.va + uint64(off)
			if to, ok := arm64.BranchTarget(from, insn); ok {
				found(branch{from, to, arm64.Classify(insn) == arm64.KindBL})
			}
		}
	}
}

// enteredBetween reports whether code elsewhere, or an address in data, leads to
// a place behind the patch area of a site and before end: then what stands there
// may belong to others.
func (x *exitIndex) enteredBetween(s Site, end uint64) bool {
	if !x.drawn {
		x.drawn = true
		x.code.branches(func(b branch) { x.lines = append(x.lines, b) })
		slices.SortFunc(x.lines, func(a, b branch) int { return cmp.Compare(a.to, b.to) })
	}
	start := s.Body
	i := sort.Search(len(x.lines), func(i int) bool { return x.lines[i].to >= start })
	for ; i < len(x.lines) && x.lines[i].to < end; i++ {
		if b := x.lines[i]; b.from < s.Entry || b.from >= end {
			return true
		}
	}
	return x.isTaken(start, end)
}

// followPads looks at the landing pads of all functions.
func (x *exitIndex) followPads() {
	var pads []uint64
	for _, r := range x.frames.ranges {
		if r.lsda == 0 {
			continue
		}
		site, ok := x.siteOf(r.start)
		if !ok || x.coldAt(r.start) != nil {
			continue
		}
		pads = x.frames.pads(r, pads[:0])
		for _, pad := range pads {
			if part := x.coldAt(pad); part != nil {
				part.back = appendNew(part.back, site)
			}
		}
	}
}

// appendNew keeps a list of a few different numbers: more than two say no more
// than two.
func appendNew(list []int, n int) []int {
	if slices.Contains(list, n) || len(list) > 2 {
		return list
	}
	return append(list, n)
}

// maxParts is how many pieces a function may be in.
const maxParts = 32

// addCold adds the cold parts of a site's function to its code.
func (x *exitIndex) addCold(site int) (reason string) {
	i := sort.Search(len(x.owned), func(i int) bool { return x.owned[i].site >= site })
	for ; i < len(x.owned) && x.owned[i].site == site; i++ {
		p := &x.cold[x.owned[i].part]
		if x.owned[i].shared {
			return fmt.Sprintf("it shares %s with another function", p.name)
		}
		if len(x.parts) == maxParts {
			return fmt.Sprintf("it consists of more than %d parts", maxParts)
		}
		if !x.addPart(p.start, p.end) {
			return fmt.Sprintf("%s reaches beyond the code", p.name)
		}
	}
	return ""
}

// siteAfter gives the first site behind an address.
func (im *Image) siteAfter(va uint64) (int, bool) {
	i, found := slices.BinarySearchFunc(im.sites, va, func(s Site, va uint64) int { return cmp.Compare(s.Addr, va) })
	if found {
		i++
	}
	return i, i < len(im.sites)
}
