package entry

import (
	"encoding/binary"
	"maps"
	"slices"

	"golang.org/x/arch/x86/x86asm"
)

// Call frame information for our code that can stand on a stack on x86-64, as the
// program's unwinder reads it (.eh_frame as in the Linux Standard Base, "Exception
// Frames"; DWARF 5, 6.4). All of an FDE is relative to where the unwinder is told that it
// begins, so one serves all copies of the code.

// DWARF's numbers for registers (System V ABI, AMD64 supplement, table 3.36).
const (
	dwarfRCX = 2
	dwarfRSP = 7
	dwarfR11 = 11
	dwarfRA  = 16
)

// Instructions and operations (DWARF 5, 7.24 and 7.7.1).
const (
	cfaOffset        = 0x80
	cfaAdvance4      = 0x04
	cfaUndefined     = 0x07
	cfaSameValue     = 0x08
	cfaRegister      = 0x09
	cfaDefCFA        = 0x0c
	cfaDefCFAOffset  = 0x0e
	cfaDefExpression = 0x0f
	cfaExpression    = 0x10
	cfaValOffset     = 0x14

	opConst1u    = 0x08
	opConst1s    = 0x09
	opDup        = 0x12
	opAnd        = 0x1a
	opPlus       = 0x22
	opPlusUconst = 0x23
	opShl        = 0x24
	opGe         = 0x2a
	opLt         = 0x2d
	opLit0       = 0x30
	opBreg0      = 0x70
	opSwap       = 0x16
)

// CFI collects call frame information.
type CFI struct{ data []byte }

// Bytes returns it, with its end.
func (c *CFI) Bytes() []byte { return append(slices.Clone(c.data), 0, 0, 0, 0) }

// entry appends a CIE or FDE and returns where it is.
func (c *CFI) entry(body []byte) int {
	const align = 8
	for len(body)%align != 4 {
		body = append(body, 0) // DW_CFA_nop
	}
	at := len(c.data)
	c.data = binary.LittleEndian.AppendUint32(c.data, uint32(len(body)))
	c.data = append(c.data, body...)
	return at
}

// cie appends a CIE with no augmentation, so that addresses are absolute.
func (c *CFI) cie(dataAlign int8, initial ...byte) int {
	body := []byte{0, 0, 0, 0, 1, 0, 1, byte(dataAlign) & 0x7f, dwarfRA}
	return c.entry(append(body, initial...))
}

// fde appends what holds in [addr, addr+size), and returns where.
func (c *CFI) fde(cie int, addr, size uint64, rows []byte) int {
	body := binary.LittleEndian.AppendUint32(nil, uint32(len(c.data)+4-cie))
	body = binary.LittleEndian.AppendUint64(body, addr)
	body = binary.LittleEndian.AppendUint64(body, size)
	return c.entry(append(body, rows...))
}

// AddThunks describes the region of thunks at an address. At all of a thunk the stack
// pointer is the caller's, and the return address is in the frame, which is found by the
// pc alone: in an expression that is register 16. A frame is known by its CFA, and the
// caller's and this one must not be one and the same (libgcc asserts it where an exception
// is caught in the caller), so the CFA is one byte further and the stack pointer said.
func (c *CFI) AddThunks(thunks uint64) (fde int) {
	const dataAlign = -1
	cie := c.cie(dataAlign, cfaDefCFA, dwarfRSP, 1, cfaValOffset, dwarfRSP, 1)
	expr := []byte{opBreg0 + dwarfRA, 0, opConst1s, 0x100 - graphFrameSize, opAnd, opPlusUconst}
	expr = binary.AppendUvarint(expr, GraphRegion+8)
	return c.fde(cie, thunks, GraphRegion, append([]byte{cfaExpression, dwarfRA, byte(len(expr))}, expr...))
}

// AddStubs describes stubs, which are 64 bytes each and begin with LEA and MOV to save
// r11, and end with POP (internal/arch/amd64): CFA = rsp + 8, and 8 more in between.
func (c *CFI) AddStubs(addr, size uint64) (fde int) {
	const from, to, last = 5, 23, 63
	cie := c.cie(-8, cfaDefCFA, dwarfRSP, 8, cfaOffset|dwarfRA, 1)
	expr := []byte{
		opBreg0 + dwarfRSP, 8, opBreg0 + dwarfRA, 0, opConst1u, last, opAnd, opDup,
		opLit0 + from, opGe, opSwap, opLit0 + to, opLt, opAnd, opLit0 + 3, opShl, opPlus,
	}
	return c.fde(cie, addr, size, append([]byte{cfaDefExpression, byte(len(expr))}, expr...))
}

// Where the return address is.
type raRule uint8

const (
	raStack raRule = iota // below the CFA
	raCX
	raFrame // in the frame that r11 points to
	raLost
)

// keptRegs are the registers that a function keeps for its caller, besides rsp.
var keptRegs = [6]struct {
	reg   x86asm.Reg
	dwarf byte
}{{x86asm.RBX, 3}, {x86asm.RBP, 6}, {x86asm.R12, 12}, {x86asm.R13, 13}, {x86asm.R14, 14}, {x86asm.R15, 15}}

// cfiState is what holds before an instruction.
type cfiState struct {
	off int // CFA - rsp
	ra  raRule
	// Where the registers are that a function keeps: kept[i] below the CFA; 0: in itself.
	kept [6]int
}

// AddCode describes the entry code at an address: each instruction is followed from the
// entries on, with what it does to the stack.
func (c *CFI) AddCode(b Blob, addr uint64) (fde int) {
	states := map[uint64]cfiState{}
	called, jumped := cfiState{off: 24}, cfiState{off: 16}
	for _, e := range []struct {
		at uint64
		s  cfiState
	}{
		{b.Caller, called}, {b.CallerUnknown, called}, {b.Reserve, cfiState{off: 8}}, {b.DLHook, cfiState{off: 8}},
		{b.RegsCaller, jumped}, {b.StackCaller, jumped}, {b.Trigger, jumped}, {b.Graph.Caller, jumped}, {b.Graph.Unknown, jumped},
		{b.Graph.Exit, cfiState{ra: raFrame}},
	} {
		if e.at == 0 {
			continue
		}
		follow(b.Code, e.at, e.s, states)
	}
	// What was not reached is not known.
	states[0] = cfiState{ra: raLost}
	for _, off := range slices.Collect(maps.Keys(states)) {
		insn, err := x86asm.Decode(b.Code[off:], 64)
		if _, known := states[off+uint64(insn.Len)]; err != nil || !known {
			states[off+uint64(max(insn.Len, 1))] = cfiState{ra: raLost}
		}
	}
	cie := c.cie(-8, cfaDefCFA, dwarfRSP, 8, cfaOffset|dwarfRA, 1)
	offsets := slices.Sorted(maps.Keys(states))
	var rows []byte
	last, at := cfiState{off: 8}, uint64(0)
	for _, off := range offsets {
		s := states[off]
		if s.ra == raLost {
			s = cfiState{off: last.off, ra: raLost, kept: last.kept}
		}
		if s == last {
			continue
		}
		rows = append(rows, cfaAdvance4)
		rows = binary.LittleEndian.AppendUint32(rows, uint32(off-at))
		rows = s.append(rows, last)
		last, at = s, off
	}
	return c.fde(cie, addr, uint64(len(b.Code)), rows)
}

func (s cfiState) append(rows []byte, last cfiState) []byte {
	if s.off != last.off {
		rows = append(rows, cfaDefCFAOffset)
		rows = binary.AppendUvarint(rows, uint64(s.off))
	}
	for i, at := range s.kept {
		switch {
		case at == last.kept[i]:
		case at == 0:
			rows = append(rows, cfaSameValue, keptRegs[i].dwarf)
		default:
			rows = append(rows, cfaOffset|keptRegs[i].dwarf)
			rows = binary.AppendUvarint(rows, uint64(at/8))
		}
	}
	if s.ra == last.ra {
		return rows
	}
	switch s.ra {
	case raStack:
		return append(rows, cfaOffset|dwarfRA, 1)
	case raCX:
		return append(rows, cfaRegister, dwarfRA, dwarfRCX)
	case raFrame:
		return append(rows, cfaExpression, dwarfRA, 2, opBreg0+dwarfR11, 8)
	default:
		return append(rows, cfaUndefined, dwarfRA)
	}
}

// follow goes all ways from an instruction on, up to where it is not known any more what
// the stack is: what saves all registers finds it again by one of them.
func follow(code []byte, at uint64, s cfiState, states map[uint64]cfiState) {
	for at < uint64(len(code)) {
		old, seen := states[at]
		switch {
		case seen && (old == s || old.ra == raLost):
			return
		case seen:
			s = cfiState{off: old.off, ra: raLost}
		}
		states[at] = s
		if s.ra == raLost {
			return
		}
		insn, err := x86asm.Decode(code[at:], 64)
		if err != nil {
			return
		}
		next := at + uint64(insn.Len)
		if to, ok := insn.Args[0].(x86asm.Rel); ok && insn.Op != x86asm.CALL {
			if insn.Op == x86asm.JMP {
				at = next + uint64(int64(to))
				continue
			}
			follow(code, next+uint64(int64(to)), s, states)
		}
		if insn.Op == x86asm.RET || insn.Op == x86asm.JMP {
			return
		}
		s = s.after(insn)
		at = next
	}
}

// after is what holds behind an instruction.
func (s cfiState) after(insn x86asm.Inst) cfiState {
	first, second := insn.Args[0], insn.Args[1]
	switch insn.Op {
	case x86asm.PUSH:
		s.off += 8
		for i, r := range keptRegs {
			if first == r.reg && s.kept[i] == 0 {
				s.kept[i] = s.off
			}
		}
		return s
	case x86asm.PUSHF, x86asm.PUSHFQ:
		s.off += 8
		return s
	case x86asm.POP, x86asm.POPF, x86asm.POPFQ:
		for i, r := range keptRegs {
			if first == r.reg && s.kept[i] == s.off {
				s.kept[i] = 0
			}
		}
		s.off -= 8
		return s
	case x86asm.MOV:
		return s.moved(first, second)
	case x86asm.CMP, x86asm.TEST, x86asm.CALL:
		return s
	}
	if first != x86asm.RSP {
		return s
	}
	switch by := second.(type) {
	case x86asm.Mem:
		if insn.Op == x86asm.LEA && by.Base == x86asm.RSP && by.Index == 0 {
			s.off -= int(by.Disp)
			return s
		}
	case x86asm.Imm:
		switch insn.Op {
		case x86asm.ADD:
			s.off -= int(by)
			return s
		case x86asm.SUB:
			s.off += int(by)
			return s
		}
	}
	s.ra = raLost
	return s
}

// moved follows the return address. Its place is written by SI, with the thunk's
// address, and by CX; CX gets it from the place, where it still is, or from the frame; and
// once it is in the frame of the thunk, that is enough.
func (s cfiState) moved(to, from x86asm.Arg) cfiState {
	if to == x86asm.RSP {
		s.ra = raLost
		return s
	}
	if m, ok := to.(x86asm.Mem); ok {
		switch {
		case m.Base == x86asm.RSP && m.Index == 0 && int(m.Disp) == s.off-8 && from == x86asm.RSI:
			s.ra = raCX
		case m.Base == x86asm.RSP && m.Index == 0 && int(m.Disp) == s.off-8,
			m.Base == x86asm.RDX && m.Disp == 8 && from == x86asm.RCX && s.ra == raCX:
			s.ra = raStack
		}
		return s
	}
	if m, ok := from.(x86asm.Mem); ok && m.Base == x86asm.R11 && m.Disp == 8 && to == x86asm.RCX && s.ra == raFrame {
		s.ra = raCX
	}
	return s
}
