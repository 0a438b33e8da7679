// What a patched function costs, and threads that are busy while it is patched.
//
//	patched calls         for each line of stdin: thousandths of a nanosecond that a call takes, the best of many
//	patched busy THREADS  threads that call all the time, until stdin ends
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef NEW
#define ADD 2
#else
#define ADD 1
#endif

static atomic_int stop;
static volatile long sink;

__attribute__((noinline, noclone)) long tiny(long x) { return x + ADD; }

static long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void *busy(void *arg)
{
	long x = 0;
	while (!atomic_load(&stop))
		x = tiny(x);
	sink = x;
	return arg;
}

int main(int argc, char **argv)
{
	char line[16];
	int threads = argc > 2 ? atoi(argv[2]) : 0;
	for (int i = 0; i < threads; i++) {
		pthread_t t;
		pthread_create(&t, 0, busy, 0);
	}
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		enum { calls = 1000, tries = 100 };
		long best = 1L << 62;
		for (int i = 0; i < tries; i++) {
			long x = 0, start = now();
			for (int n = 0; n < calls; n++)
				x = tiny(x);
			sink = x;
			long took = now() - start;
			best = took < best ? took : best;
		}
		printf("%ld\n", best * 1000 / calls);
		fflush(stdout);
	}
	atomic_store(&stop, 1);
	return 0;
}
