// Entries and exits of functions whose bodies are called (graph.go). The rules of
// entry_amd64.s hold. Besides:
//
//   - From the store of the thunk's address into the return address's place on, the
//     return address is in CX, then in the frame; until then in its place. An unwinder
//     finds it at each instruction (graphcfi.go).
//   - As long as a frame's Place is not 0 and even, that place holds the address behind
//     its thunk's CALL: it is stored before the frame is taken, and taken out after it is
//     given back. So a frame whose place holds something else belongs to a call that was
//     left without its exit (longjmp, an exception, a thread's end), and may be taken.
//   - A frame is taken by one CMPXCHG. On the thread's own stack only a signal handler of
//     the same thread can come before it; elsewhere it is a locked one, since a context may
//     have been moved to another thread, or two threads may have one thread block (clone
//     without CLONE_SETTLS). It is given back by one store. A handler may record, leave by siglongjmp,
//     unwind, fork or switch to another context at any instruction: what it leaves behind
//     is a frame that is free, or whole, or taken and never used.

//go:build amd64

#include "textflag.h"
#include "go_asm.h"
#include "record_amd64.h"

// add rdx, [the word with the address of the thunks].
#define ADD_THUNKS_DX BYTE $0x48; BYTE $0x03; BYTE $0x15; REL32(const_partGraphThunks)

// What reserve needs besides what SAVE has pushed, and AX, BX, CX, DX, SI.
#define PUSH_SLOW \
	PUSHQ DI \
	PUSHQ R8 \
	PUSHQ R9 \
	PUSHQ R10 \
	PUSHQ R11
#define POP_SLOW \
	POPQ R10 \
	POPQ R9 \
	POPQ R8 \
	POPQ DI

// SLOW_EVENT stores the event for which reserve has found a place, as EVENT does, and
// the TIME word behind which it stands.
#define SLOW_EVENT(word, sp) \
	ANDL $((1<<const_TimeBits)-1), R10       \
	LEAL sp(SP), CX                          \
	ANDL $0xfff0, CX                         \
	SHLQ $(const_WordSPShift-4), CX          \
	ORQ  CX, R10                             \
	ADDQ word, R10                           \
	MOVQ R10, (R9)                           \
	TESTQ SI, SI                             \
	JEQ  2(PC)                               \
	MOVQ DI, (SI)

// Where the return address is, and what is above it, with all pushed: by the entry, and
// by the exit.
#define RETURN_ADDRESS 72
#define ABOVE 80
#define EXIT_RETURN_ADDRESS 56
#define EXIT_ABOVE 64

// func graphBlock() unsafe.Pointer
//
// As entryBlock in entry_amd64.s.
TEXT ·graphBlock(SB), NOSPLIT|NOFRAME, $0-8
	LEAQ ·graphBlock(SB), AX
	MOVQ AX, ret+0(FP)
	RET

	BEGIN
	PART(const_partGraphCaller)

// An entry whose body is called.
// In: r11 = the stub's words. Jumped to: above the stack pointer stand the stub's r11 and
// the return address.
// Stack: 64 bytes (104 in the slow path). Out: at the thunk, with nothing on the stack and
// all registers as before but r11, which the thunk loads; or at the stub's tail.
	PUSH_ENTRY
	MOVQ RETURN_ADDRESS(SP), DI
	SUB_THUNKS_DI
	SHRQ $const_graphRegionShift, DI
	JEQ  graphTail                                    // it returns to a thunk
	PLACE(graphSlow)
	MOVQ CX, DI                                       // DI = slot
	EVENT((R11), ABOVE)

graphTake:
	MOVQ Slot_Top(DI), DX                             // DX = frame
	TESTQ DX, DX
	JEQ  graphFirst

graphTry:
	MOVQ RETURN_ADDRESS(SP), CX                       // CX = the return address
	LEAQ (const_ThunkReturn-const_GraphRegion)(DX), SI
	MOVQ SI, RETURN_ADDRESS(SP)
	LEAQ RETURN_ADDRESS(SP), SI
	XORL AX, AX
	TESTL $const_GraphPool, DX
	JNE  graphLocked
	CMPQ SI, Slot_StackLow(DI)
	JCS  graphLocked
	CMPQ SI, Slot_StackHigh(DI)
	JCC  graphLocked
	CMPXCHGQ SI, GraphFrame_Place(DX)
	JNE  graphTaken

graphOwn:
	MOVQ CX, GraphFrame_Return(DX)
	MOVQ R11, GraphFrame_Stub(DX)
	MOVQ DI, GraphFrame_Slot(DX)
	LEAQ const_graphFrameSize(DX), CX
	MOVQ CX, Slot_Top(DI)
	LEAQ -const_GraphRegion(DX), R11                  // the thunk
	POPQ DI
	POPQ SI
	POPQ BX
	POPQ DX
	POPQ CX
	RESTORE_FLAGS
	LEAQ 24(SP), SP
	JMP  R11

// Not a frame of the thread's area; or not on its own stack: this may be a context that another thread has begun, or
// one of two threads with one thread block.
graphLocked:
	LOCK
	CMPXCHGQ SI, GraphFrame_Place(DX)
	JEQ  graphOwn
	JMP  graphTaken

// Not recorded, or no frame: on to the function, which returns by itself.
graphPass:
	LEAQ -11(R11), R11                                // the stub's tail
	POPQ DI
	POPQ SI
	POPQ BX
	POPQ DX
	POPQ CX
	RESTORE_FLAGS
	LEAQ 8(SP), SP
	JMP  R11

// The thread's first frame, or its first one since nopal has forgotten the thread.
graphFirst:
	LOAD_LITERAL(Literals_Table, rAX)
	MOVQ DI, DX
	SUBQ AX, DX                                       // the slot's number << const_SlotShift
	SHLQ $(const_graphAreaShift-const_SlotShift), DX
	ADD_THUNKS_DX
	ADDQ $const_GraphRegion, DX
	MOVQ $1, (const_GraphFrames*const_graphFrameSize)(DX) // the end
	JMP  graphTry

// The entry as long as it is not known where the C library keeps the thread id. There may
// be no thread block at all.
	PART(const_partGraphUnknown)
	PUSH_ENTRY
	MOVQ RETURN_ADDRESS(SP), DI
	SUB_THUNKS_DI
	SHRQ $const_graphRegionShift, DI
	JEQ  graphTail
	JMP  graphSlow

// The frame is taken. The next one, as long as one is not found to be over.
graphTaken:
	MOVQ CX, RETURN_ADDRESS(SP)
	MOVL $const_GraphSearch, BX

graphSearch:
	MOVQ GraphFrame_Place(DX), SI
	TESTQ SI, SI
	JEQ  graphTry
	TESTL $1, SI
	JNE  graphOdd
	// Its place may be read if it is on this thread's stack, or on that of the main
	// thread, which nobody unmaps.
	CMPQ SI, Slot_StackHigh(DI)
	JCC  graphMain
	CMPQ SI, Slot_StackLow(DI)
	JCC  graphLook

graphMain:
	LOAD_LITERAL(Literals_Table, rAX)
	CMPQ SI, (Control_StackHigh-const_ControlSize)(AX)
	JCC  graphNext
	CMPQ SI, (Control_StackLow-const_ControlSize)(AX)
	JCS  graphNext

graphLook:
	LEAQ (const_ThunkReturn-const_GraphRegion)(DX), AX
	CMPQ AX, (SI)
	JEQ  graphNext                                    // it may return
	XORL CX, CX
	MOVQ SI, AX
	LOCK
	CMPXCHGQ CX, GraphFrame_Place(DX)
	JMP  graphTry

graphOdd:
	// The area's end, behind which is its beginning; or one that was taken and never used.
	TESTL $const_GraphPool, DX
	JNE  graphNext
	LEAQ const_graphFrameSize(DX), AX
	TESTL $((1<<const_graphAreaShift)-1), AX
	JNE  graphNext
	LEAQ -(1<<const_graphAreaShift)(AX), DX
	JMP  graphAgain

graphNext:
	LEAQ const_graphFrameSize(DX), DX
	TESTL $(const_GraphPool-1), DX
	JNE  graphAgain
	SUBQ $const_GraphPool, DX                         // behind the last of all: the pool's first

graphAgain:
	DECL BX
	JNE  graphSearch
	MOVL $const_GraphSearch, BX
	BTSQ $const_graphPoolShift, DX                    // the pool: in the order of the areas
	JCC  graphSearch
	MOVQ DX, Slot_Top(DI)                             // the next call goes on here
	JMP  graphPass

graphSlow:
	PUSH_SLOW
	MOVL $1, R8
	CALL_PART(const_partReserve)
	POPQ R11
	TESTQ R9, R9
	JEQ  graphSlowFrame                               // lost, and counted: as its exit will be
	SLOW_EVENT((R11), ABOVE+32)

graphSlowFrame:
	PUSHQ R11
	XORL R8, R8
	CALL_PART(const_partReserve)
	POPQ R11
	TESTQ R9, R9
	JEQ  graphSlowPass
	MOVQ R9, CX
	POP_SLOW
	MOVQ CX, DI
	JMP  graphTake

graphSlowPass:
	POP_SLOW
	JMP  graphPass

// The function was jumped to by one whose body was called, or by what that has called,
// which returns to a thunk. If it is its place that is the thunk's: that function's exit
// comes first, and this call has its return address. Otherwise a thunk is a return
// address like any other.
graphTail:
	MOVQ RETURN_ADDRESS(SP), DX
	LEAQ -const_ThunkReturn(DX), DX
	TESTL $(const_graphFrameSize-1), DX
	JNE  graphSlow
	ADDQ $const_GraphRegion, DX                       // DX = the frame
	LEAQ RETURN_ADDRESS(SP), SI
	CMPQ SI, GraphFrame_Place(DX)
	JNE  graphSlow
	PUSHQ DX
	PUSH_SLOW
	MOVL $1, R8
	CALL_PART(const_partReserve)
	MOVQ 40(SP), DX
	TESTQ R9, R9
	JEQ  graphTailOver
	MOVQ GraphFrame_Stub(DX), DX
	SLOW_EVENT(16(DX), ABOVE+48)

graphTailOver:
	POPQ R11
	POP_SLOW
	POPQ DX
	MOVQ $1, GraphFrame_Place(DX)
	MOVQ GraphFrame_Return(DX), CX
	MOVQ GraphFrame_Slot(DX), SI
	MOVQ CX, RETURN_ADDRESS(SP)
	MOVQ $0, GraphFrame_Place(DX)
	MOVQ DX, Slot_Top(SI)
	JMP  graphSlow

	// For entries that do something else than recording, with the same on the stack.
	// In: DI = slot.
	PART(const_partGraphTake)
	JMP  graphTake
	PART(const_partGraphPass)
	JMP  graphPass
	PART(const_partGraphExit)

// An exit, from a thunk.
// In: r11 = frame, with the function's own r11. The stack pointer is the caller's again.
// Stack: 64 bytes (104 in the slow path), the return address's place included. All
// registers and flags as the function has left them. Returns for it.
	LEAQ -8(SP), SP                                   // the return address's place
	PUSHQ GraphFrame_R11(R11)
	SAVE_FLAGS
	PUSHQ CX
	PUSHQ DX
	PUSHQ BX
	PUSHQ SI
	MOVQ GraphFrame_Return(R11), CX
	MOVQ GraphFrame_Slot(R11), SI
	MOVQ GraphFrame_Stub(R11), AX
	MOVQ $0, GraphFrame_Place(R11)                    // free, and may change from here on
	MOVQ CX, EXIT_RETURN_ADDRESS(SP)
	MOVQ R11, Slot_Top(SI)                            // a hint, also where the slot is another's now
	MOVQ AX, R11
	MOVQ SI, CX
	LOAD_LITERAL(Literals_Table, rBX)
	MOVQ -16(BX), BX                                  // offset of the tid
	TESTL $1, BX
	JNE  exitSlow                                     // not known, and there may be no block
	LOAD_FS_BX                                        // tid
	PLACE_IN_SLOT(exitSlow)
	EVENT(16(R11), EXIT_ABOVE)

exitDone:
	POPQ SI
	POPQ BX
	POPQ DX
	POPQ CX
	RESTORE_FLAGS
	POPQ R11
	RETURN

exitSlow:
	PUSH_SLOW
	MOVL $1, R8
	CALL_PART(const_partReserve)
	POPQ R11
	TESTQ R9, R9
	JEQ  exitSlowDone
	SLOW_EVENT(16(R11), EXIT_ABOVE+32)

exitSlowDone:
	POP_SLOW
	JMP  exitDone
	PART(const_partGraphExitEnd)

// What _Unwind_Find_FDE of the program's unwinder begins with: is it about code of ours?
// In: rdi = pc, rsi = struct dwarf_eh_bases {tbase, dbase, func} to fill in, as any C
// function; or else the instructions that the jump here has replaced, and on in it.
// Clobbers rax, rcx, r10.
	PART(const_partFindFDE)
	BYTE $0x4c; BYTE $0x8d; BYTE $0x15; REL32(const_partFindFDETable) // lea r10, [rip+table]

findNext:
	MOVQ (R10), AX                                    // start, size, FDE
	TESTQ AX, AX
	JEQ  findOther
	MOVQ DI, CX
	SUBQ AX, CX
	CMPQ CX, 8(R10)
	JCS  findOurs
	ADDQ $24, R10
	JMP  findNext

findOurs:
	MOVQ $0, (SI)
	MOVQ $0, 8(SI)
	MOVQ AX, 16(SI)
	MOVQ 16(R10), AX
	RETURN

findOther:
	JMP_PART(const_partFindFDEGone)
	PART(const_partFindFDEGone)
	QUAD $-1; QUAD $-1; QUAD $-1; QUAD $-1
	PART(const_partFindFDETable)

	PCALIGN $8
	PART(const_partGraphThunks)
	QUAD $0
	PART(const_partEnd)
