/*
 * A timer signal every 100 us (or what the second argument says) whose handler calls armed functions, while the interrupted code calls
 * armed functions itself: signals arrive at every instruction of the trampoline.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include "truth.h"

static volatile unsigned long handled;
static volatile unsigned long sink;

TRACED void inner(void)
{
	sink = sink + 1;
}

TRACED void handler_work(int n)
{
	for (int i = 0; i < n; i++)
		inner();
}

static void handler(int sig)
{
	(void)sig;
	handler_work(3);
	handled = handled + 1;
}

TRACED unsigned long step(unsigned long x)
{
	OPAQUE(x);
	return x * 6364136223846793005u + 1442695040888963407u;
}

int main(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 0) : 200000, x = 1;
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	long period = argc > 2 ? atol(argv[2]) : 100;
	struct itimerval it = { { 0, period }, { 0, period } }, off = { { 0, 0 }, { 0, 0 } };
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
	for (unsigned long i = 0; i < n; i++)
		x = step(x);
	setitimer(ITIMER_REAL, &off, NULL);
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGALRM);
	sigprocmask(SIG_BLOCK, &s, NULL);
	printf("x %lu\n", x);
	CALLS("step", n);
	CALLS_VARY("handler", handled);
	CALLS_VARY("handler_work", handled);
	CALLS_VARY("inner", 3 * handled);
	return 0;
}
