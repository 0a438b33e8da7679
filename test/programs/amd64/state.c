/*
 * The whole state of the processor across traced calls: before each call all general registers, all
 * vector registers as wide as there are, mask registers, MXCSR, the x87 stack with its control
 * word, and the flags, the direction flag too, get random values; after it they must have the same. The functions called are
 * nothing but a RET, or a jump to one, so whatever differs was changed by somebody else.
 *
 *   state [ROUNDS]
 */
#include <cpuid.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "truth.h"

/* An empty statement that the compiler cannot see through, or it would know that a call does nothing. */
TRACED void leaf(void) { KEEP_FRAME(); }
TRACED void hop(void) { leaf(); }
TRACED void hop2(void) { hop(); }

struct state {
	uint64_t gpr[16]; /* rax rcx rdx rbx rsp rbp rsi rdi r8..r15 */
	uint64_t flags;
	uint64_t mxcsr;
	uint64_t mask[8];
	uint8_t vector[32][64];
	uint8_t x87[112];
};

#define HIDDEN __attribute__((visibility("hidden"), used, aligned(64)))
HIDDEN struct state want, got;
HIDDEN void (*callee)(void);
HIDDEN uint64_t level; /* 0: xmm, 1: ymm, 2: zmm */
HIDDEN uint64_t saved_sp;
HIDDEN uint8_t x87_at_call[112];
HIDDEN uint32_t mxcsr_before, cw_before;

_Static_assert(__builtin_offsetof(struct state, flags) == 128, "flags");
_Static_assert(__builtin_offsetof(struct state, mxcsr) == 136, "mxcsr");
_Static_assert(__builtin_offsetof(struct state, mask) == 144, "mask");
_Static_assert(__builtin_offsetof(struct state, vector) == 208, "vector");
_Static_assert(__builtin_offsetof(struct state, x87) == 2256, "x87");

extern void call_with_state(void);
__asm__(".text\n"
	".type call_with_state, @function\n"
	"call_with_state:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
	"	sub $8, %rsp\n"
	"	mov %rsp, saved_sp(%rip)\n"
	"	mov %rsp, want+32(%rip)\n"
	"	stmxcsr mxcsr_before(%rip)\n"
	"	fnstcw cw_before(%rip)\n"
	"	frstor want+2256(%rip)\n"
	"	fnsave x87_at_call(%rip)\n"
	"	frstor x87_at_call(%rip)\n"
	"	ldmxcsr want+136(%rip)\n"
	"	cmpq $1, level(%rip)\n"
	"	je 1f\n"
	"	ja 2f\n"
	".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	movdqu want+208+64*\\r(%rip), %xmm\\r\n"
	".endr\n"
	"	jmp 3f\n"
	"1:\n"
	".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	vmovdqu want+208+64*\\r(%rip), %ymm\\r\n"
	".endr\n"
	"	jmp 3f\n"
	"2:\n"
	".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
	"	vmovdqu64 want+208+64*\\r(%rip), %zmm\\r\n"
	".endr\n"
	".irp r,0,1,2,3,4,5,6,7\n"
	"	kmovw want+144+8*\\r(%rip), %k\\r\n"
	".endr\n"
	"3:\n"
	"	mov want+0(%rip), %rax\n	mov want+8(%rip), %rcx\n"
	"	mov want+16(%rip), %rdx\n	mov want+24(%rip), %rbx\n"
	"	mov want+40(%rip), %rbp\n	mov want+48(%rip), %rsi\n"
	"	mov want+56(%rip), %rdi\n	mov want+64(%rip), %r8\n"
	"	mov want+72(%rip), %r9\n	mov want+80(%rip), %r10\n"
	"	mov want+88(%rip), %r11\n	mov want+96(%rip), %r12\n"
	"	mov want+104(%rip), %r13\n	mov want+112(%rip), %r14\n"
	"	mov want+120(%rip), %r15\n"
	"	push want+128(%rip)\n"
	"	popfq\n"
	"	call *callee(%rip)\n"
	"	mov %rsp, got+32(%rip)\n"
	"	mov saved_sp(%rip), %rsp\n"
	"	pushfq\n"
	"	pop got+128(%rip)\n"
	"	cld\n"
	"	mov %rax, got+0(%rip)\n	mov %rcx, got+8(%rip)\n"
	"	mov %rdx, got+16(%rip)\n	mov %rbx, got+24(%rip)\n"
	"	mov %rbp, got+40(%rip)\n	mov %rsi, got+48(%rip)\n"
	"	mov %rdi, got+56(%rip)\n	mov %r8, got+64(%rip)\n"
	"	mov %r9, got+72(%rip)\n	mov %r10, got+80(%rip)\n"
	"	mov %r11, got+88(%rip)\n	mov %r12, got+96(%rip)\n"
	"	mov %r13, got+104(%rip)\n	mov %r14, got+112(%rip)\n"
	"	mov %r15, got+120(%rip)\n"
	"	stmxcsr got+136(%rip)\n"
	"	fnsave got+2256(%rip)\n"
	"	cmpq $1, level(%rip)\n"
	"	je 1f\n"
	"	ja 2f\n"
	".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	movdqu %xmm\\r, got+208+64*\\r(%rip)\n"
	".endr\n"
	"	jmp 3f\n"
	"1:\n"
	".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	vmovdqu %ymm\\r, got+208+64*\\r(%rip)\n"
	".endr\n"
	"	jmp 3f\n"
	"2:\n"
	".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
	"	vmovdqu64 %zmm\\r, got+208+64*\\r(%rip)\n"
	".endr\n"
	".irp r,0,1,2,3,4,5,6,7\n"
	"	kmovw %k\\r, got+144+8*\\r(%rip)\n"
	".endr\n"
	"3:\n"
	"	cmpq $0, level(%rip)\n"
	"	je 4f\n"
	"	vzeroupper\n"
	"4:\n"
	"	ldmxcsr mxcsr_before(%rip)\n"
	"	fninit\n"
	"	fldcw cw_before(%rip)\n"
	"	add $8, %rsp\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	pop %rbx\n"
	"	ret\n"
	".size call_with_state, .-call_with_state\n");

static uint64_t seed = 88172645463325252u;

static UNTRACED uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* What the operating system saves of the vector registers (XCR0). */
static UNTRACED uint64_t vectors(void)
{
	unsigned a, b, c, d, lo, hi;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return 0;
	__asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	if ((lo & 6) != 6 || !(c & bit_AVX))
		return 0;
	if ((lo & 0xe0) == 0xe0 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & bit_AVX512F)
		return 2;
	return 1;
}

static UNTRACED void fill(void)
{
	uint64_t *p = (uint64_t *)&want;
	for (unsigned i = 0; i < sizeof want / 8; i++)
		p[i] = rnd();
	/* CF PF AF ZF SF DF OF, and what is always set. */
	want.flags = (rnd() & 0xcd5) | 0x202;
	/* Any rounding, flushing and sticky flags; all exceptions masked. */
	want.mxcsr = (rnd() & 0xe07f) | 0x1f80;
	for (int i = 0; i < 8; i++)
		want.mask[i] &= 0xffff;
	/* Control word with any precision and rounding, no pending exception, eight values. */
	memset(want.x87, 0, 28);
	uint16_t cw = (rnd() & 0xc00) | 0x37f;
	memcpy(want.x87, &cw, 2);
	want.x87[6] = want.x87[7] = 0;
	for (int i = 0; i < 8; i++) {
		uint64_t mantissa = rnd() | 1ull << 63;
		uint16_t exponent = 0x3fff + rnd() % 64;
		memcpy(want.x87 + 28 + 10 * i, &mantissa, 8);
		memcpy(want.x87 + 36 + 10 * i, &exponent, 2);
	}
}

static unsigned long bad;

static UNTRACED void differ(const char *what, int n, const void *is, const void *was, size_t size)
{
	if (!memcmp(is, was, size))
		return;
	if (bad++ < 20) {
		printf("%s %d is", what, n);
		for (size_t i = 0; i < size; i++)
			printf(" %02x", ((const uint8_t *)is)[i]);
		printf(", was");
		for (size_t i = 0; i < size; i++)
			printf(" %02x", ((const uint8_t *)was)[i]);
		putchar('\n');
	}
}

static UNTRACED void check(void)
{
	static const size_t width[] = { 16, 32, 64 };
	for (int i = 0; i < 16; i++)
		differ("register", i, &got.gpr[i], &want.gpr[i], 8);
	differ("flags", 0, &got.flags, &want.flags, 8);
	differ("mxcsr", 0, &got.mxcsr, &want.mxcsr, 4);
	for (int i = 0; i < (level == 2 ? 32 : 16); i++)
		differ("vector", i, got.vector[i], want.vector[i], width[level]);
	if (level == 2)
		for (int i = 0; i < 8; i++)
			differ("mask", i, &got.mask[i], &want.mask[i], 2);
	differ("x87 control", 0, got.x87, x87_at_call, 2);
	differ("x87 status", 0, got.x87 + 4, x87_at_call + 4, 2);
	differ("x87 tags", 0, got.x87 + 8, x87_at_call + 8, 2);
	differ("x87 stack", 0, got.x87 + 28, x87_at_call + 28, 80);
}

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 3000;
	static void (*const callees[])(void) = { leaf, hop, hop2 };
	level = vectors();
	for (long i = 0; i < rounds; i++) {
		fill();
		callee = callees[i % 3];
		call_with_state();
		check();
	}
	printf("state of level %d: %s\n", (int)level, bad ? "WRONG" : "right");
	CALLS("leaf", rounds);
	CALLS("hop", (rounds + 1) / 3 + rounds / 3);
	CALLS("hop2", rounds / 3);
	return bad != 0;
}
