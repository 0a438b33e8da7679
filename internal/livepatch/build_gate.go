package livepatch

import (
	"debug/elf"
	"encoding/binary"
)

// Exceptions, and pthread_exit in C++, have to find the call frame information
// of new functions. The unwinder knows that of objects that the dynamic linker
// has loaded, and what was registered with __register_frame_info. That takes a
// lock, so no stopped thread can be made to call it; but any thread can that
// enters a new function as its program does. So where the target knows
// exceptions, new functions are entered by a gate: the first thread that comes
// registers for all. It needs no memory of malloc for that. Another thread that
// comes meanwhile does not wait.

// gate stands before a function.
var gate = []uint32{
	0x90000011, // adrp x17, claim
	0xb9400231, // ldr w17, [x17, claim]
	0x34000051, // cbz w17, .+8
	0x14000000, // b function
	0x90000010, // adrp x16, function
	0x91000210, // add x16, x16, function
	0x14000000, // b registrar
	nop,
}

// registrar is entered with the function to go on to in x16 and all else as the
// function expects it.
var registrar = []uint32{
	0xa9b27bfd, // stp x29, x30, [sp, #-224]!
	0x910003fd, // mov x29, sp
	0xa90107e0, // stp x0, x1, [sp, #16]
	0xa9020fe2, // stp x2, x3, [sp, #32]
	0xa90317e4, // stp x4, x5, [sp, #48]
	0xa9041fe6, // stp x6, x7, [sp, #64]
	0xa90543e8, // stp x8, x16, [sp, #80]
	0xad0307e0, // stp q0, q1, [sp, #96]
	0xad040fe2, // stp q2, q3, [sp, #128]
	0xad0517e4, // stp q4, q5, [sp, #160]
	0xad061fe6, // stp q6, q7, [sp, #192]
	0x90000011, // adrp x17, claim
	0x91000231, // add x17, x17, claim
	0x52800021, // mov w1, #1
	0x885ffe20, // ldaxr w0, [x17]
	0x35000120, // cbnz w0, done
	0x88027e21, // stxr w2, w1, [x17]
	0x35ffffa2, // cbnz w2, the ldaxr
	0x58000250, // ldr x16, the address of __register_frame_info
	0xb40000b0, // cbz x16, done
	0x90000000, // adrp x0, the call frame information
	0x91000000, // add x0, x0, the call frame information
	0x91004221, // add x1, x17, #16: room for what the unwinder notes
	0xd63f0200, // blr x16
	0xad461fe6, // done: ldp q6, q7, [sp, #192]
	0xad4517e4, // ldp q4, q5, [sp, #160]
	0xad440fe2, // ldp q2, q3, [sp, #128]
	0xad4307e0, // ldp q0, q1, [sp, #96]
	0xa94543e8, // ldp x8, x16, [sp, #80]
	0xa9441fe6, // ldp x6, x7, [sp, #64]
	0xa94317e4, // ldp x4, x5, [sp, #48]
	0xa9420fe2, // ldp x2, x3, [sp, #32]
	0xa94107e0, // ldp x0, x1, [sp, #16]
	0xa8ce7bfd, // ldp x29, x30, [sp], #224
	0xd61f0200, // br x16
	nop,
	0, 0, // the address of __register_frame_info
}

// gated is what is appended to the name of a function that has a gate.
const gated = ".gated"

// claimSize is the size of the word by which the first thread is found, and of
// libgcc's struct object 16 bytes behind it, which has 48 bytes and may grow.
const claimSize = 16 + 128

// throws reports whether the target knows exceptions.
func (o *original) throws() bool {
	for _, personality := range []string{"__gxx_personality_v0", "rust_eh_personality", "__gcc_personality_v0"} {
		if o.wanted[personality] || len(o.symbols[personality]) > 0 {
			return true
		}
	}
	return false
}

// makeGates gives the new functions gates where they need some.
func (b *builder) makeGates() error {
	if len(b.frames) == 0 || !b.old.throws() {
		return nil
	}
	y := &symbol{obj: b.objects[0], name: "__register_frame_info", bind: elf.STB_WEAK}
	register, err := b.undefined(y)
	if err != nil {
		return err
	}
	register.fn, register.padded = true, true
	claim := newSection(".claim", elf.SHF_WRITE, claimSize)
	claim.data = nil
	b.live = append(b.live, claim)
	shared := codeSection(registrar)
	b.gates = append(b.gates, shared)
	refer := func(s *section, at uint64, typ elf.R_AARCH64, to *section, off uint64) {
		b.fixups = append(b.fixups, fixup{sec: s, off: at, typ: typ, to: ref{kind: inPatch, sec: to, off: off}})
	}
	address := func(s *section, at uint64, to *section, off uint64) {
		refer(s, at, elf.R_AARCH64_ADR_PREL_PG_HI21, to, off)
		refer(s, at+4, elf.R_AARCH64_ADD_ABS_LO12_NC, to, off)
	}
	address(shared, 0x2c, claim, 0)
	address(shared, 0x50, b.frames[0], 0)
	b.fixups = append(b.fixups, fixup{sec: shared, off: 0x90, typ: elf.R_AARCH64_ABS64, to: register})
	for _, u := range b.functions() {
		if u.fate != replaces || u.fn.variant {
			continue
		}
		s := codeSection(gate)
		refer(s, 0, elf.R_AARCH64_ADR_PREL_PG_HI21, claim, 0)
		refer(s, 4, elf.R_AARCH64_LDST32_ABS_LO12_NC, claim, 0)
		refer(s, 12, elf.R_AARCH64_JUMP26, u.sec, u.off)
		address(s, 16, u.sec, u.off)
		refer(s, 24, elf.R_AARCH64_JUMP26, shared, 0)
		b.gates = append(b.gates, s)
		u.gate = s
	}
	return nil
}

func codeSection(code []uint32) *section {
	s := newSection(".gate", elf.SHF_EXECINSTR, uint64(len(code)*4))
	for i, w := range code {
		binary.LittleEndian.PutUint32(s.data[i*4:], w)
	}
	return s
}

// enterAt gives where a function is entered.
func (u *unit) enterAt() uint64 {
	if u.gate != nil {
		return u.gate.out
	}
	return u.sec.out + u.off
}

// isVariant reports whether a function keeps other registers than AAPCS64 says,
// of which a gate knows nothing (STO_AARCH64_VARIANT_PCS).
func isVariant(other byte) bool { return other&0x80 != 0 }
