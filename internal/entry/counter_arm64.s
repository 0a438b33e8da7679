#include "textflag.h"

// func Counter() uint64
//
// CNTVCT_EL0 without ISB, as the traced program reads it.
TEXT ·Counter(SB), NOSPLIT|NOFRAME, $0-8
	MRS  CNTVCT_EL0, R0
	MOVD R0, ret+0(FP)
	RET

// func CounterFrequency() uint64
TEXT ·CounterFrequency(SB), NOSPLIT|NOFRAME, $0-8
	MRS  CNTFRQ_EL0, R0
	MOVD R0, ret+0(FP)
	RET
