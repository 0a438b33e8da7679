// What probes share: the code that is made for functions with arguments, results or
// conditions (internal/probe) calls it where it cannot go on by itself.
//
// The rules of entry_arm64.s hold. Probes have pushed their frame records, x29 is at the
// innermost one, and keep what they need of x30 there.
//
// Memory of the program is read without faulting: directly where it cannot go away, which
// is what lies above sp in the page of our frame record, and in the thread's own stack
// (as in walk, entry_arm64.s); else by process_vm_readv(2) on the process itself, which
// fails instead of faulting. A process may always read itself (ptrace_may_access in
// kernel/ptrace.c: same thread group), and a system call keeps all registers but x0.
// Where the program may have a filter of system calls, none is made; nor by a forked child,
// whose control block is wiped: NoSyscalls is looked at first, so that a fork in between
// shows in what is looked at next.

//go:build arm64

#include "textflag.h"
#include "go_asm.h"
#include "literal_arm64.h"

#define SYS_process_vm_readv 270

// func probeLabels() (base unsafe.Pointer, place, record, load, read, end uint64)
//
// As labels in entry_arm64.s.
TEXT ·probeLabels(SB), NOSPLIT|NOFRAME, $0-48
	ADR  start, R0
	MOVD R0, base+0(FP)
	ADR  place, R0
	MOVD R0, place+8(FP)
	ADR  record, R0
	MOVD R0, record+16(FP)
	ADR  load, R0
	MOVD R0, load+24(FP)
	ADR  read, R0
	MOVD R0, read+32(FP)
	ADR  end, R0
	MOVD R0, end+40(FP)
	RET

	PCALIGN $64

start:

// place: a place for a record of x17 words, by reserve.
// Out: x14 = address or 0, x15 = time, x9 = address of the TIME word to store last, or 0.
// Keeps x0-x8, x16. Stack: 112 bytes.
place:
	STP.W (R0, R1), -96(RSP)
	STP  (R2, R3), 16(RSP)
	STP  (R4, R5), 32(RSP)
	STP  (R6, R7), 48(RSP)
	STP  (R8, R16), 64(RSP)
	MOVD R30, 80(RSP)
	MOVD R17, R0
	LOAD_LITERAL(Literals_Reserve, 9)
	BL   (R9)
	MOVD R1, R14
	MOVD R2, R15
	MOVD R3, R9
	LDP  16(RSP), (R2, R3)
	LDP  32(RSP), (R4, R5)
	LDP  48(RSP), (R6, R7)
	LDP  64(RSP), (R8, R16)
	MOVD 80(RSP), R30
	LDP.P 96(RSP), (R0, R1)
	RET  (R30)

// record: a record of the payload between sp and x6.
// In: x16 = the event word without time, x17 = the RECORD word without length.
// Clobbers x0-x17. Stack: 64 bytes.
record:
	MOVD RSP, R5
	STP.W (R16, R17), -48(RSP)
	STP  (R5, R6), 16(RSP)
	MOVD R30, 32(RSP)
	SUB  R5, R6, R0
	LSR  $3, R0, R0
	ADD  $2, R0
	LOAD_LITERAL(Literals_Reserve, 9)
	BL   (R9)
	CBZ  R1, recordDone
	LDP  (RSP), (R16, R17)
	LDP  16(RSP), (R5, R6)
	BFXIL $0, R2, $const_TimeBits, R16
	MOVD R16, 8(R1)
	ADD  $16, R1, R7

recordNext:
	EOR  R5, R6, R8
	CBZ  R8, recordCommit
	MOVD.P 8(R5), R8
	MOVD.P R8, 8(R7)
	B    recordNext

recordCommit:
	ORR  R0, R17, R17
	STLR R17, (R1)
	CBZ  R3, recordDone
	STLR R4, (R3)

recordDone:
	MOVD 32(RSP), R30
	ADD  $48, RSP
	RET  (R30)

// load: the 8 bytes at x10.
// Out: x10 and x11 = 0; or x10 as it was and x11 = MemFault or MemUnseen.
// Keeps x0-x8, x16, x17. Stack: 112 bytes, and what read takes.
load:
	STP.W (R0, R1), -112(RSP)
	STP  (R2, R3), 16(RSP)
	STP  (R4, R5), 32(RSP)
	STP  (R6, R7), 48(RSP)
	STP  (R8, R30), 64(RSP)
	MOVD R10, R0
	MOVD $8, R1
	MOVD $1, R2
	MOVD $8, R4
	ADD  $80, RSP, R6
	ADD  $(80+16+8), RSP, R5
	BL   read
	LDP  80(RSP), (R10, R11)
	SUB  $8, R11, R12
	CBNZ R12, loadDone
	MOVD (80+16)(RSP), R10
	MOVD $0, R11

loadDone:
	LDP  16(RSP), (R2, R3)
	LDP  32(RSP), (R4, R5)
	LDP  48(RSP), (R6, R7)
	LDP  64(RSP), (R8, R30)
	LDP.P 112(RSP), (R0, R1)
	RET  (R30)

// read: a memory field, written at x6.
// In: x0 = address, x1 = how many bytes there are (negative: none), x2 = 0: up to a byte that is
// 0, x4 = how many are wanted at most, x5 = where the field has to end, 16 bytes or more from
// x6. Behind x5 there are 8 bytes for us.
// Out: x6 = behind the field.
// Clobbers x0-x5, x7-x15. Stack: 48 bytes.
read:
	SUB  $48, RSP                                     // iovecs, x30
	MOVD R30, 32(RSP)
	MOVD R0, (R6)
	ADD  $16, R6, R3
	SUB  R3, R5, R5
	SUB  R5, R4, R8
	TBNZ $63, R8, 2(PC)
	MOVD R5, R4                                       // R4 = the limit
	TBZ  $63, R1, 2(PC)
	MOVD $0, R1
	MOVD $0, R7                                       // R7 = flags
	SUB  R1, R4, R8
	TBZ  $63, R8, 3(PC)
	MOVD R4, R1
	MOVD $const_MemTruncated, R7
	CBZ  R1, readDone
	BL   own
	LSR  $52, R0, R8                                  // no address of a stack, and sums would wrap
	CBNZ R8, readFar
	MOVD RSP, R8
	SUB  R8, R0, R8
	TBNZ $63, R8, readFar
	ADD  R1, R0, R8
	SUB  R8, R9, R8
	TBNZ $63, R8, readFar

readNear:
	MOVBU.P 1(R0), R8
	ORR  R2, R8, R9
	CBZ  R9, readEnded
	MOVB.P R8, 1(R3)
	SUB  $1, R1
	CBNZ R1, readNear

readDone:
	// R3 = behind the last byte.
	MOVD ZR, (R3)                                     // padding
	SUB  R6, R3, R8
	SUB  $16, R8, R8
	ORR  R8, R7, R7
	MOVD R7, 8(R6)
	ADD  $7, R3, R3
	AND  $-8, R3, R6
	MOVD 32(RSP), R30
	ADD  $48, RSP
	RET  (R30)

readEnded:
	MOVD $0, R7
	B    readDone

readUnseen:
	MOVD $const_MemUnseen, R7
	ADD  $16, R6, R3
	B    readDone

readFault:
	MOVD $const_MemFault, R7
	ADD  $16, R6, R3
	B    readDone

readFar:
	LOAD_LITERAL(Literals_Table, 11)
	SUB  $const_ControlSize, R11, R13
	MOVD Control_NoSyscalls(R13), R8
	CBNZ R8, readUnseen
	MOVD -8(R11), R8                                  // ring
	CBZ  R8, readUnseen
	MOVD Control_Owner(R13), R13                      // R13 = pid
	MOVD R0, R9                                       // R9 = address
	MOVD R1, R10                                      // R10 = bytes left
	MOVD R2, R12                                      // R12 = 0: up to a byte that is 0
	MOVD R3, R15                                      // R15 = where they go

readPage:
	// Page by page, as a string may end before one that cannot be read.
	AND  $4095, R9, R8
	MOVD $4096, R14
	SUB  R8, R14, R14
	SUB  R10, R14, R8
	TBNZ $63, R8, 2(PC)
	MOVD R10, R14                                     // R14 = bytes to read
	STP  (R15, R14), (RSP)
	STP  (R9, R14), 16(RSP)
	MOVD R13, R0
	MOVD RSP, R1
	MOVD $1, R2
	ADD  $16, RSP, R3
	MOVD $1, R4
	MOVD $0, R5
	MOVD $SYS_process_vm_readv, R8
	SVC
	EOR  R14, R0, R0
	CBNZ R0, readFault
	ADD  R14, R9, R9
	SUB  R14, R10, R10
	ADD  R14, R15, R3
	CBNZ R12, readPageDone

readScan:
	MOVBU (R15), R8
	CBZ  R8, readScanned
	ADD  $1, R15
	EOR  R15, R3, R8
	CBNZ R8, readScan

readPageDone:
	MOVD R3, R15
	CBNZ R10, readPage
	B    readDone

readScanned:
	MOVD R15, R3
	B    readEnded

// own: x9 = the end of what can be read directly from sp on. Clobbers x11-x15.
own:
	MOVD RSP, R12
	LSR  $12, R29, R9                                 // our frame record is above sp
	ADD  $1, R9
	LSL  $12, R9, R9
	LOAD_LITERAL(Literals_Table, 11)
	SUB  $const_ControlSize, R11, R13
	LDP  Control_StackLow(R13), (R14, R15)            // the main thread's
	SUB  R14, R12, R14
	TBNZ $63, R14, ownThread
	SUB  R12, R15, R14
	TBNZ $63, R14, ownThread
	MOVD R15, R9

ownThread:
	MRS  TPIDR_EL0, R13
	LDP  -16(R11), (R14, R15)                         // offset of the tid, ring
	CBZ  R13, ownDone
	CBZ  R15, ownDone
	TBNZ $0, R14, ownDone
	MOVWU (R13)(R14), R14                             // tid
	BFI  $const_SlotShift, R14, $const_SlotBits, R11  // home slot
	ORR  $1, R13, R13
	MOVD Slot_Key(R11), R15
	EOR  R13, R15, R15
	CBNZ R15, ownDone
	MOVWU Slot_Tid(R11), R15
	EOR  R14, R15, R15
	CBNZ R15, ownDone
	LDP  Slot_StackLow(R11), (R14, R15)
	SUB  R14, R12, R14
	TBNZ $63, R14, ownDone
	SUB  R12, R15, R14
	TBNZ $63, R14, ownDone
	MOVD R15, R9

ownDone:
	RET  (R30)

	PCALIGN $64

end:
	RET
