// Calls of functions that do next to nothing, by which the cost of a traced call is told.
//
//   calls empty N      a loop calls an empty function N times
//   calls fib N        fib(N), recursively
//   calls threads N    two threads, each calls the empty function N times
//   calls step FILE    writes addresses to FILE, waits for a word to be set, and calls until it is killed
//
// FLOOR says how many bare time stamps a call takes: 0, 1 (as a tracer of entries), 2 (entries and exits).
// They stand in the function itself, where a tracer would read the counter.
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "times.h"

#define STAMP asm volatile("rdtsc" ::: "rax", "rdx")
#if FLOOR >= 1
#define ENTRY STAMP
#else
#define ENTRY asm volatile("")
#endif
#if FLOOR >= 2
#define EXIT STAMP
#else
#define EXIT asm volatile("")
#endif

__attribute__((noinline)) void empty(void)
{
	ENTRY;
	EXIT;
}

// The product keeps the compiler from turning the second call into a loop.
__attribute__((noinline)) unsigned fib(unsigned n)
{
	ENTRY;
	unsigned result = n < 2 ? n : fib(n - 1) + fib(n - 2);
	EXIT;
	return result;
}

// As many instructions for each pass wherever it is called.
__attribute__((noinline, noclone)) static void *loop(void *count)
{
	for (long n = *(long *)count; n > 0; n--)
		empty();
	return NULL;
}

static int step(const char *name)
{
	static volatile int go;
	FILE *out = fopen(name, "w");

	if (!out)
		return 1;
	fprintf(out, "%d %lx %lx\n", (int)getpid(), (long)empty, (long)&go);
	fclose(out);
	while (!go)
		usleep(1000);
	long forever = LONG_MAX;
	loop(&forever);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	if (!strcmp(argv[1], "step"))
		return step(argv[2]);
	long n = atol(argv[2]);
	if (!strcmp(argv[1], "empty")) {
		times_calls = n;
		loop(&n);
	} else if (!strcmp(argv[1], "fib")) {
		long before = 1, calls = 1;
		for (long i = 1; i < n; i++) {
			long next = calls + before + 1;
			before = calls;
			calls = next;
		}
		times_calls = calls;
		if (fib(n) == 0)
			return 1;
	} else if (!strcmp(argv[1], "threads")) {
		pthread_t other;
		times_calls = 2 * n;
		if (pthread_create(&other, NULL, loop, &n))
			return 1;
		loop(&n);
		pthread_join(other, NULL);
	} else {
		return 2;
	}
	return 0;
}
