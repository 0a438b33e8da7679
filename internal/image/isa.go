package image

import "debug/elf"

// isa is what differs between the machines that objects are for.
type isa interface {
	// option is what to compile with.
	option() string
	// relocations gives the types of dynamic relocations that tables of sites may
	// have: an address, and a difference between addresses.
	relocations() (absolute, relative uint32)
	// unit is how many bytes the NOPs have of which =N,M counts N and M.
	unit() uint64
	// nops counts the NOPs from va on, in units, up to limit or little more.
	nops(c *code, va uint64, limit int) int
	// landing reports whether a landing pad of calls is at va.
	landing(c *code, va uint64) bool
	// called gives a test of whether some direct call of the object leads to an address.
	called(c *code) func(va uint64) bool
	// tableSite finds the site in a patch area that the table names.
	tableSite(f *finder, a area) Site
	// otherSites adds the sites of an object without the table.
	otherSites(f *finder, object *elf.File) error
	// check gives reasons to sites at which not all is well. dwarf is where the
	// object's DWARF is.
	check(f *finder, dwarf *elf.File)
	// exits says how the function of a site is left.
	exits(im *Image, site int) Exits
}

// landingSize is the size of a landing pad: of BTI, and of ENDBR64.
const landingSize = 4

// isa gives what is particular to the object's machine.
func (im *Image) isa() isa {
	if im.Machine == elf.EM_X86_64 {
		return x86{}
	}
	return a64{}
}
