package image

import (
	"debug/elf"
	"fmt"
	"path"
	"strings"
)

// SiteKind says how a site was found.
type SiteKind uint8

// The kinds of sites.
const (
	Table   SiteKind = iota // in __patchable_function_entries
	NopPair                 // two NOPs at a function's symbol, on arm64
	NopArea                 // NOPs enough for a jump at a function's symbol, on x86-64
	Mcount                  // in __mcount_loc
)

func (k SiteKind) String() string {
	switch k {
	case NopPair:
		return "nop-pair"
	case NopArea:
		return "nops"
	case Mcount:
		return "mcount"
	}
	return "table"
}

// Site is the place at a function's entry that is changed to trace it: on arm64
// two instructions, on x86-64 five bytes of NOPs, which become a jump.
type Site struct {
	Addr  uint64 // of slot 1, or of the five bytes
	Body  uint64 // where the function goes on, behind what is changed
	Entry uint64 // of the function: its symbol, where it has one
	// Short is for functions of x86-64 with room for the five bytes before their
	// entry only (=16,14): the address of two bytes in the entry, which become a jump
	// back to Addr. 0 for all others.
	Short  uint64
	Func   int // its index in Funcs, or -1
	Kind   SiteKind
	Before int    // how many NOPs stand before the entry: M of =N,M
	BTI    bool   // the NOPs in the entry come after a landing pad (bti c, endbr64)
	Reason string // why it cannot be traced; empty if it can
}

// Untraceable is a function without a site.
type Untraceable struct {
	Func   int // its index in Funcs
	Reason string
}

// Sites gives all sites, sorted by address. The caller must not change them.
func (im *Image) Sites() []Site { return im.sites }

// Untraceable gives the functions that have no site, sorted by address.
func (im *Image) Untraceable() []Untraceable { return im.untraceable }

// SiteName gives the name of a site's function, or the object and the offset in
// it: "object+0x1234".
func (im *Image) SiteName(s Site) string {
	if s.Func >= 0 && s.Func < len(im.funcs) {
		return im.funcs[s.Func].Name
	}
	return fmt.Sprintf("%s+%#x", path.Base(im.Path), s.Entry)
}

// A patch area of more NOPs than this is not one.
const maxNops = 1 << 10

// finder is what is needed while the sites of one object are looked for.
type finder struct {
	im   *Image
	code *code
	isa  isa
	next int // the first function that is not before the current entry
}

// findSites finds the sites in f. dwarf is where its DWARF is: f or its debug
// file.
func (im *Image) findSites(f, dwarf *elf.File) error {
	code, err := readCode(f)
	if err != nil {
		return fmt.Errorf("read code: %w", err)
	}
	entries, ok, err := im.tableEntries(f, tableSection)
	if err != nil {
		return err
	}
	find := &finder{im: im, code: code, isa: im.isa()}
	if ok {
		areas := find.areas(entries)
		find.guessBefore(areas)
		im.sites = make([]Site, 0, len(areas))
		for _, a := range areas {
			find.add(find.isa.tableSite(find, a))
		}
	} else {
		if err := find.isa.otherSites(find, f); err != nil {
			return err
		}
	}
	find.isa.check(find, dwarf)
	im.untraceable = im.withoutSite(code)
	return nil
}

// add keeps sites in order, which the order of the entries does but for areas of
// NOPs that meet.
func (f *finder) add(s Site) {
	sites := &f.im.sites
	if n := len(*sites); n > 0 && (*sites)[n-1].Addr >= s.Addr {
		return
	}
	*sites = append(*sites, s)
}

// area is where an entry of the table points.
type area struct {
	addr   uint64
	nops   int    // from addr on, in units of the machine: instructions, or bytes
	entry  uint64 // of the function; 0: not known
	fn     int    // the function at entry, or -1
	before int    // NOPs before entry
	end    uint64 // where the next one begins
}

// areas looks up the function of each entry. Entries that are in no code are of
// functions that the linker dropped.
func (f *finder) areas(entries []uint64) []area {
	areas := make([]area, 0, len(entries))
	for i, addr := range entries {
		if !f.code.contains(addr) {
			continue
		}
		a := area{addr: addr, nops: f.isa.nops(f.code, addr, maxNops), fn: -1, end: ^uint64(0)}
		if i+1 < len(entries) {
			a.end = entries[i+1]
			a.nops = int(min(uint64(a.nops), (a.end-addr)/f.isa.unit()))
		}
		if fn, before, ok := f.funcNear(a); ok {
			a.fn, a.before, a.entry = fn, before, f.im.funcs[fn].Addr
		} else if f.isa.landing(f.code, addr-landingSize) {
			a.entry = addr - landingSize
		}
		areas = append(areas, a)
	}
	return areas
}

// funcNear finds the function that a patch area belongs to: it begins at the
// area, or one landing pad before, or, with =N,M, after M of the area's NOPs.
// Areas have to come in order.
func (f *finder) funcNear(a area) (fn, before int, ok bool) {
	funcs, unit := f.im.funcs, f.isa.unit()
	for f.next < len(funcs) && funcs[f.next].Addr < a.addr-min(a.addr, landingSize) {
		f.next++
	}
	fn = f.next
	if fn < len(funcs) && funcs[fn].Addr == a.addr-landingSize && f.isa.landing(f.code, funcs[fn].Addr) {
		return fn, 0, true
	}
	for ; fn < len(funcs); fn++ {
		distance := funcs[fn].Addr - a.addr
		if funcs[fn].Addr < a.addr || distance%unit != 0 {
			continue
		}
		before := distance / unit
		return fn, int(min(before, maxNops)), before <= uint64(a.nops)
	}
	return -1, 0, false
}

// guessBefore decides how many NOPs stand before the entries that have no
// symbol: by the object's own calls to them, or else as with most others.
func (f *finder) guessBefore(areas []area) {
	votes := make(map[int]int)
	unit := f.isa.unit()
	var open []int
	for i := range areas {
		a := &areas[i]
		switch {
		case a.entry != 0:
			votes[a.before]++
		case f.isa.landing(f.code, a.addr+uint64(a.nops)*unit):
			a.place(a.nops, unit)
			votes[a.before]++
		default:
			open = append(open, i)
		}
	}
	if len(open) == 0 {
		return
	}
	called := f.isa.called(f.code)
	rest := open[:0]
	for _, i := range open {
		a := &areas[i]
		for before := 0; before <= a.nops; before++ {
			if called(a.addr + uint64(before)*unit) {
				a.place(before, unit)
				votes[before]++
				break
			}
		}
		if a.entry == 0 {
			rest = append(rest, i)
		}
	}
	usual := 0
	for before, n := range votes {
		if n > votes[usual] || n == votes[usual] && before < usual {
			usual = before
		}
	}
	for _, i := range rest {
		areas[i].place(min(usual, areas[i].nops), unit)
	}
}

// place puts the entry after some of the area's NOPs.
func (a *area) place(before int, unit uint64) {
	a.before = before
	a.entry = a.addr + uint64(before)*unit
}

// withoutSite gives the functions that no site was found for.
func (im *Image) withoutSite(code *code) []Untraceable {
	has := make([]bool, len(im.funcs))
	for _, s := range im.sites {
		if s.Func >= 0 {
			has[s.Func] = true
		}
	}
	var out []Untraceable
	for i, f := range im.funcs {
		if has[i] {
			continue
		}
		reason := "no NOPs at its entry: compile with " + im.isa().option()
		switch {
		case !code.contains(f.Addr):
			reason = "its symbol points at no code"
		case isCold(f.Name):
			reason = "not a function of its own: the part of one that is seldom run"
		}
		out = append(out, Untraceable{i, reason})
	}
	return out
}

// isCold recognises the names that compilers give to the part of a function that
// they move out of it: foo.cold, foo.cold.1.
func isCold(name string) bool {
	_, suffix, found := strings.Cut(name, ".cold")
	return found && strings.Trim(suffix, ".0123456789") == ""
}
