/*
 * Functions that are nothing but a site and a RET, as near to each other as the compiler puts them
 * (built with -Os they begin every 6 bytes), so that most of the time is spent in sites. THREADS threads call
 * them until stdin ends; with none each is called ROUNDS times.
 *
 *   tight [THREADS [ROUNDS]]
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include "truth.h"

#define EIGHT(M, p) M(p##0) M(p##1) M(p##2) M(p##3) M(p##4) M(p##5) M(p##6) M(p##7)
#define ALL(M) EIGHT(M, 0) EIGHT(M, 1) EIGHT(M, 2) EIGHT(M, 3)
#define DEFINE(n) TRACED void tight##n(void) { KEEP_FRAME(); }
ALL(DEFINE)

#define ADDRESS(n) tight##n,
static void (*const all[])(void) = { ALL(ADDRESS) };
enum { N = sizeof all / sizeof *all };

static volatile int stop;
static unsigned long rounds_done;

/* All values that a call keeps, and the argument registers besides, are in use around it. */
UNTRACED static void *run(void *arg)
{
	unsigned long n = 0, bad = 0;
	while (!stop) {
		for (int i = 0; i < N; i++) {
			unsigned long a = n, b = ~n, c = n * 3, d = i;
			void (*f)(void) = all[i];
			__asm__ volatile("lea -128(%%rsp), %%rsp\n\t"
					 "call *%[f]\n\t"
					 "lea 128(%%rsp), %%rsp"
					 : "+a"(a), "+D"(b), "+S"(c), "+d"(d)
					 : [f] "r"(f)
					 : "memory", "cc");
			if (a != n || b != ~n || c != n * 3 || d != (unsigned long)i)
				bad++;
		}
		n++;
	}
	__atomic_add_fetch(&rounds_done, n, __ATOMIC_RELAXED);
	if (bad) {
		puts("tight WRONG");
		_exit(1);
	}
	return arg;
}

#define CALL(n) tight##n();
#define TELL(n) CALLS("tight" #n, rounds);

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 0;
	long rounds = argc > 2 ? atol(argv[2]) : 500;
	pthread_t t[64];
	char c;
	if (threads == 0) {
		for (long i = 0; i < rounds; i++) {
			ALL(CALL)
		}
		puts("tight right");
		ALL(TELL)
		return 0;
	}
	threads = threads < 64 ? threads : 64;
	for (int i = 0; i < threads; i++)
		if (pthread_create(&t[i], NULL, run, NULL))
			return 1;
	puts("ready");
	fflush(stdout);
	while (read(0, &c, 1) == 1)
		;
	stop = 1;
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	puts("tight right");
	printf("~rounds %lu\n", rounds_done);
	return 0;
}
