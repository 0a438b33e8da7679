package livepatch

import (
	"encoding/binary"
	"fmt"

	"nopal/internal/arch/arm64"
	"nopal/internal/entry"
)

// Instructions of stubs (Arm ARM C6.2).
const (
	ldrX16Literal = 0x58000010 // ldr x16, pc + imm19*4
	brX16         = 0xd61f0200
	adrX17        = 0x10000011 // adr x17, pc + imm21
	brk           = 0xd4200000
)

// What a stub's first instruction does.
type course int

const (
	toNew  course = iota // settled: the new function
	decide               // what the thread's way is
	toOld                // settled: the old one
)

// courseWord is the first instruction of the stub at addr.
func courseWord(addr uint64, c course) uint32 {
	to := addr + entry.PatchStubGlue
	switch c {
	case toNew:
		return arm64.Nop
	case toOld:
		to = addr + entry.PatchStubOld
	}
	insn, _ := arm64.EncodeB(addr, to) // a few bytes are in reach
	return insn
}

// stub makes the stub at addr: see entry.PatchStubSize. old are the instructions of the
// old way.
func stub(addr, code, control, target uint64, old []uint32) ([]byte, error) {
	b := make([]byte, entry.PatchStubSize)
	put := func(off int, insn uint32) { binary.LittleEndian.PutUint32(b[off:], insn) }
	for off := 0; off < entry.PatchStubControl; off += arm64.InsnSize {
		put(off, brk)
	}
	put(0, courseWord(addr, decide))
	if insn, err := arm64.EncodeB(addr+entry.PatchStubNew, target); err == nil {
		put(entry.PatchStubNew, insn)
	} else {
		const literal = entry.PatchStubTarget - entry.PatchStubNew
		put(entry.PatchStubNew, ldrX16Literal|literal/4<<5)
		put(entry.PatchStubNew+4, brX16)
	}
	const back = uint32(entry.PatchStubGlue) / 4 // words
	put(entry.PatchStubGlue, adrX17|(1<<19-back)<<5)
	insn, err := arm64.EncodeB(addr+entry.PatchStubGlue+4, code)
	if err != nil {
		return nil, err
	}
	put(entry.PatchStubGlue+4, insn)
	if len(old) > (entry.PatchStubControl-entry.PatchStubOld)/arm64.InsnSize {
		return nil, fmt.Errorf("old way of stub at %#x has %d instructions", addr, len(old))
	}
	for i, insn := range old {
		put(entry.PatchStubOld+4*i, insn)
	}
	binary.LittleEndian.PutUint64(b[entry.PatchStubControl:], control)
	binary.LittleEndian.PutUint64(b[entry.PatchStubTarget:], target)
	return b, nil
}

// oldWay are the instructions that lead the stub at addr to the old function behind a
// redirect that is at `at`: what stood there, unless it was a NOP, and a branch behind it.
func oldWay(addr, at uint64, word uint32) ([]uint32, error) {
	pc := addr + entry.PatchStubOld
	var list []uint32
	if word != arm64.Nop {
		moved, err := arm64.Relocate(word, at, pc)
		if err != nil {
			return nil, err
		}
		list = moved
		pc += uint64(len(moved)) * arm64.InsnSize
	}
	insn, err := arm64.EncodeB(pc, at+arm64.InsnSize)
	if err != nil {
		return nil, err
	}
	return append(list, insn), nil
}

// leadTo is an old way that leads to another patch's stub.
func leadTo(addr, lower uint64) ([]uint32, error) {
	insn, err := arm64.EncodeB(addr+entry.PatchStubOld, lower)
	return []uint32{insn}, err
}
