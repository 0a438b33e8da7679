/*
 * sigfork N [US]: a timer signal every US microseconds whose handler forks, wherever the program is; the
 * child returns from the handler into what was interrupted, makes some calls of its own and ends.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "truth.h"

static volatile int child, forks, left;
static unsigned long calls;

TRACED long inner(long x)
{
	OPAQUE(x);
	return x * 3;
}

TRACED long outer(long x)
{
	long y = inner(x) + 1;
	OPAQUE(y);
	return y;
}

TRACED void handler(int sig)
{
	(void)sig;
	if (child || forks == left)
		return;
	forks++;
	pid_t pid = fork();
	if (pid == 0) {
		child = 1;
		return;
	}
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_handler = handler};
	struct itimerval t = {{0, argc > 2 ? atoi(argv[2]) : 2000}, {0, 1}};
	unsigned long mine = 0;

	left = argc > 1 ? atoi(argv[1]) : 10;
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &t, NULL);
	while (forks < left || mine < 1000) {
		outer(calls++);
		mine++;
		if (child && mine > 2000000)
			_exit(1);
		if (child) {
			for (int i = 0; i < 1000; i++)
				outer(i);
			_exit(0);
		}
	}
	CALLS("main", 1);
	CALLS_VARY("outer", calls);
	CALLS_VARY("inner", calls);
	return 0;
}
