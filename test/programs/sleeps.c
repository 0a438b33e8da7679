/* sleeps N MS: N naps of MS milliseconds in a function that does nothing else; leaves by exit. */
#include <stdlib.h>
#include <time.h>
#include "truth.h"

TRACED void nap(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&t, NULL);
	KEEP_FRAME();
}

TRACED void outer(long ms)
{
	nap(ms);
	KEEP_FRAME();
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 5;
	for (int i = 0; i < n; i++)
		outer(argc > 2 ? atol(argv[2]) : 10);
	CALLS("nap", n);
	CALLS("outer", n);
	exit(0);
}
