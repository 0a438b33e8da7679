package unwind

import "encoding/binary"

// Limits of an expression; those that compilers write for frames take a dozen
// steps.
const (
	maxExprSteps = 4096
	maxExprStack = 64
)

// Operations of DWARF expressions (DWARF 5, 7.7.1).
const (
	opDeref      = 0x06
	opConst1u    = 0x08
	opConst1s    = 0x09
	opConst2u    = 0x0a
	opConst2s    = 0x0b
	opConst4u    = 0x0c
	opConst4s    = 0x0d
	opConst8u    = 0x0e
	opConst8s    = 0x0f
	opConstu     = 0x10
	opConsts     = 0x11
	opDup        = 0x12
	opDrop       = 0x13
	opOver       = 0x14
	opPick       = 0x15
	opSwap       = 0x16
	opRot        = 0x17
	opAbs        = 0x19
	opAnd        = 0x1a
	opDiv        = 0x1b
	opMinus      = 0x1c
	opMod        = 0x1d
	opMul        = 0x1e
	opNeg        = 0x1f
	opNot        = 0x20
	opOr         = 0x21
	opPlus       = 0x22
	opPlusUconst = 0x23
	opShl        = 0x24
	opShr        = 0x25
	opShra       = 0x26
	opXor        = 0x27
	opBra        = 0x28
	opEq         = 0x29
	opGe         = 0x2a
	opGt         = 0x2b
	opLe         = 0x2c
	opLt         = 0x2d
	opNe         = 0x2e
	opSkip       = 0x2f
	opLit0       = 0x30
	opBreg0      = 0x70
	opBregx      = 0x92
	opDerefSize  = 0x94
	opNop        = 0x96
)

// evaluator computes expressions over the registers and the memory of a frame.
type evaluator struct {
	reg   func(n uint64) (uint64, bool)
	load  func(addr uint64, p []byte) bool
	stack []uint64
	bad   bool
}

// eval gives what is on top of the stack in the end; initial are what is on it first.
func (e *evaluator) eval(expr []byte, initial ...uint64) (uint64, bool) {
	e.stack, e.bad = append(e.stack[:0], initial...), false
	r := reader{data: expr}
	for steps := 0; r.more() && !e.bad; steps++ {
		if steps == maxExprSteps || len(e.stack) > maxExprStack {
			return 0, false
		}
		e.step(&r)
	}
	if r.failed || e.bad || len(e.stack) == 0 {
		return 0, false
	}
	return e.stack[len(e.stack)-1], true
}

func (e *evaluator) push(v uint64) { e.stack = append(e.stack, v) }

func (e *evaluator) pop() uint64 {
	if len(e.stack) == 0 {
		e.bad = true
		return 0
	}
	v := e.stack[len(e.stack)-1]
	e.stack = e.stack[:len(e.stack)-1]
	return v
}

// pick pushes what is n below the top.
func (e *evaluator) pick(n int) {
	if n >= len(e.stack) {
		e.bad = true
		return
	}
	e.push(e.stack[len(e.stack)-1-n])
}

func (e *evaluator) register(n uint64, off int64) {
	v, ok := e.reg(n)
	e.bad = e.bad || !ok
	e.push(v + uint64(off))
}

func (e *evaluator) deref(size uint8) {
	var b [8]byte
	if size == 0 || size > 8 || !e.load(e.pop(), b[:size]) {
		e.bad = true
	}
	e.push(binary.LittleEndian.Uint64(b[:]))
}

// jump moves on by a 16-bit distance.
func (e *evaluator) jump(r *reader, taken bool) {
	by := int64(int16(r.u16()))
	if !taken {
		return
	}
	to := int64(r.at) + by
	if to < 0 || to > int64(len(r.data)) {
		e.bad = true
		return
	}
	r.at = uint64(to)
}

func (e *evaluator) step(r *reader) {
	op := r.u8()
	switch {
	case op >= opLit0 && op < opLit0+32:
		e.push(uint64(op - opLit0))
		return
	case op >= opBreg0 && op < opBreg0+32:
		e.register(uint64(op-opBreg0), r.sleb())
		return
	}
	switch op {
	case opConst1u:
		e.push(uint64(r.u8()))
	case opConst1s:
		e.push(uint64(int8(r.u8())))
	case opConst2u:
		e.push(uint64(r.u16()))
	case opConst2s:
		e.push(uint64(int16(r.u16())))
	case opConst4u:
		e.push(uint64(r.u32()))
	case opConst4s:
		e.push(uint64(int32(r.u32())))
	case opConst8u, opConst8s:
		e.push(r.u64())
	case opConstu:
		e.push(r.uleb())
	case opConsts:
		e.push(uint64(r.sleb()))
	case opBregx:
		n := r.uleb()
		e.register(n, r.sleb())
	case opDeref:
		e.deref(8)
	case opDerefSize:
		e.deref(r.u8())
	case opDup:
		e.pick(0)
	case opDrop:
		e.pop()
	case opOver:
		e.pick(1)
	case opPick:
		e.pick(int(r.u8()))
	case opSwap:
		a, b := e.pop(), e.pop()
		e.push(a)
		e.push(b)
	case opRot:
		a, b, c := e.pop(), e.pop(), e.pop()
		e.push(a)
		e.push(c)
		e.push(b)
	case opSkip:
		e.jump(r, true)
	case opBra:
		e.jump(r, e.pop() != 0)
	case opPlusUconst:
		e.push(e.pop() + r.uleb())
	case opNop:
	case opAbs:
		v := int64(e.pop())
		e.push(uint64(max(v, -v)))
	case opNeg:
		e.push(-e.pop())
	case opNot:
		e.push(^e.pop())
	default:
		b, a := e.pop(), e.pop()
		v, ok := binary2(op, a, b)
		e.bad = e.bad || !ok
		e.push(v)
	}
}

// binary2 does the operations of two operands; comparisons are signed (DWARF 5,
// 2.5.1.5).
func binary2(op uint8, a, b uint64) (uint64, bool) {
	truth := func(is bool) (uint64, bool) {
		if is {
			return 1, true
		}
		return 0, true
	}
	switch op {
	case opAnd:
		return a & b, true
	case opOr:
		return a | b, true
	case opXor:
		return a ^ b, true
	case opPlus:
		return a + b, true
	case opMinus:
		return a - b, true
	case opMul:
		return a * b, true
	case opDiv:
		if b == 0 {
			return 0, false
		}
		return uint64(int64(a) / int64(b)), true
	case opMod:
		if b == 0 {
			return 0, false
		}
		return a % b, true
	case opShl:
		return a << b, true
	case opShr:
		return a >> b, true
	case opShra:
		return uint64(int64(a) >> b), true
	case opEq:
		return truth(a == b)
	case opNe:
		return truth(a != b)
	case opGe:
		return truth(int64(a) >= int64(b))
	case opGt:
		return truth(int64(a) > int64(b))
	case opLe:
		return truth(int64(a) <= int64(b))
	case opLt:
		return truth(int64(a) < int64(b))
	}
	return 0, false
}
