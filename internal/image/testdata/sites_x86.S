/* Sites of x86-64 that no compiler writes, or seldom. */

	.macro site name
	.globl \name
	.type \name, @function
\name:
	.pushsection __patchable_function_entries, "awo", @progbits, .text
	.quad 1f
	.popsection
1:
	.endm

	.macro nops5
	.rept 5
	nop
	.endr
	.endm

	.macro end name
	.size \name, . - \name
	.endm

	.text
	.balign 4096
	site plain
	nops5
	ret
	end plain

	/* Two NOPs of three bytes: the second is changed in part. */
	site mixed
	.byte 0x0f, 0x1f, 0x00, 0x0f, 0x1f, 0x00
	ret
	end mixed

	/* Another function begins in the middle of the NOPs. */
	site overlapped
	nop
	nop
	.globl inner
	.type inner, @function
inner:
	nop
	nop
	nop
	ret
	end inner
	end overlapped

	.macro named name
	site \name
	nops5
	ret
	end \name
	.endm
	named begin
	named __sigsetjmp
	named vfork
	/* The name that is shown is another one. */
	.globl a_setjmp
	.type a_setjmp, @function
	.set a_setjmp, __sigsetjmp
	named dlsym
	named _Unwind_Resume

	/* A function that ends with its NOPs, and the area of the next behind it. */
	site unreachable
	nops5
	end unreachable
	.pushsection __patchable_function_entries, "awo", @progbits, .text
	.quad 1f
	.popsection
1:	.rept 14
	nop
	.endr
	.globl prefixed
	.type prefixed, @function
prefixed:
	.byte 0x66, 0x90
	ret
	end prefixed

	.balign 4096, 0xcc
	.skip 4093, 0xcc
	site border
	nops5
	ret
	end border
	.section .note.GNU-stack, "", @progbits
