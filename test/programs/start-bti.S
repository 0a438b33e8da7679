/*
 * The start of a program whose text is mapped with PROT_BTI. The distribution's crt1.o and crti.o
 * are not always built with landing pads; the loader's first branch into them would be SIGILL.
 */
	.text
	.global	_start
	.type	_start, %function
_start:
	.cfi_startproc
	.cfi_undefined x30
	bti	jc
	mov	x29, #0
	mov	x30, #0
	mov	x5, x0
	ldr	x1, [sp]
	add	x2, sp, #8
	mov	x6, sp
	adrp	x0, main
	add	x0, x0, :lo12:main
	mov	x3, #0
	mov	x4, #0
	bl	__libc_start_main
	brk	#0
	.cfi_endproc
	.size	_start, . - _start

	.section .note.GNU-stack, "", %progbits
