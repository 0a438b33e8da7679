/*
 * Children by fork, vfork, posix_spawn and exec chains. Every process prints what it called under
 * its own pid; parents wait, so the output's order is fixed.
 *
 *   forks [N]             the lot
 *   forks N wait          the lot, after "ready" and a line on stdin
 *   forks chain N         exec itself N times in the same process, then leave with 40+N0
 */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "truth.h"

extern char **environ;
static char self[4096];

TRACED long child_work(long x) { OPAQUE(x); return x * 7 + 1; }
TRACED long parent_work(long x) { OPAQUE(x); return x * 5 + 1; }
TRACED long link_work(long x) { OPAQUE(x); return x + 1; }

static int status(pid_t pid)
{
	int st;
	while (waitpid(pid, &st, 0) < 0)
		;
	return WIFEXITED(st) ? WEXITSTATUS(st) : 256 + WTERMSIG(st);
}

static int chain(int n)
{
	char num[16];
	long x = 0;
	for (int i = 0; i < 5; i++)
		x = link_work(x);
	CALLS_TID("link_work", 5, getpid());
	fflush(stdout);
	if (n == 0)
		return 40 + (int)x;
	snprintf(num, sizeof num, "%d", n - 1);
	execl(self, self, "chain", num, NULL);
	return 99;
}

int main(int argc, char **argv)
{
	ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
	if (len < 0)
		return 98;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 2 && !strcmp(argv[1], "chain"))
		return chain(atoi(argv[2]));
	int storm = argc > 1 ? atoi(argv[1]) : 10, bad = 0;
	long x = 0;

	if (argc > 2) {
		puts("ready");
		if (getchar() == EOF)
			return 94;
	}
	for (int i = 0; i < storm; i++) {
		x = parent_work(x);
		pid_t pid = fork();
		if (pid == 0) {
			for (int k = 0; k < 10 + i; k++)
				x = child_work(x);
			CALLS_TID("child_work", 10 + i, getpid());
			fflush(stdout);
			_exit((int)(x & 63));
		}
		x += status(pid);
	}
	/* All at once; grandchildren too. */
	pid_t pids[8];
	for (int i = 0; i < 8; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			long y = child_work(i);
			pid_t pid = fork();
			if (pid == 0) {
				y = child_work(y);
				_exit((int)(y & 63));
			}
			y += status(pid);
			_exit((int)(y & 63));
		}
	}
	for (int i = 0; i < 8; i++)
		x += status(pids[i]);

	char num[] = "2";
	char *args[] = { self, "chain", num, NULL };
	pid_t pid = vfork();
	if (pid == 0) {
		execv(self, args);
		_exit(97);
	}
	bad += status(pid) != 45;
	pid = vfork();
	if (pid == 0)
		_exit(3);
	bad += status(pid) != 3;
	if (posix_spawn(&pid, self, NULL, NULL, args, environ) != 0)
		return 96;
	bad += status(pid) != 45;
	if (posix_spawn(&pid, "/does/not/exist", NULL, NULL, args, environ) == 0)
		return 95;
	pid = fork();
	if (pid == 0) {
		abort();
	}
	bad += status(pid) != 256 + 6;
	for (int i = 0; i < 5; i++)
		x = parent_work(x);
	printf("forks %ld bad %d\n", x, bad);
	CALLS("parent_work", storm + 5);
	CALLS("child_work", storm * 10 + storm * (storm - 1) / 2 + 16);
	CALLS("link_work", 2 * 3 * 5);
	return bad;
}
