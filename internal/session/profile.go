package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"nopal/internal/entry"
	"nopal/internal/ftrace"
	"nopal/internal/image"
	"nopal/internal/sys"
	"nopal/internal/tracee"
	"nopal/trace"
)

// profileName names the memory of a profile in the target.
const (
	profileName   = memfdName + "-profile"
	profilePrefix = memfdPrefix + "-profile"
)

// How much there is of everything. Areas are address space until a thread uses them.
// A program that locks its memory (mlockall) has all of a file, but nothing behind its
// end: that is where the areas are that threads do not need yet.
const (
	profileFuncs  = 4 << 10   // functions that are loaded later, at the least
	profileSpace  = 64 << 30  // bytes for areas, at the most
	profileAreas  = 8192      // areas, at the most
	profileLeast  = 16        // and at the least, where the address space is limited
	profileFirst  = 512 << 20 // bytes of areas at first
	profileLocked = 32 << 20  // and in a program that has locked its memory
)

// profile is where the calls of a target are counted.
type profile struct {
	file   *os.File
	addr   uint64 // in the target
	layout profileParts
	first  uint64 // bytes of areas that there are at first
	mem    []byte // the part that is not areas
	head   *entry.ProfileHeader
	links  []uint32
	lookup []entry.ProfileLookup
	room   int // functions in an area

	funcs   []profiled // by number; the first counts what found no room
	numbers map[profileKey]int
	sites   map[uint64]int // number by address behind the site

	read profileReading
}

// profiled is a function that is counted.
type profiled struct {
	im *image.Image
	va uint64 // of its site
}

type profileKey = profiled

// newProfile knows no function yet.
func newProfile() *profile {
	return &profile{funcs: make([]profiled, 1), numbers: map[profileKey]int{}, sites: map[uint64]int{}, room: profileFuncs, first: profileFirst}
}

// inherit is the profile of a forked child, which has the stubs of its parent and so
// its numbers.
func (p *profile) inherit() *profile {
	if p == nil {
		return nil
	}
	return &profile{funcs: slices.Clone(p.funcs), numbers: maps.Clone(p.numbers), sites: maps.Clone(p.sites), addr: p.addr, layout: p.layout, first: p.first, room: p.room}
}

// number is the number of a function of o, which it gets when it is first asked for.
func (t *target) number(o *object, r *ftrace.Record) int {
	p := t.profile
	k := profileKey{o.im, trace.NativeMachine().SiteVA(r.Body - o.bias)}
	n, ok := p.numbers[k]
	if !ok {
		n = len(p.funcs)
		if n == p.room {
			t.rec.warn("process %d: more than %d functions: the rest is not counted (-F chooses which are)", t.pid, p.room-1)
			return 0
		}
		p.funcs = append(p.funcs, k)
		p.numbers[k] = n
	}
	return n
}

// profileLiteral is the word that the exits of a function load: where its counters are
// in an area.
func (t *target) profileLiteral(o *object, r *ftrace.Record) uint64 {
	return counterOffset(t.number(o, r))
}

// counterOffset is where the code finds the counters of function n in an area.
func counterOffset(n int) uint64 {
	return entry.ProfileFrameBytes + uint64(n)*entry.ProfileFuncSize + entry.ProfileHistSize
}

// profileObjects makes the functions of objects known to the target: it looks them up
// where their exits are not known or were not seen.
func (t *target) profileObjects(objects []*object) {
	p := t.profile
	if p == nil || p.head == nil {
		return
	}
	for _, o := range objects {
		for i := range o.traced.Records {
			r := &o.traced.Records[i]
			if !o.traced.Wants(r) {
				continue
			}
			if n := t.number(o, r); n != 0 {
				p.sites[r.Body] = n
				p.enter(r.Body, counterOffset(n))
			}
		}
	}
}

// enter puts an entry into the lookup table, which the target reads meanwhile.
func (p *profile) enter(site, counters uint64) {
	first := uint64(entry.ProfileHash(site, p.head.LookupShift))
	for i := first; i < first+entry.ProfileProbes; i++ {
		e := &p.lookup[i]
		switch atomic.LoadUint64(&e.Site) {
		case 0:
			atomic.StoreUint64(&e.Counters, counters)
			atomic.StoreUint64(&e.Site, site)
			return
		case site:
			atomic.StoreUint64(&e.Counters, counters)
			return
		}
	}
}

// mapProfile maps the memory of a profile into the stopped target and tells it. What
// plan has found says how much.
func (t *target) mapProfile(ctx context.Context) error {
	if !t.rec.o.Profile {
		return nil
	}
	p := newProfile()
	t.profile = p
	for _, o := range t.objects {
		p.room += 2 * o.wanted
	}
	if locksMemory(t.pid) {
		p.first = profileLocked
	}
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return err
	}
	for most := uint64(profileAreas); ; most /= 2 {
		p.layout = profileLayout(p.room, most)
		addr, err := tracee.FindRoom(maps, p.layout.size+entry.ProfileAreaAlign)
		none := err != nil
		if err == nil {
			p.addr = (addr + entry.ProfileAreaAlign - 1) &^ (entry.ProfileAreaAlign - 1)
			err = t.ring.AddIsland(p.addr, p.layout.size)
		}
		if err == nil {
			err = p.make(ctx, t, sys.MapFixedNoReplace)
		}
		if err == nil {
			return t.tellProfile()
		}
		if most <= profileLeast || !none && !errors.Is(err, syscall.ENOMEM) {
			return fmt.Errorf("map %d MiB for the profile of process %d (its address space may be limited, see ulimit -v): %w", p.layout.size>>20, t.pid, err)
		}
	}
}

// locksMemory reports whether a process has locked memory, and so maybe all.
func locksMemory(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmLck:" {
			return f[1] != "0"
		}
	}
	return false
}

// mapProfileChild is mapProfile for a forked child, which must not write into its
// parent's.
func (t *target) mapProfileChild(ctx context.Context) error {
	if t.profile == nil || t.profile.addr == 0 {
		return nil
	}
	if err := t.profile.make(ctx, t, mapFixed); err != nil {
		return err
	}
	for site, n := range t.profile.sites {
		t.profile.enter(site, counterOffset(n))
	}
	return t.tellProfile()
}

// profileParts are the sizes and offsets of the parts of a profile's memory.
type profileParts struct {
	areas, areaSize, areasOff uint64
	linksOff, lookupOff       uint64
	lookups                   uint64
	size                      uint64
}

// profileLayout has room for so many functions, and areas for at most so many threads.
func profileLayout(room int, most uint64) profileParts {
	align := func(n uint64) uint64 {
		return (n + entry.ProfileAreaAlign - 1) &^ (entry.ProfileAreaAlign - 1)
	}
	l := profileParts{areaSize: align(counterOffset(room))}
	l.areas = min(max(profileSpace/l.areaSize, profileLeast), most)
	l.lookups = 1 << bits.Len64(uint64(room)) // at most half of it is used
	l.lookups *= 2
	l.linksOff = 4096
	l.lookupOff = align(l.linksOff + 4*(l.areas+1))
	l.areasOff = align(l.lookupOff + (l.lookups+entry.ProfileProbes)*sizeofLookup)
	l.size = l.areasOff + l.areas*l.areaSize
	return l
}

// make makes and maps the memory.
func (p *profile) make(ctx context.Context, t *target, fixed int) error {
	file, fd, err := t.makeMemfd(ctx, profileName)
	if err != nil {
		return err
	}
	if err := p.format(file); err != nil {
		return errors.Join(err, file.Close(), t.p.CloseFD(ctx, fd))
	}
	err = t.mmapStopped(ctx)(p.addr, p.layout.size, sys.ProtRead|sys.ProtWrite, sys.MapShared|sys.MapNoReserve|fixed, fd)
	if err := errors.Join(err, t.p.CloseFD(ctx, fd)); err != nil {
		return errors.Join(err, p.close())
	}
	return nil
}

// format lays out a fresh file.
func (p *profile) format(file *os.File) error {
	l := p.layout
	areas := min(max(p.first/l.areaSize, 1), l.areas)
	if err := file.Truncate(int64(l.areasOff + areas*l.areaSize)); err != nil {
		return fmt.Errorf("make memory for a profile: %w", err)
	}
	mem, err := sys.MapSharedFile(int(file.Fd()), 0, int(l.areasOff))
	if err != nil {
		return fmt.Errorf("map memory for a profile: %w", err)
	}
	p.file, p.mem = file, mem
	p.head = profileHeader(mem)
	p.links = profileLinks(mem[l.linksOff:], l.areas+1)
	p.lookup = profileLookup(mem[l.lookupOff:], l.lookups+entry.ProfileProbes)
	*p.head = entry.ProfileHeader{
		Areas: areas, AreaSize: l.areaSize, AreasOff: l.areasOff, LinksOff: l.linksOff,
		LookupOff: l.lookupOff, LookupShift: uint64(32 - bits.TrailingZeros64(l.lookups)),
	}
	p.read = newProfileReading()
	return nil
}

// grow makes areas that threads may need soon. It is called often.
func (p *profile) grow() error {
	areas := p.head.Areas
	if atomic.LoadUint64(&p.head.Given) <= areas/4 || areas == p.layout.areas {
		return nil
	}
	areas = min(4*areas, p.layout.areas)
	if err := p.file.Truncate(int64(p.layout.areasOff + areas*p.layout.areaSize)); err != nil {
		return fmt.Errorf("make memory for a profile: %w", err)
	}
	atomic.StoreUint64(&p.head.Areas, areas)
	return nil
}

// close lets go of it.
func (p *profile) close() error {
	if p.head == nil {
		return nil
	}
	err := errors.Join(sys.Unmap(p.mem), p.file.Close())
	p.mem, p.head, p.links, p.lookup, p.file, p.read = nil, nil, nil, nil, nil, profileReading{}
	if err != nil {
		return fmt.Errorf("unmap profile: %w", err)
	}
	return nil
}

// tellProfile writes the address of the profile into the control block.
func (t *target) tellProfile() error {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], t.profile.addr)
	if _, err := t.mem.WriteAt(b[:], int64(t.control+controlStacks)); err != nil {
		return fmt.Errorf("write control block: %w", err)
	}
	return nil
}
