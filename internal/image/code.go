package image

import "debug/elf"

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

// from gives the code from va on, as far as its section goes.
func (c *code) from(va uint64) []byte {
	p, off := c.at(va)
	if p == nil {
		return nil
	}
	return p.data[off:]
}

// callTargets gives a test of whether some call of the object leads to an address. each
// finds the calls in a section; places are multiples of align.
func (c *code) callTargets(align uint64, each func(p *part, found func(target uint64))) func(va uint64) bool {
	marks := make([][]uint64, len(c.parts))
	for i, p := range c.parts {
		marks[i] = make([]uint64, uint64(len(p.data))/align/64+1)
	}
	mark := func(va uint64) (word *uint64, bit uint64) {
		for i, p := range c.parts {
			if off := va - p.va; va >= p.va && off < uint64(len(p.data)) {
				n := off / align
				return &marks[i][n/64], 1 << (n % 64)
			}
		}
		return nil, 0
	}
	for i := range c.parts {
		each(&c.parts[i], func(target uint64) {
			if word, bit := mark(target); word != nil {
				*word |= bit
			}
		})
	}
	return func(va uint64) bool {
		word, bit := mark(va)
		return word != nil && *word&bit != 0
	}
}
