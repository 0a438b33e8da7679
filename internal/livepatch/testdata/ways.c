// Threads that call outer, which calls inner, and find out whether both were of the same
// kind. The new functions are here, too: the test redirects to them.
//
//	ways THREADS [KIND]
//
// KIND: "busy" threads call all the time, "blocked" ones wait inside of outer, "stuck": the
// first one never leaves outer, "recursive": outer calls itself, "born": threads are born and
// end all the time.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATCHABLE __attribute__((noinline, noipa, patchable_function_entry(2)))

static const char *kind = "busy";
static atomic_int stop, wrong, stuck;
static atomic_ulong olds, news;

PATCHABLE int inner(int x) { return x + 1; }

static void wait_a_little(void)
{
	struct timespec t = { 0, 2000000 };
	nanosleep(&t, 0);
}

static int body(int x, int (*count)(int), int depth, int (*self)(int, int))
{
	int first = count(x) - x;
	if (!strcmp(kind, "blocked"))
		wait_a_little();
	if (!strcmp(kind, "recursive") && depth < 5 && self(x, depth + 1) != first)
		atomic_fetch_add(&wrong, 1);
	while (!strcmp(kind, "stuck") && !atomic_exchange(&stuck, 1))
		for (;;)
			wait_a_little();
	if (count(x) - x != first)
		atomic_fetch_add(&wrong, 1);
	return first;
}

PATCHABLE int outer(int x, int depth)
{
	int n = body(x, inner, depth, outer);
	return n == 1 ? 1 : -1;
}

PATCHABLE int new_inner(int x) { return x + 2; }

PATCHABLE int new_outer(int x, int depth)
{
	int n = body(x, inner, depth, outer);
	return n == 2 ? 2 : -1;
}

PATCHABLE int same_inner(int x) { return x + 1; }

PATCHABLE int same_outer(int x, int depth)
{
	int n = body(x, inner, depth, outer);
	return n == 1 ? 1 : -1;
}

PATCHABLE int unused(int x) { return x + 3; }

static void *work(void *arg)
{
	long calls = (long)arg;
	for (long i = 0; !atomic_load(&stop) && (calls == 0 || i < calls); i++) {
		switch (outer((int)i & 0xffff, 0)) {
		case 1: atomic_fetch_add(&olds, 1); break;
		case 2: atomic_fetch_add(&news, 1); break;
		default: atomic_fetch_add(&wrong, 1);
		}
	}
	return 0;
}

static void *bear(void *arg)
{
	while (!atomic_load(&stop)) {
		pthread_t t[4];
		for (int i = 0; i < 4; i++)
			pthread_create(&t[i], 0, work, (void *)20L);
		for (int i = 0; i < 4; i++)
			pthread_join(t[i], 0);
	}
	return arg;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 4;
	if (argc > 2)
		kind = argv[2];
	pthread_t *threads = calloc(n, sizeof *threads);
	for (int i = 0; i < n; i++)
		pthread_create(&threads[i], 0, !strcmp(kind, "born") ? bear : work, 0);
	printf("ready\n");
	fflush(stdout);
	char c;
	while (read(0, &c, 1) == 1) {
		printf("%lu old %lu new %d wrong\n", atomic_exchange(&olds, 0), atomic_exchange(&news, 0), atomic_load(&wrong));
		fflush(stdout);
	}
	atomic_store(&stop, 1);
	if (!atomic_load(&stuck))
		for (int i = 0; i < n; i++)
			pthread_join(threads[i], 0);
	return wrong != 0;
}
