/*
 * Forks in the middle of calls: the child has its parent's frames on its stack and returns through
 * all of them, then makes calls of its own. vfork in the middle of a call; a child that executes
 * another program from within one.
 *
 *   forkmid [DEPTH [ROUNDS]]
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "truth.h"

static int child;
static unsigned long statuses;

TRACED long after(long x) { OPAQUE(x); return x + 1; }

TRACED void meanwhile(void)
{
	int st;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		child++;
		return;
	}
	while (waitpid(pid, &st, 0) < 0)
		;
	statuses = statuses * 31 + (unsigned long)st;
}

TRACED long down(int depth)
{
	if (depth == 0)
		meanwhile();
	else {
		long r = down(depth - 1);
		OPAQUE(r);
		return after(r);
	}
	return 0;
}

TRACED int spawn(int how, char **argv)
{
	int st;
	pid_t pid = how ? vfork() : fork();
	if (pid == 0) {
		if (how == 2)
			_exit(7);
		execv("/proc/self/exe", argv);
		_exit(9);
	}
	while (waitpid(pid, &st, 0) < 0)
		;
	return WEXITSTATUS(st);
}

int main(int argc, char **argv)
{
	int depth = argc > 1 ? atoi(argv[1]) : 30, rounds = argc > 2 ? atoi(argv[2]) : 5, mine = 0;
	if (argc > 3)
		return (int)after(depth);
	long sum = 0;
	for (int i = 0; i < rounds; i++) {
		sum += down(depth);
		mine++;
		if (child)
			break;
	}
	char *args[] = { argv[0], "3", "1", "leaf", NULL };
	for (int how = 0; how < 3 && !child; how++)
		sum = sum * 10 + spawn(how, args);
	printf("%s %ld %lu\n", child ? "child" : "parent", sum, statuses);
	if (child) {
		/* Of its last round it has the returns only. */
		CALLS_TID("after", depth, getpid());
		return (int)sum % 50;
	}
	CALLS_TID("down", mine * (depth + 1), getpid());
	CALLS_TID("meanwhile", mine, getpid());
	CALLS_TID("spawn", 3, getpid());
	CALLS_TID("after", mine * depth, getpid());
	CALLS("spawn", 3);
	CALLS("meanwhile", mine);
	return 0;
}
