// What the trampolines have in common.

// FRAME_RECORDS is the beginning of every trampoline of an entry.
#define FRAME_RECORDS \
	STP.W (R29, R9), -16(RSP)  \ // record of the caller
	MOVD  RSP, R29             \
	STP.W (R29, R30), -16(RSP) \ // record of the traced function
	MOVD  RSP, R29

// EXIT takes the exit event's place and commits it, as ftrace_caller does. below is
// how far sp is from that at the function's entry, less the 32 bytes that the event
// of the entry has subtracted.
// In: x16 = the event's code position in place. Clobbers x9-x15.
#define EXIT(below, slow) \
	MRS  TPIDR_EL0, R10                               \
	LOAD_LITERAL(Literals_Table, 11)                  \
	LDP  -16(R11), (R13, R14)                         \
	MOVWU (R10)(R13), R10                             \
	BFI  $const_SlotShift, R10, $const_SlotBits, R11  \
	LDXP (R11), (R12, R13)                            \
	MRS  CNTVCT_EL0, R15                              \
	EOR  R15>>const_TimeBits, R13, R9                 \
	EOR  R10<<const_TidShift, R9, R9                  \
	CBNZ R9, slow                                     \
	TBZ  $const_PageBit, R12, slow                    \
	ADD  $1, R12, R10                                 \
	STXP (R10, R13), (R11), R9                        \
	CBNZ R9, slow                                     \
	SUB  $below, RSP, R9                              \
	BFI  $(const_WordSPShift-4), R9, $16, R16         \
	BFXIL $0, R15, $const_TimeBits, R16               \
	MOVD R16, (R14)(R12.UXTW<<3)

// LEAVE_EXIT goes on where x17 says: at the function's caller, if that is what x30 is,
// or in the stub. A return is a RET, which the processor has foreseen and which may go
// to a place without a landing pad; to the stub, which nobody has called, it is a
// branch. Clobbers x9.
#define LEAVE_EXIT \
	EOR  R30, R17, R9 \
	CBNZ R9, 2(PC)    \
	RET  (R30)        \
	JMP  (R17)
