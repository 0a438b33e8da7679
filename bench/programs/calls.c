/*
 * What a call costs: a million calls of an empty function, by blocks of a thousand.
 *
 *   calls site|plain [CALLS [wait]]
 *
 * With wait it prints "ready" and begins when a line comes on stdin.
 * Prints thousandths of a nanosecond of the thread's own time per call: that of the best block and
 * the mean. In the VM with -icount one guest instruction takes one nanosecond. Another process's
 * time on the only CPU, the drainer's say, is not counted; page faults and timer ticks are, in the mean.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Written by hand, so that the loop around them is known: bl, ret, subs, b.ne and the site's two NOPs. */
void loop_site(long n);
void loop_plain(long n);
void loop_none(long n);
__asm__(".text\n"
	".balign 64\n"
	".global tiny_site\n"
	".type tiny_site, %function\n"
	"tiny_site:\n"
	"	nop\n"
	"	nop\n"
	"	ret\n"
	".size tiny_site, .-tiny_site\n"
	".section __patchable_function_entries,\"awo\",@progbits,.text\n"
	".balign 8\n"
	".8byte tiny_site\n"
	".text\n"
	".global tiny_plain\n"
	".type tiny_plain, %function\n"
	"tiny_plain:\n"
	"	ret\n"
	".size tiny_plain, .-tiny_plain\n"
	".macro loop name, insn:vararg\n"
	".global loop_\\name\n"
	".type loop_\\name, %function\n"
	"loop_\\name:\n"
	"	stp x29, x30, [sp, #-32]!\n"
	"	mov x29, sp\n"
	"	str x19, [sp, #16]\n"
	"	mov x19, x0\n"
	"1:	\\insn\n"
	"	subs x19, x19, #1\n"
	"	b.ne 1b\n"
	"	ldr x19, [sp, #16]\n"
	"	ldp x29, x30, [sp], #32\n"
	"	ret\n"
	".size loop_\\name, .-loop_\\name\n"
	".endm\n"
	"loop site, bl tiny_site\n"
	"loop plain, bl tiny_plain\n"
	"loop none\n");

static int64_t now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

enum { BLOCK = 1000 };

static void measure(void (*loop)(long), long blocks, int64_t *best, int64_t *sum)
{
	*best = INT64_MAX;
	*sum = 0;
	for (long i = 0; i < blocks; i++) {
		int64_t t = now();
		loop(BLOCK);
		t = now() - t;
		*sum += t;
		if (t < *best)
			*best = t;
	}
}

int main(int argc, char **argv)
{
	long blocks = (argc > 2 ? atol(argv[2]) : 1000000) / BLOCK;
	int64_t best, sum, none_best, none_sum;
	if (argc > 3) {
		puts("ready");
		fflush(stdout);
		if (getchar() == EOF)
			return 1;
	}
	measure(loop_none, blocks, &none_best, &none_sum);
	measure(argc > 1 && !strcmp(argv[1], "plain") ? loop_plain : loop_site, blocks, &best, &sum);
	/* The empty loop's two instructions and the clock's own cost are taken off. */
	printf("%lld %lld\n", (long long)((best - none_best) * 1000 / BLOCK), (long long)((sum - none_sum) * 1000 / BLOCK / blocks));
	return 0;
}
