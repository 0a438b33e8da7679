package inject

import (
	"encoding/binary"
	"fmt"
	"io"
)

// ErrnoSymbol is the function by which C libraries say where errno is: glibc and musl alike.
const ErrnoSymbol = "__errno_location"

// term is what is known of a register: v, and the thread pointer if pointer is set.
type term struct {
	known   bool
	pointer bool
	v       uint64
}

func (a term) plus(b term) term {
	return term{a.known && b.known && !(a.pointer && b.pointer), a.pointer || b.pointer, a.v + b.v}
}

// maxErrnoInsns bounds the way through the function.
const maxErrnoInsns = 32

// ErrnoOffset finds how far errno is from the thread pointer, by following the instructions of the function at addr without
// running them: it adds a constant to the thread pointer, which in a shared library the loader has put into the global offset table.
func ErrnoOffset(mem io.ReaderAt, addr uint64) (int64, error) {
	var regs [32]term
	load := func(at uint64, size int) (uint64, error) {
		b := make([]byte, 8)
		if _, err := mem.ReadAt(b[:size], int64(at)); err != nil {
			return 0, fmt.Errorf("find errno: read %#x: %w", at, err)
		}
		return binary.LittleEndian.Uint64(b), nil
	}
	pc := addr
	for range maxErrnoInsns {
		word, err := load(pc, 4)
		if err != nil {
			return 0, err
		}
		insn := uint32(word)
		rd, rn, rm := insn&31, insn>>5&31, insn>>16&31
		next := pc + 4
		set := func(t term) {
			if rd != 31 {
				regs[rd] = t
			}
		}
		source := func(n uint32) term {
			if n == 31 {
				return term{known: true}
			}
			return regs[n]
		}
		// Arm ARM C4.1: the encodings by group.
		switch {
		case insn&0xfffff01f == 0xd503201f: // HINT: nop, bti, paciasp
		case insn&0xffffffe0 == 0xd53bd040: // mrs xD, tpidr_el0
			set(term{known: true, pointer: true})
		case insn&0x9f000000 == 0x90000000: // adrp
			set(term{known: true, v: pc&^0xfff + uint64(adrOffset(insn))<<12})
		case insn&0x9f000000 == 0x10000000: // adr
			set(term{known: true, v: pc + uint64(adrOffset(insn))})
		case insn&0xbf800000 == 0x91000000 && rn != 31 && rd != 31: // add, sub #imm
			v := uint64(insn >> 10 & 0xfff)
			if insn>>22&1 != 0 {
				v <<= 12
			}
			if insn>>30&1 != 0 {
				v = -v
			}
			set(regs[rn].plus(term{known: true, v: v}))
		case insn&0xffe0fc00 == 0x8b000000: // add xD, xN, xM
			set(source(rn).plus(source(rm)))
		case insn&0xffe0fc00 == 0xaa000000 && rn == 31: // mov xD, xM
			set(source(rm))
		case insn&0xff800000 == 0xd2800000: // movz
			set(term{known: true, v: uint64(insn>>5&0xffff) << wideShift(insn)})
		case insn&0xff800000 == 0x92800000: // movn
			set(term{known: true, v: ^(uint64(insn>>5&0xffff) << wideShift(insn))})
		case insn&0xff800000 == 0xf2800000 && rd != 31: // movk
			shift := wideShift(insn)
			t := regs[rd]
			t.known = t.known && !t.pointer
			t.v = t.v&^(0xffff<<shift) | uint64(insn>>5&0xffff)<<shift
			set(t)
		case insn&0xffc00000 == 0xf9400000 && rn != 31: // ldr xD, [xN, #imm]
			base := regs[rn]
			if !base.known || base.pointer {
				set(term{})
				break
			}
			v, err := load(base.v+uint64(insn>>10&0xfff)*8, 8)
			if err != nil {
				return 0, err
			}
			set(term{known: true, v: v})
		case insn&0xff000000 == 0x58000000: // ldr xD, literal
			v, err := load(pc+uint64(int64(int32(insn<<8))>>13<<2), 8)
			if err != nil {
				return 0, err
			}
			set(term{known: true, v: v})
		case insn&0xfc000000 == 0x14000000: // b
			next = pc + uint64(int64(int32(insn<<6))>>4)
		case insn == 0xd65f03c0 || insn == 0xd65f0bff || insn == 0xd65f0fff: // ret, retaa, retab
			r := regs[0]
			if !r.known || !r.pointer {
				return 0, fmt.Errorf("find errno: what %s returns is no constant distance from the thread pointer", ErrnoSymbol)
			}
			return int64(r.v), nil
		default:
			return 0, fmt.Errorf("find errno: %s has an instruction at %#x that is not understood: %08x", ErrnoSymbol, pc, insn)
		}
		pc = next
	}
	return 0, fmt.Errorf("find errno: %s is longer than %d instructions", ErrnoSymbol, maxErrnoInsns)
}

// adrOffset is the signed offset of ADR, or of ADRP in pages.
func adrOffset(insn uint32) int64 {
	v := insn>>5&0x7ffff<<2 | insn>>29&3
	return int64(int32(v<<11)) >> 11
}

// wideShift is how far the value of a MOVZ, MOVN or MOVK is shifted.
func wideShift(insn uint32) uint32 { return (insn >> 21 & 3) * 16 }
