// What a patched function runs while a live patch comes or goes: whether this thread
// takes the old or the new way. The block is copied into the island of each patch; a
// function's stub (PatchStub in patch.go) branches here.
//
// The rules of entry_arm64.s hold, and nothing is pushed: for a stack walk the code is
// the first instruction of the function, x30 is the return address. Free are x9-x17;
// the arguments are in x0-x8.
//
// A thread is known by its thread pointer, without the lowest three bits, which are
// the state in a table's word. Two tables say which way a thread takes, both hashed
// with open addressing:
//
//   - Threads has those that nopal has met, with their way. Only nopal writes it, a
//     thread's words only while that thread is stopped and outside of this code; but
//     for a thread that goes over by itself, see below.
//   - Base has those that came by while threads were being gathered and that nopal had
//     not met. Only threads write it, each its own word; nopal empties it when it has
//     met all.
//
// Mode says what is true of a thread that is not in Threads. While threads are being
// gathered it takes the old way (or rather that of the base, the new one when a patch
// is being removed) and notes itself in Base. After that one that is in Base goes on
// so, and one that is not was born after all redirects were in place and after all
// others had been gathered: it takes the other way from its first call on.
//
// A thread that nopal has found in functions being replaced, and whose stack is known to
// its end, has a second word there: sp as it was when the outermost of these was called.
// When it calls again with the same sp, that frame is gone, as what it calls now will be
// written over it, and so are all those within it: the thread goes over. Deeper
// calls are made from within. A call from further out makes the word useless, since one
// with the noted sp might come from within that. (A tail call from the frame itself comes
// with the same sp, too; nopal does not note functions that make such.)
//
// Mode is read before Threads. A thread that reads "gathering" and is then met by nopal
// finds itself in Threads or, having looked already, goes the way of the base, which is
// what nopal has written. Were Threads read first, it could be missing there, nopal meet it
// and go on to the next mode, and the thread read that and take the other way.

//go:build arm64

#include "textflag.h"
#include "go_asm.h"

// func patchLabels() (base unsafe.Pointer, decide, end uint64)
//
// As labels in entry_arm64.s.
TEXT ·patchLabels(SB), NOSPLIT|NOFRAME, $0-24
	ADR  start, R0
	MOVD R0, base+0(FP)
	ADR  decide, R0
	MOVD R0, decide+8(FP)
	ADR  end, R0
	MOVD R0, end+16(FP)
	RET

	PCALIGN $64

start:

// In: x17 = the stub. Leaves to its old or new way. Clobbers x9-x17. No stack.
decide:
	MOVD const_PatchStubControl(R17), R16
	LDAR (R16), R15                                   // PatchControl.Mode
	MRS  TPIDR_EL0, R14
	AND  $~7, R14, R14
	MOVD PatchControl_Factor(R16), R13
	MUL  R14, R13, R13
	MOVD PatchControl_Shift(R16), R12
	LSR  R12, R13, R13
	MOVD PatchControl_Mask(R16), R12
	MOVD PatchControl_Threads(R16), R11

// Ends at an empty word: nopal fills at most half of the table.
search:
	AND  R12, R13, R13
	ADD  R13<<4, R11, R10
	MOVD (R10), R9
	CBZ  R9, absent
	EOR  R14, R9, R9
	LSR  $3, R9, R16
	CBZ  R16, found
	ADD  $1, R13, R13
	B    search

found:
	TBZ  $0, R15, way                                 // PatchConverging
	EOR  R15, R9, R16
	TBNZ $1, R16, way                                 // has gone over
	MOVD 8(R10), R13
	CBZ  R13, way
	MOVD RSP, R16
	SUB  R13, R16, R13
	CBZ  R13, over
	TBNZ $63, R13, way                                // a deeper call
	MOVD ZR, 8(R10)
	B    way

// By exclusives: nopal stops the thread to make the second word useless. The return from
// that exception ends the exclusive access (Arm ARM B2.9.5), so STXP fails here.
over:
	LDXP (R10), (R13, R12)
	EOR  R16, R12, R13
	CBNZ R13, way
	EOR  $(const_PatchOld|const_PatchNew), R9, R13
	ORR  R14, R13, R13
	STXP (R13, R12), (R10), R11
	CBNZ R11, over
	EOR  $(const_PatchOld|const_PatchNew), R9, R9

way:
	TBNZ $1, R9, new                                  // PatchNew
	B    old

absent:
	MOVD const_PatchStubControl(R17), R16
	MOVD PatchControl_Factor(R16), R13
	MUL  R14, R13, R13
	MOVD PatchControl_Shift(R16), R9
	LSR  R9, R13, R13
	MOVD PatchControl_Base(R16), R11
	ORR  $const_PatchOld, R14, R14                    // any mark: the word must not be 0
	MOVD $const_PatchProbes, R10
	TBNZ $0, R15, converging                          // PatchConverging

gathering:
	AND  R12, R13, R13
	ADD  R13<<3, R11, R9

again:
	LDXR (R9), R16
	CBZ  R16, claim
	EOR  R14, R16, R16
	CBZ  R16, base
	ADD  $1, R13, R13
	SUB  $1, R10, R10
	CBNZ R10, gathering
	MOVD const_PatchStubControl(R17), R16
	MOVD $1, R9
	MOVD R9, PatchControl_Overflow(R16)               // nopal gives up
	B    base

claim:
	STXR R14, (R9), R16
	CBNZ R16, again

base:
	TBNZ $1, R15, new                                 // PatchBaseNew
	B    old

converging:
	AND  R12, R13, R13
	MOVD (R11)(R13<<3), R16
	CBZ  R16, target
	EOR  R14, R16, R16
	CBZ  R16, base
	ADD  $1, R13, R13
	SUB  $1, R10, R10
	CBNZ R10, converging

target:
	TBNZ $1, R15, old

new:
	ADD  $const_PatchStubNew, R17, R17
	JMP  (R17)

old:
	ADD  $const_PatchStubOld, R17, R17
	JMP  (R17)

	PCALIGN $64

end:
	RET
