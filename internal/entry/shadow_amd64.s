// Entries and exits that keep a stack of the thread's open calls, so that a call can be
// left out because of where it is or how long it took. How is described in
// shadow_arm64.s, whose frames and rules these are; and those of entry_amd64.s hold.
//
// Exits are those of called bodies (graph_amd64.s): an entry pushes its frame, then goes
// on to where a GraphFrame is taken; the thunk leads to shadowExit. Where there is no
// GraphFrame the call's end is not seen, and its frame goes as one that is over.
//
// The sp in a frame is that of the caller at the call, as in events, rounded down: below
// bit 4 stands what the frame is. What arm64 does by one STP to the header is done by
// CMPXCHG16B, without LOCK: only a signal handler of the same thread can come between.
//
// Registers of all routines: R12 = header, R13 = sp, R14 = frame. They keep R13 and R15.

//go:build amd64

#include "textflag.h"
#include "go_asm.h"
#include "record_amd64.h"

// Where the return address is with all pushed, by an entry and by an exit, and the stub's
// words.
#define RETURN_ADDRESS 136
#define EXIT_RETURN_ADDRESS 128
#define STUB 32

// SET_TOP stores BX and CX as position and state. Clobbers AX, DX.
#define SET_TOP \
	MOVQ ShadowHeader_Top(R12), AX           \
	MOVQ ShadowHeader_State(R12), DX         \
	CMPXCHG16B ShadowHeader_Top(R12)         \
	JNE  -3(PC)

// func shadowBlock() unsafe.Pointer
//
// As entryBlock in entry_amd64.s.
TEXT ·shadowBlock(SB), NOSPLIT|NOFRAME, $0-8
	LEAQ ·shadowBlock(SB), AX
	MOVQ AX, ret+0(FP)
	RET

	BEGIN
	PART(const_partShadowCaller)

// An entry. Registers and stack as at an entry whose body is called (graph_amd64.s).
	PUSH_ENTRY
	PUSH_REST
	XORL R15, R15
	JMP  entry

// An entry of a function at which recording begins, unless it has begun.
	PART(const_partShadowRoot)
	PUSH_ENTRY
	PUSH_REST
	MOVL $1, R15
	JMP  entry

// An entry of a function below which nothing is recorded.
	PART(const_partShadowNot)
	PUSH_ENTRY
	PUSH_REST
	MOVL $2, R15
	JMP  entry

// An entry of a function whose exits are not known. With a threshold it is not recorded:
// nobody knows how long it takes.
	PART(const_partShadowCount)
	PUSH_ENTRY
	PUSH_REST
	MOVL $4, R15

// In: R15 = what the function is: 0 any, 1 root, 2 not, 4 without exits.
entry:
	LEAQ (RETURN_ADDRESS+8)(SP), R13
	ANDQ $-16, R13
	MOVQ RETURN_ADDRESS(SP), DI
	SUB_THUNKS_DI
	SHRQ $const_graphRegionShift, DI
	JEQ  tail                                         // it returns to a thunk

entryLocate:
	CALL_PART(const_partShadowLocate)
	TESTQ R12, R12
	JEQ  pass
	CALL_PART(const_partShadowSettle)
	TESTL $3, R15
	JNE  entryRoom
	MOVQ ShadowHeader_State(R12), AX
	TESTQ AX, AX
	JLT  entryOff
	TESTQ R15, R15
	JNE  entryOnly

entryRoom:
	CALL_PART(const_partShadowRoom)
	TESTQ R14, R14
	JEQ  pass
	MOVQ ShadowHeader_State(R12), R9                  // R9 = state before
	LEAQ -1(R9), CX                                   // CX = the call's state
	MOVQ R14, BX
	SUBQ R12, BX                                      // BX = the frame's offset
	CMPL R15, $1
	JLT  push
	JEQ  root
	MOVQ $const_ShadowNone, CX
	JMP  push

root:
	TESTQ R9, R9
	JGE  push
	BTQ  $62, R9
	JCS  push
	LOAD_LITERAL(Literals_Table, rSI)
	MOVQ (Control_MaxDepth-const_ControlSize)(SI), CX
	MOVQ (Control_Depth-const_ControlSize)(SI), DI
	MOVQ BX, AX
	SHRQ $5, AX
	SUBQ AX, CX
	ADDQ $(const_shadowFirst/const_shadowFrameSize), CX
	CMPQ DI, CX                                       // what is left of the levels
	JGE  rootLeast
	MOVQ DI, CX

rootLeast:
	DECQ CX

push:
	ADDQ $const_shadowFrameSize, BX
	MOVQ CX, R10
	SET_TOP
	NOW
	MOVQ STUB(SP), AX
	MOVQ (AX), AX
	MOVQ AX, ShadowFrame_Index(R14)
	MOVQ R9, ShadowFrame_State(R14)
	MOVQ DX, ShadowFrame_Ticks(R14)
	MOVQ R13, AX
	TESTQ R10, R10
	JGE  pushPending
	SUBQ $const_FrameOff, AX
	MOVQ AX, ShadowFrame_SP(R14)
	JMP  take

pushPending:
	MOVQ AX, ShadowFrame_SP(R14)
	LOAD_LITERAL(Literals_Table, rCX)
	CMPQ (Control_Threshold-const_ControlSize)(CX), $0
	JNE  take
	CALL_PART(const_partShadowFlush)

take:
	// R12 = header of the slot with the same number.
	LOAD_LITERAL(Literals_Table, rCX)
	LOAD_LITERAL(Literals_Stacks, rDX)
	MOVQ R12, DI
	SUBQ DX, DI
	SHRQ $(const_ShadowShift-const_SlotShift), DI
	ADDQ CX, DI                                       // DI = slot
	POP_REST
	JMP_PART(const_partGraphTake)

pass:
	POP_REST
	JMP_PART(const_partGraphPass)

entryOff:
	// Nor is what it calls recorded, but below a root; and if levels are counted from the
	// thread's first function this is one.
	BTQ  $62, AX
	JCS  pass
	LOAD_LITERAL(Literals_Table, rCX)
	MOVQ $const_ShadowAll, DX
	CMPQ (Control_MaxDepth-const_ControlSize)(CX), DX
	JGE  pass
	TESTQ R15, R15
	JEQ  entryRoom
	JMP  pass

entryOnly:
	LOAD_LITERAL(Literals_Table, rCX)
	CMPQ (Control_Threshold-const_ControlSize)(CX), $0
	JNE  pass
	MOVQ STUB(SP), R15
	MOVQ (R15), R15
	CALL_PART(const_partShadowEvent)
	JMP  pass

// The function was jumped to by one whose body was called: that one's exit comes first,
// as in graph_amd64.s.
tail:
	MOVQ RETURN_ADDRESS(SP), DX
	LEAQ -const_ThunkReturn(DX), DX
	TESTL $(const_graphFrameSize-1), DX
	JNE  entryLocate
	ADDQ $const_GraphRegion, DX                       // DX = its GraphFrame
	LEAQ RETURN_ADDRESS(SP), SI
	CMPQ SI, GraphFrame_Place(DX)
	JNE  entryLocate
	PUSHQ DX
	PUSHQ R15
	MOVQ GraphFrame_Stub(DX), R15
	MOVQ 16(R15), R15
	CALL_PART(const_partShadowClose)
	POPQ R15
	POPQ DX
	MOVQ $1, GraphFrame_Place(DX)
	MOVQ GraphFrame_Return(DX), CX
	MOVQ GraphFrame_Slot(DX), SI
	MOVQ CX, RETURN_ADDRESS(SP)
	MOVQ $0, GraphFrame_Place(DX)
	MOVQ DX, Slot_Top(SI)
	JMP  entryLocate

// An exit, from a thunk. Registers and stack as at the exit of graph_amd64.s.
	PART(const_partShadowExit)
	LEAQ -8(SP), SP                                   // the return address's place
	PUSHQ GraphFrame_R11(R11)
	SAVE_FLAGS
	PUSHQ CX
	PUSHQ DX
	PUSHQ BX
	PUSHQ SI
	PUSHQ DI
	PUSHQ R8
	PUSHQ R9
	PUSHQ R10
	PUSHQ R11
	PUSHQ R12
	PUSHQ R13
	PUSHQ R14
	PUSHQ R15
	MOVQ GraphFrame_Return(R11), CX
	MOVQ GraphFrame_Slot(R11), SI
	MOVQ GraphFrame_Stub(R11), DI
	MOVQ $0, GraphFrame_Place(R11)                    // free, and may change from here on
	MOVQ CX, EXIT_RETURN_ADDRESS(SP)
	MOVQ R11, Slot_Top(SI)
	MOVQ 16(DI), R15
	LEAQ (EXIT_RETURN_ADDRESS+8)(SP), R13
	ANDQ $-16, R13
	CALL_PART(const_partShadowClose)
	POPQ R15
	POPQ R14
	POPQ R13
	POPQ R12
	POPQ R11
	POPQ R10
	POPQ R9
	POPQ R8
	POPQ DI
	POPQ SI
	POPQ BX
	POPQ DX
	POPQ CX
	RESTORE_FLAGS
	POPQ R11
	RETURN

// close ends the call with the sp R13. In: R15 = the code position of its event.
	PART(const_partShadowClose)
	CALL_PART(const_partShadowLocate)
	TESTQ R12, R12
	JEQ  closeDone
	CALL_PART(const_partShadowFind)
	TESTQ R14, R14
	JEQ  closeDone
	MOVQ ShadowFrame_SP(R14), AX
	TESTL $const_FrameWritten, AX
	JNE  closeWritten
	TESTL $const_FrameOff, AX
	JNE  closePop
	NOW
	SUBQ ShadowFrame_Ticks(R14), DX
	LOAD_LITERAL(Literals_Table, rCX)
	CMPQ DX, (Control_Threshold-const_ControlSize)(CX)
	JLT  closePop
	CALL_PART(const_partShadowFlush)

closeWritten:
	CALL_PART(const_partShadowPop)
	JMP_PART(const_partShadowEvent)

closeDone:
	RETURN

closePop:
	JMP_PART(const_partShadowPop)

// event records the event with the code position R15. Clobbers what reserve does, and R8.
	PART(const_partShadowEvent)
	MOVL $1, R8
	CALL_PART(const_partReserve)
	TESTQ R9, R9
	JEQ  eventDone
	ANDL $((1<<const_TimeBits)-1), R10
	MOVL R13, CX
	ANDL $0xfff0, CX
	SHLQ $(const_WordSPShift-4), CX
	ORQ  CX, R10
	ADDQ R15, R10
	MOVQ R10, (R9)
	TESTQ SI, SI
	JEQ  eventDone
	MOVQ DI, (SI)                                     // TIME word, behind which the event stands

eventDone:
	RETURN

// pop gives the frame back, when those of other stacks above it are, too. Clobbers AX-DX.
	PART(const_partShadowPop)
	MOVQ ShadowFrame_State(R14), CX
	MOVQ ShadowHeader_Top(R12), AX
	LEAQ -const_shadowFrameSize(R12)(AX*1), AX
	CMPQ AX, R14
	JNE  popOver
	MOVQ $0, ShadowFrame_SP(R14)
	MOVQ R14, BX
	SUBQ R12, BX
	SET_TOP
	RETURN

popOver:
	MOVQ $const_FrameOver, ShadowFrame_SP(R14)
	MOVQ CX, ShadowHeader_State(R12)
	RETURN

// locate: R12 = header of the thread's stack, or 0. Clobbers what reserve does, and R8.
	PART(const_partShadowLocate)
	XORL R12, R12
	LOAD_LITERAL(Literals_Table, rCX)
	CMPQ -8(CX), $0                                   // ring
	JEQ  locateDone                                   // forked child: not recorded
	MOVQ -16(CX), BX                                  // offset of the tid
	TESTL $const_TidOffsetNone, BX
	JNE  locateProcess
	LOAD_FS_BX
	LOAD_LITERAL(Literals_Stacks, rDX)
	MOVL BX, R12
	ANDL $(const_SlotCount-1), R12
	SHLQ $const_ShadowShift, R12
	ADDQ DX, R12
	MOVQ BX, R10                                      // R10 = thread id
	NOTQ BX
	CMPQ BX, ShadowHeader_Owner(R12)
	JNE  locateSlot

locateDone:
	RETURN

locateProcess:
	// As reserve: all have the process's id until theirs is known.
	MOVQ (Control_Owner-const_ControlSize)(CX), R10

locateSlot:
	// New, or not at its home: the stack is the one with the number of the slot.
	PUSHQ R10
	XORL R8, R8
	CALL_PART(const_partReserve)
	POPQ R10
	XORL R12, R12
	TESTQ R9, R9
	JEQ  locateDone
	LOAD_LITERAL(Literals_Table, rCX)
	LOAD_LITERAL(Literals_Stacks, rDX)
	SUBQ CX, R9
	SHLQ $(const_ShadowShift-const_SlotShift), R9
	LEAQ (DX)(R9*1), R12
	NOTQ R10
	CMPQ R10, ShadowHeader_Owner(R12)
	JEQ  locateDone
	MOVQ $0, ShadowHeader_Owner(R12)
	MOVQ ShadowHeader_Top(R12), AX                    // of who had it before

locateClear:
	SUBQ $const_shadowFrameSize, AX
	CMPQ AX, $const_shadowFirst
	JLT  locateTake
	MOVQ $0, (R12)(AX*1)
	JMP  locateClear

locateTake:
	MOVQ (Control_Base-const_ControlSize)(CX), CX
	MOVL $const_shadowFirst, BX
	SET_TOP
	MOVQ $0, ShadowHeader_Full(R12)
	MOVQ $const_ShadowFloor, AX
	MOVQ AX, ShadowHeader_Floor(R12)
	MOVQ R10, ShadowHeader_Owner(R12)
	RETURN

// settle drops the frames that are over when a function is entered with sp R13: those
// on top whose sp is not above it, down to the last one that is near enough to be on the
// same stack. Clobbers AX-DX, R10, R11, R14.
	PART(const_partShadowSettle)
	MOVQ ShadowHeader_Top(R12), R11

settleTrim:
	LEAQ -const_shadowFrameSize(R11), AX
	CMPQ AX, $const_shadowFirst
	JLT  settleFrom
	CMPQ (R12)(AX*1), $const_FrameOver
	JNE  settleFrom
	MOVQ $0, (R12)(AX*1)
	MOVQ AX, ShadowHeader_Top(R12)
	MOVQ AX, R11
	JMP  settleTrim

settleFrom:
	ADDQ R12, R11
	MOVQ R11, R14
	XORL R10, R10                                     // the lowest to drop

settleNext:
	SUBQ $const_shadowFrameSize, R14
	MOVQ R14, AX
	SUBQ R12, AX
	CMPQ AX, $const_shadowFirst
	JLT  settleDrop
	MOVQ ShadowFrame_SP(R14), AX
	TESTQ AX, AX
	JEQ  settleNext
	MOVQ R13, DX
	SUBQ AX, DX
	JLT  settleDrop
	SHRQ $const_ShadowNear, DX
	JNE  settleNext
	MOVQ R14, R10
	JMP  settleNext

settleDrop:
	TESTQ R10, R10
	JEQ  settleDone
	MOVQ ShadowFrame_State(R10), CX
	MOVQ R10, BX
	SUBQ R12, BX

settleClear:
	SUBQ $const_shadowFrameSize, R11
	MOVQ $0, ShadowFrame_SP(R11)
	CMPQ R11, R10
	JNE  settleClear
	SET_TOP

settleDone:
	RETURN

// room: R14 = the next frame, or 0 where there is none. Clobbers AX-DX, SI, DI, R11.
	PART(const_partShadowRoom)
	MOVQ ShadowHeader_Top(R12), R11
	XORL R14, R14
	CMPQ R11, $const_shadowFirst
	JLT  roomDone                                     // wiped meanwhile
	TESTL $(1<<const_ShadowShift), R11
	JNE  roomFull
	LEAQ (R12)(R11*1), R14

roomDone:
	RETURN

roomFull:
	// Move the frames together that are not over.
	LEAQ const_shadowFirst(R12), SI
	MOVQ SI, R11

roomMove:
	MOVQ SI, AX
	SUBQ R12, AX
	TESTL $(1<<const_ShadowShift), AX
	JNE  roomMoved
	MOVQ ShadowFrame_SP(SI), AX
	MOVQ ShadowFrame_Ticks(SI), DX
	ADDQ $const_shadowFrameSize, SI
	TESTQ AX, AX
	JEQ  roomMove
	MOVQ $0, -const_shadowFrameSize(SI)
	CMPQ AX, $const_FrameOver
	JEQ  roomMove
	MOVQ (ShadowFrame_Index-const_shadowFrameSize)(SI), BX
	MOVQ (ShadowFrame_State-const_shadowFrameSize)(SI), CX
	MOVQ BX, ShadowFrame_Index(R11)
	MOVQ CX, ShadowFrame_State(R11)
	MOVQ DX, ShadowFrame_Ticks(R11)
	MOVQ AX, ShadowFrame_SP(R11)
	ADDQ $const_shadowFrameSize, R11
	JMP  roomMove

roomMoved:
	MOVQ R11, R14
	SUBQ R12, R11
	MOVQ R11, ShadowHeader_Top(R12)
	TESTL $(1<<const_ShadowShift), R11
	JEQ  roomDone
	MOVQ R14, R11
	XORL R14, R14
	// Of one recursion, if each call is a little further up the stack than the last.
	MOVQ -const_shadowFrameSize(R11), BX
	CMPQ BX, ShadowHeader_Full(R12)
	JEQ  roomDone
	MOVQ BX, CX
	LEAQ -const_shadowFrameSize(R11), SI

roomNext:
	SUBQ $const_shadowFrameSize, SI
	MOVQ SI, AX
	SUBQ R12, AX
	CMPQ AX, $const_shadowFirst
	JLT  roomRecursion
	MOVQ ShadowFrame_SP(SI), AX
	MOVQ AX, DX
	SUBQ CX, DX
	SHRQ $const_ShadowReach, DX
	JNE  roomReset
	MOVQ AX, CX
	JMP  roomNext

roomRecursion:
	MOVQ BX, ShadowHeader_Full(R12)
	RETURN

roomReset:
	LEAQ const_shadowFirst(R12), R14

roomClear:
	SUBQ $const_shadowFrameSize, R11
	MOVQ $0, ShadowFrame_SP(R11)
	CMPQ R11, R14
	JNE  roomClear
	LOAD_LITERAL(Literals_Table, rCX)
	MOVQ (Control_Base-const_ControlSize)(CX), CX
	MOVL $const_shadowFirst, BX
	SET_TOP
	RETURN

// find: R14 = the frame of the call with sp R13, the last one of its stack; or 0.
// Clobbers AX-DX, SI, DI, R11.
	PART(const_partShadowFind)
	MOVQ ShadowHeader_Top(R12), AX
	LEAQ (R12)(AX*1), R11
	MOVQ R11, R14
	CMPQ AX, $const_shadowFirst
	JLE  findNone
	MOVQ -const_shadowFrameSize(R11), BX
	CMPQ BX, ShadowHeader_Full(R12)
	JNE  findNext
	MOVQ R13, AX
	SUBQ BX, AX
	MOVQ AX, BX
	NEGQ BX
	CMPQ BX, $const_FrameOff
	JGT  findNone                                     // below a recursion that fills the stack

findNext:
	SUBQ $const_shadowFrameSize, R14
	MOVQ R14, AX
	SUBQ R12, AX
	CMPQ AX, $const_shadowFirst
	JLT  findNone
	MOVQ ShadowFrame_SP(R14), AX
	TESTQ AX, AX
	JEQ  findNext
	MOVQ R13, DX
	SUBQ AX, DX
	MOVQ DX, BX
	SHRQ $2, BX
	JEQ  findDrop
	// A call that is a little further up the stack and began later cannot be: there is
	// no frame of this one.
	NEGQ DX
	SHRQ $const_ShadowNear, DX
	JNE  findNext

findNone:
	XORL R14, R14
	RETURN

findDrop:
	// Calls made in it are over: those above that lead down the stack from it, step by
	// step. Others are on another stack and may go on.
	LEAQ const_shadowFrameSize(R14), SI
	MOVQ AX, CX                                       // the last one's sp
	MOVQ SI, DI                                       // behind the last frame that stays

findOver:
	CMPQ SI, R11
	JEQ  findClear
	MOVQ ShadowFrame_SP(SI), AX
	ADDQ $const_shadowFrameSize, SI
	TESTQ AX, AX
	JEQ  findOver
	CMPQ AX, $const_FrameOver
	JEQ  findOver
	MOVQ CX, DX
	SUBQ AX, DX
	SHRQ $const_ShadowReach, DX
	JEQ  findStep
	MOVQ SI, DI
	JMP  findOver

findStep:
	MOVQ AX, CX
	MOVQ $const_FrameOver, -const_shadowFrameSize(SI)
	JMP  findOver

findClear:
	CMPQ R11, DI
	JEQ  findDone
	SUBQ $const_shadowFrameSize, R11
	MOVQ $0, ShadowFrame_SP(R11)
	MOVQ R11, AX
	SUBQ R12, AX
	MOVQ AX, ShadowHeader_Top(R12)
	JMP  findClear

findDone:
	RETURN

// flush records the entries that are pending up to the frame R14. Clobbers what reserve
// does, and R8.
//
// What is written to the ring is made before there is a place for it: in the child of a
// fork in between, which writes the same word to the same place, the frame is wiped.
	PART(const_partShadowFlush)
	PUSHQ R12
	PUSHQ R13
	PUSHQ R15
	MOVQ R14, AX

flushDown:
	TESTL $const_FrameWritten, ShadowFrame_SP(AX)
	JNE  flushFrom
	SUBQ $const_shadowFrameSize, AX
	MOVQ AX, CX
	SUBQ R12, CX
	CMPQ CX, $const_shadowFirst
	JGE  flushDown

flushFrom:
	MOVQ AX, R12                                      // R12 = frame from here

flushNext:
	CMPQ R12, R14
	JEQ  flushDone
	ADDQ $const_shadowFrameSize, R12
	MOVQ ShadowFrame_SP(R12), CX
	MOVQ ShadowFrame_Ticks(R12), R15
	TESTQ CX, CX
	JEQ  flushNext
	TESTL $15, CX
	JNE  flushNext
	ANDL $0xfff0, CX
	SHLQ $(const_WordSPShift-4), CX
	MOVL R15, R13
	ANDL $((1<<const_TimeBits)-1), R13
	ORQ  CX, R13
	ADDQ ShadowFrame_Index(R12), R13                  // R13 = the event
	SHRQ $const_TimeBits, R15                         // R15 = the high part of its time
	NOW
	SHRQ $const_TimeBits, DX
	MOVL $1, R8
	CMPQ DX, R15
	JEQ  flushReserve

flushThree:
	MOVL $3, R8

flushReserve:
	CALL_PART(const_partReserve)
	TESTQ R9, R9
	JEQ  flushMark
	SHRQ $const_TimeBits, R10
	CMPQ R8, $1
	JNE  flushMark
	CMPQ R10, R15
	JNE  flushLate

flushMark:
	// A handler that has recorded something meanwhile has recorded this, too.
	MOVQ ShadowFrame_SP(R12), AX
	TESTQ AX, AX
	JEQ  flushNext                                    // forked child: wiped
	TESTL $15, AX
	JNE  flushMarked
	LEAQ -const_FrameWritten(AX), DX
	CMPXCHGQ DX, ShadowFrame_SP(R12)
	JNE  flushMark
	TESTQ R9, R9
	JEQ  flushNext
	CMPQ R8, $1
	JEQ  flushOne
	MOVQ $(const_WordTime<<const_WordIndexShift), AX
	ORQ  AX, R10
	ORQ  R15, AX
	MOVQ R13, 8(R9)
	MOVQ R10, 16(R9)
	MOVQ AX, (R9)
	JMP  flushTime

flushOne:
	MOVQ R13, (R9)

flushTime:
	TESTQ SI, SI
	JEQ  flushNext
	MOVQ DI, (SI)
	JMP  flushNext

flushLate:
	// The time's high part has changed just now: this place is not enough.
	MOVQ $(const_WordTime<<const_WordIndexShift), AX
	ORQ  AX, R10
	MOVQ R10, (R9)
	TESTQ SI, SI
	JEQ  flushThree
	MOVQ DI, (SI)
	JMP  flushThree

flushMarked:
	// The place is not needed.
	TESTQ R9, R9
	JEQ  flushNext
	MOVQ $(const_WordTime<<const_WordIndexShift), AX
	ORQ  AX, R10
	CMPQ R8, $1
	JEQ  flushUnused
	MOVQ R10, 8(R9)
	MOVQ R10, 16(R9)

flushUnused:
	MOVQ R10, (R9)
	JMP  flushTime

flushDone:
	POPQ R15
	POPQ R13
	POPQ R12
	RETURN
	PART(const_partEnd)
	RETURN
