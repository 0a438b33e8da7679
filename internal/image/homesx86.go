package image

import (
	"encoding/binary"

	"nopal/internal/arch/amd64"
)

// clang's code without optimisation begins with the frame, and then moves arguments
// between registers and to the frame, in any order. All of its instructions are
// followed as long as they do nothing else.

const (
	opReg6       = opReg0 + 6 // rbp
	prologueSize = 512
	// argumentsAt is where the arguments on the stack begin, seen from rbp: above what
	// rbp was and the return address.
	argumentsAt = 16
)

// prologue is what is known while the instructions are followed.
type prologue struct {
	homes
	vectors map[int]home // as held, for xmm registers
	slots   map[int64]home
}

func (sysv) homes(im *Image, body uint64, op byte) *homes {
	if op != opReg6 {
		return nil
	}
	code := make([]byte, prologueSize)
	n, _ := im.ReadVA(code, body) // what cannot be read has no stores
	p := prologue{
		homes:   homes{arguments: argumentsAt, stored: map[int64]home{}, held: map[int]home{}},
		vectors: map[int]home{}, slots: map[int64]home{},
	}
	for code = code[:n]; len(code) > 0; {
		size := p.step(code)
		if size == 0 {
			break
		}
		code = code[size:]
	}
	return &p.homes
}

// step follows one instruction and gives its size; 0 for one that is not known.
func (p *prologue) step(code []byte) int {
	for _, known := range []string{"\x55", "\x48\x89\xe5"} { // push rbp; mov rbp, rsp
		if len(code) >= len(known) && string(code[:len(known)]) == known {
			return len(known)
		}
	}
	at, rex, prefix := 0, byte(0), byte(0)
	if at < len(code) && (code[at] == 0x66 || code[at] == 0xf2 || code[at] == 0xf3) {
		prefix = code[at]
		at++
	}
	if at < len(code) && code[at]&0xf0 == 0x40 {
		rex = code[at]
		at++
	}
	if at+2 > len(code) {
		return 0
	}
	op := uint16(code[at])
	at++
	if op == 0x0f {
		op = 0x0f00 | uint16(code[at])
		at++
	}
	if at >= len(code) {
		return 0
	}
	switch op {
	case 0x24: // and al, imm8: of a bool
		return at + 1
	case 0x80, 0x83: // and r8, imm8; sub rsp, imm8
		if isAnd := code[at]>>3 == 0xc0>>3|4; op == 0x80 && isAnd || op == 0x83 && code[at] == 0xec {
			return at + 2
		}
		return 0
	case 0x81:
		if code[at] == 0xec { // sub rsp, imm32
			return at + 5
		}
		return 0
	}
	modrm := code[at]
	at++
	reg := int(modrm>>3&7 | rex&4<<1)
	rm := int(modrm&7 | rex&1<<3)
	inMemory, offset := true, int64(0)
	switch {
	case modrm>>6 == 3:
		inMemory = false
	case modrm>>6 == 1 && rm == amd64.RBP && at < len(code):
		offset = int64(int8(code[at]))
		at++
	case modrm>>6 == 2 && rm == amd64.RBP && at+4 <= len(code):
		offset = int64(int32(binary.LittleEndian.Uint32(code[at:])))
		at += 4
	default:
		return 0
	}
	switch op {
	case 0x88, 0x89: // mov r/m, r
		p.move(inMemory, rm, offset, p.holds(reg), &p.held)
	case 0x8a, 0x8b: // mov r, r/m
		if inMemory {
			p.load(reg, offset, &p.held)
		} else {
			p.held[reg] = p.holds(rm)
		}
	case 0x0f11, 0x0f29: // movups, movupd, movss, movsd; movaps, movapd
		p.move(inMemory, rm, offset, p.vector(reg), &p.vectors)
	case 0x0f10, 0x0f28:
		if inMemory {
			p.load(reg, offset, &p.vectors)
		} else if prefix == 0x66 || prefix == 0 {
			p.vectors[reg] = p.vector(rm)
		} else {
			return 0
		}
	default:
		return 0
	}
	return at
}

func (p *prologue) vector(n int) home {
	if v, ok := p.vectors[n]; ok {
		return v
	}
	return home{InV, n}
}

// move stores a value to the frame or to a register.
func (p *prologue) move(inMemory bool, rm int, offset int64, v home, held *map[int]home) {
	if !inMemory {
		(*held)[rm] = v
		return
	}
	p.slots[offset] = v
	if _, again := p.stored[offset]; !again {
		p.stored[offset] = v
	}
}

// load reads the frame, or an argument on the stack.
func (p *prologue) load(reg int, offset int64, held *map[int]home) {
	v, ok := p.slots[offset]
	if !ok {
		v = home{InStack, int(offset - argumentsAt)}
	}
	(*held)[reg] = v
}
