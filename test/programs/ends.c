/* Ways to end: ends exit N | signal N | segv | deep; with a word on both streams first, and what came in by stdin. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "truth.h"

TRACED long before_end(long x) { OPAQUE(x); return x + 1; }
TRACED void fall(volatile long *p) { *p = 1; }

int main(int argc, char **argv)
{
	char line[256];
	long x = 0;
	struct rlimit none = { 0, 0 };
	setrlimit(RLIMIT_CORE, &none);
	for (int i = 0; i < 100; i++)
		x = before_end(x);
	while (fgets(line, sizeof line, stdin))
		printf("in: %s", line);
	fprintf(stderr, "to stderr %ld\n", x);
	CALLS("before_end", 100);
	if (argc > 1 && !strcmp(argv[1], "segv")) {
		CALLS("fall", 1);
		LEFT("fall", 1);
	}
	fflush(stdout);
	if (argc > 2 && !strcmp(argv[1], "exit"))
		return atoi(argv[2]);
	if (argc > 2 && !strcmp(argv[1], "signal"))
		raise(atoi(argv[2]));
	if (argc > 1 && !strcmp(argv[1], "segv"))
		fall(NULL);
	return 0;
}
