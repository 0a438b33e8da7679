package amd64

import (
	"encoding/binary"
	"fmt"
)

// BranchReach is how far JMP rel32 and CALL rel32 get, either way (Manual, volume 2,
// "JMP", "CALL").
const BranchReach = 1 << 31

// Opcodes of the branches that nopal writes.
const (
	opCall  = 0xe8
	opJmp   = 0xe9
	opShort = 0xeb
	// Ret is RET, Breakpoint what debuggers write over an instruction.
	Ret        = 0xc3
	Breakpoint = 0xcc
)

// RangeError says that a branch does not reach its target.
type RangeError struct{ From, To uint64 }

func (e *RangeError) Error() string {
	return fmt.Sprintf("branch at %#x cannot reach %#x: it is out of reach", e.From, e.To)
}

// EncodeJmp gives the five bytes of JMP rel32 at from, as a number.
func EncodeJmp(from, to uint64) (uint64, error) { return rel32(opJmp, from, to) }

// EncodeCall gives those of CALL rel32.
func EncodeCall(from, to uint64) (uint64, error) { return rel32(opCall, from, to) }

func rel32(op byte, from, to uint64) (uint64, error) {
	d := int64(to - (from + JumpSize))
	if int64(int32(d)) != d {
		return 0, &RangeError{from, to}
	}
	return uint64(op) | uint64(uint32(d))<<8, nil
}

// EncodeShort gives the two bytes of JMP rel8 at from.
func EncodeShort(from, to uint64) (uint64, error) {
	d := int64(to - (from + ShortJumpSize))
	if int64(int8(d)) != d {
		return 0, &RangeError{from, to}
	}
	return uint64(opShort) | uint64(uint8(d))<<8, nil
}

// BranchTarget is where the JMP or CALL rel32 at from leads that the number begins
// with. call tells which it is.
func BranchTarget(from, insn uint64) (to uint64, call, ok bool) {
	op := byte(insn)
	if op != opJmp && op != opCall {
		return 0, false, false
	}
	return from + JumpSize + uint64(int64(int32(insn>>8))), op == opCall, true
}

// ShortTarget is where the JMP rel8 at from leads.
func ShortTarget(from, insn uint64) (to uint64, ok bool) {
	if byte(insn) != opShort {
		return 0, false
	}
	return from + ShortJumpSize + uint64(int64(int8(insn>>8))), true
}

// IsNops reports whether code begins with NOPs one of which ends at size or behind it.
func IsNops(code []byte, size int) bool {
	for at := 0; at < size; {
		n := NopLen(code[at:])
		if n == 0 {
			return false
		}
		at += n
	}
	return true
}

func put64(b []byte, v uint64) { binary.LittleEndian.PutUint64(b, v) }
