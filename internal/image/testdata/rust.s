	.file	"rust.cebe997107dec46e-cgu.0"
	.section	.text._RNvCshKuLGoDTFBq_4rust4name,"ax",@progbits
	.globl	_RNvCshKuLGoDTFBq_4rust4name
	.p2align	2
	.type	_RNvCshKuLGoDTFBq_4rust4name,@function
_RNvCshKuLGoDTFBq_4rust4name:
.Lfunc_begin0:
	.file	1 "." "rust.rs"
	.loc	1 30 0
	.cfi_startproc
	nop
	nop
	sub	sp, sp, #16
	.cfi_def_cfa_offset 16
	mov	x8, x0
	str	x8, [sp]
	str	x1, [sp, #8]
.Ltmp1:
	.loc	1 30 52 prologue_end epilogue_begin
	add	sp, sp, #16
	.cfi_def_cfa_offset 0
	ret
.Ltmp2:
.Lfunc_end0:
	.size	_RNvCshKuLGoDTFBq_4rust4name, .Lfunc_end0-_RNvCshKuLGoDTFBq_4rust4name
	.cfi_endproc
	.section	__patchable_function_entries,"awo",@progbits,_RNvCshKuLGoDTFBq_4rust4name
	.p2align	3, 0x0
	.xword	.Lfunc_begin0

	.section	.text._RNvCshKuLGoDTFBq_4rust4pass,"ax",@progbits
	.globl	_RNvCshKuLGoDTFBq_4rust4pass
	.p2align	2
	.type	_RNvCshKuLGoDTFBq_4rust4pass,@function
_RNvCshKuLGoDTFBq_4rust4pass:
.Lfunc_begin1:
	.loc	1 40 0
	.cfi_startproc
	nop
	nop
	sub	sp, sp, #16
	.cfi_def_cfa_offset 16
	mov	x9, x8
.Ltmp4:
	str	x1, [sp]
	str	x2, [sp, #8]
.Ltmp5:
	.loc	1 40 62 prologue_end
	ldr	q0, [x0]
	str	q0, [x9]
	ldr	x8, [x0, #16]
	str	x8, [x9, #16]
	.loc	1 40 65 epilogue_begin is_stmt 0
	add	sp, sp, #16
	.cfi_def_cfa_offset 0
	ret
.Ltmp6:
.Lfunc_end1:
	.size	_RNvCshKuLGoDTFBq_4rust4pass, .Lfunc_end1-_RNvCshKuLGoDTFBq_4rust4pass
	.cfi_endproc
	.section	__patchable_function_entries,"awo",@progbits,_RNvCshKuLGoDTFBq_4rust4pass
	.p2align	3, 0x0
	.xword	.Lfunc_begin1

	.section	.text._RNvCshKuLGoDTFBq_4rust5greet,"ax",@progbits
	.globl	_RNvCshKuLGoDTFBq_4rust5greet
	.p2align	2
	.type	_RNvCshKuLGoDTFBq_4rust5greet,@function
_RNvCshKuLGoDTFBq_4rust5greet:
.Lfunc_begin2:
	.loc	1 28 0 is_stmt 1
	.cfi_startproc
	nop
	nop
	sub	sp, sp, #48
	.cfi_def_cfa_offset 48
	mov	x8, x0
	mov	x0, x6
	str	x8, [sp]
	str	x1, [sp, #8]
	str	x3, [sp, #16]
	str	x4, [sp, #24]
	str	x5, [sp, #32]
	str	x0, [sp, #40]
.Ltmp8:
	.loc	1 28 93 prologue_end epilogue_begin
	add	sp, sp, #48
	.cfi_def_cfa_offset 0
	ret
.Ltmp9:
.Lfunc_end2:
	.size	_RNvCshKuLGoDTFBq_4rust5greet, .Lfunc_end2-_RNvCshKuLGoDTFBq_4rust5greet
	.cfi_endproc
	.section	__patchable_function_entries,"awo",@progbits,_RNvCshKuLGoDTFBq_4rust5greet
	.p2align	3, 0x0
	.xword	.Lfunc_begin2

	.section	.text._RNvCshKuLGoDTFBq_4rust5split,"ax",@progbits
	.globl	_RNvCshKuLGoDTFBq_4rust5split
	.p2align	2
	.type	_RNvCshKuLGoDTFBq_4rust5split,@function
_RNvCshKuLGoDTFBq_4rust5split:
.Lfunc_begin3:
	.loc	1 38 0
	.cfi_startproc
	nop
	nop
	sub	sp, sp, #80
	.cfi_def_cfa_offset 80
	mov	x9, x0
	ldr	x8, [sp, #80]
	ldr	x0, [sp, #88]
	str	x9, [sp]
	str	x1, [sp, #8]
	str	x2, [sp, #16]
	str	x3, [sp, #24]
	str	x4, [sp, #32]
	str	x5, [sp, #40]
	str	x6, [sp, #48]
	str	x7, [sp, #56]
	str	x8, [sp, #64]
	str	x0, [sp, #72]
.Ltmp11:
	.loc	1 38 116 prologue_end epilogue_begin
	add	sp, sp, #80
	.cfi_def_cfa_offset 0
	ret
.Ltmp12:
.Lfunc_end3:
	.size	_RNvCshKuLGoDTFBq_4rust5split, .Lfunc_end3-_RNvCshKuLGoDTFBq_4rust5split
	.cfi_endproc
	.section	__patchable_function_entries,"awo",@progbits,_RNvCshKuLGoDTFBq_4rust5split
	.p2align	3, 0x0
	.xword	.Lfunc_begin3

	.section	.text._RNvCshKuLGoDTFBq_4rust5whole,"ax",@progbits
	.globl	_RNvCshKuLGoDTFBq_4rust5whole
	.p2align	2
	.type	_RNvCshKuLGoDTFBq_4rust5whole,@function
_RNvCshKuLGoDTFBq_4rust5whole:
.Lfunc_begin4:
	.loc	1 36 0
	.cfi_startproc
	nop
	nop
	sub	sp, sp, #16
	.cfi_def_cfa_offset 16
	str	x0, [sp]
	str	x1, [sp, #8]
.Ltmp14:
	.loc	1 36 63 prologue_end
	b	.LBB4_1
.LBB4_1:
	b	.LBB4_1
.Ltmp15:
.Lfunc_end4:
	.size	_RNvCshKuLGoDTFBq_4rust5whole, .Lfunc_end4-_RNvCshKuLGoDTFBq_4rust5whole
	.cfi_endproc
	.section	__patchable_function_entries,"awo",@progbits,_RNvCshKuLGoDTFBq_4rust5whole
	.p2align	3, 0x0
	.xword	.Lfunc_begin4

	.section	.text._RNvCshKuLGoDTFBq_4rust7numbers,"ax",@progbits
	.globl	_RNvCshKuLGoDTFBq_4rust7numbers
	.p2align	2
	.type	_RNvCshKuLGoDTFBq_4rust7numbers,@function
_RNvCshKuLGoDTFBq_4rust7numbers:
.Lfunc_begin5:
	.loc	1 32 0
	.cfi_startproc
	nop
	nop
	sub	sp, sp, #64
	.cfi_def_cfa_offset 64
	str	s0, [sp, #12]
	fmov	d0, d1
	ldr	s1, [sp, #12]
	strb	w0, [sp, #19]
	strh	w1, [sp, #20]
	strb	w2, [sp, #23]
	str	w3, [sp, #24]
	str	s1, [sp, #28]
	str	d0, [sp, #32]
	strb	w4, [sp, #47]
	str	d2, [sp, #48]
	str	w5, [sp, #56]
.Ltmp17:
	.loc	1 32 118 prologue_end epilogue_begin
	add	sp, sp, #64
	.cfi_def_cfa_offset 0
	ret
.Ltmp18:
.Lfunc_end5:
	.size	_RNvCshKuLGoDTFBq_4rust7numbers, .Lfunc_end5-_RNvCshKuLGoDTFBq_4rust7numbers
	.cfi_endproc
	.section	__patchable_function_entries,"awo",@progbits,_RNvCshKuLGoDTFBq_4rust7numbers
	.p2align	3, 0x0
	.xword	.Lfunc_begin5

	.section	.text._RNvCshKuLGoDTFBq_4rust8doubtful,"ax",@progbits
	.globl	_RNvCshKuLGoDTFBq_4rust8doubtful
	.p2align	2
	.type	_RNvCshKuLGoDTFBq_4rust8doubtful,@function
_RNvCshKuLGoDTFBq_4rust8doubtful:
.Lfunc_begin6:
	.loc	1 34 0
	.cfi_startproc
	nop
	nop
	sub	sp, sp, #16
	.cfi_def_cfa_offset 16
	mov	w8, w0
	mov	w0, w1
	mov	w1, w2
	str	w8, [sp]
	str	w0, [sp, #4]
	str	w1, [sp, #8]
	str	w4, [sp, #12]
.Ltmp20:
	.loc	1 34 100 prologue_end epilogue_begin
	add	sp, sp, #16
	.cfi_def_cfa_offset 0
	ret
.Ltmp21:
.Lfunc_end6:
	.size	_RNvCshKuLGoDTFBq_4rust8doubtful, .Lfunc_end6-_RNvCshKuLGoDTFBq_4rust8doubtful
	.cfi_endproc
	.section	__patchable_function_entries,"awo",@progbits,_RNvCshKuLGoDTFBq_4rust8doubtful
	.p2align	3, 0x0
	.xword	.Lfunc_begin6

	.section	.debug_abbrev,"",@progbits
	.byte	1
	.byte	17
	.byte	1
	.byte	37
	.byte	14
	.byte	19
	.byte	5
	.byte	3
	.byte	14
	.byte	16
	.byte	23
	.byte	27
	.byte	14
	.byte	17
	.byte	1
	.byte	85
	.byte	23
	.byte	0
	.byte	0
	.byte	2
	.byte	57
	.byte	1
	.byte	3
	.byte	14
	.byte	0
	.byte	0
	.byte	3
	.byte	4
	.byte	1
	.byte	73
	.byte	19
	.byte	109
	.byte	25
	.byte	3
	.byte	14
	.byte	11
	.byte	11
	.ascii	"\210\001"
	.byte	15
	.byte	0
	.byte	0
	.byte	4
	.byte	40
	.byte	0
	.byte	3
	.byte	14
	.byte	28
	.byte	15
	.byte	0
	.byte	0
	.byte	5
	.byte	46
	.byte	1
	.byte	17
	.byte	1
	.byte	18
	.byte	6
	.byte	64
	.byte	24
	.byte	110
	.byte	14
	.byte	3
	.byte	14
	.byte	58
	.byte	11
	.byte	59
	.byte	11
	.byte	73
	.byte	19
	.byte	63
	.byte	25
	.byte	0
	.byte	0
	.byte	6
	.byte	5
	.byte	0
	.byte	2
	.byte	24
	.byte	3
	.byte	14
	.byte	58
	.byte	11
	.byte	59
	.byte	11
	.byte	73
	.byte	19
	.byte	0
	.byte	0
	.byte	7
	.byte	5
	.byte	0
	.byte	3
	.byte	14
	.byte	58
	.byte	11
	.byte	59
	.byte	11
	.byte	73
	.byte	19
	.byte	0
	.byte	0
	.byte	8
	.byte	19
	.byte	1
	.byte	3
	.byte	14
	.byte	11
	.byte	11
	.byte	50
	.byte	11
	.ascii	"\210\001"
	.byte	15
	.byte	0
	.byte	0
	.byte	9
	.byte	13
	.byte	0
	.byte	3
	.byte	14
	.byte	73
	.byte	19
	.ascii	"\210\001"
	.byte	15
	.byte	56
	.byte	11
	.byte	50
	.byte	11
	.byte	0
	.byte	0
	.byte	10
	.byte	51
	.byte	1
	.byte	21
	.byte	19
	.byte	0
	.byte	0
	.byte	11
	.byte	13
	.byte	0
	.byte	73
	.byte	19
	.ascii	"\210\001"
	.byte	15
	.byte	56
	.byte	11
	.byte	52
	.byte	25
	.byte	0
	.byte	0
	.byte	12
	.byte	25
	.byte	1
	.byte	22
	.byte	11
	.byte	0
	.byte	0
	.byte	13
	.byte	13
	.byte	0
	.byte	3
	.byte	14
	.byte	73
	.byte	19
	.ascii	"\210\001"
	.byte	15
	.byte	56
	.byte	11
	.byte	0
	.byte	0
	.byte	14
	.byte	47
	.byte	0
	.byte	73
	.byte	19
	.byte	3
	.byte	14
	.byte	0
	.byte	0
	.byte	15
	.byte	36
	.byte	0
	.byte	3
	.byte	14
	.byte	62
	.byte	11
	.byte	11
	.byte	11
	.byte	0
	.byte	0
	.byte	16
	.byte	19
	.byte	1
	.byte	3
	.byte	14
	.byte	11
	.byte	11
	.ascii	"\210\001"
	.byte	15
	.byte	0
	.byte	0
	.byte	17
	.byte	15
	.byte	0
	.byte	73
	.byte	19
	.byte	51
	.byte	6
	.byte	0
	.byte	0
	.byte	18
	.byte	15
	.byte	0
	.byte	73
	.byte	19
	.byte	3
	.byte	14
	.byte	51
	.byte	6
	.byte	0
	.byte	0
	.byte	0
	.section	.debug_info,"",@progbits
.Lcu_begin0:
	.word	.Ldebug_info_end0-.Ldebug_info_start0
.Ldebug_info_start0:
	.hword	4
	.word	.debug_abbrev
	.byte	8
	.byte	1
	.word	.Linfo_string0
	.hword	28
	.word	.Linfo_string1
	.word	.Lline_table_start0
	.word	.Linfo_string2
	.xword	0
	.word	.Ldebug_ranges0
	.byte	2
	.word	.Linfo_string3
	.byte	3
	.word	1037

	.word	.Linfo_string7
	.byte	1
	.byte	1
	.byte	4
	.word	.Linfo_string5
	.byte	1
	.byte	4
	.word	.Linfo_string6
	.byte	2
	.byte	0
	.byte	5
	.xword	.Lfunc_begin0
	.word	.Lfunc_end0-.Lfunc_begin0
	.byte	1
	.byte	111
	.word	.Linfo_string8
	.word	.Linfo_string9
	.byte	1
	.byte	30
	.word	1044

	.byte	6
	.byte	2
	.byte	145
	.byte	0
	.word	.Linfo_string48
	.byte	1
	.byte	30
	.word	1044
	.byte	0
	.byte	5
	.xword	.Lfunc_begin1
	.word	.Lfunc_end1-.Lfunc_begin1
	.byte	1
	.byte	111
	.word	.Linfo_string14
	.word	.Linfo_string15
	.byte	1
	.byte	40
	.word	710

	.byte	6
	.byte	2
	.byte	112
	.byte	0
	.word	.Linfo_string48
	.byte	1
	.byte	40
	.word	710
	.byte	6
	.byte	2
	.byte	145
	.byte	0
	.word	.Linfo_string49
	.byte	1
	.byte	40
	.word	1044
	.byte	0
	.byte	5
	.xword	.Lfunc_begin2
	.word	.Lfunc_end2-.Lfunc_begin2
	.byte	1
	.byte	111
	.word	.Linfo_string29
	.word	.Linfo_string30
	.byte	1
	.byte	28
	.word	1103

	.byte	6
	.byte	2
	.byte	145
	.byte	0
	.word	.Linfo_string48
	.byte	1
	.byte	28
	.word	1044
	.byte	7
	.word	.Linfo_string49
	.byte	1
	.byte	28
	.word	710
	.byte	6
	.byte	2
	.byte	145
	.byte	16
	.word	.Linfo_string50
	.byte	1
	.byte	28
	.word	1124
	.byte	6
	.byte	2
	.byte	145
	.byte	24
	.word	.Linfo_string52
	.byte	1
	.byte	28
	.word	1137
	.byte	6
	.byte	2
	.byte	145
	.byte	40
	.word	.Linfo_string54
	.byte	1
	.byte	28
	.word	1103
	.byte	0
	.byte	5
	.xword	.Lfunc_begin3
	.word	.Lfunc_end3-.Lfunc_begin3
	.byte	1
	.byte	111
	.word	.Linfo_string32
	.word	.Linfo_string33
	.byte	1
	.byte	38
	.word	1103

	.byte	6
	.byte	2
	.byte	145
	.byte	0
	.word	.Linfo_string55
	.byte	1
	.byte	38
	.word	1103
	.byte	6
	.byte	2
	.byte	145
	.byte	8
	.word	.Linfo_string56
	.byte	1
	.byte	38
	.word	1103
	.byte	6
	.byte	2
	.byte	145
	.byte	16
	.word	.Linfo_string57
	.byte	1
	.byte	38
	.word	1103
	.byte	6
	.byte	2
	.byte	145
	.byte	24
	.word	.Linfo_string58
	.byte	1
	.byte	38
	.word	1103
	.byte	6
	.byte	2
	.byte	145
	.byte	32
	.word	.Linfo_string59
	.byte	1
	.byte	38
	.word	1103
	.byte	6
	.byte	2
	.byte	145
	.byte	40
	.word	.Linfo_string60
	.byte	1
	.byte	38
	.word	1103
	.byte	6
	.byte	2
	.byte	145
	.byte	48
	.word	.Linfo_string61
	.byte	1
	.byte	38
	.word	1103
	.byte	6
	.byte	2
	.byte	145
	.byte	56
	.word	.Linfo_string48
	.byte	1
	.byte	38
	.word	1044
	.byte	6
	.byte	3
	.byte	145
	.asciz	"\310"
	.word	.Linfo_string62
	.byte	1
	.byte	38
	.word	1103
	.byte	0
	.byte	5
	.xword	.Lfunc_begin4
	.word	.Lfunc_end4-.Lfunc_begin4
	.byte	1
	.byte	111
	.word	.Linfo_string34
	.word	.Linfo_string35
	.byte	1
	.byte	36
	.word	710

	.byte	6
	.byte	2
	.byte	145
	.byte	0
	.word	.Linfo_string48
	.byte	1
	.byte	36
	.word	1124
	.byte	6
	.byte	2
	.byte	145
	.byte	8
	.word	.Linfo_string52
	.byte	1
	.byte	36
	.word	1103
	.byte	0
	.byte	5
	.xword	.Lfunc_begin5
	.word	.Lfunc_end5-.Lfunc_begin5
	.byte	1
	.byte	111
	.word	.Linfo_string36
	.word	.Linfo_string37
	.byte	1
	.byte	32
	.word	839

	.byte	6
	.byte	2
	.byte	145
	.byte	19
	.word	.Linfo_string55
	.byte	1
	.byte	32
	.word	1037
	.byte	6
	.byte	2
	.byte	145
	.byte	20
	.word	.Linfo_string56
	.byte	1
	.byte	32
	.word	1167
	.byte	6
	.byte	2
	.byte	145
	.byte	23
	.word	.Linfo_string57
	.byte	1
	.byte	32
	.word	1174
	.byte	6
	.byte	2
	.byte	145
	.byte	24
	.word	.Linfo_string58
	.byte	1
	.byte	32
	.word	1181
	.byte	6
	.byte	2
	.byte	145
	.byte	28
	.word	.Linfo_string59
	.byte	1
	.byte	32
	.word	1188
	.byte	6
	.byte	2
	.byte	145
	.byte	32
	.word	.Linfo_string60
	.byte	1
	.byte	32
	.word	839
	.byte	6
	.byte	2
	.byte	145
	.byte	47
	.word	.Linfo_string61
	.byte	1
	.byte	32
	.word	47
	.byte	6
	.byte	2
	.byte	145
	.byte	48
	.word	.Linfo_string67
	.byte	1
	.byte	32
	.word	958
	.byte	0
	.byte	5
	.xword	.Lfunc_begin6
	.word	.Lfunc_end6-.Lfunc_begin6
	.byte	1
	.byte	111
	.word	.Linfo_string41
	.word	.Linfo_string42
	.byte	1
	.byte	34
	.word	860

	.byte	6
	.byte	2
	.byte	145
	.byte	0
	.word	.Linfo_string55
	.byte	1
	.byte	34
	.word	1117
	.byte	6
	.byte	2
	.byte	145
	.byte	4
	.word	.Linfo_string69
	.byte	1
	.byte	34
	.word	860
	.byte	7
	.word	.Linfo_string49
	.byte	1
	.byte	34
	.word	991
	.byte	6
	.byte	2
	.byte	145
	.byte	12
	.word	.Linfo_string70
	.byte	1
	.byte	34
	.word	1117
	.byte	0
	.byte	8
	.word	.Linfo_string28
	.byte	24
	.byte	1
	.byte	8
	.byte	9
	.word	.Linfo_string16
	.word	731
	.byte	8
	.byte	0
	.byte	3
	.byte	0
	.byte	8
	.word	.Linfo_string27
	.byte	24
	.byte	1
	.byte	8
	.byte	9
	.word	.Linfo_string17
	.word	764
	.byte	8
	.byte	0
	.byte	3
	.byte	9
	.word	.Linfo_string26
	.word	1083
	.byte	8
	.byte	16
	.byte	3
	.byte	0
	.byte	8
	.word	.Linfo_string25
	.byte	16
	.byte	1
	.byte	8
	.byte	9
	.word	.Linfo_string18
	.word	785
	.byte	8
	.byte	0
	.byte	3
	.byte	0
	.byte	8
	.word	.Linfo_string24
	.byte	16
	.byte	1
	.byte	8
	.byte	9
	.word	.Linfo_string19
	.word	818
	.byte	8
	.byte	0
	.byte	3
	.byte	9
	.word	.Linfo_string23
	.word	1083
	.byte	8
	.byte	8
	.byte	3
	.byte	0
	.byte	8
	.word	.Linfo_string22
	.byte	8
	.byte	1
	.byte	8
	.byte	9
	.word	.Linfo_string20
	.word	1090
	.byte	8
	.byte	0
	.byte	3
	.byte	0
	.byte	8
	.word	.Linfo_string40
	.byte	8
	.byte	1
	.byte	8
	.byte	9
	.word	.Linfo_string38
	.word	1110
	.byte	8
	.byte	0
	.byte	3
	.byte	0
	.byte	8
	.word	.Linfo_string47
	.byte	8
	.byte	1
	.byte	4
	.byte	10
	.word	873
	.byte	11
	.word	1117
	.byte	4
	.byte	0

	.byte	12
	.byte	0
	.byte	13
	.word	.Linfo_string44
	.word	909
	.byte	4
	.byte	0
	.byte	0
	.byte	12
	.byte	1
	.byte	13
	.word	.Linfo_string46
	.word	927
	.byte	4
	.byte	0
	.byte	0
	.byte	0
	.byte	8
	.word	.Linfo_string44
	.byte	8
	.byte	1
	.byte	4
	.byte	14
	.word	1117
	.word	.Linfo_string45
	.byte	0
	.byte	8
	.word	.Linfo_string46
	.byte	8
	.byte	1
	.byte	4
	.byte	14
	.word	1117
	.word	.Linfo_string45
	.byte	9
	.word	.Linfo_string38
	.word	1117
	.byte	4
	.byte	4
	.byte	1
	.byte	0
	.byte	0
	.byte	8
	.word	.Linfo_string68
	.byte	16
	.byte	1
	.byte	8
	.byte	9
	.word	.Linfo_string55
	.word	1117
	.byte	4
	.byte	8
	.byte	3
	.byte	9
	.word	.Linfo_string56
	.word	1110
	.byte	8
	.byte	0
	.byte	3
	.byte	0
	.byte	8
	.word	.Linfo_string71
	.byte	12
	.byte	1
	.byte	4
	.byte	9
	.word	.Linfo_string55
	.word	1117
	.byte	4
	.byte	0
	.byte	3
	.byte	9
	.word	.Linfo_string56
	.word	1117
	.byte	4
	.byte	4
	.byte	3
	.byte	9
	.word	.Linfo_string57
	.word	1117
	.byte	4
	.byte	8
	.byte	3
	.byte	0
	.byte	0
	.byte	15
	.word	.Linfo_string4
	.byte	7
	.byte	1
	.byte	16
	.word	.Linfo_string13
	.byte	16
	.byte	8
	.byte	13
	.word	.Linfo_string10
	.word	1074
	.byte	8
	.byte	0
	.byte	13
	.word	.Linfo_string11
	.word	1083
	.byte	8
	.byte	8
	.byte	0
	.byte	17
	.word	1037
	.word	0
	.byte	15
	.word	.Linfo_string12
	.byte	7
	.byte	8
	.byte	18
	.word	1037
	.word	.Linfo_string21
	.word	0
	.byte	15
	.word	.Linfo_string31
	.byte	7
	.byte	8
	.byte	15
	.word	.Linfo_string39
	.byte	4
	.byte	8
	.byte	15
	.word	.Linfo_string43
	.byte	7
	.byte	4
	.byte	18
	.word	710
	.word	.Linfo_string51
	.word	0
	.byte	16
	.word	.Linfo_string53
	.byte	16
	.byte	8
	.byte	13
	.word	.Linfo_string10
	.word	1074
	.byte	8
	.byte	0
	.byte	13
	.word	.Linfo_string11
	.word	1083
	.byte	8
	.byte	8
	.byte	0
	.byte	15
	.word	.Linfo_string63
	.byte	5
	.byte	2
	.byte	15
	.word	.Linfo_string64
	.byte	2
	.byte	1
	.byte	15
	.word	.Linfo_string65
	.byte	16
	.byte	4
	.byte	15
	.word	.Linfo_string66
	.byte	4
	.byte	4
	.byte	0
.Ldebug_info_end0:
	.section	.text._RNvCshKuLGoDTFBq_4rust4name,"ax",@progbits
.Lsec_end0:
	.section	.text._RNvCshKuLGoDTFBq_4rust4pass,"ax",@progbits
.Lsec_end1:
	.section	.text._RNvCshKuLGoDTFBq_4rust5greet,"ax",@progbits
.Lsec_end2:
	.section	.text._RNvCshKuLGoDTFBq_4rust5split,"ax",@progbits
.Lsec_end3:
	.section	.text._RNvCshKuLGoDTFBq_4rust5whole,"ax",@progbits
.Lsec_end4:
	.section	.text._RNvCshKuLGoDTFBq_4rust7numbers,"ax",@progbits
.Lsec_end5:
	.section	.text._RNvCshKuLGoDTFBq_4rust8doubtful,"ax",@progbits
.Lsec_end6:
	.section	.debug_aranges,"",@progbits
	.word	140
	.hword	2
	.word	.Lcu_begin0
	.byte	8
	.byte	0
	.zero	4,255
	.xword	.Lfunc_begin0
	.xword	.Lsec_end0-.Lfunc_begin0
	.xword	.Lfunc_begin1
	.xword	.Lsec_end1-.Lfunc_begin1
	.xword	.Lfunc_begin2
	.xword	.Lsec_end2-.Lfunc_begin2
	.xword	.Lfunc_begin3
	.xword	.Lsec_end3-.Lfunc_begin3
	.xword	.Lfunc_begin4
	.xword	.Lsec_end4-.Lfunc_begin4
	.xword	.Lfunc_begin5
	.xword	.Lsec_end5-.Lfunc_begin5
	.xword	.Lfunc_begin6
	.xword	.Lsec_end6-.Lfunc_begin6
	.xword	0
	.xword	0
	.section	.debug_ranges,"",@progbits
.Ldebug_ranges0:
	.xword	.Lfunc_begin0
	.xword	.Lfunc_end0
	.xword	.Lfunc_begin1
	.xword	.Lfunc_end1
	.xword	.Lfunc_begin2
	.xword	.Lfunc_end2
	.xword	.Lfunc_begin3
	.xword	.Lfunc_end3
	.xword	.Lfunc_begin4
	.xword	.Lfunc_end4
	.xword	.Lfunc_begin5
	.xword	.Lfunc_end5
	.xword	.Lfunc_begin6
	.xword	.Lfunc_end6
	.xword	0
	.xword	0
	.section	.debug_str,"MS",@progbits,1
.Linfo_string0:
	.asciz	"clang LLVM (rustc version 1.95.0 (59807616e 2026-04-14))"
.Linfo_string1:
	.asciz	"rust.rs/@/rust.cebe997107dec46e-cgu.0"
.Linfo_string2:
	.asciz	"."
.Linfo_string3:
	.asciz	"rust"
.Linfo_string4:
	.asciz	"u8"
.Linfo_string5:
	.asciz	"Read"
.Linfo_string6:
	.asciz	"Write"
.Linfo_string7:
	.asciz	"Mode"
.Linfo_string8:
	.asciz	"_RNvCshKuLGoDTFBq_4rust4name"
.Linfo_string9:
	.asciz	"name"
.Linfo_string10:
	.asciz	"data_ptr"
.Linfo_string11:
	.asciz	"length"
.Linfo_string12:
	.asciz	"usize"
.Linfo_string13:
	.asciz	"&str"
.Linfo_string14:
	.asciz	"_RNvCshKuLGoDTFBq_4rust4pass"
.Linfo_string15:
	.asciz	"pass"
.Linfo_string16:
	.asciz	"vec"
.Linfo_string17:
	.asciz	"buf"
.Linfo_string18:
	.asciz	"inner"
.Linfo_string19:
	.asciz	"ptr"
.Linfo_string20:
	.asciz	"pointer"
.Linfo_string21:
	.asciz	"*const u8"
.Linfo_string22:
	.asciz	"Unique"
.Linfo_string23:
	.asciz	"cap"
.Linfo_string24:
	.asciz	"RawVecInner"
.Linfo_string25:
	.asciz	"RawVec"
.Linfo_string26:
	.asciz	"len"
.Linfo_string27:
	.asciz	"Vec"
.Linfo_string28:
	.asciz	"String"
.Linfo_string29:
	.asciz	"_RNvCshKuLGoDTFBq_4rust5greet"
.Linfo_string30:
	.asciz	"greet"
.Linfo_string31:
	.asciz	"u64"
.Linfo_string32:
	.asciz	"_RNvCshKuLGoDTFBq_4rust5split"
.Linfo_string33:
	.asciz	"split"
.Linfo_string34:
	.asciz	"_RNvCshKuLGoDTFBq_4rust5whole"
.Linfo_string35:
	.asciz	"whole"
.Linfo_string36:
	.asciz	"_RNvCshKuLGoDTFBq_4rust7numbers"
.Linfo_string37:
	.asciz	"numbers"
.Linfo_string38:
	.asciz	"__0"
.Linfo_string39:
	.asciz	"f64"
.Linfo_string40:
	.asciz	"Meters"
.Linfo_string41:
	.asciz	"_RNvCshKuLGoDTFBq_4rust8doubtful"
.Linfo_string42:
	.asciz	"doubtful"
.Linfo_string43:
	.asciz	"u32"
.Linfo_string44:
	.asciz	"None"
.Linfo_string45:
	.asciz	"T"
.Linfo_string46:
	.asciz	"Some"
.Linfo_string47:
	.asciz	"Option<u32>"
.Linfo_string48:
	.asciz	"s"
.Linfo_string49:
	.asciz	"t"
.Linfo_string50:
	.asciz	"u"
.Linfo_string51:
	.asciz	"&rust::String"
.Linfo_string52:
	.asciz	"v"
.Linfo_string53:
	.asciz	"&[u8]"
.Linfo_string54:
	.asciz	"n"
.Linfo_string55:
	.asciz	"a"
.Linfo_string56:
	.asciz	"b"
.Linfo_string57:
	.asciz	"c"
.Linfo_string58:
	.asciz	"d"
.Linfo_string59:
	.asciz	"e"
.Linfo_string60:
	.asciz	"f"
.Linfo_string61:
	.asciz	"g"
.Linfo_string62:
	.asciz	"z"
.Linfo_string63:
	.asciz	"i16"
.Linfo_string64:
	.asciz	"bool"
.Linfo_string65:
	.asciz	"char"
.Linfo_string66:
	.asciz	"f32"
.Linfo_string67:
	.asciz	"h"
.Linfo_string68:
	.asciz	"Pair"
.Linfo_string69:
	.asciz	"o"
.Linfo_string70:
	.asciz	"last"
.Linfo_string71:
	.asciz	"Triple"
	.ident	"rustc version 1.95.0 (59807616e 2026-04-14)"
	.section	".note.GNU-stack","",@progbits
	.section	.debug_line,"",@progbits
.Lline_table_start0:
