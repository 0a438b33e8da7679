/*
 * A program whose calls a test decides: for each number N that it reads it makes N rounds and says
 * "did N rounds TOTAL" when they are done. A round is one call of s1, two of s2 and four of s3. The word
 * "crash" makes it die of SIGSEGV in the middle of s3, five calls deep in a round. With SPIN as its
 * argument s3 spins that often.
 */
#include <stdlib.h>
#include <string.h>
#include "truth.h"

static unsigned long spin, rounds;
static volatile int *nowhere;
static int crash;

TRACED unsigned long s3(unsigned long x)
{
	for (unsigned long i = 0; i < spin; i++)
		OPAQUE(x);
	if (crash)
		*nowhere = 1;
	return x * 3 + 1;
}
TRACED unsigned long s2(unsigned long x) { return s3(x) + s3(x + 1); }
TRACED unsigned long s1(unsigned long x) { return s2(x) + s2(x + 2); }

int main(int argc, char **argv)
{
	char line[64];
	unsigned long x = 1;
	spin = argc > 1 ? strtoul(argv[1], NULL, 0) : 0;
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		crash = strncmp(line, "crash", 5) == 0;
		unsigned long n = crash ? 1 : strtoul(line, NULL, 0);
		for (unsigned long i = 0; i < n; i++)
			x = s1(x);
		rounds += n;
		printf("did %lu rounds %lu\n", n, rounds);
		fflush(stdout);
	}
	CALLS_VARY("s1", rounds);
	CALLS_VARY("s2", 2 * rounds);
	CALLS_VARY("s3", 4 * rounds);
	return x == 0;
}
