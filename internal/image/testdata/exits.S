// Functions as no compiler writes them, or only some. Each name says what is
// expected: how many exits, or entry_only.

	.macro	function name
	.balign	16
	.globl	\name
	.type	\name, %function
\name:
	nop
	nop
	.pushsection __patchable_function_entries, "awo", %progbits, .text
	.balign	8
	.8byte	\name
	.popsection
	.endm
	.macro	done name
	.size	\name, . - \name
	.endm

	.text

// A word that is data, and looks like ret.
	function exits_1_literal
	ldr	x0, 1f
	ret
1:	.8byte	0xd65f03c0d65f03c0
	done exits_1_literal

// A branch back to the entry enters it anew; a loop does not.
	function exits_2_again
0:	subs	x0, x0, #1
	b.eq	0b
	tbz	x0, #1, 1f
	b	exits_2_again
1:	ret
	done exits_2_again

	function exits_0_endless
0:	bl	exits_1_literal
	b	0b
	done exits_0_endless

// The epilogue belongs to two functions: each has its frame when it goes there.
	function entry_only_shared_epilogue_1
	stp	x29, x30, [sp, #-16]!
	bl	exits_1_literal
	b	epilogue
	done entry_only_shared_epilogue_1
epilogue:
	ldp	x29, x30, [sp], #16
	ret

	function entry_only_shared_epilogue_2
	cbz	x0, 0f
	stp	x29, x30, [sp, #-16]!
	bl	exits_1_literal
	b	epilogue
0:	ret
	done entry_only_shared_epilogue_2

// The common end of functions, moved to a place of its own without a frame.
	function entry_only_outlined
	ldr	x9, [x1]
	b	outlined
	done entry_only_outlined
	.type	outlined, %function
outlined:
	str	x9, [x0]
	ret
	.size	outlined, . - outlined

// The linker moved an instruction.
	function exits_1_veneer
	adrp	x1, relative
	b	veneer
0:	ret
	done exits_1_veneer
veneer:	ldr	x0, [x1, #8]
	b	0b

	function entry_only_conditional
	cbz	x0, exits_1_literal
	ret
	done entry_only_conditional

	function entry_only_other_register
	mov	x17, x30
	bl	exits_1_literal
	ret	x17
	done entry_only_other_register

	function entry_only_falls_through
	add	x0, x0, x1
	done entry_only_falls_through
	function exits_1_fallen_into
	ret
	done exits_1_fallen_into

	function entry_only_subroutine
	mov	x2, x30
	bl	1f
	mov	x30, x2
	ret
1:	ret
	done entry_only_subroutine

// The target's origin is not to be seen.
	function entry_only_computed
	add	x16, x0, x1
	br	x16
	done entry_only_computed

// x30 was moved elsewhere, so that at br it may be anything.
	function entry_only_lr_unclear
	mov	x9, x30
	bl	exits_1_literal
	mov	x30, x9
	ldr	x16, [x0]
	br	x16
	done entry_only_lr_unclear

	function exits_1_page_of_function
	adrp	x16, exits_1_literal
	add	x16, x16, :lo12:exits_1_literal
	br	x16
	done exits_1_page_of_function

	function exits_1_got
	adrp	x16, :got:exits_1_literal
	ldr	x16, [x16, :got_lo12:exits_1_literal]
	br	x16
	done exits_1_got

// Offsets from the table itself, of functions: a table like clang's, without a
// frame, but it does not lead into the function.
	function entry_only_table_of_functions
	cmp	w0, #1
	b.hi	1f
	adrp	x8, relative
	add	x8, x8, :lo12:relative
	ldrsw	x9, [x8, x0, lsl #2]
	add	x8, x8, x9
	br	x8
1:	ret
	done entry_only_table_of_functions

// The same of cases.
	function exits_3_table_of_cases
	cmp	w0, #1
	b.hi	3f
	adrp	x8, cases
	add	x8, x8, :lo12:cases
	ldrsw	x9, [x8, x0, lsl #2]
	add	x8, x8, x9
	br	x8
1:	ret
2:	mov	x0, #0
	ret
3:	ret
	done exits_3_table_of_cases

// A frame that grows, and is taken down by way of x29.
	function exits_1_dynamic
	stp	x29, x30, [sp, #-32]!
	mov	x29, sp
	str	x19, [sp, #16]
	sub	sp, sp, x0
	mov	x0, sp
	ldr	x19, [x1]
	bl	exits_1_literal
	mov	x16, x19
	mov	sp, x29
	ldr	x19, [sp, #16]
	ldp	x29, x30, [sp], #32
	br	x16
	done exits_1_dynamic

// sp and x30 as at the entry, but an address within it is known elsewhere.
	function entry_only_taken
	ldr	x1, [x0]
	br	x1
inner:	ret
	done entry_only_taken

// What stands behind a call that never returns has another frame than it.
	function exits_2_noreturn
	cbnz	x0, 1f
	stp	x29, x30, [sp, #-16]!
	bl	exits_0_endless
1:	ldr	x16, [x1]
	tbz	x1, #3, 2f
	br	x16
2:	ret
	done exits_2_noreturn

	.section .rodata
	.balign	4
relative:
	.4byte	exits_1_literal - relative
	.4byte	exits_1_got - relative
cases:	.4byte	exits_3_table_of_cases + 36 - cases
	.4byte	exits_3_table_of_cases + 40 - cases

	.data
	.8byte	inner
	.section .note.GNU-stack, "", %progbits
