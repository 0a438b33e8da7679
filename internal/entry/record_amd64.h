// What the blocks of amd64 code have in common.

// References that Load settles when it has laid out the blocks: Go's assembler has no
// name for a label or a word in another block, nor for the address of a label.
//
// PART names the place behind it. Nothing falls into it: it is not code.
#define PART(number) QUAD $(const_partMark+number)
// BEGIN starts a block on a cache line. There is a PART(const_partEnd) at its end.
#define BEGIN \
	PCALIGN $64 \
	QUAD $-1; QUAD $-1; QUAD $-1; QUAD $-1; QUAD $-1; QUAD $-1; QUAD $-1 \
	PART(const_partBegin)
// REL32 is a displacement to a part, REL32_LITERAL to a word of Literals.
#define REL32(number) LONG $(const_partRel+number)
#define REL32_LITERAL(offset) LONG $(const_literalRel+offset)

#define CALL_PART(number) BYTE $0xe8; REL32(number)
#define JMP_PART(number) BYTE $0xe9; REL32(number)
#define JE_PART(number) BYTE $0x0f; BYTE $0x84; REL32(number)
#define JNE_PART(number) BYTE $0x0f; BYTE $0x85; REL32(number)

// JMP_BELOW_SP goes where the word at a negative distance (a byte) from rsp says, in the
// red zone, which signals leave alone (System V ABI, AMD64 supplement, 3.2.2).
#define JMP_BELOW_SP(byte) BYTE $0xff; BYTE $0x64; BYTE $0x24; BYTE $byte

// LEA_PART is the address of a part. Of the registers only the low eight, by number.
#define LEA_PART(number, reg) BYTE $0x48; BYTE $0x8d; BYTE $(0x05+8*reg); REL32(number)
// LOAD_LITERAL loads a word of Literals.
#define LOAD_LITERAL(offset, reg) BYTE $0x48; BYTE $0x8b; BYTE $(0x05+8*reg); REL32_LITERAL(offset)
#define rAX 0
#define rCX 1
#define rDX 2
#define rBX 3
#define rSI 6
#define rDI 7

// What the thread pointer's block has, at the offset in RBX: mov ebx, fs:[rbx].
#define LOAD_FS_BX BYTE $0x64; BYTE $0x8b; BYTE $0x1b

// RETURN is a RET of which the assembler does not ask whether pushes and pops match: it
// counts them in the order of the text.
#define RETURN BYTE $0xc3

// SAVE_FLAGS saves AX and the flags in 16 bytes of stack; AX is free then. PUSHFQ and
// POPFQ take more than the rest of an event together.
#define SAVE_FLAGS \
	PUSHQ AX \
	LAHF     \
	SETOS AL \
	PUSHQ AX
// RESTORE_FLAGS undoes it: 1 + 127 overflows, 0 + 127 does not.
#define RESTORE_FLAGS \
	POPQ AX        \
	ADDB $127, AL  \
	SAHF           \
	POPQ AX

// NOW is the time in DX. Clobbers AX.
#define NOW \
	RDTSC          \
	SHLQ $32, DX   \
	ORQ  AX, DX

// HOME is the home slot of the thread in CX and its id in BX. Clobbers AX and flags.
#define HOME \
	LOAD_LITERAL(Literals_Table, rCX)        \
	MOVQ -16(CX), BX                         \ // offset of the tid
	LOAD_FS_BX                               \ // tid
	MOVL BX, AX                              \
	ANDL $(const_SlotCount-1), AX            \
	SHLL $const_SlotShift, AX                \
	ADDQ AX, CX

// PLACE takes the event's place and time, as entry_amd64.s describes.
// Out: BX = ring, RAX = index of the word in it, DX = time. Clobbers CX, SI and flags.
#define PLACE(slow) \
	HOME                                     \
	PLACE_IN_SLOT(slow)

// PLACE_IN_SLOT is PLACE with the thread's slot in CX and its id in BX.
#define PLACE_IN_SLOT(slow) \
	MOVQ Slot_Cur(CX), SI                    \
	NOW                                      \
	SHLQ $const_TidShift, BX                 \
	MOVQ DX, AX                              \
	SHRQ $const_TimeBits, AX                 \
	ORQ  BX, AX                              \
	CMPQ AX, Slot_TidTime(CX)                \
	JNE  slow                                \ // other thread, or time's high part moved on
	TESTL $(1<<const_PageBit), SI            \
	JEQ  slow                                \ // page full, or none yet
	LOAD_LITERAL(Literals_Table, rBX)        \
	MOVQ -8(BX), BX                          \ // ring
	MOVQ SI, AX                              \
	INCQ SI                                  \
	CMPXCHGQ SI, Slot_Cur(CX)                \
	JNE  slow                                \
	MOVL AX, AX

// PUSH_ENTRY is what stands on the stack where a GraphFrame is taken: the body's address,
// for the thunk, AX and flags, and these.
#define PUSH_ENTRY \
	PUSHQ 8(R11) \
	SAVE_FLAGS   \
	PUSHQ CX     \
	PUSHQ DX     \
	PUSHQ BX     \
	PUSHQ SI     \
	PUSHQ DI

// What is saved besides where more registers are needed.
#define PUSH_REST PUSHQ R8; PUSHQ R9; PUSHQ R10; PUSHQ R11; PUSHQ R12; PUSHQ R13; PUSHQ R14; PUSHQ R15
#define POP_REST POPQ R15; POPQ R14; POPQ R13; POPQ R12; POPQ R11; POPQ R10; POPQ R9; POPQ R8

// sub rdi, [the word with the address of the thunks].
#define SUB_THUNKS_DI BYTE $0x48; BYTE $0x2b; BYTE $0x3d; REL32(const_partGraphThunks)

// EVENT stores the event's word: its commit. word is the code position in its place, sp
// how far the stack pointer of the caller is above this one.
// In: as PLACE leaves it. Clobbers CX, DX and flags.
#define EVENT(word, sp) \
	ANDL $((1<<const_TimeBits)-1), DX        \
	LEAL sp(SP), CX                          \
	ANDL $0xfff0, CX                         \
	SHLQ $(const_WordSPShift-4), CX          \
	ORQ  CX, DX                              \
	ADDQ word, DX                            \
	MOVQ DX, (BX)(AX*8)
