package livepatch

import (
	"debug/elf"
	"encoding/binary"
)

// jump branches anywhere. x16 is for that (AAPCS64, 6.1.1).
var jump = []uint32{
	0x58000050, // ldr x16, .+8
	0xd61f0200, // br x16
	0, 0,       // the address
}

// finder is what stands behind a jump if what it goes to may turn out to be an
// indirect function (ifunc) of another object of which nobody has asked yet
// which function it stands for. It asks itself, at the first call, as the
// dynamic linker would. Arguments are kept; what the resolver is told of the
// processor is that it has nothing beyond the base, which is always right.
// SYSVABI64 (section 9.4) has the resolver's arguments.
var finder = []uint32{
	0x90000011, // adrp x17, chosen
	0xf9400230, // ldr x16, [x17, chosen]
	0xb4000050, // cbz x16, .+8
	0xd61f0200, // br x16
	0xa9b27bfd, // stp x29, x30, [sp, #-224]!
	0x910003fd, // mov x29, sp
	0xa90107e0, // stp x0, x1, [sp, #16]
	0xa9020fe2, // stp x2, x3, [sp, #32]
	0xa90317e4, // stp x4, x5, [sp, #48]
	0xa9041fe6, // stp x6, x7, [sp, #64]
	0xf9002be8, // str x8, [sp, #80]
	0xad0307e0, // stp q0, q1, [sp, #96]
	0xad040fe2, // stp q2, q3, [sp, #128]
	0xad0517e4, // stp q4, q5, [sp, #160]
	0xad061fe6, // stp q6, q7, [sp, #192]
	0x58000260, // ldr x0, capabilities
	0x10000281, // adr x1, more
	0x58fffdb0, // ldr x16, the address of the resolver
	0xd63f0200, // blr x16
	0xaa0003f0, // mov x16, x0
	0xad461fe6, // ldp q6, q7, [sp, #192]
	0xad4517e4, // ldp q4, q5, [sp, #160]
	0xad440fe2, // ldp q2, q3, [sp, #128]
	0xad4307e0, // ldp q0, q1, [sp, #96]
	0xf9402be8, // ldr x8, [sp, #80]
	0xa9441fe6, // ldp x6, x7, [sp, #64]
	0xa94317e4, // ldp x4, x5, [sp, #48]
	0xa9420fe2, // ldp x2, x3, [sp, #32]
	0xa94107e0, // ldp x0, x1, [sp, #16]
	0xa8ce7bfd, // ldp x29, x30, [sp], #224
	0x90000011, // adrp x17, chosen
	0xf9000230, // str x16, [x17, chosen]
	0xd61f0200, // br x16
	nop,
	0, 0x40000000, // capabilities: that there is a second argument
	24, 0, 0, 0, 0, 0, // more: its size, and two words of capabilities
}

// Where finder is, and what in it refers to the word that keeps the choice.
const (
	finderAt = 16
	loadAt   = finderAt
	storeAt  = finderAt + 30*4
)

// veneer gives code that branches somewhere.
func (b *builder) veneer(to ref) *section {
	for _, v := range b.veneers {
		if v.to == to {
			return v.sec
		}
	}
	code := jump
	f := fixup{typ: elf.R_AARCH64_ABS64, off: 8, to: to}
	switch {
	case to.kind == inTarget && !to.padded:
		code = []uint32{0x14000000, nop} // b
		f.typ, f.off = elf.R_AARCH64_JUMP26, 0
	case to.mayBeIndirect():
		code = append(append([]uint32(nil), jump...), finder...)
	}
	v := made{to: to, sec: newSection(".veneer", elf.SHF_EXECINSTR, uint64(len(code)*4))}
	for i, w := range code {
		binary.LittleEndian.PutUint32(v.sec.data[i*4:], w)
	}
	f.sec = v.sec
	b.veneers = append(b.veneers, v)
	b.fixups = append(b.fixups, f)
	if to.mayBeIndirect() {
		word := newSection(".chosen", elf.SHF_WRITE, 8)
		word.data = nil
		b.live = append(b.live, word)
		chosen := ref{kind: inPatch, sec: word}
		for _, at := range []uint64{loadAt, storeAt} {
			b.fixups = append(b.fixups,
				fixup{sec: v.sec, off: at, typ: elf.R_AARCH64_ADR_PREL_PG_HI21, to: chosen},
				fixup{sec: v.sec, off: at + 4, typ: elf.R_AARCH64_LDST64_ABS_LO12_NC, to: chosen})
		}
	}
	return v.sec
}

// mayBeIndirect reports whether it is not known before the patch is applied
// whether something is an indirect function.
func (r ref) mayBeIndirect() bool { return r.kind == byName && r.slots == (imported{}) }

// newSection makes a section of our own.
func newSection(name string, flags elf.SectionFlag, size uint64) *section {
	s := &section{obj: &objectFile{path: "patch"}, name: name, flags: flags | elf.SHF_ALLOC, align: 8, size: size, data: make([]byte, size)}
	s.units = []*unit{{sec: s, size: size, live: true}}
	return s
}
