/*
 * Waves of short-lived threads (64 at a time by default), each with a number of calls of its own.
 * glibc reuses thread blocks and stacks from wave to wave, so a slot that survives its thread
 * gives events to the wrong one.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "truth.h"

struct job {
	pthread_t thread;
	int index, tid;
	unsigned long calls, sum;
};

TRACED unsigned long leaf(unsigned long x)
{
	OPAQUE(x);
	return x * 2654435761u + 1;
}

TRACED unsigned long work(unsigned long x)
{
	x = leaf(x);
	OPAQUE(x);
	return leaf(x) ^ 5;
}

static void *run(void *arg)
{
	struct job *j = arg;
	j->tid = (int)syscall(SYS_gettid);
	for (unsigned long i = 0; i < j->calls; i++)
		j->sum += work(j->sum + i);
	return NULL;
}

int main(int argc, char **argv)
{
	int waves = argc > 1 ? atoi(argv[1]) : 8, width = argc > 2 ? atoi(argv[2]) : 64;
	unsigned long each = argc > 3 ? strtoul(argv[3], NULL, 0) : 7, total = 0, sum = 0;
	struct job *jobs = calloc((size_t)waves * width, sizeof *jobs);
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 << 10);
	for (int w = 0; w < waves; w++) {
		for (int i = 0; i < width; i++) {
			struct job *j = &jobs[w * width + i];
			j->index = w * width + i;
			j->calls = each + j->index % 50;
			if (pthread_create(&j->thread, &attr, run, j)) {
				perror("pthread_create");
				return 1;
			}
		}
		for (int i = 0; i < width; i++)
			pthread_join(jobs[w * width + i].thread, NULL);
	}
	for (int i = 0; i < waves * width; i++) {
		total += jobs[i].calls;
		sum += jobs[i].sum;
		CALLS_TID("work", jobs[i].calls, jobs[i].tid);
	}
	printf("sum %lu\n", sum);
	CALLS("work", total);
	CALLS("leaf", 2 * total);
	CALLS("run", waves * width);
	return 0;
}
