/*
 * Load for attach and detach: THREADS threads run rounds of armed functions, each round with the
 * same known result, until stdin ends, SIGTERM comes or ROUNDS are done (0: for ever). A wrong result
 * ends the program with status 1 at once.
 *
 *   busy [THREADS [ROUNDS [SHORT-LIVED]]]
 *
 * With SHORT-LIVED = 1 each thread lives for one round and is replaced. All threads but the first
 * sleep now and then, so that some are in a system call and the machine has time for others.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "truth.h"

static volatile sig_atomic_t stop;
static unsigned long rounds_done, bad, want_int;
static double want_fp;
static unsigned long max_rounds;
static int one_round;

TRACED unsigned long b1(unsigned long x) { OPAQUE(x); return x * 0x9e3779b97f4a7c15u; }
TRACED unsigned long b2(unsigned long x) { OPAQUE(x); return b1(x) ^ (x >> 29); }
TRACED unsigned long b3(unsigned long x) { unsigned long y = b2(x); OPAQUE(y); return y + b1(x); }
TRACED double f8(double a, double b, double c, double d, double e, double f, double g, double h)
{
	return a - b + c - d + e - f + g - h;
}
TRACED unsigned long a8(unsigned long a, unsigned long b, unsigned long c, unsigned long d, unsigned long e, unsigned long f,
			unsigned long g, unsigned long h)
{
	return a + 3 * b + 5 * c + 7 * d + 11 * e + 13 * f + 17 * g + 19 * h;
}

static void one(unsigned long *pi, double *pf)
{
	unsigned long x = 1;
	double f = 1;
	for (int i = 0; i < 100; i++) {
		x = b3(x + i);
		x ^= a8(x, i, x >> 3, 4, 5, x, 7, i);
		f = f8(f, i, 2, f / 3, 4, 5, 6, 7) / 2;
	}
	*pi = x;
	*pf = f;
}

static void *run(void *arg)
{
	int restless = arg == NULL;
	do {
		unsigned long x;
		double f;
		one(&x, &f);
		if (x != want_int || f != want_fp) {
			__atomic_add_fetch(&bad, 1, __ATOMIC_RELAXED);
			stop = 1;
		}
		unsigned long n = __atomic_add_fetch(&rounds_done, 1, __ATOMIC_RELAXED);
		if (max_rounds && n >= max_rounds)
			stop = 1;
		if (!restless && n % 16 == 0)
			usleep(2000);
	} while (!stop && !one_round);
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
	max_rounds = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;
	one_round = argc > 3 ? atoi(argv[3]) : 0;
	one(&want_int, &want_fp);
	struct sigaction sa = { .sa_handler = on_term };
	sigaction(SIGTERM, &sa, NULL);
	puts("ready");
	fflush(stdout);
	pthread_t *t = calloc(n, sizeof *t);
	do {
		for (int i = 0; i < n; i++) {
			if (pthread_create(&t[i], NULL, run, (void *)(long)i)) {
				perror("pthread_create");
				return 1;
			}
		}
		while (!one_round && !stop) {
			struct pollfd p = { .fd = 0, .events = POLLIN };
			char c;
			if (max_rounds) {
				poll(NULL, 0, 20);
			} else if (poll(&p, 1, 20) > 0 && read(0, &c, 1) <= 0) {
				stop = 1;
			}
		}
		for (int i = 0; i < n; i++)
			pthread_join(t[i], NULL);
		if (one_round && !max_rounds) {
			struct pollfd p = { .fd = 0, .events = POLLIN };
			char c;
			if (poll(&p, 1, 0) > 0 && read(0, &c, 1) <= 0)
				stop = 1;
		}
	} while (!stop);
	unsigned long all = rounds_done + 1;
	printf("busy %s\n", bad ? "WRONG" : "right");
	CALLS_VARY("b1", 200 * all);
	CALLS_VARY("b2", 100 * all);
	CALLS_VARY("b3", 100 * all);
	CALLS_VARY("f8", 100 * all);
	CALLS_VARY("a8", 100 * all);
	CALLS_VARY("one", all);
	return bad != 0;
}
