// A profile is kept where it arises: entries push a frame, exits pop it and count. How
// is described in profile_arm64.s, whose frames, counters and rules these are; and those
// of entry_amd64.s hold.
//
// Exits are those of called bodies (graph_amd64.s): an entry pushes its frame, then goes
// on to where a GraphFrame is taken; the thunk leads to profileExit. Where there is no
// GraphFrame, the call's end is not seen.
//
// What arm64 does by LDXP and STXP is done by CMPXCHG16B, without LOCK, and counters are
// added to by one instruction each: only a signal handler of the same thread can come
// between.

//go:build amd64

#include "textflag.h"
#include "go_asm.h"
#include "record_amd64.h"

// Where the return address is, with it pushed: of an entry, with the rest, of an exit,
// and with the rest of that.
#define RETURN_ADDRESS 72
#define RETURN_ADDRESS_REST 136
#define EXIT_RETURN_ADDRESS 88
#define EXIT_RETURN_ADDRESS_REST 128

// HOME_NOT is HOME with the complement of the id.
#define HOME_NOT \
	HOME                                     \
	NOTQ BX

// func profileBlock() unsafe.Pointer
//
// As entryBlock in entry_amd64.s.
TEXT ·profileBlock(SB), NOSPLIT|NOFRAME, $0-8
	LEAQ ·profileBlock(SB), AX
	MOVQ AX, ret+0(FP)
	RET

	BEGIN
	PART(const_partProfileCaller)

// An entry. Registers and stack as at an entry whose body is called (graph_amd64.s).
	PUSH_ENTRY
	MOVQ RETURN_ADDRESS(SP), DI
	SUB_THUNKS_DI
	SHRQ $const_graphRegionShift, DI
	JEQ  tail                                         // it returns to a thunk

enter:
	HOME_NOT
	CMPQ BX, ProfileSlot_Owner(CX)
	JNE  enterSlow
	MOVQ ProfileSlot_Top(CX), SI
	LEAQ RETURN_ADDRESS(SP), BX
	CMPQ BX, ProfileFrame_SP(SI)
	JGE  enterSlow                                    // the caller's frame is not on top
	ADDQ $const_ProfileFrameSize, SI
	TESTL $(1<<const_ProfileFullBit), SI
	JNE  enterSlow
	MOVQ SI, ProfileSlot_Top(CX)
	MOVQ CX, DI                                       // DI = slot
	MOVQ 8(R11), AX
	MOVQ AX, ProfileFrame_Site(SI)
	MOVQ $0, ProfileFrame_Child(SI)
	NOW
	MOVQ DX, ProfileFrame_Ticks(SI)
	MOVQ BX, ProfileFrame_SP(SI)
	JMP_PART(const_partGraphTake)

// The function was jumped to by one whose body was called: that one's exit comes first,
// as in graph_amd64.s.
tail:
	MOVQ RETURN_ADDRESS(SP), DX
	LEAQ -const_ThunkReturn(DX), DX
	TESTL $(const_graphFrameSize-1), DX
	JNE  enter
	ADDQ $const_GraphRegion, DX                       // DX = its GraphFrame
	LEAQ RETURN_ADDRESS(SP), SI
	CMPQ SI, GraphFrame_Place(DX)
	JNE  enter
	PUSH_REST
	LEAQ RETURN_ADDRESS_REST(SP), R12
	MOVQ GraphFrame_Stub(DX), R13
	MOVQ 16(R13), R13
	PUSHQ DX
	CALL_PART(const_partProfileFind)
	TESTQ R8, R8
	JEQ  tailOver
	CALL_PART(const_partProfileEnd)

tailOver:
	POPQ DX
	MOVQ $1, GraphFrame_Place(DX)
	MOVQ GraphFrame_Return(DX), CX
	MOVQ GraphFrame_Slot(DX), SI
	MOVQ CX, RETURN_ADDRESS_REST(SP)
	MOVQ $0, GraphFrame_Place(DX)
	MOVQ DX, Slot_Top(SI)
	POP_REST
	JMP  enter

enterSlow:
	PUSH_REST
	LEAQ RETURN_ADDRESS_REST(SP), R12                 // R12 = sp in the frame
	MOVQ 8(R11), R13                                  // R13 = the function's site
	CALL_PART(const_partProfileThread)
	TESTQ R8, R8
	JEQ  enterPass

enterAgain:
	MOVQ ProfileSlot_Top(R8), SI
	TESTQ SI, SI
	JEQ  enterPass                                    // forked meanwhile
	CMPQ R12, ProfileFrame_SP(SI)
	JLT  enterPush                                    // the caller's frame is on top
	MOVL $const_ProfileNear, R14
	CALL_PART(const_partProfileOver)
	TESTQ R9, R9
	JEQ  enterPush
	CALL_PART(const_partProfileDrop)
	JMP  enterAgain

enterPush:
	MOVQ ProfileSlot_Top(R8), SI
	TESTQ SI, SI
	JEQ  enterPass
	ADDQ $const_ProfileFrameSize, SI
	TESTL $(1<<const_ProfileFullBit), SI
	JNE  enterFull
	MOVQ SI, ProfileSlot_Top(R8)
	MOVQ R13, ProfileFrame_Site(SI)
	MOVQ $0, ProfileFrame_Child(SI)
	NOW
	MOVQ DX, ProfileFrame_Ticks(SI)
	MOVQ R12, ProfileFrame_SP(SI)
	MOVQ R8, DI
	POP_REST
	JMP_PART(const_partGraphTake)

enterFull:
	// Now frames of what may be another stack go, too.
	MOVQ $const_ProfileBase, R14
	CALL_PART(const_partProfileOver)
	TESTQ R9, R9
	JEQ  enterCount
	CALL_PART(const_partProfileDrop)
	JMP  enterPush

enterCount:
	MOVQ R13, DI
	CALL_PART(const_partProfileLookup)
	TESTQ BX, BX
	JEQ  enterPass
	INCQ ProfileTotals_Untimed(BX)

enterPass:
	POP_REST
	JMP_PART(const_partGraphPass)

// The entry of a function whose end is not seen: its exits are not known, or it is not
// known where the C library keeps the thread id.
	PART(const_partProfileCount)
	PUSH_ENTRY
	PUSH_REST
	MOVQ 8(R11), R13
	CALL_PART(const_partProfileThread)
	TESTQ R8, R8
	JEQ  enterPass
	JMP  enterCount

// An exit, from a thunk. Registers and stack as at the exit of graph_amd64.s.
	PART(const_partProfileExit)
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
	MOVQ GraphFrame_Return(R11), CX
	MOVQ GraphFrame_Slot(R11), SI
	MOVQ GraphFrame_Stub(R11), DI
	MOVQ $0, GraphFrame_Place(R11)                    // free, and may change from here on
	MOVQ CX, EXIT_RETURN_ADDRESS(SP)
	MOVQ R11, Slot_Top(SI)
	MOVQ DI, R11
	HOME_NOT
	CMPQ BX, ProfileSlot_Owner(CX)
	JNE  exitSlow
	MOVQ CX, R8                                       // R8 = slot
	MOVQ ProfileSlot_Top(R8), SI
	MOVQ ProfileFrame_Child(SI), R10
	NOW
	MOVQ DX, R9
	MOVQ R10, AX
	LEAQ EXIT_RETURN_ADDRESS(SP), DX
	XORL BX, BX
	XORL CX, CX
	CMPXCHG16B (SI)
	JNE  exitSlow
	SUBQ ProfileFrame_Ticks(SI), R9
	JGE  exitPop
	XORL R9, R9                                       // the frame became a handler's behind the CMPXCHG

exitPop:
	SUBQ $const_ProfileFrameSize, SI
	MOVQ SI, ProfileSlot_Top(R8)
	MOVQ ProfileSlot_Area(R8), BX
	TESTQ BX, BX
	JEQ  exitDone                                     // forked meanwhile
	ADDQ 16(R11), BX
	CALL_PART(const_partProfileAdd)

exitDone:
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

exitSlow:
	PUSHQ R11
	PUSHQ R12
	PUSHQ R13
	PUSHQ R14
	PUSHQ R15
	LEAQ EXIT_RETURN_ADDRESS_REST(SP), R12
	MOVQ 16(R11), R13
	CALL_PART(const_partProfileFind)
	TESTQ R8, R8
	JEQ  exitSlowDone
	CALL_PART(const_partProfileEnd)

exitSlowDone:
	POPQ R15
	POPQ R14
	POPQ R13
	POPQ R12
	POPQ R11
	JMP  exitDone

// end ends the call with the sp R12, and counts it.
// In: R8 = slot, R13 = offset of the function's counters. Clobbers all that is saved.
	PART(const_partProfileEnd)

endAgain:
	// SI = frame, R9 = one between it and the top is another stack's.
	MOVQ ProfileSlot_Top(R8), SI
	XORL R9, R9
	TESTQ SI, SI
	JEQ  endDone                                      // forked meanwhile
	MOVQ ProfileFrame_SP(SI), AX
	LEAQ const_ProfileFrameSize(SI), DX
	TESTL $(1<<const_ProfileFullBit), DX
	JEQ  endSearch
	CMPQ R12, AX
	JLT  endDone                                      // this call found no room

endSearch:
	CMPQ AX, R12
	JEQ  endFound
	BTQ  $62, AX
	JCS  endDone                                      // ProfileBase: not there
	CMPQ R12, AX
	JGE  endNext
	MOVL $1, R9

endNext:
	TESTL $(const_ProfileFrameBytes-1), SI
	JEQ  endDone                                      // forked meanwhile: the area is new
	SUBQ $const_ProfileFrameSize, SI
	MOVQ ProfileFrame_SP(SI), AX
	JMP  endSearch

endFound:
	TESTQ R9, R9
	JNE  endBelow
	LEAQ const_ProfileFrameSize(SI), R9
	CALL_PART(const_partProfileDrop)
	// A handler may have dropped more: look again.
	MOVQ ProfileSlot_Top(R8), SI
	TESTQ SI, SI
	JEQ  endDone
	MOVQ ProfileFrame_Child(SI), AX
	MOVQ R12, DX
	XORL BX, BX
	XORL CX, CX
	CMPXCHG16B (SI)
	JNE  endAgain
	MOVQ AX, R10
	MOVQ ProfileFrame_Ticks(SI), R14                  // before the frame can be another's
	SUBQ $const_ProfileFrameSize, SI
	MOVQ SI, ProfileSlot_Top(R8)
	JMP  endCount

endBelow:
	MOVQ ProfileFrame_Child(SI), AX
	MOVQ R12, DX
	XORL BX, BX
	MOVL $const_ProfileDead, CX
	CMPXCHG16B (SI)
	JNE  endAgain
	MOVQ AX, R10
	MOVQ ProfileFrame_Ticks(SI), R14
	SUBQ $const_ProfileFrameSize, SI

endCount:
	NOW
	SUBQ R14, DX
	MOVQ DX, R9
	MOVQ ProfileSlot_Area(R8), BX
	TESTQ BX, BX
	JEQ  endDone                                      // forked meanwhile
	ADDQ R13, BX
	JMP_PART(const_partProfileAdd)

endDone:
	RETURN

// add counts a call.
// In: R9 = duration, R10 = time in callees, SI = the caller's frame, BX = counters.
// Clobbers AX, CX.
	PART(const_partProfileAdd)
	ADDQ R9, ProfileFrame_Child(SI)
	MOVQ R9, AX
	SUBQ R10, AX
	ADDQ R9, ProfileTotals_Total(BX)
	ADDQ AX, ProfileTotals_Self(BX)
	XORL CX, CX
	BSRQ R9, AX
	JEQ  addBucket
	LEAL 1(AX), CX

addBucket:
	INCQ -const_ProfileHistSize(BX)(CX*8)             // significant bits

addLeast:
	MOVQ ProfileTotals_Least(BX), AX
	MOVQ $(1<<63), CX
	SUBQ R9, CX
	CMPQ AX, CX
	JCC  addMost
	CMPXCHGQ CX, ProfileTotals_Least(BX)
	JNE  addLeast

addMost:
	MOVQ ProfileTotals_Most(BX), AX
	CMPQ AX, R9
	JCC  addDone
	CMPXCHGQ R9, ProfileTotals_Most(BX)
	JNE  addMost

addDone:
	RETURN

// over: R9 = the lowest frame above the first one with a higher sp than R12 whose sp is
// less than R14 below it, or 0. Those that ended before are over, too, if they are on top.
// In: R8 = slot. Clobbers AX, DX, SI.
	PART(const_partProfileOver)
	MOVQ ProfileSlot_Top(R8), SI
	XORL R9, R9
	TESTQ SI, SI
	JEQ  overDone                                     // forked meanwhile

overNext:
	MOVQ ProfileFrame_SP(SI), AX
	TESTQ AX, AX
	JEQ  overHalf
	MOVQ R12, DX
	SUBQ AX, DX
	JLT  overDone
	CMPQ DX, R14
	JGE  overFar
	MOVQ SI, R9

overHalf:
	TESTL $(const_ProfileFrameBytes-1), SI
	JEQ  overNone
	SUBQ $const_ProfileFrameSize, SI
	JMP  overNext

overFar:
	CMPQ AX, $const_ProfileDead
	JNE  overHalf
	LEAQ const_ProfileFrameSize(SI), DX
	CMPQ DX, R9
	JEQ  overDead
	CMPQ SI, ProfileSlot_Top(R8)
	JNE  overHalf

overDead:
	MOVQ SI, R9
	JMP  overHalf

overNone:
	XORL R9, R9                                       // forked meanwhile: the area is new

overDone:
	RETURN

// drop ends the frames from the top down to R9.
// In: R8 = slot. Clobbers AX, BX, CX, DX, SI, DI, R10, R11, R14, R15.
	PART(const_partProfileDrop)

dropNext:
	MOVQ ProfileSlot_Top(R8), SI
	CMPQ SI, R9
	JCS  dropDone                                     // or forked meanwhile
	MOVQ ProfileFrame_Child(SI), AX
	MOVQ ProfileFrame_SP(SI), DX
	XORL BX, BX
	XORL CX, CX
	CMPXCHG16B (SI)
	JNE  dropNext
	MOVQ AX, R10
	MOVQ ProfileFrame_Ticks(SI), R14
	MOVQ ProfileFrame_Site(SI), DI
	SUBQ $const_ProfileFrameSize, SI
	MOVQ SI, ProfileSlot_Top(R8)
	CMPQ DX, $const_ProfileDead
	JLS  dropNext                                     // no call
	NOW
	SUBQ R14, DX
	MOVQ DX, R15
	CALL_PART(const_partProfileLookup)
	TESTQ BX, BX
	JEQ  dropNext
	INCQ ProfileTotals_Inferred(BX)
	CMPQ R14, ProfileHeader_Since(R11)
	JLT  dropUntimed
	PUSHQ R9
	MOVQ R15, R9
	CALL_PART(const_partProfileAdd)
	POPQ R9
	JMP  dropNext

dropUntimed:
	// Its end may have been when nothing was recorded.
	INCQ ProfileTotals_Untimed(BX)
	JMP  dropNext

dropDone:
	RETURN

// lookup: BX = the counters of the function whose site ends at DI, or 0.
// In: R8 = slot. Out too: R11 = the profile's header. Clobbers AX, CX, DX.
	PART(const_partProfileLookup)
	LOAD_LITERAL(Literals_Table, rCX)
	MOVQ (Control_Stacks-const_ControlSize)(CX), R11
	TESTQ R11, R11
	JEQ  lookupNone                                   // forked meanwhile
	MOVQ ProfileHeader_LookupOff(R11), DX
	ADDQ R11, DX
	MOVQ ProfileHeader_LookupShift(R11), CX
	MOVQ DI, AX
	SHRQ $2, AX
	IMULL $((const_profileHashHigh<<16)|const_profileHashLow), AX
	SHRL CX, AX
	SHLQ $4, AX
	ADDQ AX, DX
	MOVL $const_ProfileProbes, CX

lookupNext:
	MOVQ ProfileLookup_Site(DX), AX
	TESTQ AX, AX
	JEQ  lookupNone
	CMPQ AX, DI
	JEQ  lookupFound
	ADDQ $ProfileLookup__size, DX
	DECL CX
	JNE  lookupNext

lookupNone:
	XORL BX, BX
	RETURN

lookupFound:
	MOVQ ProfileSlot_Area(R8), BX
	TESTQ BX, BX
	JEQ  lookupNone
	ADDQ ProfileLookup_Counters(DX), BX
	RETURN

// find: R8 = the calling thread's slot, or 0. Then R9 = a free one, or 0, and if there
// is none, R10 says whether the call is to be counted as uncounted.
// Out too: CX = table, BX = tid, R15 = RingHeader.TraceOff. Clobbers AX, DX, SI, DI.
	PART(const_partProfileFind)
	XORL R8, R8
	XORL R9, R9
	XORL R10, R10
	LOAD_LITERAL(Literals_Table, rCX)
	MOVQ -8(CX), R15                                  // ring
	TESTQ R15, R15
	JEQ  findDone                                     // forked child: not recorded
	MOVQ RingHeader_TraceOff(R15), R15
	MOVQ -16(CX), BX                                  // offset of the tid
	TESTQ R15, R15
	JEQ  findTid
	MOVQ (Control_TidReal-const_ControlSize)(CX), BX

findTid:
	TESTL $const_TidOffsetNone, BX
	JNE  findUnknown
	LOAD_FS_BX

findHome:
	MOVL BX, DX
	ANDL $(const_SlotCount-1), DX
	MOVL $const_SlotProbes, DI

findNext:
	MOVQ DX, R8
	SHLQ $const_SlotShift, R8
	ADDQ CX, R8
	MOVQ ProfileSlot_Owner(R8), AX
	TESTQ AX, AX
	JEQ  findFree
	MOVQ BX, SI
	NOTQ SI
	CMPQ AX, SI
	JEQ  findDone
	MOVQ $(1<<const_ProfileClaimedBit), SI
	ORQ  BX, SI
	CMPQ AX, SI
	JEQ  findClaimed
	TESTQ R9, R9
	JNE  findStep
	MOVQ $const_ProfileTombstone, SI
	CMPQ AX, SI
	JNE  findStep
	MOVQ R8, R9

findStep:
	INCL DX
	ANDL $(const_SlotCount-1), DX
	DECL DI
	JNE  findNext
	MOVL $1, R10
	XORL R8, R8
	RETURN

findUnknown:
	// As long as it is not known where the thread id is: the process's. By the thread
	// pointer in the slot nopal finds out.
	MOVQ (Control_Owner-const_ControlSize)(CX), BX
	CMPQ (Control_FSBase-const_ControlSize)(CX), $0
	JEQ  findHome
	RDFSBASEQ AX
	ORQ  $1, AX
	MOVL BX, DX
	ANDL $(const_SlotCount-1), DX
	SHLQ $const_SlotShift, DX
	ADDQ CX, DX
	MOVQ AX, Slot_Key(DX)
	MOVL $1, Slot_Stream(DX)
	JMP  findHome

findFree:
	TESTQ R9, R9
	JNE  findNone
	MOVQ R8, R9

findNone:
	XORL R8, R8
	RETURN

findClaimed:
	// This is a signal handler on top of the claim below.
	MOVL $1, R10
	XORL R8, R8
	XORL R9, R9

findDone:
	RETURN

// thread is find for an entry: it finds none while nothing is recorded, and gives a new
// thread a slot and an area. Clobbers AX, BX, CX, DX, SI, DI, R8-R10, R14, R15.
	PART(const_partProfileThread)

threadAgain:
	CALL_PART(const_partProfileFind)
	TESTQ R15, R15
	JNE  threadNone
	TESTQ R8, R8
	JNE  threadDone
	TESTQ R9, R9
	JEQ  threadUncounted
	MOVQ (Control_Stacks-const_ControlSize)(CX), R14  // R14 = the profile's header
	TESTQ R14, R14
	JEQ  threadNone                                   // forked meanwhile
	MOVQ $(1<<const_ProfileClaimedBit), DX
	ORQ  BX, DX
	MOVQ ProfileSlot_Owner(R9), AX
	TESTQ AX, AX
	JEQ  claim
	MOVQ $const_ProfileTombstone, SI
	CMPQ AX, SI
	JNE  threadAgain                                  // taken meanwhile

claim:
	LOCK
	CMPXCHGQ DX, ProfileSlot_Owner(R9)
	JNE  threadAgain

popAgain:
	MOVQ ProfileHeader_FreeHead(R14), AX
	MOVL AX, DI                                       // DI = area
	TESTL DI, DI
	JEQ  freshArea
	MOVQ ProfileHeader_LinksOff(R14), SI
	ADDQ R14, SI
	MOVL (SI)(DI*4), SI
	MOVQ AX, DX
	SHRQ $32, DX
	INCL DX
	SHLQ $32, DX
	ORQ  SI, DX
	LOCK
	CMPXCHGQ DX, ProfileHeader_FreeHead(R14)
	JNE  popAgain
	JMP  haveArea

freshArea:
	MOVQ ProfileHeader_Given(R14), AX
	CMPQ AX, ProfileHeader_Areas(R14)
	JCC  noArea
	LEAQ 1(AX), DI
	LOCK
	CMPXCHGQ DI, ProfileHeader_Given(R14)
	JNE  freshArea

haveArea:
	DECQ DI
	IMULQ ProfileHeader_AreaSize(R14), DI
	ADDQ ProfileHeader_AreasOff(R14), DI
	ADDQ R14, DI                                      // DI = its address
	MOVQ $const_ProfileBase, AX
	MOVQ AX, ProfileFrame_SP(DI)
	MOVQ BX, ProfileFrame_Ticks(DI)                   // from here nopal counts it as the thread's
	MOVQ R9, R8
	MOVQ DI, ProfileSlot_Top(R8)
	MOVQ DI, ProfileSlot_Area(R8)
	NOTQ BX
	MOVQ BX, ProfileSlot_Owner(R8)

threadDone:
	RETURN

noArea:
	MOVQ $const_ProfileTombstone, AX
	MOVQ AX, ProfileSlot_Owner(R9)
	MOVL $1, R10

threadUncounted:
	TESTQ R10, R10
	JEQ  threadNone
	MOVQ (Control_Stacks-const_ControlSize)(CX), R14
	TESTQ R14, R14
	JEQ  threadNone
	LOCK
	INCQ ProfileHeader_Uncounted(R14)

threadNone:
	XORL R8, R8
	RETURN
	PART(const_partEnd)
	RETURN
