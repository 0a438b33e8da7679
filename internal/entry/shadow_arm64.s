// Entries and exits that keep a stack of the thread's open calls, so that a call can
// be left out because of where it is or how long it took.
//
// A call's frame is {sp, time, code position, state before}; the stack's header has the
// position of the next frame and the state. Rules, at every instruction:
//
//   - The signal handlers of a thread run traced functions between any two
//     instructions and leave the stack as they found it, or leave by siglongjmp. So a
//     frame is taken by one store of {position, state} to the header and becomes valid
//     by the store of its sp, the last one; and it is made invalid by clearing its sp
//     before one store of {position, state} gives it back. A handler in between sees a
//     frame without sp, which matches no exit and is stepped over, and the state that
//     goes with the position. What it changes above, it has changed back.
//   - After a siglongjmp, longjmp or exception, and where functions end in ways that
//     were not recognised, frames stay that are over. An entry with the frame below it
//     not further up the stack drops those that are not (settle), if they are near
//     enough to be on the same stack. An exit looks for its frame by its exact sp and
//     drops what was called in it. A stack switch leaves the frames of the other stack
//     where they are: one that ends below them is marked so and given back later. An
//     exit without a frame does nothing.
//   - From a full stack the frames that are over are taken out. If there are none it
//     is emptied, unless it is full of one recursion: then calls further down are not
//     recorded (room).
//   - Whose the stack is says its header's owner. It belongs to the thread that the
//     slot with the same number belongs to, and only that thread sets the owner.
//   - In a forked child that is not recorded the control block is zero, so the thread's
//     id seems to be what lies at the thread pointer: 0 with musl. The owner is the
//     complement of an id, which a wiped header never is.
//   - A fork in a signal handler may make this code go on in the child, where header
//     and frames are zero, Control.Ring is, and so nobody is the owner. Nothing
//     is then read again that an address is made of, or it is looked at first: writes
//     go to this thread's part of the wiped region, which is begun anew if the child
//     becomes a target. The region's address is a literal, so it is never zero.
//
// With a threshold entries are recorded at the exit of a call that was long enough: those of
// all calls around it first, oldest first (flush). Within a stream this keeps the order
// of time: whatever is recorded has all calls around it recorded before it, so what was
// recorded while a call was open is not there when the call is not. An entry whose time
// has another high part than now stands between two TIME words, in one record.
//
// What is clobbered and what is kept, as in entry_arm64.s and exit_arm64.s.

//go:build arm64

#include "textflag.h"
#include "go_asm.h"
#include "literal_arm64.h"
#include "record_arm64.h"
#include "shadow_arm64.h"

// func shadowLabels() (base unsafe.Pointer, known, unknown [10]uint64, end uint64)
//
// As labels in entry_arm64.s; the ten are those of Shadow in their order.
TEXT ·shadowLabels(SB), NOSPLIT|NOFRAME, $0-176
	ADR  start, R0
	MOVD R0, base+0(FP)
	ADR caller, R0; MOVD R0, known_0+8(FP); ADR root, R0; MOVD R0, known_1+16(FP)
	ADR not, R0; MOVD R0, known_2+24(FP); ADR pend, R0; MOVD R0, known_3+32(FP)
	ADR ret, R0; MOVD R0, known_4+40(FP); ADR gen, R0; MOVD R0, known_5+48(FP)
	ADR pushed, R0; MOVD R0, known_6+56(FP); ADR dropRet, R0; MOVD R0, known_7+64(FP)
	ADR dropGen, R0; MOVD R0, known_8+72(FP); ADR dropPushed, R0; MOVD R0, known_9+80(FP)
	ADR callerUnknown, R0; MOVD R0, unknown_0+88(FP); ADR rootUnknown, R0; MOVD R0, unknown_1+96(FP)
	ADR notUnknown, R0; MOVD R0, unknown_2+104(FP); ADR pendUnknown, R0; MOVD R0, unknown_3+112(FP)
	ADR retSlow, R0; MOVD R0, unknown_4+120(FP); ADR genSlow, R0; MOVD R0, unknown_5+128(FP)
	ADR pushedSlow, R0; MOVD R0, unknown_6+136(FP); ADR dropRetSlow, R0; MOVD R0, unknown_7+144(FP)
	ADR dropGen, R0; MOVD R0, unknown_8+152(FP); ADR dropPushed, R0; MOVD R0, unknown_9+160(FP)
	ADR end, R0; MOVD R0, end+168(FP)
	RET

	PCALIGN $64

start:

// An entry. In: x9, x30 as ftrace_caller. Stack: 32 bytes (192 in the slow path).
caller:
	FRAME_RECORDS
	OPEN(callerSlow)
	SUB  $1, R17, R9
	PUSH(callerSlow, callerNow, callerOff)

callerOff:
	// R9 = state, R12 = header, R13 = frame, R14 = its offset, R17 = state before.
	ADD  $const_shadowFrameSize, R14
	SUB  $const_FrameOff, R29, R15
	STP  (R14, R9), ShadowHeader_Top(R12)
	STP  (ZR, R17), ShadowFrame_Index(R13)
	STP  (R15, ZR), (R13)

leave:
	MOVD R30, R9
	LDP  16(RSP), (R29, R30)
	ADD  $32, RSP
	RET  (R9)

// The same while it is not known where the C library keeps the thread id.
callerUnknown:
	FRAME_RECORDS

callerSlow:
	MOVD $0, R9
	B    slow

	PCALIGN $64

// An entry of a function below which nothing is recorded.
not:
	FRAME_RECORDS
	OPEN(notSlow)
	MOVD $const_ShadowNone, R9
	B    callerOff

notUnknown:
	FRAME_RECORDS

notSlow:
	MOVD $2, R9
	B    slow

	PCALIGN $64

// An entry of a function at which recording begins, unless it has begun.
root:
	FRAME_RECORDS
	OPEN(rootSlow)
	SUB  $1, R17, R9
	TBZ  $63, R17, rootPush
	TBNZ $62, R17, rootPush
	LDP  -56(R11), (R9, R15)                          // Control.MaxDepth, Depth
	SUB  R14>>5, R9, R9
	ADD  $(const_shadowFirst/const_shadowFrameSize), R9
	SUB  R15, R9, R9                                  // less levels left than Depth: by so much
	AND  R9->63, R9, R9
	ADD  R15, R9, R9
	SUB  $1, R9

rootPush:
	PUSH(rootSlow, rootNow, callerOff)

rootUnknown:
	FRAME_RECORDS

rootSlow:
	MOVD $1, R9
	B    slow

	PCALIGN $64

// An entry of a function of which its exit will tell whether it is recorded: noted, as
// with a threshold, and nothing below is recorded, which would be before it was known.
pend:
	FRAME_RECORDS
	OPEN(pendSlow)
	MOVD $const_ShadowNone, R9
	TBZ  $63, R17, pendPush
	TBNZ $62, R17, callerOff

pendPush:
	LOAD_LITERAL(Literals_Index, 15)
	MRS  CNTVCT_EL0, R16
	ADD  R30<<(const_WordIndexShift-2), R15, R15
	ADD  $const_shadowFrameSize, R14
	STP  (R14, R9), ShadowHeader_Top(R12)
	STP  (R15, R17), ShadowFrame_Index(R13)
	STP  (R29, R16), (R13)
	B    leave

pendUnknown:
	FRAME_RECORDS

pendSlow:
	MOVD $4, R9

// In: R9 = what the function is: 0 any, 1 root, 2 not, 4 pending until its exit.
slow:
	STP.W (R0, R1), -128(RSP)
	STP  (R2, R3), 16(RSP)
	STP  (R4, R5), 32(RSP)
	STP  (R6, R7), 48(RSP)
	STP  (R8, R19), 64(RSP)
	STP  (R20, R21), 80(RSP)
	STP  (R22, R23), 96(RSP)
	STP  (R24, R30), 112(RSP)
	MOVD R9, R22
	MOVD R29, R20
	BL   locate
	CBZ  R19, slowDone
	BL   settle
	BL   room
	CBZ  R21, slowDone
	MOVD ShadowHeader_State(R19), R5
	SUB  R19, R21, R7                                 // the frame's offset
	SUB  $1, R5, R6                                   // R6 = the call's state
	CBZ  R22, slowPush
	TBNZ $1, R22, slowNot
	TBNZ $2, R22, slowPend
	TBZ  $63, R5, slowPush
	TBNZ $62, R5, slowPush
	LOAD_LITERAL(Literals_Table, 8)
	LDP  -56(R8), (R6, R8)                            // Control.MaxDepth, Depth
	SUB  R7>>5, R6, R6
	ADD  $(const_shadowFirst/const_shadowFrameSize), R6
	SUB  R8, R6, R6
	AND  R6->63, R6, R6
	ADD  R8, R6, R6
	SUB  $1, R6
	B    slowPush

slowPend:
	MOVD $const_ShadowNone, R6
	TBZ  $63, R5, slowPush
	TBZ  $62, R5, slowPush

slowNot:
	MOVD $2, R22
	MOVD $const_ShadowNone, R6

slowPush:
	ADD  $const_shadowFrameSize, R7
	MRS  CNTVCT_EL0, R8
	LOAD_LITERAL(Literals_Index, 9)
	MOVD 120(RSP), R30
	ADD  R30<<(const_WordIndexShift-2), R9, R9
	MOVD R20, R10
	TBNZ $2, R22, 3(PC)
	TBZ  $63, R6, 2(PC)
	SUB  $const_FrameOff, R10
	STP  (R7, R6), ShadowHeader_Top(R19)
	STP  (R9, R5), ShadowFrame_Index(R21)
	STP  (R10, R8), (R21)
	TBNZ $63, R6, slowDone
	LOAD_LITERAL(Literals_Table, 9)
	MOVD -24(R9), R9                                  // Control.Threshold
	CBNZ R9, slowDone
	BL   flush

slowDone:
	LDP  16(RSP), (R2, R3)
	LDP  32(RSP), (R4, R5)
	LDP  48(RSP), (R6, R7)
	LDP  64(RSP), (R8, R19)
	LDP  80(RSP), (R20, R21)
	LDP  96(RSP), (R22, R23)
	LDP  112(RSP), (R24, R30)
	LDP.P 128(RSP), (R0, R1)
	B    leave

	PCALIGN $64

// A plain RET. In: x16 = code position. Returns for the function.
ret:
	CLOSE(32, retSlow, retOther)
	LONG(retSlow)

retPop:
	POP
	RET  (R30)

retOther:
	WRITTEN(retPop, retSlow)
	POP
	EXIT(32, retEvent)
	RET  (R30)

retEvent:
	MOVD R30, R17
	B    genEvent

retSlow:
	MOVD R30, R17
	B    genSlow

	PCALIGN $64

// Any other exit. In: x16, x17 = where the stub goes on. Keeps x17.
gen:
	CLOSE(32, genSlow, genOther)
	LONG(genSlow)

genPop:
	POP
	JMP  (R17)

genOther:
	WRITTEN(genPop, genSlow)
	POP
	EXIT(32, genEvent)
	JMP  (R17)

	PCALIGN $64

// As gen, from a stub that has pushed 16 bytes.
pushed:
	CLOSE(16, pushedSlow, pushedOther)
	LONG(pushedSlow)

pushedPop:
	POP
	JMP  (R17)

pushedOther:
	WRITTEN(pushedPop, pushedSlow)
	POP
	EXIT(16, pushedEvent)
	JMP  (R17)

pushedEvent:
	ORR  $1, R16                                      // below the position: sp is 16 lower

// The exit event alone is left to be recorded.
genEvent:
	STP.W (R29, R30), -16(RSP)
	MOVD RSP, R29
	STP.W (R0, R1), -128(RSP)
	BL   enterSlow
	B    exitEvent

// The exit of a call that is not to be recorded, unless it has been. In: as ret.
dropRet:
	CLOSE(32, dropRetSlow, dropOther)

dropPop:
	POP
	RET  (R30)

dropOther:
	SUB  $const_FrameOff, R11, R10
	CBZ  R10, dropPop

dropRetSlow:
	MOVD R30, R17

// The same for others. In: as gen, and as pushed.
dropGen:
	ORR  $2, R16
	B    genSlow

dropPushed:
	ORR  $2, R16

pushedSlow:
	ORR  $1, R16

genSlow:
	STP.W (R29, R30), -16(RSP)
	MOVD RSP, R29
	STP.W (R0, R1), -128(RSP)
	BL   enterSlow
	BL   locate
	CBZ  R19, exitDone
	BL   find
	CBZ  R21, exitDone
	MOVD (R21), R5
	TBNZ $0, R5, exitWritten
	TBNZ $1, R5, exitPop
	TBNZ $1, R22, exitPop                             // dropped
	MOVD ShadowFrame_Ticks(R21), R5
	MRS  CNTVCT_EL0, R6
	SUB  R5, R6, R6
	LOAD_LITERAL(Literals_Table, 7)
	MOVD -24(R7), R7                                  // Control.Threshold
	SUB  R7, R6, R6
	TBNZ $63, R6, exitPop
	BL   flush

exitWritten:
	BL   pop

exitEvent:
	MOVD $1, R0
	LOAD_LITERAL(Literals_Reserve, 9)
	BL   (R9)
	CBZ  R1, exitDone
	BFI  $(const_WordSPShift-4), R20, $16, R22
	BFXIL $0, R2, $const_TimeBits, R22
	MOVD R22, (R1)
	CBZ  R3, exitDone
	STLR R4, (R3)                                     // TIME word, behind which the event stands
	B    exitDone

exitPop:
	BL   pop

exitDone:
	LDP  16(RSP), (R2, R3)
	LDP  32(RSP), (R4, R5)
	LDP  48(RSP), (R6, R7)
	LDP  64(RSP), (R8, R19)
	LDP  80(RSP), (R20, R21)
	LDP  96(RSP), (R22, R23)
	LDP  112(RSP), (R24, R17)
	LDP.P 128(RSP), (R0, R1)
	LDP.P 16(RSP), (R29, R30)
	LEAVE_EXIT

// enterSlow saves what an exit's slow path changes. R20 = sp as in the frame, R22 =
// code position, and below it what came with it: bit 0 pushed, bit 1 dropped.
enterSlow:
	STP  (R2, R3), 16(RSP)
	STP  (R4, R5), 32(RSP)
	STP  (R6, R7), 48(RSP)
	STP  (R8, R19), 64(RSP)
	STP  (R20, R21), 80(RSP)
	STP  (R22, R23), 96(RSP)
	STP  (R24, R17), 112(RSP)
	SUB  $16, R29, R20
	TBZ  $0, R16, 2(PC)
	MOVD R29, R20
	MOVD R16, R22
	RET  (R30)

// pop gives the frame R21 back, when those of other stacks above it are, too.
pop:
	MOVD ShadowFrame_State(R21), R6
	MOVD ShadowHeader_Top(R19), R7
	ADD  R19, R7, R7
	SUB  $const_shadowFrameSize, R7
	SUB  R21, R7, R7
	CBNZ R7, popOver
	MOVD ZR, (R21)
	SUB  R19, R21, R7
	STP  (R7, R6), ShadowHeader_Top(R19)
	RET  (R30)

popOver:
	MOVD $const_FrameOver, R7
	MOVD R7, (R21)
	MOVD R6, ShadowHeader_State(R19)
	RET  (R30)

// locate: R19 = header of the thread's stack, or 0. Clobbers R1-R17, R23.
locate:
	MRS  TPIDR_EL0, R10
	LOAD_LITERAL(Literals_Table, 9)
	MOVD $0, R19
	LDP  -16(R9), (R11, R12)                          // offset of the tid, ring
	CBZ  R12, locateDone                              // forked child: not recorded
	CBZ  R10, locateProcess
	TBNZ $0, R11, locateProcess
	MOVWU (R10)(R11), R23
	LOAD_LITERAL(Literals_Stacks, 19)
	BFI  $const_ShadowShift, R23, $const_SlotBits, R19
	MOVD ShadowHeader_Owner(R19), R5
	EON  R23, R5, R5
	CBNZ R5, locateSlot

locateDone:
	RET  (R30)

locateProcess:
	// As reserve: all have the process's id until theirs is known.
	SUB  $const_ControlSize, R9, R23
	MOVD Control_Owner(R23), R23

locateSlot:
	// New, or not at its home: the stack is the one with the number of the slot.
	STP.W (R0, R30), -16(RSP)
	MOVD $0, R0
	LOAD_LITERAL(Literals_Reserve, 9)
	BL   (R9)
	LDP.P 16(RSP), (R0, R30)
	MOVD $0, R19
	CBZ  R1, locateDone
	LOAD_LITERAL(Literals_Table, 9)
	LOAD_LITERAL(Literals_Stacks, 19)
	SUB  R9, R1, R1
	ADD  R1<<(const_ShadowShift-const_SlotShift), R19, R19
	MOVD ShadowHeader_Owner(R19), R5
	EON  R23, R5, R5
	CBZ  R5, locateDone
	MOVD ZR, ShadowHeader_Owner(R19)
	MOVD ShadowHeader_Top(R19), R6                    // of who had it before

locateClear:
	SUB  $const_shadowFrameSize, R6
	SUB  $const_shadowFirst, R6, R5
	TBNZ $63, R5, locateTake
	ADD  R19, R6, R5
	MOVD ZR, (R5)
	B    locateClear

locateTake:
	MOVD -32(R9), R5                                  // Control.Base
	MOVD $const_shadowFirst, R6
	STP  (R6, R5), ShadowHeader_Top(R19)
	MOVD $const_ShadowFloor, R5
	STP  (ZR, R5), ShadowHeader_Full(R19)
	MVN  R23, R5
	MOVD R5, ShadowHeader_Owner(R19)
	RET  (R30)

// settle drops the frames that are over when a function is entered with sp R20: those
// on top whose sp is not above it, down to the last one that is near enough to be on the
// same stack. Clobbers R5-R8, R21, R24.
settle:
	MOVD ShadowHeader_Top(R19), R24

settleTrim:
	SUB  $const_shadowFrameSize, R24, R5
	SUB  $const_shadowFirst, R5, R6
	TBNZ $63, R6, settleFrom
	ADD  R19, R5, R6
	MOVD (R6), R7
	SUB  $const_FrameOver, R7
	CBNZ R7, settleFrom
	MOVD ZR, (R6)
	MOVD R5, ShadowHeader_Top(R19)
	MOVD R5, R24
	B    settleTrim

settleFrom:
	ADD  R19, R24, R24
	MOVD R24, R21
	MOVD $0, R6                                       // the lowest to drop

settleNext:
	SUB  $const_shadowFrameSize, R21
	SUB  R19, R21, R7
	SUB  $const_shadowFirst, R7
	TBNZ $63, R7, settleDrop
	MOVD (R21), R7
	CBZ  R7, settleNext
	SUB  R7, R20, R7
	TBNZ $63, R7, settleDrop
	LSR  $const_ShadowNear, R7, R8
	CBNZ R8, settleNext
	MOVD R21, R6
	B    settleNext

settleDrop:
	CBZ  R6, settleDone
	MOVD ShadowFrame_State(R6), R5
	SUB  R19, R6, R8

settleClear:
	SUB  $const_shadowFrameSize, R24
	MOVD ZR, (R24)
	SUB  R6, R24, R7
	CBNZ R7, settleClear
	STP  (R8, R5), ShadowHeader_Top(R19)

settleDone:
	RET  (R30)

// room: R21 = the next frame, or 0 where there is none. Clobbers R5-R9, R24.
room:
	MOVD ShadowHeader_Top(R19), R24
	MOVD $0, R21
	SUB  $const_shadowFirst, R24, R5
	TBNZ $63, R5, roomDone                            // wiped meanwhile
	TBNZ $const_ShadowShift, R24, roomFull
	ADD  R19, R24, R21

roomDone:
	RET  (R30)

roomFull:
	// Move the frames together that are not over.
	ADD  $const_shadowFirst, R19, R8
	MOVD R8, R24

roomMove:
	SUB  R19, R8, R5
	TBNZ $const_ShadowShift, R5, roomMoved
	LDP  (R8), (R5, R6)
	ADD  $const_shadowFrameSize, R8
	CBZ  R5, roomMove
	MOVD ZR, -const_shadowFrameSize(R8)
	SUB  $const_FrameOver, R5, R7
	CBZ  R7, roomMove
	LDP  (ShadowFrame_Index-const_shadowFrameSize)(R8), (R7, R9)
	STP  (R7, R9), ShadowFrame_Index(R24)
	STP  (R5, R6), (R24)
	ADD  $const_shadowFrameSize, R24
	B    roomMove

roomMoved:
	SUB  R19, R24, R5
	MOVD R5, ShadowHeader_Top(R19)
	MOVD R24, R21
	TBZ  $const_ShadowShift, R5, roomDone
	MOVD $0, R21
	SUB  R19, R24, R24
	// Of one recursion, if each call is a little further up the stack than the last.
	ADD  R19, R24, R24
	MOVD -const_shadowFrameSize(R24), R5
	MOVD ShadowHeader_Full(R19), R6
	EOR  R5, R6, R7
	CBZ  R7, roomDone
	MOVD R5, R6
	SUB  $const_shadowFrameSize, R24, R8

roomNext:
	SUB  $const_shadowFrameSize, R8
	SUB  R19, R8, R7
	SUB  $const_shadowFirst, R7
	TBNZ $63, R7, roomRecursion
	MOVD (R8), R7
	SUB  R6, R7, R6
	LSR  $const_ShadowReach, R6, R6
	CBNZ R6, roomReset
	MOVD R7, R6
	B    roomNext

roomRecursion:
	MOVD R5, ShadowHeader_Full(R19)
	RET  (R30)

roomReset:
	ADD  $const_shadowFirst, R19, R21

roomClear:
	SUB  $const_shadowFrameSize, R24
	MOVD ZR, (R24)
	SUB  R21, R24, R7
	CBNZ R7, roomClear
	LOAD_LITERAL(Literals_Table, 8)
	MOVD -32(R8), R8                                  // Control.Base
	MOVD $const_shadowFirst, R7
	STP  (R7, R8), ShadowHeader_Top(R19)
	RET  (R30)

// find: R21 = the frame of the call with sp R20, the last one of its stack; or 0.
// Clobbers R5-R9, R24.
find:
	MOVD ShadowHeader_Top(R19), R24
	ADD  R19, R24, R24
	MOVD R24, R21
	SUB  R19, R24, R7
	SUB  $const_shadowFirst, R7
	CBZ  R7, findNone
	TBNZ $63, R7, findNone
	MOVD -const_shadowFrameSize(R24), R5
	MOVD ShadowHeader_Full(R19), R6
	EOR  R5, R6, R6
	CBNZ R6, findNext
	SUB  R20, R5, R5
	SUB  $const_FrameOff, R5
	TBNZ $63, R5, findNext
	CBZ  R5, findNext
	// Below a recursion that fills the stack.

findNone:
	MOVD $0, R21
	RET  (R30)

findNext:
	SUB  $const_shadowFrameSize, R21
	SUB  R19, R21, R7
	SUB  $const_shadowFirst, R7
	TBNZ $63, R7, findNone
	MOVD (R21), R5
	CBZ  R5, findNext
	SUB  R5, R20, R6
	LSR  $2, R6, R7
	CBZ  R7, findDrop
	// A call that is a little further up the stack and began later cannot be: there is
	// no frame of this one.
	NEG  R6, R6
	LSR  $const_ShadowNear, R6, R6
	CBZ  R6, findNone
	B    findNext

findDrop:
	// Calls made in it are over: those above that lead down the stack from it, step by
	// step. Others are on another stack and may go on.
	ADD  $const_shadowFrameSize, R21, R8
	MOVD R5, R6                                       // the last one's sp
	MOVD R8, R7                                       // behind the last frame that stays

findOver:
	SUB  R24, R8, R5
	CBZ  R5, findClear
	MOVD (R8), R5
	ADD  $const_shadowFrameSize, R8
	CBZ  R5, findOver
	SUB  $const_FrameOver, R5, R9
	CBZ  R9, findOver
	SUB  R5, R6, R9
	LSR  $const_ShadowReach, R9, R9
	CBZ  R9, findStep
	MOVD R8, R7
	B    findOver

findStep:
	MOVD R5, R6
	MOVD $const_FrameOver, R9
	MOVD R9, -const_shadowFrameSize(R8)
	B    findOver

findClear:
	SUB  R7, R24, R5
	CBZ  R5, findDone
	SUB  $const_shadowFrameSize, R24
	MOVD ZR, (R24)
	SUB  R19, R24, R5
	MOVD R5, ShadowHeader_Top(R19)
	B    findClear

findDone:
	RET  (R30)

// flush records the entries that are pending up to the frame R21. Clobbers R0-R17, R23, R24.
//
// What is written to the ring is made before there is a place for it: in the child of a
// fork in between, which writes the same word to the same place, the frame is wiped.
flush:
	STP.W (R20, R22), -32(RSP)
	MOVD R30, 16(RSP)
	MOVD R21, R24
	MOVD R21, R23

flushDown:
	MOVD (R23), R5
	TBNZ $0, R5, flushNext
	SUB  $const_shadowFrameSize, R23
	SUB  R19, R23, R5
	SUB  $const_shadowFirst, R5
	TBZ  $63, R5, flushDown

flushNext:
	SUB  R24, R23, R5
	CBZ  R5, flushDone
	ADD  $const_shadowFrameSize, R23
	LDP  (R23), (R5, R6)                              // sp, time
	CBZ  R5, flushNext
	AND  $15, R5, R7
	CBNZ R7, flushNext
	MOVD ShadowFrame_Index(R23), R20
	BFI  $(const_WordSPShift-4), R5, $16, R20
	BFXIL $0, R6, $const_TimeBits, R20                // R20 = the event
	MOVD $const_WordTime, R22
	LSL  $const_WordIndexShift, R22, R22
	ADD  R6>>const_TimeBits, R22, R22                 // R22 = TIME then
	MRS  CNTVCT_EL0, R7
	LSR  $const_TimeBits, R7, R7
	EOR  R6>>const_TimeBits, R7, R7
	MOVD $1, R0
	CBZ  R7, flushReserve

flushThree:
	MOVD $3, R0

flushReserve:
	LOAD_LITERAL(Literals_Reserve, 9)
	BL   (R9)
	CBZ  R1, flushMark
	MOVD $const_WordTime, R8
	LSL  $const_WordIndexShift, R8, R8
	ADD  R2>>const_TimeBits, R8, R8                   // R8 = TIME now
	TBNZ $1, R0, flushMark
	EOR  R22, R8, R9
	CBNZ R9, flushLate

flushMark:
	// A handler that has recorded something meanwhile has recorded this, too.
	LDXR (R23), R5
	CBZ  R5, flushNext                                // forked child: wiped
	AND  $15, R5, R6
	CBNZ R6, flushMarked
	SUB  $const_FrameWritten, R5, R5
	STXR R5, (R23), R6
	CBNZ R6, flushMark
	CBZ  R1, flushNext
	TBZ  $1, R0, flushOne
	STP  (R20, R8), 8(R1)
	STLR R22, (R1)
	B    flushTime

flushOne:
	MOVD R20, (R1)

flushTime:
	CBZ  R3, flushNext
	STLR R4, (R3)
	B    flushNext

flushLate:
	// The time's high part has changed just now: this place is not enough.
	MOVD R8, (R1)
	CBZ  R3, flushThree
	STLR R4, (R3)
	B    flushThree

flushMarked:
	// The place is not needed.
	CBZ  R1, flushNext
	TBZ  $1, R0, 2(PC)
	STP  (R8, R8), 8(R1)
	STLR R8, (R1)
	B    flushTime

flushDone:
	MOVD 16(RSP), R30
	LDP.P 32(RSP), (R20, R22)
	RET  (R30)

	PCALIGN $64

end:
	RET
