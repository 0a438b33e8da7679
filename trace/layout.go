package trace

import (
	"fmt"
	"slices"
	"sort"
)

// positionSize is how many bytes of code a code position stands for.
const positionSize = 4

// layout is what the code positions of a process mean at a point of the file.
// A range that takes positions away from an older one (of an object that was
// unloaded) begins a new layout; chunks that were read before keep theirs.
type layout struct {
	ranges []placed // ascending by Index
	sites  siteTable
	addrs  map[uint64]Symbol
}

// placed is a range with its object.
type placed struct {
	Range
	object *Object
}

func (rec *Recording) addRange(b *Range) error {
	end := uint64(b.Index) + uint64(b.Count)
	if b.Index < MinIndex || end > MaxIndex+1 || b.Count == 0 {
		return fmt.Errorf("a range of code positions %d+%d", b.Index, b.Count)
	}
	if b.Kind > maxRangeKind {
		return fmt.Errorf("a range of unknown kind %d", b.Kind)
	}
	p, err := rec.Program(b.Proc)
	if err != nil {
		return err
	}
	if b.Kind == RangeExits {
		rec.exits = true
	}
	o, err := rec.object(b.Image)
	if err != nil {
		return err
	}
	const size = 56
	l := p.layout
	i := sort.Search(len(l.ranges), func(i int) bool {
		r := &l.ranges[i]
		return uint64(r.Index)+uint64(r.Count) > uint64(b.Index)
	})
	j := i
	for j < len(l.ranges) && uint64(l.ranges[j].Index) < end {
		j++
	}
	if i < j {
		l = &layout{ranges: slices.Clone(l.ranges)}
		p.layout = l
		rec.spent += size * len(l.ranges)
	}
	// What is moved is charged too: it bounds the work of inserting in front.
	rec.spent += size * (len(l.ranges) - j)
	l.ranges = slices.Replace(l.ranges, i, j, placed{*b, o})
	l.addrs = nil
	return rec.spend(size)
}

// find resolves a code position.
func (l *layout) find(rec *Recording, index uint32) (*siteEntry, error) {
	if e := l.sites.lookup(index); e != nil {
		return e, nil
	}
	var (
		object = &rec.unknown
		va     = uint64(index)
		bias   uint64
		m      = rec.Machine.spec()
		known  bool
		exit   bool
	)
	i := sort.Search(len(l.ranges), func(i int) bool { return l.ranges[i].Index > index }) - 1
	if i >= 0 && index-l.ranges[i].Index < l.ranges[i].Count {
		r := &l.ranges[i]
		object, known = r.object, true
		va = r.VA + positionSize*uint64(index-r.Index) - m.site
		bias = r.Addr - r.VA
		exit = r.Kind == RangeExits
	}
	site, err := rec.site(object, va)
	if err != nil {
		return nil, err
	}
	e := siteEntry{index: index, exit: exit, id: int32(site.ID), site: site, addr: site.VA + bias, ip: va + m.site + bias}
	if !known {
		// Not kept: the range may be found later in the file.
		e.addr, e.ip = 0, 0
		return &e, nil
	}
	return l.sites.insert(e), rec.spend(64)
}

// site returns the site of an object that is known by va.
func (rec *Recording) site(o *Object, va uint64) (*Site, error) {
	if s := o.sites[va]; s != nil {
		return s, nil
	}
	if o == &rec.unknown {
		s := &Site{ID: firstUnknown - len(rec.unknowns), Object: o, VA: va}
		rec.unknowns = append(rec.unknowns, s)
		o.sites[va] = s
		return s, rec.spend(128)
	}
	s := &Site{ID: len(rec.sites), Object: o, VA: va}
	m := rec.Machine.spec()
	for _, distance := range m.inside {
		at := va + uint64(distance)
		if f := o.FuncAt(at); f != nil && (m.reach == 0 || at-f.VA <= m.reach) {
			s.Func, s.VA = f, f.VA
			break
		}
	}
	rec.sites = append(rec.sites, s)
	o.sites[va] = s
	return s, rec.spend(128)
}

// firstUnknown is the ID of the first site whose code position is in no range;
// the others' are below it.
const firstUnknown = -2

// SiteByID returns the site with an ID.
func (rec *Recording) SiteByID(id int32) *Site {
	if id < 0 {
		return rec.unknowns[firstUnknown-int(id)]
	}
	return rec.sites[id]
}

// siteTable is a hash table of sites by code position. It is written by hand
// because every event makes a lookup, which a map makes the dearest part of
// reading; its memory follows the sites that occur, not the size of the code.
type siteTable struct {
	entries []siteEntry // a power of two, at most half used
	used    int
	shift   uint
}

type siteEntry struct {
	index uint32 // 0: free
	exit  bool
	seen  bool // the function is known to have exits
	id    int32
	site  *Site
	addr  uint64 // of the function's entry in the process
	ip    uint64 // of the event
}

func (t *siteTable) slot(index uint32) int {
	return int(index * 0x9e3779b1 >> (t.shift & 31)) // Fibonacci hashing, Knuth vol. 3, 6.4
}

func (t *siteTable) lookup(index uint32) *siteEntry {
	if len(t.entries) == 0 {
		return nil
	}
	for i := t.slot(index); ; i++ {
		e := &t.entries[i&(len(t.entries)-1)]
		if e.index == index {
			return e
		}
		if e.index == 0 {
			return nil
		}
	}
}

func (t *siteTable) insert(e siteEntry) *siteEntry {
	if 2*(t.used+1) > len(t.entries) {
		old := t.entries
		n := max(64, 2*len(old))
		*t = siteTable{entries: make([]siteEntry, n), used: t.used, shift: 32}
		for ; n > 1; n /= 2 {
			t.shift--
		}
		for i := range old {
			if old[i].index != 0 {
				t.put(old[i])
			}
		}
	}
	t.used++
	return t.put(e)
}

func (t *siteTable) put(e siteEntry) *siteEntry {
	i := t.slot(e.index)
	for ; t.entries[i&(len(t.entries)-1)].index != 0; i++ {
	}
	p := &t.entries[i&(len(t.entries)-1)]
	*p = e
	return p
}

// Symbol is what an address in a process belongs to.
type Symbol struct {
	Object *Object // nil if it is in no object that is recorded
	Func   *Func   // nil if no function covers it
	Offset uint64  // from the function, or the link-time address in the object
}

// String is "function+0x1c (object)" or "object+0x1234".
func (s Symbol) String() string {
	switch {
	case s.Object == nil:
		return "?"
	case s.Func == nil:
		return s.Object.offset(s.Offset)
	}
	return fmt.Sprintf("%s+%#x (%s)", s.Func.Name, s.Offset, s.Object.Base())
}

// maxAddrs bounds the cache of return addresses of a process.
const maxAddrs = 1 << 16

// Symbol resolves a return address of the program: the function is that of
// the call before it, which may have been the last instruction of its own.
func (p *Program) Symbol(addr uint64) Symbol {
	l := p.layout
	s, ok := l.addrs[addr]
	if ok {
		return s
	}
	before := p.rec.Machine.spec().call
	call := addr - before
	for i := len(l.ranges) - 1; i >= 0; i-- {
		r := &l.ranges[i]
		if call-r.Addr < positionSize*uint64(r.Count) {
			va := call - r.Addr + r.VA
			s = Symbol{Object: r.object, Func: r.object.FuncAt(va), Offset: va + before}
			if s.Func != nil {
				s.Offset -= s.Func.VA
			}
			break
		}
	}
	if l.addrs == nil || len(l.addrs) >= maxAddrs {
		l.addrs = map[uint64]Symbol{}
	}
	l.addrs[addr] = s
	return s
}
