/* longjmp over armed frames, siglongjmp out of a signal handler (on the alternate stack too). */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include "truth.h"

static jmp_buf env;
static sigjmp_buf sigenv;
static unsigned long dives;
static volatile int landed;

TRACED void dive(int n)
{
	dives++;
	if (n == 0)
		longjmp(env, 7);
	dive(n - 1);
	__asm__ volatile("");
}

TRACED void escape(int sig)
{
	siglongjmp(sigenv, sig);
}

static void handler(int sig)
{
	escape(sig);
	KEEP_FRAME();
}

TRACED void fault(int n)
{
	if (n == 0)
		raise(SIGUSR1);
	else
		fault(n - 1);
	__asm__ volatile("");
}

int main(int argc, char **argv)
{
	volatile int rounds = argc > 1 ? atoi(argv[1]) : 200, i;
	for (i = 0; i < rounds; i++) {
		if (setjmp(env) == 7)
			landed++;
		else
			dive(i % 20);
	}
	static char stack[65536];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof stack };
	sigaltstack(&ss, NULL);
	volatile unsigned long faults = 0;
	for (i = 0; i < rounds; i++) {
		struct sigaction sa = { .sa_handler = handler, .sa_flags = i % 2 ? SA_ONSTACK : 0 };
		sigaction(SIGUSR1, &sa, NULL);
		if (sigsetjmp(sigenv, 1) == SIGUSR1) {
			landed++;
		} else {
			faults += i % 5 + 1;
			fault(i % 5);
		}
	}
	printf("landed %d\n", landed);
	CALLS("dive", dives);
	LEFT("dive", dives);
	CALLS("fault", faults);
	LEFT("fault", faults);
	CALLS("escape", rounds);
	LEFT("escape", rounds);
	CALLS("handler", rounds);
	LEFT("handler", rounds);
	return landed == 2 * rounds ? 0 : 1;
}
