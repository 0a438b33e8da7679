// Code that runs inside the target. Everything between the first and the last PART is
// one position-independent block, copied into an island near each traced object; only
// its literals differ from copy to copy. How sites and stubs lead here is described in
// internal/arch/amd64.
//
// Rules that hold at every instruction:
//   - nothing is ever stored below rsp: it moves before the store;
//   - all general registers and flags are given back as they were, but r11, which the
//     stub has saved; no x87, SSE, AVX register and no MXCSR is written;
//   - the direction flag is neither changed nor relied on.
//
// How an event gets its place: the thread's slot holds the position in its page and,
// beside it, thread id and the high bits of the last time stamp. The position is read,
// then the time stamp, then CMPXCHG advances the position; no LOCK, since only a signal
// handler of the same thread can come between, and an instruction is not interrupted in
// the middle (Intel SDM 3A 6.6). If one has recorded in between, the CMPXCHG fails and
// all is done again: every position is given out once and positions are in the order of
// their time stamps. The store of the event's single word is its commit; zero means not
// committed. Stores are seen in their order (Intel SDM 3A 9.2.2), so what is to be
// committed last is stored last, and needs no fence.
//
// The thread id is read through fs, from the C library's thread block. A child of fork
// finds the control block wiped: the position it has read is not there any more, so its
// CMPXCHG fails. What it has taken before it was born it writes as its parent does.

//go:build amd64

#include "textflag.h"
#include "go_asm.h"
#include "record_amd64.h"

// The thread pointer, where its block begins with its own address as those of all C
// libraries do: mov r9, fs:[0].
#define LOAD_FS_0_R9 BYTE $0x64; BYTE $0x4c; BYTE $0x8b; BYTE $0x0c; BYTE $0x25; LONG $0
// The thread id: mov r10d, fs:[rdi].
#define LOAD_FS_DI_R10 BYTE $0x64; BYTE $0x44; BYTE $0x8b; BYTE $0x17

#define LOAD_FS_0_R8 BYTE $0x64; BYTE $0x4c; BYTE $0x8b; BYTE $0x04; BYTE $0x25; LONG $0
// SAVE_REGS makes a pt_regs on the stack. cs and ss are those of all 64-bit programs
// (arch/x86/include/asm/segment.h). Out: R12 = the stub's words, R13 = pt_regs; RBP keeps
// its value.
#define SAVE_REGS \
	PUSHQ $0x2b          \
	PUSHQ SP             \
	PUSHFQ               \
	PUSHQ $0x33          \
	PUSHQ 8(R11)         \ // where the function goes on
	PUSHQ $-1            \
	PUSHQ DI             \
	PUSHQ SI             \
	PUSHQ DX             \
	PUSHQ CX             \
	PUSHQ AX             \
	PUSHQ R8             \
	PUSHQ R9             \
	PUSHQ R10            \
	PUSHQ (14*8)(SP)     \ // r11
	PUSHQ BX             \
	PUSHQ BP             \
	PUSHQ R12            \
	PUSHQ R13            \
	PUSHQ R14            \
	PUSHQ R15            \
	ADDQ $16, PtRegs_RSP(SP) \
	MOVQ R11, R12        \
	MOVQ SP, R13
// RESTORE_REGS takes the general registers from there, without flags.
#define RESTORE_REGS \
	POPQ R15 \
	POPQ R14 \
	POPQ R13 \
	POPQ R12 \
	POPQ BP  \
	POPQ BX  \
	POPQ R11 \
	POPQ R10 \
	POPQ R9  \
	POPQ R8  \
	POPQ AX  \
	POPQ CX  \
	POPQ DX  \
	POPQ SI  \
	POPQ DI

// WALK_RANGE makes R10 the end of a stack if R11 lies in it. Clobbers AX.
#define WALK_RANGE(low, high) \
	CMPQ R11, low  \
	JCS  5(PC)     \
	MOVQ high, AX  \
	CMPQ R11, AX   \
	JCC  2(PC)     \
	MOVQ AX, R10

// func entryBlock() unsafe.Pointer
//
// Called by Go, it gives an address before the block; the code behind its RET is never
// run here.
TEXT ·entryBlock(SB), NOSPLIT|NOFRAME, $0-8
	LEAQ ·entryBlock(SB), AX
	MOVQ AX, ret+0(FP)
	RET

	BEGIN
	PART(const_partCaller)

// ftrace_caller: a plain entry, one word in the ring.
// In: r11 = address of the event's code position. Called by a stub: above the return
// address stand the stub's r11 and the traced function's return address.
// Stack: 48 bytes (104 in the slow path). Clobbers r11.
	SAVE_FLAGS
	PUSHQ CX
	PUSHQ DX
	PUSHQ BX
	PUSHQ SI
	PLACE(callerSlow)
	EVENT((R11), 48+24)

callerExit:
	POPQ SI
	POPQ BX
	POPQ DX
	POPQ CX
	RESTORE_FLAGS
	RETURN

// ftrace_caller as long as it is not known where the C library keeps the thread id.
	PART(const_partCallerUnknown)
	SAVE_FLAGS
	PUSHQ CX
	PUSHQ DX
	PUSHQ BX
	PUSHQ SI

callerSlow:
	PUSHQ DI
	PUSHQ R8
	PUSHQ R9
	PUSHQ R10
	PUSHQ R11
	MOVL $1, R8
	CALL_PART(const_partReserve)
	POPQ R11
	TESTQ R9, R9
	JEQ  callerSlowDone
	ANDL $((1<<const_TimeBits)-1), R10
	LEAL (32+48+24)(SP), CX
	ANDL $0xfff0, CX
	SHLQ $(const_WordSPShift-4), CX
	ORQ  CX, R10
	ADDQ (R11), R10
	MOVQ R10, (R9)
	TESTQ SI, SI
	JEQ  callerSlowDone
	MOVQ DI, (SI)                                     // TIME word, behind which the event stands

callerSlowDone:
	POPQ R10
	POPQ R9
	POPQ R8
	POPQ DI
	JMP  callerExit

// ftrace_regs_caller: a record with registers and/or stack; all of pt_regs is restored
// from memory, what a handler changed included. In it rsp is the address of the
// function's return address, as at its first instruction, and rip is where it goes on.
// In: as ftrace_caller, but by a jump: above stand the stub's r11 and the return address.
// Stack: 176 bytes, with a stack record 688. It does not go back to the stub, but on at rip.
	PART(const_partRegsCaller)
	SAVE_REGS
	LOAD_LITERAL(Literals_Action, rCX)
	MOVQ CX, R14                                      // R14 = Action bits
	XORL R15, R15                                     // R15 = words of the stack part
	TESTL $const_ActionStack, R14
	JNE  walk

recordRegs:
	// R8 = 2 (RECORD, event) + registers + stack part
	LEAQ 2(R15), R8
	TESTL $const_ActionRegs, R14
	JEQ  recordPlace
	ADDQ $const_RegsWords, R8

recordPlace:
	CALL_PART(const_partReserve)
	TESTQ R9, R9
	JEQ  regsRestore
	ANDL $((1<<const_TimeBits)-1), R10
	LEAL (PtRegs__size+16)(R13), CX
	ANDL $0xfff0, CX
	SHLQ $(const_WordSPShift-4), CX
	ORQ  CX, R10
	ADDQ (R12), R10
	MOVQ R10, 8(R9)
	LEAQ 16(R9), BX
	TESTL $const_ActionRegs, R14
	JEQ  storeStack
	XORL CX, CX

storeRegs:
	MOVQ (R13)(CX*8), AX
	MOVQ AX, (BX)
	ADDQ $8, BX
	INCL CX
	CMPL CX, $const_RegsWords
	JNE  storeRegs

storeStack:
	TESTQ R15, R15
	JEQ  commitRecord
	LEAQ -1(R15), DX                                  // count word, then the addresses
	MOVQ DX, (BX)
	XORL CX, CX

storeStackNext:
	CMPQ CX, DX
	JEQ  commitRecord
	MOVQ (SP)(CX*8), AX
	MOVQ AX, 8(BX)(CX*8)
	INCQ CX
	JMP  storeStackNext

commitRecord:
	// RECORD word: kind, length, flags (bits 16.. = Action bits).
	MOVQ $(const_WordRecord<<const_WordIndexShift), AX
	SHLQ $16, R14
	ORQ  R14, AX
	ORQ  R8, AX
	MOVQ AX, (R9)
	TESTQ SI, SI
	JEQ  regsRestore
	MOVQ DI, (SI)

regsRestore:
	MOVQ R13, SP                                      // drops the stack part's buffer
	LEAQ (PtRegs__size+8)(SP), AX
	CMPQ AX, PtRegs_RSP(SP)
	JNE  regsElsewhere
	RESTORE_REGS
	LEAQ 24(SP), SP                                   // orig_rax, rip, cs
	POPFQ
	LEAQ 24(SP), SP                                   // rsp, ss, the stub's r11
	JMP_BELOW_SP(0xd0)                                // rip, in the red zone

regsElsewhere:
	// A handler moved rsp. What stands there now is an interrupt frame.
	RESTORE_REGS
	LEAQ 8(SP), SP
	IRETQ

// For a function with a trigger: a stack record, whatever others have.
	PART(const_partStackCaller)
	SAVE_REGS
	MOVL $const_ActionStack, R14

// walk: return addresses by frame records into a buffer at rsp. What may be read
// without faulting is the page that holds the return address, and the stack that nopal has
// found for this thread or the main one, if it lies in that. No system call could tell more: the
// program may have a filter that kills it for one. R15 = 1 + number of addresses.
// Where a function keeps something else in rbp it is what a frame record would look like.
walk:
	LEAQ -512(SP), SP
	MOVQ SP, DI                                       // next entry
	MOVQ (PtRegs__size+8)(R13), AX                    // the caller
	MOVQ AX, (DI)
	ADDQ $8, DI
	MOVL $2, R15
	MOVQ BP, SI                                       // its frame record
	LEAQ (PtRegs__size+8)(R13), R11                   // R11 = where the return address is
	LEAQ 8(R11), R9                                   // R9 = lowest valid address
	MOVQ R11, R10
	ORQ  $4095, R10
	INCQ R10                                          // R10 = end of what can be read
	LOAD_LITERAL(Literals_Table, rCX)
	WALK_RANGE((Control_StackLow-const_ControlSize)(CX), (Control_StackHigh-const_ControlSize)(CX))
	CMPQ -8(CX), $0                                   // ring
	JEQ  walkNext
	MOVQ -16(CX), BX                                  // offset of the tid
	TESTL $1, BX
	JNE  walkNext
	LOAD_FS_BX                                        // tid
	MOVL BX, AX
	ANDL $(const_SlotCount-1), AX
	SHLQ $const_SlotShift, AX
	ADDQ AX, CX
	LOAD_FS_0_R8                                      // thread pointer
	ORQ  $1, R8
	CMPQ R8, Slot_Key(CX)
	JNE  walkNext
	CMPL BX, Slot_Tid(CX)
	JNE  walkNext
	WALK_RANGE(Slot_StackLow(CX), Slot_StackHigh(CX))

walkNext:
	CMPL R15, $(const_StackMax+1)
	JEQ  recordRegs
	TESTL $7, SI
	JNE  recordRegs
	CMPQ SI, R9                                       // frame records go up the stack
	JCS  recordRegs
	LEAQ 16(SI), R9
	CMPQ R9, R10
	JHI  recordRegs
	CMPQ R9, SI
	JCS  recordRegs                                   // the end of the address space
	MOVQ 8(SI), AX
	TESTQ AX, AX
	JEQ  recordRegs
	MOVQ AX, (DI)
	ADDQ $8, DI
	INCL R15
	MOVQ (SI), SI
	JMP  walkNext

// reserve: a place for a record of R8 words in the calling thread's stream.
// In: R8 = words (1 .. 200). 0 words: only the thread's slot is found, or claimed;
//   R9 = its address.
// Out: R9 = address or 0 (not recorded; counted where it has to be), R10 = time,
//   SI = address of the TIME word to store last, or 0, DI = that word.
// Clobbers AX, BX, CX, DX, SI, DI, R9-R11 and flags. R8 is kept. Stack: nothing.
	PART(const_partReserve)

again:
	// Every retry starts here, identity included: the signal handler that made it
	// necessary may have forked, and this may be the child.
	LOAD_LITERAL(Literals_Table, rCX)                 // CX = table
	MOVQ -8(CX), SI                                   // SI = ring
	TESTQ SI, SI
	JEQ  reserveNone                                  // forked child: not recorded
	CMPQ RingHeader_TraceOff(SI), $0
	JNE  reserveNone                                  // switched off by a trigger
	MOVQ -16(CX), DI
	TESTL $1, DI
	JNE  askTid
	LOAD_FS_DI_R10                                    // R10 = tid
	LOAD_FS_0_R9                                      // R9 = thread pointer
	MOVL R10, R11
	ANDL $(const_SlotCount-1), R11                    // R11 = home

haveHome:
	ORQ  $1, R9                                       // R9 = key
	MOVQ R11, BX
	SHLQ $const_SlotShift, BX
	ADDQ CX, BX                                       // BX = slot
	CMPQ R9, Slot_Key(BX)
	JNE  probe
	CMPL R10, Slot_Tid(BX)
	JNE  probe

found:
	MOVQ BX, R9
	TESTQ R8, R8
	JEQ  reserveReturn
	MOVQ BX, R11                                      // R11 = slot
	MOVQ Slot_Cur(R11), DI                            // DI = position
	MOVQ Slot_TidTime(R11), R9
	RDTSC
	SHLQ $32, DX
	ORQ  AX, DX
	MOVQ DX, R10                                      // R10 = time
	MOVL DI, DX
	ANDL $(const_PageWords-1), DX                     // DX = words of the page in use
	JEQ  newPage
	MOVQ R10, CX
	SHRQ $const_TimeBits, CX                          // CX = time's high part
	MOVQ R9, AX
	SHLQ $const_TimeBits, AX
	SHRQ $const_TimeBits, AX
	CMPQ AX, CX
	JNE  timeWord
	ADDL R8, DX
	CMPL DX, $const_PageWords
	JHI  pad
	MOVQ DI, AX
	MOVQ R9, DX
	MOVQ R9, CX
	LEAQ (DI)(R8*1), BX
	CMPXCHG16B (R11)
	JNE  again
	MOVL DI, DI
	LEAQ (SI)(DI*8), R9
	XORL SI, SI
	CMPQ R8, $1
	JEQ  reserveReturn
	// Says how long the record is, should its thread never come back to it.
	MOVQ $(const_WordReserved<<const_WordIndexShift), AX
	ORQ  R8, AX
	MOVQ AX, (R9)

reserveReturn:
	RETURN

timeWord:
	// The same with a TIME word in front.
	ADDL R8, DX
	CMPL DX, $(const_PageWords-1)
	JHI  pad
	MOVQ DI, AX
	MOVQ R9, DX
	SHRQ $const_TidShift, R9
	SHLQ $const_TidShift, R9
	ORQ  R9, CX
	LEAQ 1(DI)(R8*1), BX
	CMPXCHG16B (R11)
	JNE  again
	MOVL DI, DI
	LEAQ (SI)(DI*8), SI
	LEAQ 8(SI), R9
	CMPQ R8, $1
	JEQ  timeWordValue
	MOVQ $(const_WordReserved<<const_WordIndexShift), AX
	LEAQ 1(AX)(R8*1), AX
	MOVQ AX, (SI)

timeWordValue:
	MOVQ R10, DI
	SHRQ $const_TimeBits, DI
	SHLQ $(64-const_WordIndexShift), DI
	SHRQ $(64-const_WordIndexShift), DI
	MOVQ $(const_WordTime<<const_WordIndexShift), AX
	ORQ  AX, DI
	RETURN

pad:
	// The record does not fit: take the rest of the page and say so in it.
	MOVL DI, CX
	ANDL $(const_PageWords-1), CX
	MOVL $const_PageWords, R10
	SUBL CX, R10                                      // R10 = words left
	MOVQ DI, AX
	MOVQ R9, DX
	MOVQ R9, CX
	LEAQ (DI)(R10*1), BX
	CMPXCHG16B (R11)
	JNE  again
	MOVQ $(const_WordPad<<const_WordIndexShift), AX
	ORQ  R10, AX
	MOVL DI, DI
	MOVQ AX, (SI)(DI*8)
	JMP  again

newPage:
	// R11 = slot, DI = Slot.Cur as seen, R10 = now.
	MOVQ RingHeader_FreeHead(SI), AX
	MOVL AX, CX                                       // CX = page
	TESTL CX, CX
	JEQ  noPage
	MOVQ RingHeader_NextOff(SI), BX
	ADDQ SI, BX                                       // BX = links
	MOVL (BX)(CX*4), DX
	MOVQ AX, R9
	SHRQ $32, R9
	INCL R9
	SHLQ $32, R9
	ORQ  DX, R9
	LOCK
	CMPXCHGQ R9, RingHeader_FreeHead(SI)
	JNE  newPage

	// The page's header, then the page onto the list that nopal looks at: a page
	// is announced before it is used, so none is in use unknown to nopal.
	MOVQ CX, R9
	SHLQ $12, R9
	ADDQ SI, R9                                       // R9 = its address
	MOVL Slot_Stream(R11), DX
	MOVL DX, PageHeader_Stream(R9)
	MOVQ DI, DX
	SHRQ $32, DX
	INCL DX                                           // its sequence number
	MOVL DX, PageHeader_Seq(R9)
	MOVL Slot_Tid(R11), DX
	MOVQ DX, PageHeader_Tid(R9)                       // and no flags
	LOAD_LITERAL(Literals_Table, rDX)
	MOVQ R11, AX
	SUBQ DX, AX                                       // slot's index * 64
	SHRQ $2, AX                                       // * size of a stat
	ADDQ SI, AX
	ADDQ RingHeader_StatOff(SI), AX                   // AX = the slot's stat
	MOVQ SlotStat_Lost(AX), AX
	MOVQ AX, PageHeader_Lost(R9)
	MOVQ R10, PageHeader_Start(R9)
	LEAQ (BX)(CX*4), DX                               // DX = its link

pushAgain:
	MOVQ RingHeader_StartedHead(SI), AX
	MOVL AX, (DX)
	MOVQ AX, BX
	SHRQ $32, BX
	INCL BX
	SHLQ $32, BX
	ORQ  CX, BX
	LOCK
	CMPXCHGQ BX, RingHeader_StartedHead(SI)
	JNE  pushAgain

	// It becomes the thread's page unless a signal handler was faster.
	MOVQ DI, BX
	SHRQ $32, BX
	INCL BX
	SHLQ $32, BX
	SHLQ $9, CX
	LEAQ const_PageHeaderWords(BX)(CX*1), BX          // BX = the new Slot.Cur
	SHRQ $const_TimeBits, R10

takePage:
	MOVQ Slot_Cur(R11), AX
	CMPQ AX, DI
	JNE  voidPage
	MOVQ Slot_TidTime(R11), DX
	MOVQ DX, CX
	SHRQ $const_TidShift, CX
	SHLQ $const_TidShift, CX
	ORQ  R10, CX
	CMPXCHG16B (R11)
	JNE  takePage
	JMP  again

voidPage:
	MOVL $const_PageVoid, PageHeader_Flags(R9)
	JMP  again

noPage:
	LOAD_LITERAL(Literals_Table, rDX)
	MOVQ R11, AX
	SUBQ DX, AX
	SHRQ $2, AX
	ADDQ SI, AX
	ADDQ RingHeader_StatOff(SI), AX
	INCQ SlotStat_Lost(AX)                            // nobody else's

reserveNone:
	XORL R9, R9
	RETURN

askTid:
	// No C library yet, or one whose thread block we do not know: the process's id, and
	// the thread pointer itself, since who knows what stands there. It may be 0.
	CMPQ (Control_FSBase-const_ControlSize)(CX), $0
	JEQ  lost
	RDFSBASEQ R9
	MOVQ (Control_Owner-const_ControlSize)(CX), R10
	MOVQ R9, R11                                      // all have one id: by block
	SHRQ $12, R11
	ANDL $(const_SlotCount-1), R11
	JMP  haveHome

probe:
	// Not at its home: another thread lives there, or this one is new.
	MOVL $const_SlotProbes, DI
	XORL DX, DX                                       // DX = first free slot

probeNext:
	MOVQ R11, BX
	SHLQ $const_SlotShift, BX
	ADDQ CX, BX
	MOVQ Slot_Key(BX), AX
	TESTQ AX, AX
	JEQ  probeFree
	CMPQ AX, $const_KeyTombstone
	JNE  probeTaken
	TESTQ DX, DX
	JNE  probeStep
	MOVQ BX, DX
	JMP  probeStep

probeTaken:
	CMPQ AX, R9
	JNE  probeStep
	CMPL R10, Slot_Tid(BX)
	JEQ  found

probeStep:
	INCL R11
	ANDL $(const_SlotCount-1), R11
	DECL DI
	JNE  probeNext
	TESTQ DX, DX
	JNE  claim

lost:
	LOCK
	INCQ RingHeader_LostNoSlot(SI)
	JMP  reserveNone

probeFree:
	TESTQ DX, DX
	JNE  claim
	MOVQ BX, DX

claim:
	MOVQ DX, BX
	MOVQ Slot_Key(BX), AX
	TESTQ AX, AX
	JEQ  claimStart
	CMPQ AX, $const_KeyTombstone
	JNE  again                                        // taken meanwhile

claimStart:
	LOCK
	CMPXCHGQ R9, Slot_Key(BX)
	JNE  again

	// The slot is ours. Slot.Tid is stored last: until then nobody finds it.
	MOVL $1, DX
	LOCK
	XADDQ DX, RingHeader_NextStream(SI)
	INCL DX
	MOVL DX, Slot_Stream(BX)
	MOVQ BX, AX
	SUBQ CX, AX
	SHRQ $2, AX
	ADDQ SI, AX
	ADDQ RingHeader_StatOff(SI), AX                   // AX = the slot's stat
	MOVQ $0, SlotStat_Lost(AX)
	MOVQ R10, CX
	SHLQ $32, CX
	ORQ  DX, CX
	MOVQ CX, (AX)                                     // stream and tid
	MOVQ R10, CX
	SHLQ $const_TidShift, CX
	MOVQ $0, Slot_Cur(BX)
	MOVQ CX, Slot_TidTime(BX)
	MOVQ $0, Slot_StackLow(BX)
	MOVQ $0, Slot_StackHigh(BX)
	MOVL R10, Slot_Tid(BX)
	JMP  again

// dlHook: the loader's debugger hook (r_debug.r_brk), which begins with a jump here and
// of which this is all then. It waits, bounded in time, until nopal has looked at what was loaded, and
// makes the system calls nopal asks for meanwhile (to map an island near a new
// object). Every register is kept: the loader may know that its empty hook
// changes none.
// Stack: 104 bytes.
	PART(const_partDLHook)
	PUSHFQ
	PUSHQ AX
	PUSHQ BX
	PUSHQ CX
	PUSHQ DX
	PUSHQ SI
	PUSHQ DI
	PUSHQ R8
	PUSHQ R9
	PUSHQ R10
	PUSHQ R11
	PUSHQ R12
	PUSHQ R13
	LOAD_LITERAL(Literals_RDebug, rAX)
	TESTQ AX, AX
	JEQ  dlNotify                                     // the program is just starting
	CMPL 24(AX), $0                                   // r_debug.r_state
	JNE  dlDone                                       // not RT_CONSISTENT

dlNotify:
	LOAD_LITERAL(Literals_Table, rAX)
	MOVQ -8(AX), R12                                  // R12 = ring
	TESTQ R12, R12
	JEQ  dlDone                                       // forked child
	CMPQ RingHeader_Live(R12), $const_LiveNobody
	JEQ  dlDone
	MOVQ (Control_WaitTicks-const_ControlSize)(AX), R13 // R13 = ticks to wait
	MOVL $1, BX
	LOCK
	XADDQ BX, RingHeader_Request(R12)
	INCQ BX                                           // BX = ticket
	XORL SI, SI                                       // SI = how often it has waited

dlStart:
	RDTSC
	SHLQ $32, DX
	ORQ  AX, DX
	MOVQ DX, DI                                       // DI = start

dlWait:
	CMPQ BX, RingHeader_Ack(R12)
	JLE  dlDone
	CMPQ BX, RingHeader_Command(R12)
	JEQ  dlCall
	PAUSE
	RDTSC
	SHLQ $32, DX
	ORQ  AX, DX
	SUBQ DI, DX
	CMPQ DX, R13
	JLT  dlWait

	// Nobody there: never wait again. But if nopal is writing into what was loaded
	// (Live is LiveWriting), wait once more: it must not run meanwhile.
dlTimeout:
	MOVQ RingHeader_Live(R12), AX
	CMPQ AX, $const_LiveWriting
	JEQ  dlWriting
	MOVL $const_LiveNobody, CX
	LOCK
	CMPXCHGQ CX, RingHeader_Live(R12)
	JNE  dlTimeout
	JMP  dlDone

dlWriting:
	INCL SI
	CMPL SI, $const_LiveWaits
	JLE  dlStart
	JMP  dlDone

dlCall:
	PUSHQ SI
	PUSHQ DI
	MOVQ RingHeader_Number(R12), AX
	MOVQ (RingHeader_Args+0)(R12), DI
	MOVQ (RingHeader_Args+8)(R12), SI
	MOVQ (RingHeader_Args+16)(R12), DX
	MOVQ (RingHeader_Args+24)(R12), R10
	MOVQ (RingHeader_Args+32)(R12), R8
	MOVQ (RingHeader_Args+40)(R12), R9
	SYSCALL
	POPQ DI
	POPQ SI
	MOVQ AX, RingHeader_Result(R12)
	MOVQ $0, RingHeader_Command(R12)
	MOVQ BX, RingHeader_Done(R12)
	JMP  dlWait

dlDone:
	POPQ R13
	POPQ R12
	POPQ R11
	POPQ R10
	POPQ R9
	POPQ R8
	POPQ DI
	POPQ SI
	POPQ DX
	POPQ CX
	POPQ BX
	POPQ AX
	POPFQ
	RETURN

	PART(const_partLiterals)
	QUAD $0; QUAD $0; QUAD $0; QUAD $0; QUAD $0; QUAD $0; QUAD $0; QUAD $0
	PART(const_partEnd)
	RETURN
