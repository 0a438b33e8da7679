package image

import (
	"debug/elf"
	"fmt"
	"path"
	"strings"

	"nopal/internal/arch/arm64"
)

// SiteKind says how a site was found.
type SiteKind uint8

// The kinds of sites.
const (
	Table   SiteKind = iota // in __patchable_function_entries
	NopPair                 // two NOPs at a function's symbol
)

func (k SiteKind) String() string {
	if k == NopPair {
		return "nop-pair"
	}
	return "table"
}

// Site is the place of the two instructions by which a function is traced.
type Site struct {
	Addr   uint64 // of slot 1
	Entry  uint64 // of the function: its symbol, where it has one
	Func   int    // its index in Funcs, or -1
	Kind   SiteKind
	Before int    // how many NOPs stand before the entry: M of =N,M
	BTI    bool   // slot 1 comes after a landing pad
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

// liveWindow is how many instructions of a function are examined for registers
// that are live at its entry.
const liveWindow = 64

// temporaries are x9 to x17, in which AAPCS64 (6.1.1) lets nothing live at a
// function's entry.
const temporaries uint32 = 0x3fe00

// finder is what is needed while the sites of one object are looked for.
type finder struct {
	im    *Image
	code  *code
	conv  map[uint64]string // entry: name of a calling convention that x9 is live in
	next  int               // the first function that is not before the current entry
	insns [liveWindow]uint32
}

// findSites finds the sites in f. dwarf is where its DWARF is: f or its debug
// file.
func (im *Image) findSites(f, dwarf *elf.File) error {
	code, err := readCode(f)
	if err != nil {
		return fmt.Errorf("read code: %w", err)
	}
	entries, ok, err := im.tableEntries(f)
	if err != nil {
		return err
	}
	find := &finder{im: im, code: code}
	if ok {
		areas := find.areas(entries)
		find.guessBefore(areas)
		im.sites = make([]Site, 0, len(areas))
		for _, a := range areas {
			find.add(find.tableSite(a))
		}
	} else {
		for i := range im.funcs {
			if s, ok := find.nopPair(i); ok {
				find.add(s)
			}
		}
	}
	if len(im.sites) > 0 {
		find.conv = specialConventions(dwarf)
	}
	for i := range im.sites {
		find.checkRegisters(&im.sites[i])
	}
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
	nops   int    // from addr on
	entry  uint64 // of the function; 0: not known
	fn     int    // the function at entry, or -1
	before int    // NOPs before entry
}

// areas looks up the function of each entry. Entries that are in no code are of
// functions that the linker dropped.
func (f *finder) areas(entries []uint64) []area {
	areas := make([]area, 0, len(entries))
	for _, addr := range entries {
		if !f.code.contains(addr) {
			continue
		}
		a := area{addr: addr, nops: f.code.nops(addr, maxNops), fn: -1}
		if fn, before, ok := f.funcNear(a); ok {
			a.fn, a.before, a.entry = fn, before, f.im.funcs[fn].Addr
		} else if f.code.landing(addr - arm64.InsnSize) {
			a.entry = addr - arm64.InsnSize
		}
		areas = append(areas, a)
	}
	return areas
}

// funcNear finds the function that a patch area belongs to: it begins at the
// area, or one landing pad before, or, with =N,M, after M of the area's NOPs.
// Areas have to come in order.
func (f *finder) funcNear(a area) (fn, before int, ok bool) {
	funcs := f.im.funcs
	for f.next < len(funcs) && funcs[f.next].Addr < a.addr-min(a.addr, arm64.InsnSize) {
		f.next++
	}
	fn = f.next
	if fn < len(funcs) && funcs[fn].Addr == a.addr-arm64.InsnSize {
		if f.code.landing(funcs[fn].Addr) {
			return fn, 0, true
		}
		fn++
	}
	for ; fn < len(funcs); fn++ {
		distance := funcs[fn].Addr - a.addr
		if funcs[fn].Addr < a.addr || distance%arm64.InsnSize != 0 {
			continue
		}
		before := distance / arm64.InsnSize
		return fn, int(min(before, maxNops)), before <= uint64(a.nops)
	}
	return -1, 0, false
}

// guessBefore decides how many NOPs stand before the entries that have no
// symbol: by the object's own calls to them, or else as with most others.
func (f *finder) guessBefore(areas []area) {
	votes := make(map[int]int)
	var open []int
	for i := range areas {
		a := &areas[i]
		switch {
		case a.entry != 0:
			votes[a.before]++
		case f.code.landing(a.addr + uint64(a.nops)*arm64.InsnSize):
			a.place(a.nops)
			votes[a.before]++
		default:
			open = append(open, i)
		}
	}
	if len(open) == 0 {
		return
	}
	called := f.code.called()
	rest := open[:0]
	for _, i := range open {
		a := &areas[i]
		for before := 0; before <= a.nops; before++ {
			if called(a.addr + uint64(before)*arm64.InsnSize) {
				a.place(before)
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
		areas[i].place(min(usual, areas[i].nops))
	}
}

// place puts the entry after some of the area's NOPs.
func (a *area) place(before int) {
	a.before = before
	a.entry = a.addr + uint64(before)*arm64.InsnSize
}

// tableSite finds the two NOPs of a patch area that are after the entry.
func (f *finder) tableSite(a area) Site {
	s := Site{Addr: a.entry, Entry: a.entry, Func: a.fn, Kind: Table, Before: a.before}
	if f.code.landing(a.entry) {
		s.BTI = true
		s.Addr += arm64.InsnSize
	}
	switch nops := f.code.nops(s.Addr, 2); {
	case a.addr%arm64.InsnSize != 0:
		s.Addr, s.Reason = a.addr, fmt.Sprintf("the table of sites points at %#x, which is not aligned", a.addr)
	case nops == 2:
	case a.before > 0:
		s.Reason = fmt.Sprintf("%d NOPs before its entry and %d after, 2 needed after it: compile with -fpatchable-function-entry=%d,%d",
			a.before, nops, a.before+2, a.before)
	case nops == 1:
		s.Reason = "only 1 NOP at its entry: compile with -fpatchable-function-entry=2"
	default:
		s.Reason = fmt.Sprintf("no NOPs at %#x, where the table of sites points", s.Addr)
	}
	return s
}

// nopPair finds two NOPs at the entry of a function.
func (f *finder) nopPair(fn int) (Site, bool) {
	entry := f.im.funcs[fn].Addr
	s := Site{Addr: entry, Entry: entry, Func: fn, Kind: NopPair}
	if f.code.landing(entry) {
		s.BTI = true
		s.Addr += arm64.InsnSize
	}
	size := f.im.funcs[fn].Size
	if end := s.Addr + 2*arm64.InsnSize; size != 0 && end > entry+size {
		return Site{}, false
	}
	return s, s.Addr%arm64.InsnSize == 0 && f.code.nops(s.Addr, 2) == 2
}

// checkRegisters leaves out functions in which x9 and its like are live at the
// entry, where slot 1 would destroy a value of the caller's.
func (f *finder) checkRegisters(s *Site) {
	if s.Reason != "" {
		return
	}
	if name, ok := f.conv[s.Entry]; ok {
		s.Reason = fmt.Sprintf("calling convention %s keeps the caller's values in x9 to x15", name)
		return
	}
	start := s.Addr + 2*arm64.InsnSize
	end := start + liveWindow*arm64.InsnSize
	if s.Func >= 0 {
		if size := f.im.funcs[s.Func].Size; size != 0 {
			end = min(end, s.Entry+size)
		}
	}
	live := arm64.LiveIn(f.code.read(f.insns[:], start, end), temporaries)
	for x := range 32 {
		if live>>x&1 != 0 {
			s.Reason = fmt.Sprintf("it uses x%d of its caller (preserve_most or another special calling convention)", x)
			return
		}
	}
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
		reason := "no NOPs at its entry: compile with -fpatchable-function-entry=2"
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
