/* Two functions, each in a table of its own, and what hand-made tables may hold:
 * an entry twice, an entry that is not aligned, one where no NOPs are, and some
 * that point at no code. */
	.text
	.globl	_start, second, bare
	.type	_start, %function
_start:
	nop
	nop
	b	.
	.size	_start, . - _start

	.type	second, %function
second:
	nop
	nop
	ret
	.size	second, . - second

	.type	bare, %function
bare:
	mov	x0, #1
	ret
	.size	bare, . - bare

	.section __patchable_function_entries, "aw"
	.balign	8
	.8byte	_start, _start, 0, 1, -1

	.section other_table, "aw"
	.balign	8
	.8byte	bare, second, second + 2
