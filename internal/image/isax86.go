package image

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"sort"
	"strings"

	"nopal/internal/arch/amd64"
)

// x86 is x86-64. Compilers count bytes of NOPs there: GCC writes single ones,
// clang few long ones.
type x86 struct{}

// mcountSection is where GCC's -mrecord-mcount puts the address of each NOP or call
// of -mfentry.
const mcountSection = "__mcount_loc"

func (x86) option() string { return "-fpatchable-function-entry=5" }

func (x86) relocations() (absolute, relative uint32) {
	return uint32(elf.R_X86_64_64), uint32(elf.R_X86_64_RELATIVE)
}

func (x86) unit() uint64 { return 1 }

// nops counts whole NOPs only.
func (x86) nops(c *code, va uint64, limit int) int {
	data, n := c.from(va), 0
	for n < limit {
		size := amd64.NopLen(data[n:])
		if size == 0 {
			break
		}
		n += size
	}
	return n
}

func (x86) landing(c *code, va uint64) bool { return amd64.IsLanding(c.from(va)) }

// called takes each byte for a call that may be one: a target that happens to be in
// a patch area is rare enough.
func (x86) called(c *code) func(va uint64) bool {
	const opCall = 0xe8 // Manual, volume 2, "CALL"
	return c.callTargets(1, func(p *part, found func(target uint64)) {
		for off := 0; off+amd64.JumpSize <= len(p.data); off++ {
			if p.data[off] == opCall {
				next := p.va + uint64(off) + amd64.JumpSize
				found(next + uint64(int64(int32(binary.LittleEndian.Uint32(p.data[off+1:])))))
			}
		}
	})
}

// through gives the end of the NOP that byte number n-1 from va on belongs to, if all
// up to it are NOPs that end by end.
func (f *finder) through(va uint64, n int, end uint64) (uint64, bool) {
	after := va + uint64(f.isa.nops(f.code, va, n))
	return after, after >= va+uint64(n) && after <= end
}

// longBefore is how far before the entry the jump of a split site stands, if there
// is room: entries are aligned, so its five bytes are in one aligned word.
const longBefore = 8

// tableSite finds five bytes of NOPs behind the entry, or two behind it and five
// before it.
func (m x86) tableSite(f *finder, a area) Site {
	s := Site{Entry: a.entry, Func: a.fn, Kind: Table, Before: a.before}
	s.Addr, s.BTI = m.begin(f, a.entry)
	first := s.Addr
	if body, ok := f.through(first, amd64.JumpSize, a.end); ok {
		s.Body = body
		return s
	}
	body, ok := f.through(first, amd64.ShortJumpSize, a.end)
	if ok && a.before >= amd64.JumpSize {
		s.Short, s.Body = first, body
		s.Addr = a.entry - amd64.JumpSize
		if a.before >= longBefore {
			s.Addr = a.entry - longBefore
		}
		if _, ok := f.through(s.Addr, amd64.JumpSize, a.entry); ok {
			return s
		}
		s.Short, s.Addr = 0, first
	}
	s.Body = first + amd64.JumpSize
	n := f.isa.nops(f.code, first, amd64.JumpSize)
	switch {
	case a.before > 0:
		s.Reason = fmt.Sprintf("%d bytes of NOPs before its entry and %d after, 5 needed after it, or 5 before and 2 after: compile with -fpatchable-function-entry=%d,%d",
			a.before, n, a.before+amd64.JumpSize, a.before)
	case n > 0:
		s.Reason = fmt.Sprintf("only %d bytes of NOPs at its entry, 5 needed: compile with %s", n, m.option())
	default:
		s.Reason = fmt.Sprintf("no NOPs at %#x, where the table of sites points", first)
	}
	return s
}

// begin gives where the NOPs of a function begin: behind a landing pad, if it has one.
func (m x86) begin(f *finder, entry uint64) (va uint64, landing bool) {
	if m.landing(f.code, entry) {
		return entry + landingSize, true
	}
	return entry, false
}

// otherSites reads what -mrecord-mcount says, or finds NOPs at functions' symbols.
func (m x86) otherSites(f *finder, object *elf.File) error {
	entries, ok, err := f.im.tableEntries(object, mcountSection)
	if err != nil {
		return err
	}
	if ok {
		framed := readFrames(object)
		for _, addr := range entries {
			if f.code.contains(addr) {
				f.add(m.mcountSite(f, framed, addr))
			}
		}
		return nil
	}
	for i, fn := range f.im.funcs {
		s := Site{Entry: fn.Addr, Func: i, Kind: NopArea}
		s.Addr, s.BTI = m.begin(f, fn.Addr)
		end := ^uint64(0)
		if fn.Size != 0 {
			end = fn.Addr + fn.Size
		}
		if s.Body, ok = f.through(s.Addr, amd64.JumpSize, end); ok {
			f.add(s)
		}
	}
	return nil
}

// mcountSite is the site that an entry of __mcount_loc points at, a NOP of five bytes or
// a call. Only with -mfentry does it stand at the entry; otherwise there is a frame
// already.
func (m x86) mcountSite(f *finder, framed *frames, addr uint64) Site {
	s := Site{Addr: addr, Entry: addr, Func: -1, Kind: Mcount, Body: addr + amd64.JumpSize}
	if fn, ok := f.funcAround(addr); ok {
		s.Func, s.Entry = fn, f.im.funcs[fn].Addr
	} else if m.landing(f.code, addr-landingSize) {
		s.Entry = addr - landingSize
	} else if i, ok := framed.at(addr); ok && framed.ranges[i].start != addr {
		s.Entry = framed.ranges[i].start
	}
	s.BTI = s.Entry+landingSize == addr && m.landing(f.code, s.Entry)
	body, ok := f.through(addr, amd64.JumpSize, ^uint64(0))
	switch {
	case ok:
		s.Body = body
	case strings.HasPrefix(string(f.code.from(addr)), "\xe8"), strings.HasPrefix(string(f.code.from(addr)), "\xff\x15"):
		s.Reason = "it calls __fentry__ or mcount for a profiler: compile with -mnop-mcount, too, or with " + m.option()
		return s
	default:
		s.Reason = fmt.Sprintf("no NOPs at %#x, where %s points", addr, mcountSection)
		return s
	}
	if s.Addr != s.Entry && !s.BTI {
		s.Reason = "its NOP comes after instructions of its own: compile with -mfentry, too"
	}
	return s
}

// funcAround gives the function that an address lies in.
func (f *finder) funcAround(va uint64) (fn int, ok bool) {
	funcs := f.im.funcs
	i := sort.Search(len(funcs), func(i int) bool { return funcs[i].Addr > va }) - 1
	return i, i >= 0 && (va-funcs[i].Addr < funcs[i].Size || va == funcs[i].Addr)
}

// pageSize is that of x86-64: a write to two pages may be broken off between them.
const pageSize = 4096

// check leaves out sites that a second function begins within, which would run what is
// left of a jump, and those that a single write cannot change.
func (x86) check(f *finder, _ *elf.File) {
	funcs, next := f.im.funcs, 0
	for i := range f.im.sites {
		s := &f.im.sites[i]
		for next < len(funcs) && funcs[next].Addr <= s.Addr {
			next++
		}
		for next < len(funcs) && funcs[next].Addr == s.Entry {
			next++
		}
		last := s.Addr + amd64.JumpSize - 1
		if s.Short != 0 {
			last = s.Short + amd64.ShortJumpSize - 1
		}
		switch {
		case s.Reason != "":
		case next < len(funcs) && funcs[next].Addr < s.Body:
			s.Reason = fmt.Sprintf("%s begins within its NOPs", funcs[next].Name)
		case i+1 < len(f.im.sites) && f.im.sites[i+1].Addr < s.Body:
			s.Reason = fmt.Sprintf("another site (at %#x) is within its NOPs", f.im.sites[i+1].Addr)
		case s.Addr/pageSize != last/pageSize:
			s.Reason = "its NOPs stand on the border of two pages, so they cannot be changed in one write"
		}
	}
}
