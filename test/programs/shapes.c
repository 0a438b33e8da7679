/*
 * Functions of every shape that compilers give them: one instruction, many returns, jump tables,
 * cold parts, no return at all, frames of unknown size, 100,000 frames, tail calls by name, by
 * pointer, into the C library, in chains and in circles.
 *
 *   shapes [ROUNDS]
 */
#define _GNU_SOURCE
#include <alloca.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "truth.h"

#define COLD __attribute__((cold, noinline))

static unsigned long colds, compares, circles, quits;
static jmp_buf env;

TRACED void nothing(void) {}
TRACED long same(long x) { return x; }

TRACED long returns(long x)
{
	OPAQUE(x);
	if (x < 3)
		return 1;
	if (x % 7 == 0) {
		nothing();
		return x / 7;
	}
	if (x & 1)
		return same(x) * 3;
	for (long i = 0; i < x; i++) {
		OPAQUE(i);
		if (i * i > x)
			return i;
	}
	return -x;
}

TRACED long big_switch(unsigned op, long a, long b)
{
	OPAQUE(a);
	switch (op) {
	case 0: return a + b;
	case 1: return a - b;
	case 2: a *= b; break;
	case 3: a ^= b; break;
	case 4: return same(a);
	case 5: a = same(b) + 1; break;
	case 6: a <<= b & 7; break;
	case 7: a >>= b & 7; break;
	case 8: nothing(); break;
	case 9: a = -a; break;
	case 10: a = ~b; break;
	case 11: a |= b; break;
	case 12: a &= b; break;
	case 13: return a ? b / (a | 1) : 13;
	case 14: a += 14 * b; break;
	case 15: return 15;
	case 16: a = a * a; break;
	case 17: a = b * b; break;
	default: a = 99; break;
	}
	OPAQUE(a);
	return a * 2 + 1;
}

COLD TRACED long complain(long x)
{
	colds++;
	OPAQUE(x);
	return x + 1000;
}

/* Its unlikely half goes to .text.unlikely, as split.cold. */
TRACED long split(long x)
{
	OPAQUE(x);
	if (__builtin_expect(x % 10 == 9, 0)) {
		long y = complain(x);
		OPAQUE(y);
		if (y & 1)
			return complain(y) - complain(x);
		return y * 2;
	}
	return x * x;
}

__attribute__((noreturn)) TRACED void quit(int how)
{
	quits++;
	longjmp(env, how);
}

TRACED long guarded(long x)
{
	OPAQUE(x);
	if (x % 5 == 4)
		quit(1);
	return x + 5;
}

TRACED long space(long n)
{
	unsigned char *p = alloca(64 + n % 5000);
	memset(p, 1, 64 + n % 5000);
	OPAQUE(p);
	return same(p[n % 64]) + p[0];
}

TRACED long deep(long n)
{
	OPAQUE(n);
	if (n == 0)
		return 0;
	long r = deep(n - 1);
	OPAQUE(r);
	return r + 1;
}

static void *dive(void *arg)
{
	return (void *)deep((long)arg);
}

/* Tail calls. */
TRACED long link4(long x) { OPAQUE(x); return x ^ 0x44; }
TRACED long link3(long x) { OPAQUE(x); return x & 1 ? link4(x + 3) : same(x); }
TRACED long link2(long x) { nothing(); OPAQUE(x); return link3(x + 2); }
TRACED long link1(long x) { OPAQUE(x); return link2(x + 1); }

typedef long (*fn)(long);
static fn volatile table[] = { same, link4, returns, link1 };

TRACED long by_pointer(long x) { OPAQUE(x); return table[x & 3](x); }
TRACED long by_argument(fn f, long x) { nothing(); return f(x + 1); }
TRACED size_t into_libc(const char *s) { OPAQUE(s); return strlen(s); }

TRACED long circle_b(long n);
TRACED long circle_a(long n)
{
	circles++;
	OPAQUE(n);
	return n == 0 ? 1 : circle_b(n - 1);
}
TRACED long circle_b(long n)
{
	circles++;
	OPAQUE(n);
	return n == 0 ? 2 : circle_a(n - 1);
}

/* Called back by a function that nobody traces. */
TRACED int compare(const void *a, const void *b)
{
	compares++;
	return *(const int *)a - *(const int *)b;
}

int main(int argc, char **argv)
{
	volatile long rounds = argc > 1 ? atol(argv[1]) : 200, i, sum = 0, landed = 0;
	int numbers[100];
	for (i = 0; i < rounds; i++) {
		nothing();
		sum += returns(i);
		sum += big_switch((unsigned)i % 20, i, i * 3 + 1);
		sum += split(i);
		if (setjmp(env) == 0)
			sum += guarded(i);
		else
			landed++;
		sum += space(i * 37);
		sum += link1(i);
		sum += by_pointer(i);
		sum += by_argument(table[i & 1], i);
		sum += (long)into_libc(&"a string of 23 letters."[i % 23]);
		sum += circle_a(i);
		for (int k = 0; k < 100; k++)
			numbers[k] = (int)(k * 7919 + i) % 101;
		qsort(numbers, 100, sizeof *numbers, compare);
		sum += numbers[50];
	}
	/* A stack of its own: 100,000 frames take more than the default. */
	pthread_t t;
	pthread_attr_t attr;
	void *r;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 20);
	if (pthread_create(&t, &attr, dive, (void *)100000) != 0)
		return 1;
	pthread_join(t, &r);
	printf("shapes %ld deep %ld landed %ld compares %lu\n", sum, (long)r, landed, compares);
	CALLS("big_switch", rounds);
	CALLS("split", rounds);
	CALLS("complain", colds);
	CALLS("guarded", rounds);
	LEFT("guarded", landed);
	CALLS("quit", quits);
	LEFT("quit", quits);
	CALLS("space", rounds);
	CALLS("deep", 100001);
	CALLS("by_pointer", rounds);
	CALLS("by_argument", rounds);
	CALLS("into_libc", rounds);
	CALLS("compare", compares);
	CALLS("link2", rounds + rounds / 4);
	return circles == (unsigned long)rounds * (rounds + 1) / 2 ? 0 : 1;
}
