// What is called at functions with a trigger: something happens, so many times, and
// then the trampoline is called that would be called without it.
//
// The rules of entry_arm64.s hold. The table of triggers is in the ring, which nopal
// writes before it arms the functions. Counts, wishes and the switch are the
// process's: they are changed by exclusive pairs or by one store.
//
// Switching off acts on the next call of any thread: the offset of the thread id
// becomes 0, where no thread has its id, so every fast path fails its check of the
// slot and asks reserve, which looks at RingHeader.TraceOff. (Should the word there
// be a thread's id after all, as one of 2^25 is, an event too many is recorded.)

//go:build arm64

#include "textflag.h"
#include "go_asm.h"
#include "literal_arm64.h"
#include "record_arm64.h"

// func triggerLabels() (base unsafe.Pointer, trigger, nothing, end uint64)
//
// As labels in entry_arm64.s.
TEXT ·triggerLabels(SB), NOSPLIT|NOFRAME, $0-32
	ADR  start, R0
	MOVD R0, base+0(FP)
	ADR  trigger, R0
	MOVD R0, trigger+8(FP)
	ADR  nothing, R0
	MOVD R0, nothing+16(FP)
	ADR  end, R0
	MOVD R0, end+24(FP)
	RET

	PCALIGN $64

start:

// In: as ftrace_caller. Stack: 32 bytes. Clobbers x9-x17.
trigger:
	FRAME_RECORDS
	LOAD_LITERAL(Literals_Table, 11)
	LDP  -16(R11), (R12, R13)                         // offset of the tid, ring
	CBZ  R13, back                                    // forked child: not recorded
	MOVD RingHeader_TriggerLen(R13), R14
	MOVD $RingHeader_Triggers, R15
	ADD  R13, R15, R15

search:
	CBZ  R14, back
	MOVD TriggerEntry_IP(R15), R16
	EOR  R30, R16, R16
	CBZ  R16, found
	ADD  $TriggerEntry__size, R15, R15
	SUB  $1, R14, R14
	B    search

found:
	ADD  $TriggerEntry_Count, R15, R16

countDown:
	LDXR (R16), R17
	CBZ  R17, over
	SUB  $1, R17, R17
	STXR R17, (R16), R10
	CBNZ R10, countDown
	MOVD TriggerEntry_Wish(R15), R17
	CBZ  R17, act
	MOVD $RingHeader_Wishes, R16
	ADD  R13, R16, R16

wish:
	LDXR (R16), R10
	ORR  R17, R10, R10
	STLXR R10, (R16), R14
	CBNZ R14, wish

act:
	MOVD TriggerEntry_Action(R15), R17
	CBZ  R17, next
	TBNZ $1, R17, off
	MOVD ZR, RingHeader_TraceOff(R13)
	MOVD $const_ControlSize, R16
	SUB  R16, R11, R16
	MOVD Control_TidReal(R16), R16
	MOVD R16, -16(R11)
	B    next

off:
	MOVD R17, RingHeader_TraceOff(R13)
	TBNZ $0, R12, next                                // not known: all ask reserve already
	MOVD ZR, -16(R11)

next:
	MOVD TriggerEntry_Next(R15), R17
	B    leave

over:
	MOVD TriggerEntry_Then(R15), R17

leave:
	// To another trampoline, with everything as it was at the entry.
	LDP  16(RSP), (R29, R9)
	ADD  $32, RSP
	JMP  (R17)

// A trampoline that does nothing.
nothing:
	FRAME_RECORDS

back:
	MOVD R30, R9
	LDP  16(RSP), (R29, R30)
	ADD  $32, RSP
	RET  (R9)

	PCALIGN $64

end:
	RET
