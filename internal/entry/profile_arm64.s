// A profile is kept where it arises: entries push a frame, exits pop it and count.
//
// The rules of entry_arm64.s and exit_arm64.s hold. In short: only x9-x17 are free,
// nothing is stored below sp, no NZCV, no FP/SIMD.
//
// Frames. A thread's slot has the address of its innermost frame (Top) and of its area,
// at the start of which the frames are. An entry raises Top first and writes the
// frame's sp last; an exit clears sp before it lowers Top. So a signal handler, which
// may run traced functions between any two instructions and returns balanced, finds
// whole frames or such without sp (half), on top of which it puts its own, and leaves
// Top as it was. A frame's end takes sp and the time spent in callees out of it with one
// LDXP/STXP, between which the time is read: if a handler ran there, the exception
// return has cleared the monitor (Arm ARM B2.9.4) and all is done again. So no call is
// counted twice, and no duration lacks what its callees have. A handler that runs after
// the STXP adds its time to a frame that is done with, or makes it its own: the caller's
// self time has it, or the call that ended counts as one of no time.
//
// Counters are added to by LDXR/STXR and LDXP/STXP, in loops without another memory
// access, since a handler may add to the same ones.
//
// Which frame is a call's: the one with its sp. If it is not the top one, calls have
// been left by longjmp, an exception, or a switch of stacks, and those above it on the
// same stack (lower sp) are over. At an entry a frame with the same sp is over, or
// with a slightly lower one; frames with a much lower sp may be another stack's and stay
// until an exit below them or until there is no more room. What is over is counted by
// its site's address, with the time until this was seen. What finds no room is counted
// without time, and an exit that finds no frame does nothing.
//
// While recording is switched off by a trigger (RingHeader.TraceOff), calls that were
// begun before still end, by the slow path; none begins. What else keeps exits from being
// seen, nopal ends itself: it makes the frames dead (target.profileResumes).
//
// A handler that leaves by siglongjmp leaves frames, half ones too, that go in the same
// way. It may interrupt the end of a call, whose counters then lack a part.
//
// A forked child. Its slots are wiped, and so is the place of the thread id: no frame is
// found in the fast paths, which load nothing through a slot's zero (the owner is the
// complement of an id, so that it never is one), and the slow paths see that Control.Ring
// is 0. If a
// handler forks, the child returns into what was interrupted, with shared addresses in
// registers: the exclusive pairs fail and are tried again, so the call that was just
// being ended may be counted by both, at most that one.
//
// Threads that share a thread block (clone without CLONE_SETTLS) share a slot. Frames
// and counters stay inside their area whatever they do; what is counted may be wrong.

//go:build arm64

#include "textflag.h"
#include "go_asm.h"
#include "literal_arm64.h"
#include "record_arm64.h"

// ADD_WORD adds n to the word at a. Clobbers v, s.
#define ADD_WORD(n, a, v, s) \
	LDXR (a), v                                       \
	ADD  n, v, v                                      \
	STXR v, (a), s                                    \
	CBNZ s, -3(PC)

// COUNT counts a call.
// In: x9 = time in callees, x10 = duration, x13 = the caller's frame, x16 = counters.
// Goes to extreme if it is the shortest or longest. Clobbers x9, x11, x12, x15.
#define COUNT(extreme) \
	ADD_WORD(R10, R13, R12, R15)                      \ // ProfileFrame.Child
	SUB  R9, R10, R9                                  \
	LDXP (R16), (R11, R12)                            \ // Total, Self
	ADD  R10, R11, R11                                \
	ADD  R9, R12, R12                                 \
	STXP (R11, R12), (R16), R15                       \
	CBNZ R15, -4(PC)                                  \
	CLZ  R10, R9                                      \
	SUB  R9<<3, R16, R9                               \ // the bucket: 64 - CLZ significant bits
	ADD_WORD($1, R9, R11, R12)                        \
	LDP  ProfileTotals_Least(R16), (R11, R12)               \
	ADD  R10, R11, R11                                \
	TBZ  $63, R11, extreme                            \
	SUB  R10, R12, R12                                \
	TBNZ $63, R12, extreme

// END_CALL ends the call whose exit this is, if its frame is on top.
// In: x16 = offset of the function's counters. below is how far sp is from that in the
// frame. Clobbers x9-x16. At slow x15 is the sp in the frame, x16 is kept.
#define END_CALL(below, slow, extreme) \
	MRS  TPIDR_EL0, R10                               \
	LOAD_LITERAL(Literals_Table, 11)                  \
	MOVD -16(R11), R13                                \ // offset of the tid
	MOVWU (R10)(R13), R10                             \
	BFI  $const_SlotShift, R10, $const_SlotBits, R11  \
	LDP  ProfileSlot_Top(R11), (R13, R14)             \ // and area
	SUB  $below, RSP, R15                             \
	CBZ  R14, slow                                    \
	LDXP (R13), (R9, R12)                             \
	EOR  R15, R12, R12                                \
	CBNZ R12, slow                                    \
	MRS  CNTVCT_EL0, R10                              \
	STXP (ZR, ZR), (R13), R12                         \
	CBNZ R12, slow                                    \
	MOVD ProfileFrame_Ticks(R13), R15                 \
	SUB  $const_ProfileFrameSize, R13, R13            \
	MOVD R13, ProfileSlot_Top(R11)                    \
	SUB  R15, R10, R10                                \
	TBZ  $63, R10, 2(PC)                              \
	MOVD $0, R10                                      \ // the frame became a handler's behind the STXP
	ADD  R14, R16, R16                                \
	COUNT(extreme)

// func profileLabels() (base unsafe.Pointer, caller, callerUnknown, count, ret, retUnknown, gen, genUnknown, pushed, pushedUnknown, end uint64)
TEXT ·profileLabels(SB), NOSPLIT|NOFRAME, $0-88
	ADR  start, R0
	MOVD R0, base+0(FP)
	ADR  caller, R0
	MOVD R0, caller+8(FP)
	ADR  callerUnknown, R0
	MOVD R0, callerUnknown+16(FP)
	ADR  count, R0
	MOVD R0, count+24(FP)
	ADR  ret, R0
	MOVD R0, ret+32(FP)
	ADR  retUnknown, R0
	MOVD R0, retUnknown+40(FP)
	ADR  gen, R0
	MOVD R0, gen+48(FP)
	ADR  genUnknown, R0
	MOVD R0, genUnknown+56(FP)
	ADR  pushed, R0
	MOVD R0, pushed+64(FP)
	ADR  pushedUnknown, R0
	MOVD R0, pushedUnknown+72(FP)
	ADR  end, R0
	MOVD R0, end+80(FP)
	RET

	PCALIGN $64

start:

// An entry. Registers and stack as at ftrace_caller.
caller:
	FRAME_RECORDS

	MRS  TPIDR_EL0, R10
	LOAD_LITERAL(Literals_Table, 11)
	MOVD -16(R11), R13                                // offset of the tid
	MOVWU (R10)(R13), R10
	BFI  $const_SlotShift, R10, $const_SlotBits, R11
	LDP  ProfileSlot_Owner(R11), (R12, R13)           // and top
	EON  R10, R12, R12
	CBNZ R12, callerSlow
	MOVD ProfileFrame_SP(R13), R15
	SUB  R15, R29, R15
	TBZ  $63, R15, callerSlow                         // the caller's frame is not on top
	ADD  $const_ProfileFrameSize, R13
	TBNZ $const_ProfileFullBit, R13, callerSlow
	MOVD R13, ProfileSlot_Top(R11)
	MRS  CNTVCT_EL0, R14
	STP  (R14, R30), ProfileFrame_Ticks(R13)
	STP  (ZR, R29), (R13)                             // ProfileFrame.Child, SP

callerExit:
	MOVD R30, R9
	LDP  16(RSP), (R29, R30)
	ADD  $32, RSP
	RET  (R9)

// An entry, and exits, as long as it is not known where the C library keeps the thread id.
callerUnknown:
	FRAME_RECORDS

callerSlow:
	STP.W (R0, R1), -80(RSP)
	MOVD $0, R0

enter:
	STP  (R2, R3), 16(RSP)
	STP  (R4, R5), 32(RSP)
	STP  (R6, R7), 48(RSP)
	MOVD R8, 64(RSP)
	BL   thread
	CBZ  R1, enterDone
	CBNZ R0, enterCount

enterAgain:
	MOVD ProfileSlot_Top(R1), R2
	CBZ  R2, enterDone                                // forked meanwhile
	MOVD ProfileFrame_SP(R2), R3
	SUB  R3, R29, R3
	TBNZ $63, R3, enterPush                           // the caller's frame is on top
	MOVD $const_ProfileNear, R4
	BL   over
	CBZ  R7, enterPush
	BL   drop
	B    enterAgain

enterPush:
	MOVD ProfileSlot_Top(R1), R2
	CBZ  R2, enterDone
	ADD  $const_ProfileFrameSize, R2
	TBNZ $const_ProfileFullBit, R2, enterFull
	MOVD R2, ProfileSlot_Top(R1)
	MOVD 8(R29), R30
	MRS  CNTVCT_EL0, R3
	STP  (R3, R30), ProfileFrame_Ticks(R2)
	STP  (ZR, R29), (R2)

enterDone:
	MOVD 8(R29), R30
	LDP  16(RSP), (R2, R3)
	LDP  32(RSP), (R4, R5)
	LDP  48(RSP), (R6, R7)
	MOVD 64(RSP), R8
	LDP.P 80(RSP), (R0, R1)
	B    callerExit

enterFull:
	// Now frames of what may be another stack go, too.
	MOVD $const_ProfileBase, R4
	BL   over
	CBZ  R7, enterCount
	BL   drop
	B    enterPush

enterCount:
	MOVD 8(R29), R6
	BL   lookup
	CBZ  R16, enterDone
	ADD  $ProfileTotals_Untimed, R16, R16
	ADD_WORD($1, R16, R4, R5)
	B    enterDone

// count: the entry of a function whose exits are not known.
count:
	FRAME_RECORDS
	STP.W (R0, R1), -80(RSP)
	MOVD $1, R0
	B    enter

	PCALIGN $64

// A plain RET. In: x16. Returns for the function.
ret:
	END_CALL(32, retSlow, retExtreme)
	RET  (R30)

retExtreme:
	MOVD R30, R17
	B    extreme

retUnknown:
	SUB  $32, RSP, R15

retSlow:
	MOVD R30, R17
	B    exitSlow

	PCALIGN $64

// Any other exit. In: x16, x17 = where the stub goes on.
gen:
	END_CALL(32, exitSlow, extreme)
	JMP  (R17)

	PCALIGN $64

// As gen, from a stub that has pushed 16 bytes.
pushed:
	END_CALL(16, exitSlow, extreme)
	JMP  (R17)

// extreme: as COUNT leaves it, for the shortest or longest duration so far.
extreme:
	ADD  $ProfileTotals_Least, R16, R9

extremeLeast:
	LDXR (R9), R11
	ADD  R10, R11, R12
	TBNZ $63, R12, extremeMost
	MOVD $(1<<63), R12
	SUB  R10, R12, R12
	STXR R12, (R9), R13
	CBNZ R13, extremeLeast

extremeMost:
	ADD  $(ProfileTotals_Most-ProfileTotals_Least), R9

extremeMostAgain:
	LDXR (R9), R11
	SUB  R10, R11, R12
	TBZ  $63, R12, extremeDone
	STXR R10, (R9), R13
	CBNZ R13, extremeMostAgain

extremeDone:
	LEAVE_EXIT

pushedUnknown:
	SUB  $16, RSP, R15
	B    exitSlow

genUnknown:
	SUB  $32, RSP, R15

// exitSlow: the frame is not on top, or a signal handler came in between, or the thread
// is not at its home slot.
// In: x15 = the sp in the frame, x16, x17. Stack: 112 bytes.
exitSlow:
	STP.W (R29, R30), -16(RSP)
	MOVD RSP, R29
	STP.W (R0, R1), -96(RSP)
	STP  (R2, R3), 16(RSP)
	STP  (R4, R5), 32(RSP)
	STP  (R6, R7), 48(RSP)
	STP  (R8, R16), 64(RSP)
	MOVD R17, 80(RSP)
	MOVD R15, R0                                      // R0 = the sp in the frame
	BL   find
	CBZ  R1, exitDone

exitAgain:
	// R2 = frame, R7 = one between it and the top is another stack's.
	MOVD ProfileSlot_Top(R1), R2
	MOVD $0, R7
	CBZ  R2, exitDone                                 // forked meanwhile
	MOVD ProfileFrame_SP(R2), R3
	ADD  $const_ProfileFrameSize, R2, R4
	TBZ  $const_ProfileFullBit, R4, exitSearch
	SUB  R3, R0, R4
	TBNZ $63, R4, exitDone                            // this call found no room

exitSearch:
	EOR  R0, R3, R4
	CBZ  R4, exitFound
	TBNZ $62, R3, exitDone                            // ProfileBase: not there
	SUB  R3, R0, R4
	TBZ  $63, R4, 2(PC)
	MOVD $1, R7
	AND  $(const_ProfileFrameBytes-1), R2, R4
	CBZ  R4, exitDone                                 // forked meanwhile: the area is new
	SUB  $const_ProfileFrameSize, R2
	MOVD ProfileFrame_SP(R2), R3
	B    exitSearch

exitFound:
	CBNZ R7, exitBelow
	ADD  $const_ProfileFrameSize, R2, R7
	BL   drop
	// A handler may have dropped more: look again.
	MOVD ProfileSlot_Top(R1), R2
	CBZ  R2, exitDone
	LDXP (R2), (R9, R3)
	EOR  R0, R3, R4
	CBNZ R4, exitAgain
	STXP (ZR, ZR), (R2), R4
	CBNZ R4, exitAgain
	MOVD ProfileFrame_Ticks(R2), R4                   // before the frame can be another's
	SUB  $const_ProfileFrameSize, R2, R13
	MOVD R13, ProfileSlot_Top(R1)
	B    exitCount

exitBelow:
	LDXP (R2), (R9, R3)
	EOR  R0, R3, R4
	CBNZ R4, exitAgain
	MOVD $const_ProfileDead, R5
	STXP (ZR, R5), (R2), R4
	CBNZ R4, exitAgain
	MOVD ProfileFrame_Ticks(R2), R4
	SUB  $const_ProfileFrameSize, R2, R13

exitCount:
	MRS  CNTVCT_EL0, R10
	SUB  R4, R10, R10
	MOVD 72(RSP), R16
	MOVD ProfileSlot_Area(R1), R4
	CBZ  R4, exitDone                                 // forked meanwhile
	ADD  R4, R16, R16
	COUNT(exitExtreme)

exitDone:
	LDP  16(RSP), (R2, R3)
	LDP  32(RSP), (R4, R5)
	LDP  48(RSP), (R6, R7)
	MOVD 64(RSP), R8
	MOVD 80(RSP), R17
	LDP.P 96(RSP), (R0, R1)
	LDP.P 16(RSP), (R29, R30)
	LEAVE_EXIT

exitExtreme:
	ADR  exitDone, R17
	B    extreme

// over: R7 = the lowest frame above the first one with a higher sp than x29 whose sp is
// less than R4 below it, or 0. Those that ended before are over, too, if they are on top.
// In: x29 = the sp of the call that begins, R1 = slot. Clobbers R2, R3, R5.
over:
	MOVD ProfileSlot_Top(R1), R2
	MOVD $0, R7
	CBZ  R2, overDone                                 // forked meanwhile

overNext:
	MOVD ProfileFrame_SP(R2), R3
	CBZ  R3, overHalf
	SUB  R3, R29, R5
	TBNZ $63, R5, overDone
	SUB  R4, R5, R5
	TBZ  $63, R5, overFar
	MOVD R2, R7

overHalf:
	AND  $(const_ProfileFrameBytes-1), R2, R5
	CBZ  R5, overNone
	SUB  $const_ProfileFrameSize, R2
	B    overNext

overFar:
	EOR  $const_ProfileDead, R3, R3
	CBNZ R3, overHalf
	ADD  $const_ProfileFrameSize, R2, R5
	EOR  R7, R5, R5
	MOVD ProfileSlot_Top(R1), R3
	EOR  R2, R3, R3
	CBZ  R5, 2(PC)
	CBNZ R3, overHalf
	MOVD R2, R7
	B    overHalf

overNone:
	MOVD $0, R7                                       // forked meanwhile: the area is new

overDone:
	RET  (R30)

// drop ends the frames from the top down to R7.
// In: R1 = slot. Clobbers R2-R6, R8-R17. R0, R1, R7 are kept.
drop:
	MOVD R30, R8

dropNext:
	MOVD ProfileSlot_Top(R1), R2
	SUB  R7, R2, R3
	TBNZ $63, R3, dropDone
	CBZ  R2, dropDone                                 // forked meanwhile
	LDXP (R2), (R9, R3)
	STXP (ZR, ZR), (R2), R4
	CBNZ R4, dropNext
	LDP  ProfileFrame_Ticks(R2), (R14, R6)            // and site
	SUB  $const_ProfileFrameSize, R2, R13
	MOVD R13, ProfileSlot_Top(R1)
	SUB  $(const_ProfileDead+1), R3, R3
	TBNZ $63, R3, dropNext                            // no call
	MRS  CNTVCT_EL0, R10
	SUB  R14, R10, R2
	MOVD R9, R5
	BL   lookup                                       // R9 = profile's header
	CBZ  R16, dropNext
	ADD  $ProfileTotals_Inferred, R16, R3
	ADD_WORD($1, R3, R10, R11)
	MOVD ProfileHeader_Since(R9), R10
	SUB  R10, R14, R10
	TBNZ $63, R10, dropUntimed
	MOVD R5, R9
	MOVD R2, R10
	ADR  dropNext, R17
	COUNT(extreme)
	B    dropNext

dropUntimed:
	// Its end may have been when nothing was recorded.
	ADD  $ProfileTotals_Untimed, R16, R3
	ADD_WORD($1, R3, R10, R11)
	B    dropNext

dropDone:
	RET  (R8)

// lookup: R16 = the counters of the function whose site ends at R6, or 0.
// In: R1 = slot. Out too: R9 = the profile's header. Clobbers R10-R12, R15.
lookup:
	LOAD_LITERAL(Literals_Table, 9)
	MOVD (Control_Stacks-const_ControlSize)(R9), R9
	CBZ  R9, lookupNone                               // forked meanwhile
	LDP  ProfileHeader_LookupOff(R9), (R11, R12)      // and shift
	ADD  R9, R11, R11
	MOVD $const_profileHashLow, R15
	MOVK $(const_profileHashHigh<<16), R15
	LSR  $2, R6, R10
	MULW R15, R10, R10
	LSRW R12, R10, R10
	ADD  R10<<4, R11, R11
	MOVD $const_ProfileProbes, R10

lookupNext:
	LDP.P 16(R11), (R12, R15)
	CBZ  R12, lookupNone
	EOR  R6, R12, R12
	CBZ  R12, lookupFound
	SUB  $1, R10
	CBNZ R10, lookupNext

lookupNone:
	MOVD $0, R16
	RET  (R30)

lookupFound:
	MOVD ProfileSlot_Area(R1), R16
	CBZ  R16, lookupNone
	ADD  R15, R16, R16
	RET  (R30)

// find: R1 = the calling thread's slot, or 0. Then R5 = a free one, or 0, and if there
// is none, R6 says whether the call is to be counted as uncounted.
// Out too: R9 = table, R10 = tid, R12 = RingHeader.TraceOff. Clobbers R1-R6, R11.
find:
	MOVD $0, R1
	MOVD $0, R5
	MOVD $0, R6
	LOAD_LITERAL(Literals_Table, 9)
	LDP  -16(R9), (R11, R12)                          // offset of the tid, ring
	CBZ  R12, findDone                                // forked child: not recorded
	MOVD RingHeader_TraceOff(R12), R12
	CBZ  R12, 3(PC)
	SUB  $const_ControlSize, R9, R11
	MOVD Control_TidReal(R11), R11
	MRS  TPIDR_EL0, R10
	TBNZ $0, R11, findUnknown
	CBZ  R10, findDone
	MOVWU (R10)(R11), R10

findHome:
	UBFX $0, R10, $const_SlotBits, R2
	MOVD $const_SlotProbes, R3

findNext:
	ADD  R2<<const_SlotShift, R9, R1
	MOVD ProfileSlot_Owner(R1), R4
	CBZ  R4, findFree
	EON  R10, R4, R11
	CBZ  R11, findDone
	EOR  R10, R4, R11
	EOR  $(1<<const_ProfileClaimedBit), R11, R11
	CBZ  R11, findClaimed
	CBNZ R5, 4(PC)
	EOR  $const_ProfileTombstone, R4, R11
	CBNZ R11, 2(PC)
	MOVD R1, R5
	ADD  $1, R2
	AND  $(const_SlotCount-1), R2, R2
	SUB  $1, R3
	CBNZ R3, findNext
	MOVD $1, R6
	MOVD $0, R1
	RET  (R30)

findUnknown:
	// As long as it is not known where the thread id is: the process's. By the thread
	// pointer in the slot nopal finds out.
	ORR  $1, R10, R6
	SUB  $const_ControlSize, R9, R10
	MOVD Control_Owner(R10), R10
	UBFX $0, R10, $const_SlotBits, R2
	ADD  R2<<const_SlotShift, R9, R1
	MOVD R6, Slot_Key(R1)
	MOVD $1, R6
	MOVW R6, Slot_Stream(R1)
	MOVD $0, R6
	MOVD $0, R1
	B    findHome

findFree:
	CBNZ R5, 2(PC)
	MOVD R1, R5
	MOVD $0, R1
	RET  (R30)

findClaimed:
	// This is a signal handler on top of the claim below.
	MOVD $1, R6
	MOVD $0, R1
	MOVD $0, R5

findDone:
	RET  (R30)

// thread is find for an entry: it finds none while nothing is recorded, and gives a new thread a slot and an area.
// R0 is kept. Clobbers R1-R17.
thread:
	MOVD R30, R17

threadAgain:
	BL   find
	CBNZ R12, threadNone
	CBNZ R1, threadDone
	CBZ  R5, threadUncounted
	MOVD (Control_Stacks-const_ControlSize)(R9), R16
	CBZ  R16, threadDone                              // forked meanwhile
	ADD  $ProfileSlot_Owner, R5, R6
	MOVD $1, R7
	LSL  $const_ProfileClaimedBit, R7, R7
	ORR  R10, R7, R7

claimTry:
	LDAXR (R6), R3
	CBZ  R3, 3(PC)
	EOR  $const_ProfileTombstone, R3, R3
	CBNZ R3, threadAgain                              // taken meanwhile
	STLXR R7, (R6), R3
	CBNZ R3, claimTry

	ADD  $ProfileHeader_FreeHead, R16, R2
	MOVD ProfileHeader_LinksOff(R16), R14
	ADD  R16, R14, R14                                // R14 = links

popAgain:
	LDAR (R2), R3
	MOVWU R3, R8                                      // R8 = area
	CBZ  R8, freshArea
	MOVWU (R14)(R8<<2), R11
	LSR  $32, R3, R12
	ADD  $1, R12
	ORR  R12<<32, R11, R12

popTry:
	LDAXR (R2), R11
	EOR  R3, R11, R11
	CBNZ R11, popAgain
	STLXR R12, (R2), R11
	CBNZ R11, popTry
	B    haveArea

freshArea:
	ADD  $ProfileHeader_Given, R16, R2
	MOVD ProfileHeader_Areas(R16), R12

freshTry:
	LDXR (R2), R8
	SUB  R12, R8, R11
	TBZ  $63, R11, noArea
	ADD  $1, R8
	STXR R8, (R2), R11
	CBNZ R11, freshTry

haveArea:
	LDP  ProfileHeader_AreaSize(R16), (R11, R12)      // and offset
	SUB  $1, R8
	MADD R11, R12, R8, R8
	ADD  R16, R8, R8                                  // R8 = its address
	MOVD $const_ProfileBase, R11
	MOVD R11, ProfileFrame_SP(R8)
	ADD  $ProfileFrame_Ticks, R8, R11
	STLR R10, (R11)                                   // from here nopal counts it as the thread's
	MOVD R5, R1
	STP  (R8, R8), ProfileSlot_Top(R1)                // and area
	MVN  R10, R11
	STLR R11, (R6)

threadDone:
	RET  (R17)

noArea:
	MOVD $1, R11
	LSL  $33, R11, R11                                // ProfileTombstone
	STLR R11, (R6)
	MOVD $1, R6

threadUncounted:
	CBZ  R6, threadNone
	MOVD (Control_Stacks-const_ControlSize)(R9), R16
	CBZ  R16, threadNone
	ADD  $ProfileHeader_Uncounted, R16, R16
	ADD_WORD($1, R16, R3, R4)

threadNone:
	MOVD $0, R1
	RET  (R17)

	PCALIGN $64

end:
	RET
