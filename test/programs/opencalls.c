/*
 * Calls for what keeps a stack of the open ones.
 *
 *   opencalls nap N       N rounds of a nap of 5 ms among quick calls
 *   opencalls deep N      N times 3000 calls deep, and calls at the bottom
 *   opencalls leave N     N coroutines that are left for ever in the middle of a call
 *   opencalls jump N      N longjmps out of 8 calls, and calls from where they land
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>
#include "truth.h"

static volatile long sink;
static jmp_buf landing;
static ucontext_t back, inside;
static char stacks[40][48 << 10];

TRACED void quick(void) { sink++; }

TRACED void nap(void)
{
	struct timespec t = { 0, 5000000 };
	quick();
	nanosleep(&t, NULL);
	quick();
}

TRACED void around(void)
{
	quick();
	nap();
	quick();
}

TRACED long down(long n)
{
	long r = n > 0 ? down(n - 1) : 1;
	if (n == 0)
		quick();
	OPAQUE(r);
	return r + 1;
}

TRACED void forever(void)
{
	quick();
	swapcontext(&inside, &back);
	abort();
}

TRACED void resume(void)
{
	static unsigned next;
	getcontext(&inside);
	inside.uc_stack.ss_sp = stacks[next++ % 40];
	inside.uc_stack.ss_size = sizeof stacks[0];
	inside.uc_link = NULL;
	makecontext(&inside, forever, 0);
	swapcontext(&back, &inside);
}

TRACED void throw(long n)
{
	if (n == 0)
		longjmp(landing, 1);
	throw(n - 1);
	sink++;
}

TRACED void catch(void)
{
	if (setjmp(landing) == 0)
		throw(7);
	quick();
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "nap";
	long n = argc > 2 ? atol(argv[2]) : 10;
	for (long i = 0; i < n; i++) {
		if (strcmp(what, "nap") == 0)
			around();
		else if (strcmp(what, "deep") == 0)
			sink += down(2999);
		else if (strcmp(what, "leave") == 0)
			resume();
		else
			catch();
	}
	printf("%s %ld\n", what, n);
	return 0;
}
