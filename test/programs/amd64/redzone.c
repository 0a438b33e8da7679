/*
 * Leaf functions with their data in the 128 bytes below the stack pointer, interrupted by a timer
 * whose handler calls traced functions.
 *
 *   redzone [SIGNALS]
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include "truth.h"

static volatile unsigned long handled, calls, sink;

TRACED unsigned long red(unsigned long x)
{
	volatile unsigned long v[15];
	for (int i = 0; i < 15; i++)
		v[i] = x + i;
	for (int round = 0; round < 20; round++)
		for (int i = 1; i < 15; i++)
			v[i] = v[i] * 3 + v[i - 1];
	return v[14];
}
TRACED unsigned long red_tail(unsigned long x) { return red(x ^ 1); }
TRACED void touch(unsigned long x) { volatile unsigned long v[15]; for (int i = 0; i < 15; i++) v[i] = x; sink += v[7]; }
TRACED void on_timer(int sig) { touch(sig); handled++; KEEP_FRAME(); }

int main(int argc, char **argv)
{
	unsigned long wanted = argc > 1 ? strtoul(argv[1], NULL, 0) : 50, want = red(7), bad = 0;
	struct sigaction sa = { .sa_handler = on_timer, .sa_flags = SA_RESTART };
	struct itimerval it = { { 0, 400 }, { 0, 400 } }, off = { { 0, 0 }, { 0, 0 } };
	sigset_t s;
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
	while (handled < wanted) {
		bad += red_tail(6) != want;
		calls++;
	}
	setitimer(ITIMER_REAL, &off, NULL);
	sigemptyset(&s);
	sigaddset(&s, SIGALRM);
	sigprocmask(SIG_BLOCK, &s, NULL);
	printf("redzone wrong %lu\n", bad);
	CALLS_VARY("red", calls + 1);
	CALLS_VARY("red_tail", calls);
	CALLS_VARY("touch", handled);
	CALLS_VARY("on_timer", handled);
	return bad != 0;
}
