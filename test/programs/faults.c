/*
 * Functions for rules of fault injection: each is called a known number of times, and the program says what came of it.
 *
 *   faults N             calls most of them N times
 *   faults N threads     in four threads
 *   faults N signals     under a timer whose handler calls, too
 *   faults N fork        before and behind a fork, in parent and child
 *   faults N wait        after a byte on stdin, until the end of stdin
 *   faults N seccomp     where nanosleep kills
 *   faults N count       how many ns a call takes: instructions, under -icount
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "truth.h"

struct pair {
	long a, b;
};
struct large {
	char bytes[37];
};
struct hfa {
	double x, y, z;
};

TRACED void *allocate(size_t size)
{
	OPAQUE(size);
	return malloc(size);
}

TRACED long put(int fd, const char *text, size_t size)
{
	OPAQUE(fd);
	OPAQUE(text);
	OPAQUE(size);
	return (long)size;
}

TRACED int direct(int x)
{
	OPAQUE(x);
	return x + 1;
}

TRACED double real(double x, int n)
{
	OPAQUE(n);
	return x * 2 + n;
}

TRACED float small(float x)
{
	int two = 2;
	OPAQUE(two);
	return x / (float)two;
}

TRACED struct pair pair(long a)
{
	OPAQUE(a);
	struct pair p = {a, a + 1};
	return p;
}

TRACED struct large large(int c)
{
	struct large l;
	OPAQUE(c);
	memset(l.bytes, c, sizeof l.bytes);
	return l;
}

TRACED struct hfa hfa(double x)
{
	int one = 1;
	OPAQUE(one);
	struct hfa h = {x, x + one, x + 2};
	return h;
}

TRACED long many(long a, long b, long c, long d, long e, long f, long g, long h, long i, int j)
{
	OPAQUE(a);
	return a + b + c + d + e + f + g + h + 10 * i + 100 * j;
}

TRACED void nothing(int *p)
{
	OPAQUE(p);
	++*p;
}

TRACED __attribute__((noreturn)) void dies(int status)
{
	OPAQUE(status);
	_exit(status);
}

TRACED int by_one(int x)
{
	OPAQUE(x);
	return direct(x) * 3;
}

TRACED int by_two(int x)
{
	OPAQUE(x);
	return direct(x) * 3;
}

static volatile sig_atomic_t alarms;
static void on_alarm(int s)
{
	(void)s;
	alarms++;
	direct(5);
}

static void *threaded(void *n)
{
	long failed = 0;
	for (long i = 0; i < (long)n; i++)
		failed += direct(1) != 2;
	return (void *)failed;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 10;
	const char *what = argc > 2 ? argv[2] : "all";
	long failed = 0;

	if (!strcmp(what, "threads")) {
		pthread_t t[4];
		for (int i = 0; i < 4; i++)
			pthread_create(&t[i], NULL, threaded, (void *)(long)n);
		for (int i = 0; i < 4; i++) {
			void *r;
			pthread_join(t[i], &r);
			failed += (long)r;
		}
		printf("direct %ld of %d\n", failed, 4 * n);
		return 0;
	}
	if (!strcmp(what, "signals")) {
		struct sigaction a = {.sa_handler = on_alarm};
		sigaction(SIGALRM, &a, NULL);
		ualarm(2000, 2000);
		double start = now();
		for (int i = 0; i < n; i++)
			failed += put(1, "x", 1) != 1;
		double took = now() - start;
		ualarm(0, 0);
		printf("put %ld of %d, waited %s, alarms %s\n", failed, n, took >= 0.05 * n ? "long" : "not", alarms > 5 ? "many" : "few");
		return 0;
	}
	if (!strcmp(what, "wait")) {
		char c;
		printf("ready\n");
		fflush(stdout);
		while (read(0, &c, 1) == 1) {
			failed = 0;
			for (int i = 0; i < n; i++)
				failed += direct(1) != 2;
			printf("direct %ld of %d.\n", failed, n);
			fflush(stdout);
		}
		return 0;
	}
	if (!strcmp(what, "seccomp")) {
		/* By hand, as linux/filter.h and linux/seccomp.h have it: musl comes without the kernel's headers. */
		struct {
			uint16_t code;
			uint8_t yes, no;
			uint32_t k;
		} filter[] = {
			{0x20, 0, 0, 0},             /* load the system call's number */
			{0x15, 0, 1, SYS_nanosleep}, /* is it this? */
			{0x06, 0, 0, 0x80000000},    /* kill the process */
			{0x06, 0, 0, 0x7fff0000},    /* allow it */
		};
		struct {
			uint16_t length;
			void *filter;
		} program = {4, filter};
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &program)) {
			perror("seccomp");
			return 1;
		}
		double start = now();
		for (int i = 0; i < n; i++)
			failed += put(1, "x", 1) != 1;
		printf("put %ld of %d, waited %s\n", failed, n, now() - start >= 0.01 * n ? "long" : "not");
		return 0;
	}
	if (!strcmp(what, "count")) {
		double start = now();
		for (int i = 0; i < n; i++)
			direct(i);
		printf("%.1f\n", (now() - start) / n * 1e9);
		return 0;
	}
	if (!strcmp(what, "fork")) {
		for (int i = 0; i < n; i++)
			failed += direct(1) != 2;
		fflush(stdout);
		pid_t child = fork();
		for (int i = 0; i < n; i++)
			failed += direct(1) != 2;
		if (child == 0)
			_exit((int)failed);
		int status;
		waitpid(child, &status, 0);
		printf("parent %ld, child %d\n", failed, WEXITSTATUS(status));
		return 0;
	}

	int wrong = 0;
	for (int i = 0; i < n; i++) {
		errno = 0;
		void *p = allocate(16);
		if (!p) {
			failed++;
			wrong += errno;
		}
		free(p);
	}
	printf("allocate %ld errno %d\n", failed, wrong);
	failed = wrong = 0;
	for (int i = 0; i < n; i++) {
		errno = 0;
		if (put(i % 3, "text", 100 * (size_t)i) < 0) {
			failed++;
			wrong += errno;
		}
	}
	printf("put %ld errno %d\n", failed, wrong);
	long sum = 0;
	for (int i = 0; i < n; i++)
		sum += direct(i) - i - 1;
	printf("direct %ld\n", sum);
	printf("real %g\n", real(1.5, 1));
	printf("small %g\n", small(3));
	struct pair p = pair(4);
	printf("pair %ld %ld\n", p.a, p.b);
	struct large l = large('x');
	sum = 0;
	for (size_t i = 0; i < sizeof l.bytes; i++)
		sum += l.bytes[i];
	printf("large %ld\n", sum);
	struct hfa h = hfa(1);
	printf("hfa %g %g %g\n", h.x, h.y, h.z);
	printf("many %ld\n", many(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
	int count = 0;
	for (int i = 0; i < n; i++)
		nothing(&count);
	printf("nothing %d\n", count);
	long one = 0, two = 0;
	for (int i = 0; i < n; i++) {
		one += by_one(1) != 6;
		two += by_two(1) != 6;
	}
	printf("by_one %ld by_two %ld\n", one, two);
	fflush(stdout);
	dies(0);
}
