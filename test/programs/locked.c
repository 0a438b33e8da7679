/* locked: locks all of its memory, present and to come; then "ready", and a line of stdin ends it. */
#include <stdlib.h>
#include <sys/mman.h>
#include "truth.h"

TRACED long work(long x)
{
	OPAQUE(x);
	return x * 3;
}

int main(void)
{
	char line[16];
	unsigned long calls = 0;

	if (mlockall(MCL_CURRENT | MCL_FUTURE)) {
		perror("mlockall");
		return 1;
	}
	printf("ready\n");
	fflush(stdout);
	if (!fgets(line, sizeof line, stdin))
		line[0] = 0;
	for (; calls < 1000; calls++)
		work(calls);
	CALLS("work", calls);
	return 0;
}
