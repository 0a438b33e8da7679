/*
 * Signals at random moments, at entries and exits alike, to handlers on an alternate stack that call
 * armed functions; every seventh leaves by siglongjmp, out of whatever was running. A handler also
 * walks the frame pointers of what it interrupted: they must lead to main's caller.
 *
 *   storm [SIGNALS [PERIOD in us]]
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/time.h>
#include <ucontext.h>
#include "truth.h"

/*
 * A timer of the processor's time does not tick faster than the kernel does. One of real time does, but
 * under emulation leaves no time for anything else.
 */
#if defined(__x86_64__)
#define TIMER ITIMER_REAL
#define SIGNAL SIGALRM
#else
#define TIMER ITIMER_PROF
#define SIGNAL SIGPROF
#endif

static sigjmp_buf env;
static volatile unsigned long handled, escaped, broken, sink, wanted;
static uintptr_t top; /* main's frame record */

TRACED unsigned long s_leaf(unsigned long x) { OPAQUE(x); return x * 2654435761u + 1; }
TRACED unsigned long s_tail(unsigned long x) { OPAQUE(x); return s_leaf(x + 1); }
TRACED unsigned long s_down(int depth, unsigned long x)
{
	OPAQUE(x);
	if (depth == 0)
		return s_leaf(x);
	unsigned long r = s_down(depth - 1, s_tail(x));
	OPAQUE(r);
	return s_leaf(r);
}

TRACED void h_leaf(void) { sink = sink + 1; }
TRACED void h_work(int n)
{
	for (int i = 0; i < n; i++)
		h_leaf();
	if (n == 3)
		h_leaf();
}
TRACED void h_escape(void) { siglongjmp(env, 1); }

UNTRACED static int reaches_main(uintptr_t fp, uintptr_t sp)
{
	/* Records lie above the stack pointer and ascend; no walk is longer than the deepest recursion. */
	for (int i = 0; i < 60; i++) {
		if (fp == top)
			return 1;
		if (fp < sp || fp > top || fp & 15)
			return 0;
		uintptr_t next = *(uintptr_t *)fp;
		if (next <= fp)
			return 0;
		fp = next;
	}
	return 0;
}

/* On x86-64 the C library keeps no frame pointers: what it was doing when it was interrupted cannot be walked. */
UNTRACED static int walks(const ucontext_t *uc)
{
#if defined(__x86_64__)
	return (void)uc, reaches_main(top, top);
#else
	return reaches_main(uc->uc_mcontext.regs[29], uc->uc_mcontext.sp);
#endif
}

static void handler(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	if (!walks(context))
		broken = broken + 1;
	h_work(2 + handled % 3);
	handled = handled + 1;
	if (handled % 7 == 0) {
		escaped = escaped + 1;
		h_escape();
	}
	KEEP_FRAME();
}

int main(int argc, char **argv)
{
	static char stack[65536];
	volatile unsigned long right, wrong = 0, rounds = 0;
	wanted = argc > 1 ? strtoul(argv[1], NULL, 0) : 300;
	long period = argc > 2 ? atol(argv[2]) : 400;
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof stack };
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
	struct itimerval it = { { 0, period }, { 0, period } }, off = { { 0, 0 }, { 0, 0 } };
	top = (uintptr_t)__builtin_frame_address(0);
	sigaltstack(&ss, NULL);
	sigaction(SIGNAL, &sa, NULL);
	right = s_down(12, 1);
	setitimer(TIMER, &it, NULL);
	while (handled < wanted) {
		if (sigsetjmp(env, 1) == 0 && s_down(12, 1) != right)
			wrong = wrong + 1;
		rounds = rounds + 1;
	}
	setitimer(TIMER, &off, NULL);
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGNAL);
	sigprocmask(SIG_BLOCK, &s, NULL);
	printf("storm wrong %lu broken %lu\n", wrong, broken);
	CALLS_VARY("handler", handled);
	LEFT_VARY("handler", escaped);
	CALLS_VARY("h_work", handled);
	CALLS_VARY("h_escape", escaped);
	LEFT_VARY("h_escape", escaped);
	CALLS_VARY("h_leaf", sink);
	return wrong || broken;
}
