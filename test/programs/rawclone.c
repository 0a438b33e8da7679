/*
 * Threads that the C library knows nothing of: clone(CLONE_VM|CLONE_THREAD...) with a stack of our
 * own and no CLONE_SETTLS. They share the creator's thread pointer, so two threads run at the same
 * time with the same TPIDR_EL0.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "truth.h"

static int tids[4];
static volatile unsigned long sums[5];
static unsigned long rounds = 2000;

TRACED unsigned long turn(unsigned long x)
{
	OPAQUE(x);
	return x * 69069 + 1;
}

static int run(void *arg)
{
	long id = (long)arg;
	unsigned long x = (unsigned long)id;
	for (unsigned long i = 0; i < rounds; i++)
		x = turn(x);
	sums[id] = x;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		rounds = strtoul(argv[1], NULL, 0);
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID |
		    CLONE_PARENT_SETTID | CLONE_CHILD_SETTID;
	for (long i = 0; i < 4; i++) {
		char *stack = malloc(65536);
		if (clone(run, stack + 65536, flags, (void *)(i + 1), &tids[i], NULL, &tids[i]) < 0) {
			perror("clone");
			return 1;
		}
	}
	unsigned long x = 0;
	for (unsigned long i = 0; i < rounds; i++)
		x = turn(x);
	for (int i = 0; i < 4; i++) {
		int t;
		while ((t = __atomic_load_n(&tids[i], __ATOMIC_ACQUIRE)) != 0)
			syscall(SYS_futex, &tids[i], FUTEX_WAIT, t, NULL, NULL, 0);
	}
	printf("raw %lu %lu %lu %lu %lu\n", x, sums[1], sums[2], sums[3], sums[4]);
	CALLS("turn", 5 * rounds);
	CALLS("run", 4);
	return 0;
}
