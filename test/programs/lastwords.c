/*
 * Killed by SIGKILL in the middle of a call, at once after the last of a known number of calls: what
 * was recorded must survive. The counts are printed before.
 *
 *   lastwords [wait]
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "truth.h"

TRACED long word(long x) { OPAQUE(x); return x * 3 + 1; }

TRACED void last(long depth, long pid)
{
	long x = word(depth);
	OPAQUE(x);
	if (depth == 0)
		/* No time for a drainer between the last return and the end. */
		syscall(SYS_kill, pid, SIGKILL);
	last(depth - 1, pid);
	__asm__ volatile("");
}

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1) {
		puts("ready");
		fflush(stdout);
		if (getchar() == EOF)
			return 1;
	}
	CALLS("word", 10000 + 21);
	CALLS("last", 21);
	LEFT("last", 21);
	fflush(stdout);
	for (long i = 0; i < 10000; i++)
		word(i);
	last(20, getpid());
	return 2;
}
