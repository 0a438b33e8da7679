/*
 * Do threads that are traced get in each other's way? Each of THREADS threads makes CALLS calls of a
 * traced function, all at the same time.
 *
 *   scaling THREADS CALLS
 *
 * Prints thousandths of a nanosecond of processor time per call, the mean of the threads' own clocks.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static pthread_barrier_t barrier;
static long calls;

__attribute__((noipa)) static unsigned long work(unsigned long x)
{
	return x * 2654435761u + 1;
}

__attribute__((patchable_function_entry(0))) static void *run(void *arg)
{
	struct timespec a, b;
	unsigned long x = 1;
	pthread_barrier_wait(&barrier);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	for (long i = 0; i < calls; i++)
		x = work(x);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	*(volatile unsigned long *)arg = x;
	return (void *)((b.tv_sec - a.tv_sec) * 1000000000l + b.tv_nsec - a.tv_nsec);
}

__attribute__((patchable_function_entry(0))) int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 1;
	calls = argc > 2 ? atol(argv[2]) : 100000;
	pthread_t t[64];
	unsigned long results[64][16]; /* a cache line apart and more */
	int64_t sum = 0;
	if (threads < 1 || threads > 64)
		return 2;
	pthread_barrier_init(&barrier, NULL, threads);
	for (int i = 0; i < threads; i++)
		if (pthread_create(&t[i], NULL, run, results[i]))
			return 1;
	for (int i = 0; i < threads; i++) {
		void *took;
		pthread_join(t[i], &took);
		sum += (int64_t)took;
	}
	printf("%lld\n", (long long)(sum * 1000 / calls / threads));
	return 0;
}
