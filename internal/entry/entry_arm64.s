// Code that runs inside the target. Everything between start and end is one
// position-independent block, copied into an island near each traced object;
// only its literals differ from copy to copy.
//
// Rules that hold at every instruction:
//   - nothing is ever stored below sp: sp moves before or with the store;
//   - no FP/SIMD/SVE/SME register and no NZCV is written (ftrace_regs_caller
//     writes back the NZCV it read);
//   - x18 keeps its value (platform register; GCC's static chain);
//   - a site is a function's first instructions, so x9-x17 are dead there
//     (AAPCS64 6.1.1: x9-x15 temporaries, x16/x17 may change in any veneer);
//   - two frame records, {x29, x9} for the traced function's caller and
//     {x29, x30} for the traced function, before anything else.
//
// How an event gets its place: the thread's slot holds the position in its
// page and, beside it, thread id and the high bits of the last time stamp. One
// LDXP/STXP advances the position; the time stamp is read between them. If a
// signal handler ran in between, the exception return has cleared the monitor
// (Arm ARM B2.9.4), the STXP fails and all is done again: every position is
// given out once and positions are in the order of their time stamps. The store
// of the event's single word is its commit; zero means not committed.
//
// The exclusive pair of the fast path contains no memory access. Its MRS could
// be trapped by a kernel or hypervisor, whose return would clear the monitor for
// ever, so a failed STXP continues in reserve, which reads the time before its
// LDXP.

//go:build arm64

#include "textflag.h"
#include "go_asm.h"
#include "record_arm64.h"

// Instructions that Go's assembler has no name for.
#define XPACLRI WORD $0xd50320ff // strip the PAC from x30; a NOP before ARMv8.3

#define COPY_PAIR LDP.P 16(R6), (R7, R8); STP.P (R7, R8), 16(R23)

// SAVE_REGS makes a pt_regs on the stack; x0-x9 and x18-x28 keep their values.
#define SAVE_REGS \
	STP.W (R0, R1), -272(RSP); STP  (R2, R3), 16(RSP); STP  (R4, R5), 32(RSP); STP  (R6, R7), 48(RSP) \
	STP  (R8, R9), 64(RSP); STP  (R10, R11), 80(RSP); STP  (R12, R13), 96(RSP) \
	STP  (R14, R15), 112(RSP); STP  (R16, R17), 128(RSP); STP  (R18_PLATFORM, R19), 144(RSP) \
	STP  (R20, R21), 160(RSP); STP  (R22, R23), 176(RSP); STP  (R24, R25), 192(RSP) \
	STP  (R26, R27), 208(RSP); MOVD 16(R29), R10; STP  (g, R10), 224(RSP); ADD  $32, R29, R11 \
	STP  (R9, R11), 240(RSP); MRS  NZCV, R10; STP  (R30, R10), 256(RSP)

#define LITERALS WORD $0; WORD $0; WORD $0; WORD $0

// func labels() (base unsafe.Pointer, caller, callerUnknown, regsCaller, stackCaller, reserve, dlHook, literals, end uint64)
//
// Called by Go, it gives the addresses of the labels below; the code behind its
// RET is never run here.
TEXT ·labels(SB), NOSPLIT|NOFRAME, $0-72
	ADR  start, R0
	MOVD R0, base+0(FP)
	ADR  caller, R0
	MOVD R0, caller+8(FP)
	ADR  callerUnknown, R0
	MOVD R0, callerUnknown+16(FP)
	ADR  regsCaller, R0
	MOVD R0, regsCaller+24(FP)
	ADR  stackCaller, R0
	MOVD R0, stackCaller+32(FP)
	ADR  reserve, R0
	MOVD R0, reserve+40(FP)
	ADR  dlHook, R0
	MOVD R0, dlHook+48(FP)
	ADR  literals, R0
	MOVD R0, literals+56(FP)
	ADR  end, R0
	MOVD R0, end+64(FP)
	RET

	PCALIGN $64

start:

// ftrace_caller: a plain entry, one word in the ring.
// In: x9 = return address of the traced function, x30 = address after slot 2.
// Stack: 32 bytes (112 in the slow path). Clobbers x9-x17.
caller:
	FRAME_RECORDS

	MRS  TPIDR_EL0, R10                               // not 0: the place of the tid is known
	ADR  literals, R15
	LDP  (R15), (R11, R15)                            // table, index word
	LDP  -16(R11), (R13, R14)                         // offset of the tid, ring
	MOVWU (R10)(R13), R10                             // tid
	BFI  $const_SlotShift, R10, $const_SlotBits, R11  // home slot: the table is aligned
	LDXP (R11), (R12, R13)
	MRS  CNTVCT_EL0, R16
	EOR  R16>>const_TimeBits, R13, R17
	EOR  R10<<const_TidShift, R17, R17
	CBNZ R17, callerSlow                              // other thread, or time's high part moved on
	TBZ  $const_PageBit, R12, callerSlow              // page full, or none yet
	ADD  $1, R12, R17
	STXP (R17, R13), (R11), R9
	CBNZ R9, callerSlow
	ADD  R30<<(const_WordIndexShift-2), R15, R15      // index
	BFI  $(const_WordSPShift-4), R29, $16, R15        // sp bits 15..4
	BFXIL $0, R16, $const_TimeBits, R15               // time
	MOVD R15, (R14)(R12.UXTW<<3)                      // commit

callerExit:
	MOVD R30, R9
	LDP  16(RSP), (R29, R30)
	ADD  $32, RSP
	RET  (R9)

// ftrace_caller as long as it is not known where the C library keeps the thread id.
callerUnknown:
	FRAME_RECORDS

callerSlow:
	STP.W (R0, R1), -80(RSP)
	STP  (R2, R3), 16(RSP)
	STP  (R4, R5), 32(RSP)
	STP  (R6, R7), 48(RSP)
	MOVD R8, 64(RSP)
	MOVD $1, R0
	BL   reserve
	MOVD 8(R29), R30
	CBZ  R1, callerSlowDone
	ADR  literals, R15
	MOVD Literals_Index(R15), R15
	ADD  R30<<(const_WordIndexShift-2), R15, R15
	BFI  $(const_WordSPShift-4), R29, $16, R15
	BFXIL $0, R2, $const_TimeBits, R15
	MOVD R15, (R1)
	CBZ  R3, callerSlowDone
	STLR R4, (R3)                                     // TIME word, behind which the event stands

callerSlowDone:
	LDP  16(RSP), (R2, R3)
	LDP  32(RSP), (R4, R5)
	LDP  48(RSP), (R6, R7)
	MOVD 64(RSP), R8
	LDP.P 80(RSP), (R0, R1)
	B    callerExit

// ftrace_regs_caller: a record with registers and/or stack; all of pt_regs is
// restored from memory, what a handler changed included.
// In: as ftrace_caller. Stack: 304 bytes, with a stack record 848.
// Clobbers x9 (= pc on return); and x17 where a handler changed sp.
regsCaller:
	FRAME_RECORDS
	SAVE_REGS
	ADR  literals, R15
	MOVD Literals_Action(R15), R10
	TBNZ $1, R10, regsSlow                            // a stack record: of no fixed length
	MRS  TPIDR_EL0, R10
	CBZ  R10, regsSlow
	LDP  (R15), (R11, R15)                            // table, index word
	LDP  -16(R11), (R13, R14)                         // offset of the tid, ring
	TBNZ $0, R13, regsSlow
	MOVWU (R10)(R13), R10                             // tid
	BFI  $const_SlotShift, R10, $const_SlotBits, R11  // home slot
	LDXP (R11), (R12, R13)
	MRS  CNTVCT_EL0, R16
	EOR  R16>>const_TimeBits, R13, R17
	EOR  R10<<const_TidShift, R17, R17
	CBNZ R17, regsSlow
	AND  $(const_PageWords-1), R12, R17
	CBZ  R17, regsSlow
	SUB  $(const_PageWords-const_RegsRecord+1), R17, R17
	TBZ  $63, R17, regsSlow                           // does not fit
	ADD  $const_RegsRecord, R12, R17
	STXP (R17, R13), (R11), R10
	CBNZ R10, regsSlow
	ADD  R12.UXTW<<3, R14, R14                        // R14 = the record
	ADR  literals, R10
	LDP  Literals_Reserved(R10), (R13, R17)
	MOVD R13, (R14)                                   // how long it is, should we not come back
	ADD  R30<<(const_WordIndexShift-2), R15, R15
	BFI  $(const_WordSPShift-4), R29, $16, R15
	BFXIL $0, R16, $const_TimeBits, R15
	MOVD R15, 8(R14)
	// x0-x9 and x18-x28 have kept their values.
	STP  (R0, R1), 16(R14)
	STP  (R2, R3), 32(R14)
	STP  (R4, R5), 48(R14)
	STP  (R6, R7), 64(R14)
	STP  (R8, R9), 80(R14)
	LDP  80(RSP), (R10, R11)
	LDP  96(RSP), (R12, R13)
	STP  (R10, R11), 96(R14)
	STP  (R12, R13), 112(R14)
	LDP  112(RSP), (R10, R11)
	LDP  128(RSP), (R12, R13)
	STP  (R10, R11), 128(R14)
	STP  (R12, R13), 144(R14)
	STP  (R18_PLATFORM, R19), 160(R14)
	STP  (R20, R21), 176(R14)
	STP  (R22, R23), 192(R14)
	STP  (R24, R25), 208(R14)
	STP  (R26, R27), 224(R14)
	LDP  232(RSP), (R10, R11)                         // x29, lr
	STP  (g, R10), 240(R14)
	LDP  248(RSP), (R12, R13)                         // sp, pc
	STP  (R11, R12), 256(R14)
	MRS  NZCV, R12
	STP  (R13, R12), 272(R14)
	STLR R17, (R14)                                   // commit
	B    regsRestore

// For a function with a trigger: a stack record, whatever others have.
stackCaller:
	FRAME_RECORDS
	SAVE_REGS
	MOVD RSP, R19
	MOVD $0, R20
	MOVD $const_ActionStack, R21
	B    walk

regsSlow:
	MOVD RSP, R19                                     // R19 = pt_regs from here
	MOVD $0, R20                                      // words of the stack part
	ADR  literals, R15
	MOVD Literals_Action(R15), R21
	TBNZ $1, R21, walk

recordRegs:
	// R0 = 2 (RECORD, event) + registers + stack part
	ADD  $2, R20, R0
	ADD  $(2+const_RegsWords), R20, R10
	TBZ  $0, R21, 2(PC)
	MOVD R10, R0
	MOVD R0, R22
	BL   reserve
	MOVD 8(R29), R30
	CBZ  R1, regsSlowDone
	ADR  literals, R15
	MOVD Literals_Index(R15), R15
	ADD  R30<<(const_WordIndexShift-2), R15, R15
	BFI  $(const_WordSPShift-4), R29, $16, R15
	BFXIL $0, R2, $const_TimeBits, R15
	MOVD R15, 8(R1)
	ADD  $16, R1, R23
	TBZ  $0, R21, storeStack
	MOVD R19, R6
	COPY_PAIR; COPY_PAIR; COPY_PAIR; COPY_PAIR; COPY_PAIR; COPY_PAIR
	COPY_PAIR; COPY_PAIR; COPY_PAIR; COPY_PAIR; COPY_PAIR; COPY_PAIR
	COPY_PAIR; COPY_PAIR; COPY_PAIR; COPY_PAIR; COPY_PAIR // const_RegsWords / 2

storeStack:
	CBZ  R20, commitRecord
	SUB  $1, R20, R5                                  // R20 = count word and addresses
	MOVD.P R5, 8(R23)
	MOVD RSP, R6

storeStackNext:
	CBZ  R5, commitRecord
	MOVD.P 8(R6), R7
	MOVD.P R7, 8(R23)
	SUB  $1, R5
	B    storeStackNext

commitRecord:
	// RECORD word: kind, length, flags (bits 16.. = Action bits).
	MOVD $const_WordRecord, R5
	LSL  $const_WordIndexShift, R5, R5
	ORR  R22, R5, R5
	ORR  R21<<16, R5, R5
	STLR R5, (R1)
	CBZ  R3, regsSlowDone
	STLR R4, (R3)

regsSlowDone:
	MOVD R19, RSP                                     // drops the stack part's buffer

regsRestore:
	MOVD 248(RSP), R10
	ADD  $32, R29, R11
	EOR  R10, R11, R11
	MOVD 264(RSP), R12
	MSR  R12, NZCV
	LDP  0(RSP), (R0, R1)
	LDP  16(RSP), (R2, R3)
	LDP  32(RSP), (R4, R5)
	LDP  48(RSP), (R6, R7)
	MOVD 64(RSP), R8
	LDP  160(RSP), (R20, R21)
	LDP  176(RSP), (R22, R23)
	LDP  192(RSP), (R24, R25)
	LDP  208(RSP), (R26, R27)
	MOVD 224(RSP), g
	LDP  144(RSP), (R18_PLATFORM, R19)
	LDP  96(RSP), (R12, R13)
	LDP  112(RSP), (R14, R15)
	LDP  128(RSP), (R16, R17)
	CBNZ R11, regsExitSP
	LDP  80(RSP), (R10, R11)
	MOVD 256(RSP), R9
	LDP  232(RSP), (R29, R30)
	ADD  $304, RSP
	RET  (R9)

regsExitSP:
	// A handler moved sp. x17, which any veneer may change, carries it.
	MOVD R10, R17
	LDP  80(RSP), (R10, R11)
	MOVD 256(RSP), R9
	LDP  232(RSP), (R29, R30)
	MOVD R17, RSP
	RET  (R9)

// walk: return addresses by frame records into a buffer at sp. What may be read
// without faulting is the page that holds sp, and the stack that nopal has found for
// this thread or the main one, if sp lies in it. No system call could tell more: the
// program may have a filter that kills it for one. R20 = 1 + number of addresses.
// Uses R0-R8, R22-R27 (saved in pt_regs).
walk:
	SUB  $512, RSP
	MOVD RSP, R6                                      // next entry
	MOVD 240(R19), R30                                // the caller
	XPACLRI
	MOVD.P R30, 8(R6)
	MOVD $2, R20
	MOVD 232(R19), R22                                // its frame record
	MOVD 248(R19), R23                                // lowest valid address
	MOVD RSP, R5
	LSR  $12, R5, R5
	ADD  $1, R5
	LSL  $12, R5, R24                                 // R24 = end of what can be read
	ADR  literals, R15
	MOVD Literals_Table(R15), R11
	MOVD $const_ControlSize, R5
	SUB  R5, R11, R5
	LDP  Control_StackLow(R5), (R7, R8)               // the main thread's
	BL   walkRange
	MRS  TPIDR_EL0, R10
	LDP  -16(R11), (R12, R13)                         // offset of the tid, ring
	CBZ  R10, walkNext
	CBZ  R13, walkNext
	TBNZ $0, R12, walkNext
	MOVWU (R10)(R12), R12                             // tid
	UBFX $0, R12, $const_SlotBits, R5
	ADD  R5<<const_SlotShift, R11, R11
	ORR  $1, R10, R5
	MOVD Slot_Key(R11), R13
	EOR  R5, R13, R13
	MOVWU Slot_Tid(R11), R5
	EOR  R5, R12, R12
	ORR  R12, R13, R13
	CBNZ R13, walkNext
	LDP  Slot_StackLow(R11), (R7, R8)
	BL   walkRange
	B    walkNext

// walkRange: R24 = R8 if sp lies in [R7, R8).
walkRange:
	MOVD RSP, R5
	SUB  R7, R5, R7
	TBNZ $63, R7, walkRangeDone
	SUB  R5, R8, R5
	TBNZ $63, R5, walkRangeDone
	MOVD R8, R24

walkRangeDone:
	RET  (R30)

walkNext:
	SUB  $(const_StackMax+1), R20, R5
	CBZ  R5, walkDone
	CBZ  R22, walkDone
	AND  $7, R22, R5
	CBNZ R5, walkDone
	SUB  R23, R22, R5                                 // frame records go up the stack
	TBNZ $63, R5, walkDone
	ADD  $16, R22, R5
	SUB  R5, R24, R5
	TBNZ $63, R5, walkDone
	LDP  (R22), (R25, R30)
	CBZ  R30, walkDone
	XPACLRI
	MOVD.P R30, 8(R6)
	ADD  $1, R20
	ADD  $16, R22, R23
	MOVD R25, R22
	B    walkNext

walkDone:
	MOVD 8(R29), R30
	B    recordRegs

// reserve: a place for a record of R0 words in the calling thread's stream.
// In: R0 = words (1 .. 200), x29 = the traced function's frame record. 0 words: only
//   the thread's slot is found, or claimed; R1 = its address.
// Out: R1 = address or 0 (not recorded; counted where it has to be),
//   R2 = time, R3 = address of the TIME word to store last, or 0, R4 = that word.
// Clobbers R1-R17. R0 is kept. Stack: 16 bytes.
reserve:
	STP.W (R0, R30), -16(RSP)

again:
	// Every retry starts here, identity included: the signal handler that made it
	// necessary may have forked, and this may be the child.
	ADR  literals, R9
	MOVD Literals_Table(R9), R9                       // R9 = table
	MRS  TPIDR_EL0, R10                               // R10 = thread pointer
	LDP  -16(R9), (R11, R12)                          // R12 = ring
	CBZ  R12, reserveNone                             // forked child: not recorded
	MOVD RingHeader_TraceOff(R12), R13
	CBNZ R13, reserveNone                             // switched off by a trigger
	CBZ  R10, askTid
	TBNZ $0, R11, askTid
	MOVWU (R10)(R11), R13                             // R13 = tid

	UBFX $0, R13, $const_SlotBits, R14                // R14 = home

haveHome:
	ADD  R14<<const_SlotShift, R9, R15                // R15 = slot
	ORR  $1, R10, R16                                 // R16 = key
	MOVD Slot_Key(R15), R17
	MOVWU Slot_Tid(R15), R1
	EOR  R16, R17, R17
	EOR  R13, R1, R1
	ORR  R1, R17, R17
	CBNZ R17, probe

found:
	MOVD R15, R1
	MOVD (RSP), R0
	CBZ  R0, reserveDone
	MRS  CNTVCT_EL0, R2
	LSR  $const_TimeBits, R2, R6                      // R6 = time's high part
	LDXP (R15), (R3, R4)
	AND  $(const_PageWords-1), R3, R5
	CBZ  R5, newPage
	EOR  R6, R4, R7
	LSL  $const_TimeBits, R7, R8
	CBNZ R8, timeWord
	ADD  R0, R5, R5
	SUB  $(const_PageWords+1), R5, R5
	TBZ  $63, R5, pad
	ADD  R0, R3, R7
	STXP (R7, R4), (R15), R8
	CBNZ R8, again
	ADD  R3.UXTW<<3, R12, R1
	MOVD $0, R3
	SUB  $1, R0, R5
	CBNZ R5, markReserved

reserveDone:
	LDP.P 16(RSP), (R0, R30)
	RET  (R30)

markReserved:
	// Says how long the record is, should its thread never come back to it.
	MOVD $const_WordReserved, R5
	LSL  $const_WordIndexShift, R5, R5
	ORR  R0, R5, R5
	MOVD R5, (R1)
	B    reserveDone

timeWord:
	// The same with a TIME word in front.
	ADD  R0, R5, R5
	SUB  $const_PageWords, R5, R5
	TBZ  $63, R5, pad
	ADD  R0, R3, R7
	ADD  $1, R7
	LSR  $const_TidShift, R4, R4
	LSL  $const_TidShift, R4, R4
	ORR  R6, R4, R4
	STXP (R7, R4), (R15), R8
	CBNZ R8, again
	ADD  R3.UXTW<<3, R12, R3
	ADD  $8, R3, R1
	MOVD $const_WordReserved, R5
	LSL  $const_WordIndexShift, R5, R5
	ADD  $1, R0, R7
	ORR  R7, R5, R5
	SUB  $1, R0, R7
	CBZ  R7, 2(PC)
	MOVD R5, (R3)
	MOVD $const_WordTime, R4
	LSL  $const_WordIndexShift, R4, R4
	BFI  $0, R6, $const_WordIndexShift, R4
	B    reserveDone

pad:
	// The record does not fit: take the rest of the page and say so in it.
	AND  $(const_PageWords-1), R3, R5
	MOVD $const_PageWords, R6
	SUB  R5, R6, R6                                   // words left
	ADD  R6, R3, R7
	STXP (R7, R4), (R15), R8
	CBNZ R8, again
	MOVD $const_WordPad, R5
	LSL  $const_WordIndexShift, R5, R5
	ORR  R6, R5, R5
	ADD  R3.UXTW<<3, R12, R1
	STLR R5, (R1)
	B    again

newPage:
	// R3 = Slot.Cur as seen, R2 = now, R6 = its high part.
	MOVD $RingHeader_FreeHead, R5
	ADD  R5, R12, R5
	MOVD RingHeader_NextOff(R12), R14
	ADD  R14, R12, R14                                // R14 = links

popAgain:
	LDAR (R5), R7
	MOVWU R7, R8                                      // R8 = page
	CBZ  R8, noPage
	ADD  R8<<2, R14, R17
	MOVWU (R17), R17
	LSR  $32, R7, R1
	ADD  $1, R1
	ORR  R1<<32, R17, R1

popTry:
	LDAXR (R5), R0
	EOR  R7, R0, R0
	CBNZ R0, popAgain
	STLXR R1, (R5), R0
	CBNZ R0, popTry

	// The page's header, then the page onto the list that nopal looks at: a page
	// is announced before it is used, so none is in use unknown to nopal.
	LSR  $32, R3, R1
	ADD  $1, R1                                       // R1 = its sequence number
	ADD  R8<<12, R12, R17                             // R17 = its address
	MOVWU Slot_Stream(R15), R0
	ORR  R1<<32, R0, R0
	SUB  R9, R15, R7                                  // slot's index * 64
	LSR  $2, R7, R7                                   // * size of a stat
	ADD  R7, R12, R7
	MOVD RingHeader_StatOff(R12), R5
	ADD  R5, R7, R7                                   // R7 = the slot's stat
	MOVD SlotStat_Lost(R7), R7
	MOVD R13, R5
	STP  (R0, R5), (R17)
	STP  (R7, R2), 16(R17)
	MOVD $RingHeader_StartedHead, R5
	ADD  R5, R12, R5
	ADD  R8<<2, R14, R14

pushAgain:
	LDAR (R5), R7
	MOVW R7, (R14)
	LSR  $32, R7, R0
	ADD  $1, R0
	LSL  $32, R0, R0
	ORR  R8, R0, R0

pushTry:
	LDAXR (R5), R16
	EOR  R7, R16, R16
	CBNZ R16, pushAgain
	STLXR R0, (R5), R16
	CBNZ R16, pushTry

	// It becomes the thread's page unless a signal handler was faster.
	LSL  $9, R8, R5
	ADD  $const_PageHeaderWords, R5, R5
	ORR  R1<<32, R5, R5                               // the new Slot.Cur
	LSR  $const_TimeBits, R2, R6

takePage:
	LDXP (R15), (R0, R4)
	EOR  R3, R0, R0
	CBNZ R0, voidPage
	LSR  $const_TidShift, R4, R4
	LSL  $const_TidShift, R4, R4
	ORR  R6, R4, R4
	STXP (R5, R4), (R15), R0
	CBNZ R0, takePage
	B    again

voidPage:
	MOVD $const_PageVoid, R0
	ADD  $PageHeader_Flags, R17, R17
	STLRW R0, (R17)
	B    again

noPage:
	SUB  R9, R15, R7
	LSR  $2, R7, R7
	ADD  R7, R12, R7
	MOVD RingHeader_StatOff(R12), R5
	ADD  R5, R7, R7
	ADD  $SlotStat_Lost, R7, R7

countLost:
	LDXR (R7), R5
	ADD  $1, R5
	STXR R5, (R7), R8
	CBNZ R8, countLost

reserveNone:
	MOVD $0, R1
	B    reserveDone

askTid:
	// No C library yet, or one whose thread block we do not know: the process's id.
	SUB  $const_ControlSize, R9, R13
	MOVD Control_Owner(R13), R13
	UBFX $12, R10, $const_SlotBits, R14               // all have one id: by block
	B    haveHome

probe:
	// Not at its home: another thread lives there, or this one is new.
	MOVD $const_SlotProbes, R5
	MOVD $0, R6                                       // R6 = first free slot

probeNext:
	ADD  R14<<const_SlotShift, R9, R15
	MOVD Slot_Key(R15), R17
	CBZ  R17, probeFree
	EOR  $const_KeyTombstone, R17, R1
	CBNZ R1, 3(PC)
	CBNZ R6, 2(PC)
	MOVD R15, R6
	EOR  R16, R17, R17
	MOVWU Slot_Tid(R15), R1
	EOR  R13, R1, R1
	ORR  R1, R17, R17
	CBZ  R17, found
	ADD  $1, R14
	AND  $(const_SlotCount-1), R14, R14
	SUB  $1, R5
	CBNZ R5, probeNext
	CBNZ R6, claim
	MOVD $RingHeader_LostNoSlot, R7
	ADD  R7, R12, R7
	B    countLost

probeFree:
	CBNZ R6, 2(PC)
	MOVD R15, R6

claim:
	MOVD R6, R15
	MOVD Slot_Key(R15), R1
	EOR  $const_KeyTombstone, R1, R2
	CBZ  R1, claimStart
	CBNZ R2, again                             // taken meanwhile

claimStart:
	ADD  $Slot_Key, R15, R7

claimTry:
	LDAXR (R7), R2
	EOR  R1, R2, R2
	CBNZ R2, again
	STLXR R16, (R7), R2
	CBNZ R2, claimTry

	// The slot is ours. Slot.Tid is stored last: until then nobody finds it.
	MOVD $RingHeader_NextStream, R7
	ADD  R7, R12, R7

drawStream:
	LDXR (R7), R1
	ADD  $1, R1
	STXR R1, (R7), R2
	CBNZ R2, drawStream
	MOVW R1, Slot_Stream(R15)
	SUB  R9, R15, R7
	LSR  $2, R7, R7
	ADD  R7, R12, R7
	MOVD RingHeader_StatOff(R12), R5
	ADD  R5, R7, R7                                   // R7 = the slot's stat
	ORR  R13<<32, R1, R1
	MOVD $0, R2
	STP  (R1, R2), (R7)                               // stream and tid, lost
	LSL  $const_TidShift, R13, R1
	STP  (R2, R1), (R15)                              // Cur, TidTime
	STP  (R2, R2), Slot_StackLow(R15)
	ADD  $Slot_Tid, R15, R7
	STLRW R13, (R7)
	B    again


// dlHook: the loader's debugger hook (r_debug.r_brk), entered instead of its
// RET. It waits, bounded in time, until nopal has looked at what was loaded, and
// makes the system calls nopal asks for meanwhile (to map an island near a new
// object). Every register is kept: the loader may know that its empty hook
// changes none.
// Stack: 112 bytes.
dlHook:
	STP.W (R0, R1), -112(RSP)
	STP  (R2, R3), 16(RSP)
	STP  (R4, R5), 32(RSP)
	STP  (R6, R7), 48(RSP)
	STP  (R8, R9), 64(RSP)
	STP  (R10, R11), 80(RSP)
	STP  (R12, R13), 96(RSP)
	ADR  literals, R0
	LDP  (R0), (R9, R1)                               // table
	MOVD Literals_RDebug(R0), R1
	CBZ  R1, dlNotify                                 // the program is just starting
	MOVW 24(R1), R1                                   // r_debug.r_state
	CBNZ R1, dlDone                                   // not RT_CONSISTENT

dlNotify:
	LDP  -16(R9), (R0, R10)                           // R10 = ring
	CBZ  R10, dlDone                                  // forked child
	ADD  $RingHeader_Live, R10, R10                   // R10 = mailbox
	LDAR (R10), R0
	CBZ  R0, dlDone
	SUB  $const_ControlSize, R9, R11
	MOVD Control_WaitTicks(R11), R11                  // R11 = ticks to wait
	MRS  CNTVCT_EL0, R12                              // R12 = start
	MOVD $const_LiveWaits, R13
	ADD  $(RingHeader_Request-RingHeader_Live), R10, R0

dlTicket:
	LDAXR (R0), R9
	ADD  $1, R9                                       // R9 = ticket
	STLXR R9, (R0), R1
	CBNZ R1, dlTicket

dlWait:
	ADD  $(RingHeader_Ack-RingHeader_Live), R10, R0
	LDAR (R0), R0
	SUB  R9, R0, R0
	TBZ  $63, R0, dlDone
	ADD  $(RingHeader_Command-RingHeader_Live), R10, R0
	LDAR (R0), R0
	SUB  R9, R0, R0
	CBZ  R0, dlCall
	MRS  CNTVCT_EL0, R0
	SUB  R12, R0, R0
	SUB  R11, R0, R0
	YIELD
	TBNZ $63, R0, dlWait

dlTimeout:
	// Nobody there: never wait again. But if nopal is writing into what was loaded
	// (Live is LiveWriting), wait once more: it must not run meanwhile.
	LDAXR (R10), R0
	SUB  $const_LiveWriting, R0, R1
	CBZ  R1, dlWriting
	STLXR ZR, (R10), R1
	CBNZ R1, dlTimeout
	B    dlDone

dlWriting:
	MRS  CNTVCT_EL0, R12
	SUB  $1, R13
	TBZ  $63, R13, dlWait
	B    dlDone

dlCall:
	MOVD (RingHeader_Number-RingHeader_Live)(R10), R8
	MOVD (RingHeader_Args-RingHeader_Live+0)(R10), R0
	MOVD (RingHeader_Args-RingHeader_Live+8)(R10), R1
	MOVD (RingHeader_Args-RingHeader_Live+16)(R10), R2
	MOVD (RingHeader_Args-RingHeader_Live+24)(R10), R3
	MOVD (RingHeader_Args-RingHeader_Live+32)(R10), R4
	MOVD (RingHeader_Args-RingHeader_Live+40)(R10), R5
	SVC
	MOVD R0, (RingHeader_Result-RingHeader_Live)(R10)
	ADD  $(RingHeader_Command-RingHeader_Live), R10, R0
	MOVD $0, R1
	STLR R1, (R0)
	ADD  $(RingHeader_Done-RingHeader_Live), R10, R0
	STLR R9, (R0)
	B    dlWait

dlDone:
	LDP  16(RSP), (R2, R3)
	LDP  32(RSP), (R4, R5)
	LDP  48(RSP), (R6, R7)
	LDP  64(RSP), (R8, R9)
	LDP  80(RSP), (R10, R11)
	LDP  96(RSP), (R12, R13)
	LDP.P 112(RSP), (R0, R1)
	RET  (R30)

	PCALIGN $16

literals:
	LITERALS
	LITERALS
	LITERALS
	LITERALS

end:
	RET
