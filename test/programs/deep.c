/* deep LEVELS TIMES: recursion of so many levels, in a thread with stack enough. */
#include <pthread.h>
#include <stdlib.h>
#include "truth.h"

static long levels = 100000, times = 3;

TRACED long down(long n)
{
	OPAQUE(n);
	long r = n > 0 ? down(n - 1) : 0;
	OPAQUE(r);
	return r + 1;
}

TRACED long beside(long x)
{
	OPAQUE(x);
	return x + 1;
}

TRACED void *run(void *arg)
{
	long sum = 0;
	for (long i = 0; i < times; i++)
		sum += down(levels) + beside(i);
	*(long *)arg = sum;
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	pthread_attr_t attr;
	long sum;

	if (argc > 1)
		levels = atol(argv[1]);
	if (argc > 2)
		times = atol(argv[2]);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, (size_t)(levels + 1000) * 128);
	if (pthread_create(&thread, &attr, run, &sum) || pthread_join(thread, NULL))
		return 1;
	printf("sum %ld\n", sum);
	CALLS("down", times * (levels + 1));
	CALLS("beside", times);
	CALLS("run", 1);
	return 0;
}
