/*
 * Signals after each single instruction: the program runs its traced calls with the trap flag set, so
 * that a SIGTRAP comes after every instruction of them, those of others included. What the handler does:
 *
 *   single count [ROUNDS]     counts
 *   single nested [ROUNDS]    calls traced functions, in each round one instruction later
 *   single unwind [ROUNDS]    walks the stack with the unwinder, which has to come to main
 *   single escape [ROUNDS]    leaves by siglongjmp, in each round one instruction later
 *   single park [FIRST LAST]  waits for a line, in each round one instruction later: "parked N" is said
 *                             before, "done" when a round ended earlier; with what it waits for, others
 *                             may come and go
 */
#define _GNU_SOURCE
#include <execinfo.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>
#include "truth.h"

enum { TF = 0x100 };

static sigjmp_buf env;
static volatile unsigned long steps, target, nested, unwound, lost, parked;
static volatile unsigned long t_calls, u_calls;
static volatile int mode;
static int callers;

TRACED long t_leaf(long x) { t_calls++; return x * 3 + 1; }
TRACED long t_tail(long x) { return t_leaf(x + 1); }
TRACED double t_double(double x, long n) { return x * 1.5 + n; }
TRACED long t_work(long x)
{
	long r = t_tail(x);
	double d = t_double(x, r);
	return t_leaf(r + (long)d) + 1;
}

TRACED long u_leaf(long x) { u_calls++; return x ^ 0x55; }
TRACED long u_work(long x) { long r = u_leaf(x) + u_leaf(x + 1); KEEP_FRAME(); return r; }

/* Calls t_work with the trap flag set. The unwinder knows its frame at each instruction. */
extern long stepped(long x);
extern char stepped_end[];
__asm__(".text\n"
	".type stepped, @function\n"
	"stepped:\n"
	"	.cfi_startproc\n"
	"	pushfq\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	orq $0x100, (%rsp)\n"
	"	popfq\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	sub $8, %rsp\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	call t_work\n"
	"	pushfq\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	andq $~0x100, (%rsp)\n"
	"	popfq\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	add $8, %rsp\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	"stepped_end:\n"
	".size stepped, .-stepped\n");

/* How many frames the unwinder finds above stepped, or -1 if it does not come to it. */
UNTRACED static int above(void)
{
	void *frames[32];
	int n = backtrace(frames, 32);
	for (int i = 0; i < n; i++)
		if ((char *)frames[i] >= (char *)stepped && (char *)frames[i] < stepped_end)
			return n - i - 1;
	return -1;
}

UNTRACED static void on_step(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	(void)sig;
	(void)info;
	/* A handler may change what it likes of the registers that a call does not keep. */
	steps++;
	switch (mode) {
	case 'n':
		if (steps != target)
			break;
		if (u_work(steps) != ((long)steps ^ 0x55) + ((long)(steps + 1) ^ 0x55))
			lost++;
		nested++;
		break;
	case 'u':
		if (above() == callers)
			unwound++;
		else if (lost++ < 5)
			printf("lost at %#llx\n", (unsigned long long)uc->uc_mcontext.gregs[REG_RIP]);
		break;
	case 'e':
		if (steps == target)
			siglongjmp(env, 1);
		break;
	case 'p':
		if (steps == target) {
			char c;
			uc->uc_mcontext.gregs[REG_EFL] &= ~TF;
			parked++;
			printf("parked %lu\n", target);
			fflush(stdout);
			while (read(0, &c, 1) == 1 && c != '\n')
				;
		}
	}
}

/* How many frames there are above stepped: run's, and those above it. */
UNTRACED static void look(void)
{
	void *frames[32];
	callers = backtrace(frames, 32) - 1;
}

UNTRACED static int run(long rounds, long first)
{
	static unsigned long wrong, escaped;
	look();
	for (volatile long i = 0; i < rounds; i++) {
		target = first + i;
		if (sigsetjmp(env, 1)) {
			escaped++;
			continue;
		}
		steps = 0;
		long want = ((i + 1) * 3 + 1) + (long)(i * 1.5 + ((i + 1) * 3 + 1));
		want = want * 3 + 2;
		if (stepped(i) != want)
			wrong++;
		if (mode == 'e' || (mode == 'p' && steps < target))
			break;
	}
	puts("done");
	if (mode == 'p') {
		char c;
		fflush(stdout);
		while (read(0, &c, 1) == 1)
			;
	}
	printf("single wrong %lu lost %lu\n", wrong, lost);
	return wrong || lost;
}

int main(int argc, char **argv)
{
	static char stack[65536];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof stack };
	struct sigaction sa = { .sa_sigaction = on_step, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	void *warm[4];
	mode = argc > 1 ? argv[1][0] : 'n';
	long rounds = argc > 2 ? atol(argv[2]) : mode == 'n' ? 250 : 20, first = 1;
	if (mode == 'p' && argc > 3) {
		first = rounds;
		rounds = atol(argv[3]) - first + 1;
	}
	/* The unwinder is loaded at its first use. */
	backtrace(warm, 4);
	sigaltstack(&ss, NULL);
	sigaction(SIGTRAP, &sa, NULL);
	if (mode == 'p') {
		puts("ready");
		fflush(stdout);
		char c;
		while (read(0, &c, 1) == 1 && c != '\n')
			;
	}
	int bad = run(mode == 'e' ? 10000 : rounds, first);
	if (mode != 'e' && mode != 'p') {
		CALLS("t_work", rounds);
		CALLS("t_tail", rounds);
		CALLS("t_double", rounds);
	}
	if (mode != 'e')
		CALLS_VARY("t_leaf", t_calls);
	CALLS_VARY("u_work", nested);
	CALLS_VARY("u_leaf", u_calls);
	return bad;
}
