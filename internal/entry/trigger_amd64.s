// What is jumped to at functions with a trigger, as trigger_arm64.s describes. The rules
// of entry_amd64.s hold. Counts and wishes are changed by LOCKed instructions: they are
// the process's.

//go:build amd64

#include "textflag.h"
#include "go_asm.h"
#include "record_amd64.h"

// func triggerBlock() unsafe.Pointer
//
// As entryBlock in entry_amd64.s.
TEXT ·triggerBlock(SB), NOSPLIT|NOFRAME, $0-8
	LEAQ ·triggerBlock(SB), AX
	MOVQ AX, ret+0(FP)
	RET

	BEGIN
	PART(const_partTrigger)

// In: r11 = the stub's words; at rsp the stub's r11, then the return address.
// Stack: 48 bytes. Clobbers nothing, since others go on.
	SAVE_FLAGS
	PUSHQ CX
	PUSHQ DX
	PUSHQ BX
	PUSHQ SI
	LEA_PART(const_partNothing, rAX)
	LOAD_LITERAL(Literals_Table, rCX)
	MOVQ -8(CX), BX                                   // BX = ring
	TESTQ BX, BX
	JEQ  leave                                        // forked child: not recorded
	MOVQ RingHeader_TriggerLen(BX), DX
	LEAQ RingHeader_Triggers(BX), SI

search:
	TESTQ DX, DX
	JEQ  leave
	MOVQ TriggerEntry_IP(SI), AX
	CMPQ AX, 8(R11)                                   // where the function goes on
	JEQ  found
	ADDQ $TriggerEntry__size, SI
	DECQ DX
	LEA_PART(const_partNothing, rAX)
	JMP  search

found:
	MOVQ TriggerEntry_Count(SI), AX

countDown:
	TESTQ AX, AX
	JEQ  over
	LEAQ -1(AX), DX
	LOCK
	CMPXCHGQ DX, TriggerEntry_Count(SI)
	JNE  countDown
	MOVQ TriggerEntry_Wish(SI), AX
	TESTQ AX, AX
	JEQ  act
	LOCK
	ORQ  AX, RingHeader_Wishes(BX)

act:
	MOVQ TriggerEntry_Action(SI), AX
	TESTQ AX, AX
	JEQ  next
	TESTL $const_TriggerTraceOff, AX
	JNE  off
	MOVQ $0, RingHeader_TraceOff(BX)
	MOVQ (Control_TidReal-const_ControlSize)(CX), AX
	MOVQ AX, -16(CX)
	JMP  next

off:
	MOVQ AX, RingHeader_TraceOff(BX)
	TESTL $const_TidOffsetNone, -16(CX)
	JNE  next                                         // not known: all ask reserve already
	MOVQ $0, -16(CX)

next:
	MOVQ TriggerEntry_Next(SI), AX
	JMP  which

over:
	MOVQ TriggerEntry_Then(SI), AX

which:
	// ftrace_caller wants to be called.
	LEA_PART(const_partCaller, rCX)
	CMPQ AX, CX
	JEQ  called
	LEA_PART(const_partCallerUnknown, rCX)
	CMPQ AX, CX
	JNE  leave
	LEA_PART(const_partCallerUnknownJumped, rAX)
	JMP  leave

called:
	LEA_PART(const_partCallerJumped, rAX)

leave:
	// To another trampoline, with everything as it was at the entry. Where it is stands
	// in the red zone in the end.
	POPQ SI
	POPQ BX
	MOVQ 8(SP), CX
	MOVQ AX, 8(SP)
	POPQ DX
	LEAQ 8(SP), SP
	RESTORE_FLAGS
	JMP_BELOW_SP(0xe8)

// A trampoline that does nothing: to the stub's tail.
	PART(const_partNothing)
	LEAQ -11(R11), R11
	JMP  R11

// ftrace_caller, jumped to.
	PART(const_partCallerJumped)
	LEAQ -11(R11), R11
	PUSHQ R11
	LEAQ 11(R11), R11
	JMP_PART(const_partCaller)

	PART(const_partCallerUnknownJumped)
	LEAQ -11(R11), R11
	PUSHQ R11
	LEAQ 11(R11), R11
	JMP_PART(const_partCallerUnknown)
	PART(const_partEnd)
	RETURN
