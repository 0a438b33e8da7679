/* Plain recursion: fib(20) is 21,891 calls. */
#include <stdlib.h>
#include "truth.h"

TRACED long fib(long n)
{
	if (n < 2)
		return n;
	long a = fib(n - 1);
	OPAQUE(a);
	long b = fib(n - 2);
	OPAQUE(b);
	return a + b;
}

int main(int argc, char **argv)
{
	long n = argc > 1 ? atol(argv[1]) : 20;
	long r = fib(n);
	long calls = 1, prev = 1;
	for (long i = 2; i <= n; i++) {
		long next = 1 + calls + prev;
		prev = calls;
		calls = next;
	}
	printf("fib %ld\n", r);
	CALLS("fib", calls);
	CALLS("main", 1);
	return 0;
}
