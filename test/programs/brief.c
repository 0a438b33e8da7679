/* Lives for a given number of milliseconds (0: not at all), calling an armed function: for attaching to what is about to end. */
#include <stdlib.h>
#include <time.h>
#include "truth.h"

TRACED unsigned long tick(unsigned long x) { OPAQUE(x); return x + 1; }

int main(int argc, char **argv)
{
	long ms = argc > 1 ? atol(argv[1]) : 0;
	unsigned long x = 0;
	struct timespec a, b;
	clock_gettime(CLOCK_MONOTONIC, &a);
	do {
		for (int i = 0; i < 100; i++)
			x = tick(x);
		clock_gettime(CLOCK_MONOTONIC, &b);
	} while ((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < ms);
	CALLS_VARY("tick", x);
	return 0;
}
