// The fast paths of shadow_arm64.s.

// OPEN finds the thread's stack and where the next frame goes.
// Out: R10 = tid, R11 = table, R12 = header, R13 = frame, R14 = its offset, R16 =
// threshold, R17 = state. Clobbers R15. slow: not at home, full, or with frames that are over.
#define OPEN(slow) \
	MRS  TPIDR_EL0, R10                               \
	LOAD_LITERAL(Literals_Table, 11)                  \
	LOAD_LITERAL(Literals_Stacks, 12)                 \
	LDP  -24(R11), (R16, R13)                         \
	MOVWU (R10)(R13), R10                             \
	BFI  $const_ShadowShift, R10, $const_SlotBits, R12 \
	LDP  (R12), (R13, R14)                            \
	EON  R10, R13, R13                                \
	CBNZ R13, slow                                    \
	TBNZ $const_ShadowShift, R14, slow                \
	ADD  R14, R12, R13                                \
	MOVD -const_shadowFrameSize(R13), R15             \
	SUB  R15, R29, R15                                \
	TBZ  $63, R15, slow                               \
	MOVD ShadowHeader_State(R12), R17

// PUSH takes the frame and leaves. In: as OPEN leaves it, R9 = the call's state.
// Without a threshold the entry is recorded first, as ftrace_caller does, if what is
// below has been.
#define PUSH(slow, now, off) \
	TBNZ $63, R9, off                                 \
	CBZ  R16, now                                     \
	LOAD_LITERAL(Literals_Index, 15)                  \
	MRS  CNTVCT_EL0, R16                              \
	ADD  R30<<(const_WordIndexShift-2), R15, R15      \
	ADD  $const_shadowFrameSize, R14                  \
	STP  (R14, R9), ShadowHeader_Top(R12)             \
	STP  (R15, R17), ShadowFrame_Index(R13)           \
	STP  (R29, R16), (R13)                            \
	MOVD R30, R9                                      \
	LDP  16(RSP), (R29, R30)                          \
	ADD  $32, RSP                                     \
	RET  (R9)                                         \
now:                                                  \
	MOVD -const_shadowFrameSize(R13), R15             \
	TBZ  $3, R15, slow                                \ // pending
	MOVD -8(R11), R12                                 \ // ring
	BFI  $const_SlotShift, R10, $const_SlotBits, R11  \
	LDXP (R11), (R15, R16)                            \
	MRS  CNTVCT_EL0, R14                              \
	EOR  R14>>const_TimeBits, R16, R17                \
	EOR  R10<<const_TidShift, R17, R17                \
	CBNZ R17, slow                                    \
	TBZ  $const_PageBit, R15, slow                    \
	ADD  $1, R15, R17                                 \
	STXP (R17, R16), (R11), R10                       \
	CBNZ R10, slow                                    \
	LOAD_LITERAL(Literals_Index, 17)                  \
	ADD  R30<<(const_WordIndexShift-2), R17, R17      \
	BFI  $(const_WordSPShift-4), R29, $16, R17        \
	BFXIL $0, R14, $const_TimeBits, R17               \
	MOVD R17, (R12)(R15.UXTW<<3)                      \ // commit
	AND  $-const_ShadowSize, R13, R12                 \
	MOVD ShadowHeader_State(R12), R17                 \
	SUB  R12, R13, R11                                \
	ADD  $const_shadowFrameSize, R11                  \
	SUB  $const_FrameWritten, R29, R10                \
	STP  (R11, R9), ShadowHeader_Top(R12)             \
	STP  (ZR, R17), ShadowFrame_Index(R13)            \
	STP  (R10, R14), (R13)                            \
	B    leave

// CLOSE finds the frame of the call that ends here, which is pending.
// Out: R12 = header, R13 = behind the frame, R14 = its offset, R15 = when the call
// began, R9 = threshold. other, with R11 = what Frame* says: not the last frame, or not pending.
#define CLOSE(below, slow, other) \
	MRS  TPIDR_EL0, R10                               \
	LOAD_LITERAL(Literals_Table, 11)                  \
	LOAD_LITERAL(Literals_Stacks, 12)                 \
	LDP  -24(R11), (R9, R13)                          \
	MOVWU (R10)(R13), R10                             \
	BFI  $const_ShadowShift, R10, $const_SlotBits, R12 \
	LDP  (R12), (R13, R14)                            \
	EON  R10, R13, R13                                \
	CBNZ R13, slow                                    \
	ADD  R14, R12, R13                                \
	LDP  -const_shadowFrameSize(R13), (R10, R15)      \
	SUB  $below, RSP, R11                             \
	SUB  R10, R11, R11                                \
	CBNZ R11, other

// LONG goes to slow if the call took as long as the threshold. In: as CLOSE leaves it.
#define LONG(slow) \
	MRS  CNTVCT_EL0, R10                              \
	SUB  R15, R10, R10                                \
	SUB  R9, R10, R10                                 \
	TBZ  $63, R10, slow

// POP gives the frame back.
#define POP \
	MOVD -8(R13), R15                                 \ // ShadowFrame.State
	MOVD ZR, -const_shadowFrameSize(R13)              \
	SUB  $const_shadowFrameSize, R14                  \
	STP  (R14, R15), ShadowHeader_Top(R12)

// WRITTEN goes to pop if the frame is not to be recorded, to slow unless it has been
// recorded.
#define WRITTEN(pop, slow) \
	SUB  $const_FrameOff, R11, R10                    \
	CBZ  R10, pop                                     \
	SUB  $const_FrameWritten, R11, R10                \
	CBNZ R10, slow
