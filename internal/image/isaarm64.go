package image

import (
	"debug/elf"
	"encoding/binary"
	"fmt"

	"nopal/internal/arch/arm64"
)

// a64 is arm64.
type a64 struct{}

// liveWindow is how many instructions of a function are examined for registers
// that are live at its entry.
const liveWindow = 64

// temporaries are x9 to x17, in which AAPCS64 (6.1.1) lets nothing live at a
// function's entry.
const temporaries uint32 = 0x3fe00

func (a64) option() string { return "-fpatchable-function-entry=2" }

func (a64) relocations() (absolute, relative uint32) {
	return uint32(elf.R_AARCH64_ABS64), uint32(elf.R_AARCH64_RELATIVE)
}

func (a64) unit() uint64 { return arm64.InsnSize }

// insn gives the instruction at va, or 0 (udf #0) outside of the code.
func (c *code) insn(va uint64) uint32 {
	p, off := c.at(va)
	if p == nil || uint64(len(p.data))-off < arm64.InsnSize {
		return 0
	}
	return binary.LittleEndian.Uint32(p.data[off:])
}

// read decodes up to len(into) instructions from va on, and not beyond end.
func (c *code) read(into []uint32, va, end uint64) []uint32 {
	data := c.from(va)
	if end <= va {
		return nil
	}
	data = data[:min(uint64(len(data)), end-va)]
	n := min(len(into), len(data)/arm64.InsnSize)
	for i := range n {
		into[i] = binary.LittleEndian.Uint32(data[i*arm64.InsnSize:])
	}
	return into[:n]
}

func (a64) nops(c *code, va uint64, limit int) int {
	n := 0
	for n < limit && c.insn(va+uint64(n)*arm64.InsnSize) == arm64.Nop {
		n++
	}
	return n
}

// landing finds bti c and bti jc.
func (a64) landing(c *code, va uint64) bool {
	insn := c.insn(va)
	return insn == arm64.BtiC || insn == arm64.BtiJC
}

func (a64) called(c *code) func(va uint64) bool {
	const opBL, opMask = 0x94000000, 0xfc000000
	return c.callTargets(arm64.InsnSize, func(p *part, found func(target uint64)) {
		for off := 0; off+arm64.InsnSize <= len(p.data); off += arm64.InsnSize {
			insn := binary.LittleEndian.Uint32(p.data[off:])
			if insn&opMask != opBL {
				continue
			}
			target, _ := arm64.BranchTarget(p.va+uint64(off), insn)
			found(target)
		}
	})
}

// tableSite finds the two NOPs of a patch area that are after the entry.
func (a64) tableSite(f *finder, a area) Site {
	s := Site{Addr: a.entry, Entry: a.entry, Func: a.fn, Kind: Table, Before: a.before}
	if f.isa.landing(f.code, a.entry) {
		s.BTI = true
		s.Addr += landingSize
	}
	s.Body = s.Addr + 2*arm64.InsnSize
	switch nops := f.isa.nops(f.code, s.Addr, 2); {
	case a.addr%arm64.InsnSize != 0:
		s.Addr, s.Body = a.addr, a.addr+2*arm64.InsnSize
		s.Reason = fmt.Sprintf("the table of sites points at %#x, which is not aligned", a.addr)
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
func (a64) nopPair(f *finder, fn int) (Site, bool) {
	entry := f.im.funcs[fn].Addr
	s := Site{Addr: entry, Entry: entry, Func: fn, Kind: NopPair}
	if f.isa.landing(f.code, entry) {
		s.BTI = true
		s.Addr += landingSize
	}
	s.Body = s.Addr + 2*arm64.InsnSize
	if size := f.im.funcs[fn].Size; size != 0 && s.Body > entry+size {
		return Site{}, false
	}
	return s, s.Addr%arm64.InsnSize == 0 && f.isa.nops(f.code, s.Addr, 2) == 2
}

// otherSites finds pairs of NOPs at functions' symbols.
func (m a64) otherSites(f *finder, _ *elf.File) error {
	for i := range f.im.funcs {
		if s, ok := m.nopPair(f, i); ok {
			f.add(s)
		}
	}
	return nil
}

func (a64) check(f *finder, dwarf *elf.File) {
	sites := f.im.sites
	if len(sites) == 0 {
		return
	}
	conv := specialConventions(dwarf)
	for i := range sites {
		f.checkRegisters(&sites[i], conv)
	}
}

// checkRegisters leaves out functions in which x9 and its like are live at the
// entry, where slot 1 would destroy a value of the caller's.
func (f *finder) checkRegisters(s *Site, conv map[uint64]string) {
	if s.Reason != "" {
		return
	}
	if name, ok := conv[s.Entry]; ok {
		s.Reason = fmt.Sprintf("calling convention %s keeps the caller's values in x9 to x15", name)
		return
	}
	end := s.Body + liveWindow*arm64.InsnSize
	if s.Func >= 0 {
		if size := f.im.funcs[s.Func].Size; size != 0 {
			end = min(end, s.Entry+size)
		}
	}
	var insns [liveWindow]uint32
	live := arm64.LiveIn(f.code.read(insns[:], s.Body, end), temporaries)
	for x := range 32 {
		if live>>x&1 != 0 {
			s.Reason = fmt.Sprintf("it uses x%d of its caller (preserve_most or another special calling convention)", x)
			return
		}
	}
}
