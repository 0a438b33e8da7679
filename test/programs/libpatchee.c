/* A library that patchloads.c loads, and that is patched when it is: with NEW its answers are other ones, the
 * constructor's too. */
#include "truth.h"

#ifdef NEW
#define VERSION 1
#else
#define VERSION 0
#endif

long patchee_calls; /* reached by the library's table of addresses, which the loader fills in */
static long from_constructor = -1;

TRACED static long add(long x)
{
	OPAQUE(x);
	return x + VERSION;
}

TRACED long patchee_answer(long x)
{
	patchee_calls++;
	return add(x) * 10 + VERSION;
}

long patchee_constructed(void) { return from_constructor; }

__attribute__((constructor)) static void construct(void) { from_constructor = patchee_answer(1); }
