/* GCC's nested functions: the static chain is passed in x18 (r10 on x86-64), which no trampoline may touch. */
#include <stdlib.h>
#include "truth.h"

static unsigned long calls;

TRACED long apply(long (*f)(long), long x)
{
	return f(x);
}

TRACED long outer(long k, int depth)
{
	long seen = 0;
	/* Its address is taken: called through a trampoline on the stack that loads it. */
	__attribute__((noinline)) long inner(long x)
	{
		calls++;
		seen += x;
		return x * k + depth;
	}
	/* Called directly with it. */
	__attribute__((noinline)) long direct(long x)
	{
		seen ^= x;
		return k - x;
	}
	long r = apply(inner, 3);
	OPAQUE(r);
	r += direct(r);
	if (depth)
		r += outer(k + 1, depth - 1);
	return r + seen;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 100;
	long sum = 0;
	for (int i = 0; i < rounds; i++)
		sum += outer(i, 4);
	printf("nested %ld inner %lu\n", sum, calls);
	CALLS("outer", rounds * 5);
	CALLS("apply", rounds * 5);
	return calls == (unsigned long)rounds * 5 ? 0 : 1;
}
