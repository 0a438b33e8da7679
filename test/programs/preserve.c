/*
 * clang's preserve_most: the callee keeps x9-x15 for its caller, so x9 is live at its entry and the
 * function must be left alone although it has NOPs.
 */
#include <stdlib.h>
#include "truth.h"

static unsigned long slow_calls;

__attribute__((preserve_most)) TRACED void slow_path(long x)
{
	OPAQUE(x);
	slow_calls += x & 1;
}

TRACED long hot(long x, long a, long b, long c, long d, long e, long f, long g)
{
	long s = 0;
	for (long i = 0; i < x; i++) {
		/* Many live values: the compiler keeps some in x9-x15 across the call. */
		slow_path(i);
		s += a * i + (b ^ s) + c + (d - i) + e * 3 + (f | i) + g;
		a += s;
		b ^= a;
		c += b;
		d -= c;
		e ^= d;
		f += e;
		g -= f;
	}
	return s + a + b + c + d + e + f + g;
}

int main(int argc, char **argv)
{
	long n = argc > 1 ? atol(argv[1]) : 1000, sum = 0;
	for (long i = 0; i < 20; i++)
		sum += hot(n, i, 2, 3, 4, 5, 6, 7);
	printf("preserve %ld slow %lu\n", sum, slow_calls);
	CALLS("hot", 20);
	return 0;
}
