// What the dynamic linker calls in place of its debugger hook (r_debug.r_brk) while
// nopal waits for an object that a patch is for. The calls of the hook are led here, not
// the hook itself, whose only instruction may be a recording's.
//
// The thread draws a ticket and waits, bounded in time, until nopal has answered it: then
// nopal has looked at what is mapped. Whoever has waited in vain makes that nobody
// waits any more. Then it goes on to the hook.
//
// The rules of entry_arm64.s hold, and every register is kept: the loader may know that
// its empty hook changes none. There is no system call.

//go:build arm64

#include "textflag.h"
#include "go_asm.h"

// func loadedLabels() (base unsafe.Pointer, on, loader, end uint64)
//
// As labels in entry_arm64.s.
TEXT ·loadedLabels(SB), NOSPLIT|NOFRAME, $0-32
	ADR  start, R0
	MOVD R0, base+0(FP)
	ADR  on, R0
	MOVD R0, on+8(FP)
	ADR  loader, R0
	MOVD R0, loader+16(FP)
	ADR  end, R0
	MOVD R0, end+24(FP)
	RET

	PCALIGN $64

// Stack: LoadedStack bytes.
start:
	STP.W (R0, R1), -const_LoadedStack(RSP)
	STP  (R2, R3), 16(RSP)
	STP  (R4, R5), 32(RSP)
	ADR  loader, R0
	MOVD (R0), R5                                     // R5 = PatchLoader
	LDAR (R5), R0                                     // Live
	CBZ  R0, done
	MOVD PatchLoader_WaitTicks(R5), R4
	MRS  CNTVCT_EL0, R3                               // R3 = start
	ADD  $PatchLoader_Request, R5, R0

draw:
	LDAXR (R0), R2
	ADD  $1, R2                                       // R2 = ticket
	STLXR R2, (R0), R1
	CBNZ R1, draw
	ADD  $PatchLoader_Ack, R5, R1

wait:
	LDAR (R1), R0
	SUB  R2, R0, R0
	TBZ  $63, R0, done
	MRS  CNTVCT_EL0, R0
	SUB  R3, R0, R0
	SUB  R4, R0, R0
	YIELD
	TBNZ $63, R0, wait
	STLR ZR, (R5)                                     // never again

done:
	LDP  16(RSP), (R2, R3)
	LDP  32(RSP), (R4, R5)
	LDP.P const_LoadedStack(RSP), (R0, R1)

on:
	UNDEF                                             // b hook

	PCALIGN $8

loader:
	WORD $0
	WORD $0

end:
	RET
