/* Thousands of threads alive at once: all wait for the last, then each makes a few calls. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include "truth.h"

static pthread_barrier_t barrier;

TRACED unsigned long mix(unsigned long x)
{
	OPAQUE(x);
	return x * 31 + 7;
}

static void *run(void *arg)
{
	unsigned long x = (unsigned long)arg;
	x = mix(x);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 9; i++)
		x = mix(x);
	return (void *)x;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 3000;
	pthread_t *t = calloc(n, sizeof *t);
	unsigned long sum = 0;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 << 10);
	pthread_barrier_init(&barrier, NULL, n);
	for (int i = 0; i < n; i++) {
		if (pthread_create(&t[i], &attr, run, (void *)(unsigned long)i)) {
			perror("pthread_create");
			return 1;
		}
	}
	for (int i = 0; i < n; i++) {
		void *r;
		pthread_join(t[i], &r);
		sum += (unsigned long)r;
	}
	printf("sum %lu\n", sum);
	CALLS("mix", 10 * n);
	CALLS("run", n);
	return 0;
}
