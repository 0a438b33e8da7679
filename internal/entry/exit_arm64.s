// What a function's exits run. An exit instruction of a traced function is a
// branch to a stub in the island (see Stub in internal/ftrace), which loads the
// event's code position and comes here; then the original instruction is executed,
// here if it is a plain RET, or in the stub.
//
// The rules of entry_arm64.s hold: nothing is stored below sp, no FP/SIMD register,
// no NZCV, no x18. At an exit the results are in x0-x7, at a tail call the arguments
// are, x8 included; what the caller or the callee still needs besides is x19-x30.
// Free are x9-x17 (AAPCS64 6.1.1), save for the register of an indirect tail call,
// which the stub saves.
//
// The frame is the caller's again, so there is one frame record to push at most:
// the fast path pushes none and is, for a stack walk, what RET itself is; x30 is the
// return address all the time.

//go:build arm64

#include "textflag.h"
#include "go_asm.h"
#include "literal_arm64.h"
#include "record_arm64.h"

// func exitLabels() (base unsafe.Pointer, ret, retUnknown, gen, genUnknown, pushed, pushedUnknown, end uint64)
//
// As labels in entry_arm64.s.
TEXT ·exitLabels(SB), NOSPLIT|NOFRAME, $0-64
	ADR  start, R0
	MOVD R0, base+0(FP)
	ADR  ret, R0
	MOVD R0, ret+8(FP)
	ADR  retSlow, R0
	MOVD R0, retUnknown+16(FP)
	ADR  gen, R0
	MOVD R0, gen+24(FP)
	ADR  genSlow, R0
	MOVD R0, genUnknown+32(FP)
	ADR  pushed, R0
	MOVD R0, pushed+40(FP)
	ADR  pushedSlow, R0
	MOVD R0, pushedUnknown+48(FP)
	ADR  end, R0
	MOVD R0, end+56(FP)
	RET

	PCALIGN $64

start:

// A plain RET: the most common exit. In: x16. Returns for the function.
ret:
	EXIT(32, retSlow)
	RET  (R30)

retSlow:
	MOVD R30, R17
	B    genSlow

	PCALIGN $64

// Any other exit. In: x16, x17 = where the stub goes on. Keeps x17.
gen:
	EXIT(32, genSlow)
	JMP  (R17)

	PCALIGN $64

// As gen, from a stub that has pushed 16 bytes.
pushed:
	EXIT(16, pushedSlow)
	JMP  (R17)

pushedSlow:
	ORR  $1, R16                                      // below the position: sp is 16 lower

// Stack: 112 bytes, and what reserve takes.
genSlow:
	STP.W (R29, R30), -16(RSP)
	MOVD RSP, R29
	STP.W (R0, R1), -96(RSP)
	STP  (R2, R3), 16(RSP)
	STP  (R4, R5), 32(RSP)
	STP  (R6, R7), 48(RSP)
	STP  (R8, R16), 64(RSP)
	MOVD R17, 80(RSP)
	MOVD $1, R0
	LOAD_LITERAL(Literals_Reserve, 9)
	BL   (R9)
	CBZ  R1, slowDone
	MOVD 72(RSP), R16
	SUB  $16, R29, R5                                 // sp at the function's entry - 32
	TBZ  $0, R16, 2(PC)
	MOVD R29, R5
	BFI  $(const_WordSPShift-4), R5, $16, R16
	BFXIL $0, R2, $const_TimeBits, R16
	MOVD R16, (R1)
	CBZ  R3, slowDone
	STLR R4, (R3)                                     // TIME word, behind which the event stands

slowDone:
	LDP  16(RSP), (R2, R3)
	LDP  32(RSP), (R4, R5)
	LDP  48(RSP), (R6, R7)
	MOVD 64(RSP), R8
	MOVD 80(RSP), R17
	LDP.P 96(RSP), (R0, R1)
	LDP.P 16(RSP), (R29, R30)
	LEAVE_EXIT

	PCALIGN $64

end:
	RET
