// Package amd64 knows the instructions of x86-64 that nopal reads and writes:
// the NOPs that compilers leave at functions' entries, and what they are
// exchanged for. It has no build tags, so that every host compiles and tests it.
//
// Manual means the Intel 64 and IA-32 Architectures Software Developer's Manual.
package amd64

// JumpSize is the size of a jump to anywhere near (JMP rel32), ShortJumpSize of
// one by at most 127 bytes (JMP rel8). Manual, volume 2, "JMP".
const (
	JumpSize      = 5
	ShortJumpSize = 2
)

// LandingSize is the size of ENDBR64, the landing pad of indirect calls.
const LandingSize = 4

// maxInsn is the longest instruction (Manual, volume 2, section 2.3.11).
const maxInsn = 15

// NopLen gives the size of the NOP that code begins with, or 0 if it begins with
// another instruction. NOPs are 90, also with the operand size prefix, and 0F 1F
// /0 with any operand, which is not accessed (Manual, volume 2, "NOP").
// Compilers differ in the operand: clang writes other displacements than 0.
func NopLen(code []byte) int {
	code = code[:min(len(code), maxInsn)]
	prefixes := 0
	for prefixes < len(code) && (code[prefixes] == 0x66 || code[prefixes] == 0x2e) {
		prefixes++
	}
	rest := code[prefixes:]
	switch {
	case len(rest) >= 1 && rest[0] == 0x90:
		return prefixes + 1
	case len(rest) < 3 || rest[0] != 0x0f || rest[1] != 0x1f || rest[2]>>3&7 != 0:
		return 0
	}
	n := prefixes + 3 + operandTail(rest[2], rest[3:])
	if n > len(code) {
		return 0
	}
	return n
}

// operandTail gives how many bytes follow a ModRM byte for its operand: SIB and
// displacement (Manual, volume 2, section 2.1.5, tables 2-2 and 2-3).
func operandTail(modrm byte, rest []byte) int {
	mod, rm := modrm>>6, modrm&7
	n := 0
	if mod != 3 && rm == 4 {
		n++
		if mod == 0 && len(rest) > 0 && rest[0]&7 == 5 {
			n += 4
		}
	}
	switch {
	case mod == 1:
		n++
	case mod == 2, mod == 0 && rm == 5:
		n += 4
	}
	return n
}

// IsLanding reports whether code begins with ENDBR64 (Manual, volume 2, "ENDBR64").
func IsLanding(code []byte) bool {
	return len(code) >= LandingSize && code[0] == 0xf3 && code[1] == 0x0f && code[2] == 0x1e && code[3] == 0xfa
}
