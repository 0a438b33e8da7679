/*
 * Load for attaching while threads are deep in calls: THREADS threads go 40 calls down and up again
 * by recursion, tail calls, callbacks and longjmp, each round with the same known result, and
 * wait at the bottom now and then. Runs until stdin ends or SIGTERM comes.
 *
 *   walker [THREADS]
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include "truth.h"

static volatile sig_atomic_t stop;
static unsigned long bad, rounds_done;
static __thread jmp_buf env;
static __thread unsigned turn;

TRACED long w_leaf(long x) { OPAQUE(x); return x + 1; }
TRACED long w_tail(long x) { OPAQUE(x); return w_leaf(x * 2); }
TRACED int w_compare(const void *a, const void *b) { return (int)w_leaf(*(const int *)a) - (int)w_leaf(*(const int *)b); }
TRACED void w_jump(long x) { longjmp(env, (int)x); }

TRACED long w_sort(long x)
{
	int v[8];
	for (int i = 0; i < 8; i++)
		v[i] = (int)(x * 7 + i * 5) % 11;
	qsort(v, 8, sizeof *v, w_compare);
	return v[3];
}

TRACED long w_down(int depth, long x)
{
	OPAQUE(x);
	if (depth == 0) {
		if (turn++ % 4 == 0)
			usleep(3000);
		x = w_sort(x);
		if (x & 1)
			w_jump(x + 100);
		return x;
	}
	long r = w_down(depth - 1, w_tail(x) & 0xffff);
	OPAQUE(r);
	return w_tail(r) & 0xffff;
}

TRACED long w_round(long seed)
{
	volatile long r = 0, i;
	for (i = 0; i < 8; i++) {
		int landed = setjmp(env);
		if (landed == 0)
			r += w_down(40, seed + i);
		else
			r += landed;
	}
	return r;
}

static void *run(void *arg)
{
	long seed = (long)arg, want = w_round(seed);
	while (!stop) {
		if (w_round(seed) != want) {
			__atomic_add_fetch(&bad, 1, __ATOMIC_RELAXED);
			stop = 1;
		}
		__atomic_add_fetch(&rounds_done, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void on_term(int sig)
{
	(void)sig;
	stop = 1;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 2;
	struct sigaction sa = { .sa_handler = on_term };
	sigaction(SIGTERM, &sa, NULL);
	pthread_t *t = calloc(n, sizeof *t);
	for (long i = 0; i < n; i++)
		pthread_create(&t[i], NULL, run, (void *)(i + 1));
	puts("ready");
	fflush(stdout);
	while (!stop) {
		struct pollfd p = { .fd = 0, .events = POLLIN };
		char c;
		if (poll(&p, 1, 50) > 0 && read(0, &c, 1) <= 0)
			stop = 1;
	}
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	printf("walker %s\n", bad ? "WRONG" : "right");
	CALLS_VARY("w_round", rounds_done + n);
	return bad != 0;
}
