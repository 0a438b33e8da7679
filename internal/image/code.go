package image

import (
	"debug/elf"
	"encoding/binary"

	"nopal/internal/arch/arm64"
)

// code is the executable sections of an object while its sites are looked for.
type code struct {
	parts []part
}

// part is one executable section.
type part struct {
	va   uint64
	data []byte
}

// readCode reads the executable sections. Sections and not segments, because an
// entry of a function that the linker dropped may well point at the ELF header,
// which is in an executable segment of some objects.
func readCode(f *elf.File) (*code, error) {
	var c code
	for _, s := range f.Sections {
		if s.Type == elf.SHT_NOBITS || s.Flags&(elf.SHF_EXECINSTR|elf.SHF_ALLOC) != elf.SHF_EXECINSTR|elf.SHF_ALLOC {
			continue
		}
		data, err := readSection(s)
		if err != nil {
			return nil, err
		}
		c.parts = append(c.parts, part{s.Addr, data})
	}
	return &c, nil
}

// at gives the section that va lies in, and how far in.
func (c *code) at(va uint64) (p *part, off uint64) {
	for i := range c.parts {
		p := &c.parts[i]
		if off := va - p.va; va >= p.va && off < uint64(len(p.data)) {
			return p, off
		}
	}
	return nil, 0
}

func (c *code) contains(va uint64) bool {
	p, _ := c.at(va)
	return p != nil
}

// insn gives the instruction at va, or 0 (udf #0) outside of the code.
func (c *code) insn(va uint64) uint32 {
	p, off := c.at(va)
	if p == nil || uint64(len(p.data))-off < arm64.InsnSize {
		return 0
	}
	return binary.LittleEndian.Uint32(p.data[off:])
}

// nops counts the NOPs from va on, up to limit.
func (c *code) nops(va uint64, limit int) int {
	n := 0
	for n < limit && c.insn(va+uint64(n)*arm64.InsnSize) == arm64.Nop {
		n++
	}
	return n
}

// landing reports whether a landing pad for calls (bti c, bti jc) is at va.
func (c *code) landing(va uint64) bool {
	insn := c.insn(va)
	return insn == arm64.BtiC || insn == arm64.BtiJC
}

// read decodes up to len(into) instructions from va on, and not beyond end.
func (c *code) read(into []uint32, va, end uint64) []uint32 {
	p, off := c.at(va)
	if p == nil || end <= va {
		return nil
	}
	data := p.data[off:]
	data = data[:min(uint64(len(data)), end-va)]
	n := min(len(into), len(data)/arm64.InsnSize)
	for i := range n {
		into[i] = binary.LittleEndian.Uint32(data[i*arm64.InsnSize:])
	}
	return into[:n]
}

// called gives a test of whether some BL of the object leads to an address.
func (c *code) called() func(va uint64) bool {
	marks := make([][]uint64, len(c.parts))
	for i, p := range c.parts {
		marks[i] = make([]uint64, len(p.data)/arm64.InsnSize/64+1)
	}
	mark := func(va uint64) (word *uint64, bit uint64) {
		for i, p := range c.parts {
			if off := va - p.va; va >= p.va && off < uint64(len(p.data)) {
				n := off / arm64.InsnSize
				return &marks[i][n/64], 1 << (n % 64)
			}
		}
		return nil, 0
	}
	const opBL, opMask = 0x94000000, 0xfc000000
	for _, p := range c.parts {
		for off := 0; off+arm64.InsnSize <= len(p.data); off += arm64.InsnSize {
			insn := binary.LittleEndian.Uint32(p.data[off:])
			if insn&opMask != opBL {
				continue
			}
			target, _ := arm64.BranchTarget(p.va+uint64(off), insn)
			if word, bit := mark(target); word != nil {
				*word |= bit
			}
		}
	}
	return func(va uint64) bool {
		word, bit := mark(va)
		return word != nil && *word&bit != 0
	}
}
