/* Known values for --regs and --stack: arguments, stack pointer, return address, call chain. */
#include <stdint.h>
#include <stdlib.h>
#include "truth.h"

TRACED long known(long a, long b, long c, long d, long e, long f, long g, long h)
{
	long r = a ^ b ^ c ^ d ^ e ^ f ^ g ^ h;
	OPAQUE(r);
	return r;
}

TRACED long chain3(long i)
{
	long r = known(i, 0x1111111111111111, -3, 0x7fffffffffffffff, (long)0x8000000000000000, 0x5555, 0x66, 0x77);
	OPAQUE(r);
	return r + 1;
}
TRACED long chain2(long i) { long r = chain3(i); OPAQUE(r); return r + 1; }
TRACED long chain1(long i) { long r = chain2(i); OPAQUE(r); return r + 1; }

#if defined(__x86_64__)
/* Reads the registers at its own entry before anything else happens: as instructions number them, and the flags. */
extern uint64_t seen[17], flags_at_call;
uint64_t seen[17], flags_at_call;
__asm__(".text\n"
	".global probe\n"
	".type probe, @function\n"
	"probe:\n"
	"	nop\n	nop\n	nop\n	nop\n	nop\n"
	"	mov %rax, seen+0(%rip)\n	mov %rcx, seen+8(%rip)\n"
	"	mov %rdx, seen+16(%rip)\n	mov %rbx, seen+24(%rip)\n"
	"	mov %rsp, seen+32(%rip)\n	mov %rbp, seen+40(%rip)\n"
	"	mov %rsi, seen+48(%rip)\n	mov %rdi, seen+56(%rip)\n"
	".irp r,8,9,10,11,12,13,14,15\n"
	"	mov %r\\r, seen+8*\\r(%rip)\n"
	".endr\n"
	"	pushfq\n"
	"	pop seen+128(%rip)\n"
	"	ret\n"
	".size probe, .-probe\n"
	".section __patchable_function_entries,\"awo\",@progbits,.text\n"
	".balign 8\n"
	".8byte probe\n"
	".text\n");

/* Fills every register with a pattern, and calls probe. */
extern void call_probe(void);
extern char probe_called[];
__asm__(".text\n"
	".global call_probe, probe_called\n"
	".type call_probe, @function\n"
	"call_probe:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
	"	sub $8, %rsp\n"
	"	mov $0xa500, %eax\n	mov $0xa501, %ecx\n	mov $0xa502, %edx\n	mov $0xa503, %ebx\n"
	"	mov $0xa505, %ebp\n	mov $0xa506, %esi\n	mov $0xa507, %edi\n"
	".irp r,8,9,10,11,12,13,14,15\n"
	"	mov $(0xa500 + \\r), %r\\r\n"
	".endr\n"
	"	cmp %rdx, %rcx\n"
	"	pushfq\n"
	"	pop flags_at_call(%rip)\n"
	"	call probe\n"
	"probe_called:\n"
	"	add $8, %rsp\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	pop %rbx\n"
	"	ret\n"
	".size call_probe, .-call_probe\n");

static int wrong_registers(void)
{
	int bad = 0;
	for (int r = 0; r < 16; r++)
		if (r != 4 && seen[r] != (uint64_t)(0xa500 + r)) {
			printf("register %d is %#llx at the entry\n", r, (unsigned long long)seen[r]);
			bad = 1;
		}
	if (seen[16] != flags_at_call) {
		printf("flags are %#llx\n", (unsigned long long)seen[16]);
		bad = 1;
	}
	printf("~probe rsp %#llx flags %#llx ret %#llx\n", (unsigned long long)seen[4], (unsigned long long)seen[16],
	       (unsigned long long)(uintptr_t)probe_called);
	return bad;
}
#else
/*
 * Reads the registers at its own entry before anything else happens; not x9-x17, which are dead
 * there: a function that reads them at its entry is one that nopal leaves alone.
 */
extern uint64_t seen[34];
uint64_t seen[34];
__asm__(".text\n"
	".balign 4\n"
	".global probe\n"
	".type probe, %function\n"
	"probe:\n"
	"	nop\n"
	"	nop\n"
	"	adrp x9, seen\n"
	"	add x9, x9, :lo12:seen\n"
	"	stp x0, x1, [x9, #0]\n"
	"	stp x2, x3, [x9, #16]\n"
	"	stp x4, x5, [x9, #32]\n"
	"	stp x6, x7, [x9, #48]\n"
	"	str x8, [x9, #64]\n"
	"	stp x18, x19, [x9, #144]\n"
	"	stp x20, x21, [x9, #160]\n"
	"	stp x22, x23, [x9, #176]\n"
	"	stp x24, x25, [x9, #192]\n"
	"	stp x26, x27, [x9, #208]\n"
	"	stp x28, x29, [x9, #224]\n"
	"	str x30, [x9, #240]\n"
	"	mov x10, sp\n"
	"	str x10, [x9, #248]\n"
	"	mrs x10, nzcv\n"
	"	str x10, [x9, #264]\n"
	"	ret\n"
	".size probe, .-probe\n"
	".section __patchable_function_entries,\"awo\",@progbits,.text\n"
	".balign 8\n"
	".8byte probe\n"
	".text\n");

/* Fills every register it may with a pattern, and calls probe. */
extern void call_probe(void);
__asm__(".text\n"
	".balign 4\n"
	".global call_probe\n"
	".type call_probe, %function\n"
	"call_probe:\n"
	"	stp x29, x30, [sp, #-96]!\n"
	"	mov x29, sp\n"
	"	stp x19, x20, [sp, #16]\n"
	"	stp x21, x22, [sp, #32]\n"
	"	stp x23, x24, [sp, #48]\n"
	"	stp x25, x26, [sp, #64]\n"
	"	stp x27, x28, [sp, #80]\n"
	".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28\n"
	"	mov x\\r, #(0xa500 + \\r)\n"
	".endr\n"
	"	subs xzr, x1, x2\n"
	"	bl probe\n"
	"	ldp x19, x20, [sp, #16]\n"
	"	ldp x21, x22, [sp, #32]\n"
	"	ldp x23, x24, [sp, #48]\n"
	"	ldp x25, x26, [sp, #64]\n"
	"	ldp x27, x28, [sp, #80]\n"
	"	ldp x29, x30, [sp], #96\n"
	"	ret\n"
	".size call_probe, .-call_probe\n");

static int wrong_registers(void)
{
	int bad = 0;
	for (int r = 0; r <= 28; r++)
		if ((r < 9 || r > 17) && seen[r] != (uint64_t)(0xa500 + r)) {
			printf("x%d is %#llx at the entry\n", r, (unsigned long long)seen[r]);
			bad = 1;
		}
	if (seen[33] != 0x80000000) {
		printf("nzcv is %#llx\n", (unsigned long long)seen[33]);
		bad = 1;
	}
	printf("~probe x29 %#llx x30 %#llx sp %#llx\n", (unsigned long long)seen[29], (unsigned long long)seen[30],
	       (unsigned long long)seen[31]);
	return bad;
}
#endif

int main(void)
{
	long sum = 0;
	for (long i = 0; i < 10; i++)
		sum += chain1(i);
	call_probe();
	int bad = wrong_registers();
	printf("values %ld\n", sum);
	CALLS("known", 10);
	CALLS("chain1", 10);
	CALLS("chain2", 10);
	CALLS("chain3", 10);
	CALLS("probe", 1);
	return bad;
}
