// Does in one thread what makes stacks hard to unwind, between two breakpoints:
// the test executes it instruction by instruction and knows from the calls and
// returns what the stack is.
#include <alloca.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
#ifdef __clang__
#undef NOINLINE
#define NOINLINE __attribute__((noinline))
#endif
#define OPAQUE(x) asm volatile("" : "+r"(x))

volatile long sink;

NOINLINE long leaf(long x) {
	OPAQUE(x);
	return x + 1;
}

NOINLINE long twice(long x) {
	long y = leaf(x);
	OPAQUE(y);
	return y + leaf(x);
}

NOINLINE long tail(long x) {
	OPAQUE(x);
	return twice(x);
}

NOINLINE long recurse(long n) {
	if (n == 0)
		return tail(n);
	long x = recurse(n - 1);
	OPAQUE(x);
	return x + n;
}

NOINLINE long dynamic(size_t n) {
	char *p = alloca(n);
	memset(p, 1, n);
	long x = leaf(p[n - 1]);
	char v[n + x], *q = v;
	OPAQUE(q);
	q[0] = 1;
	return tail(q[0]) + p[0];
}

NOINLINE long large(long x) {
	volatile char b[20000];
	b[0] = x;
	b[19999] = 1;
	return leaf(b[0] + b[19999]);
}

// All callee-saved registers are in use.
NOINLINE long crowded(long a, long b, long c, long d, long e, long f, long g, long h, double u, double v) {
	long i = leaf(a), j = leaf(b), k = leaf(c), l = leaf(d), m = leaf(e), n = leaf(f);
	double w = u * v;
	OPAQUE(i);
	sink = tail(g + h);
	w += leaf(3) * u;
	return i * j + k * l + m * n + a * b + c * d + e * f + (long)w;
}

// Prologues that are only executed on some of the ways through (shrink wrapping).
NOINLINE long wrapped(long x) {
	if (x < 3)
		return x;
	long y = leaf(x) + leaf(x + 1);
	if (y > 1000)
		return twice(y) + leaf(y);
	return y;
}

NOINLINE long sum(int n, ...) {
	va_list ap;
	va_start(ap, n);
	long s = 0;
	while (n-- > 0)
		s += leaf(va_arg(ap, int));
	va_end(ap);
	return s;
}

struct big { long v[12]; };

NOINLINE struct big make(long x) {
	struct big b = {{leaf(x), 2, 3}};
	return b;
}

NOINLINE long choose(long x) {
	switch (x) {
	case 0: return leaf(1);
	case 1: return twice(2) + 1;
	case 2: return wrapped(300);
	case 3: return make(3).v[0];
	case 4: return large(4);
	case 5: return sum(3, 1, 2, 3);
	case 6: return dynamic(100);
	default: return x;
	}
}

static int compare(const void *a, const void *b) {
	return (int)(leaf(*(const int *)a) - leaf(*(const int *)b));
}

static jmp_buf back;

NOINLINE __attribute__((noreturn)) void jump(long x) {
	sink = leaf(x);
	longjmp(back, 1);
}

NOINLINE long jumps(long x) {
	if (setjmp(back) == 0)
		jump(leaf(x));
	return leaf(x);
}

static void handler(int sig) { sink = tail(sig); }

NOINLINE void signals(void) {
	struct sigaction sa = {.sa_handler = handler};
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
	sigaltstack(&stack, NULL);
	sa.sa_flags = SA_ONSTACK;
	sigaction(SIGUSR2, &sa, NULL);
	kill(getpid(), SIGUSR2);
}

NOINLINE void library(void) {
	int a[] = {3, 1, 2};
	qsort(a, 3, sizeof *a, compare);
	char text[64];
	snprintf(text, sizeof text, "%d", a[0]);
	struct timespec t = {0, 1000};
	nanosleep(&t, NULL);
#ifdef __GLIBC__ // musl looks the vDSO up with an exclusive loop that no single step passes
	clock_gettime(CLOCK_MONOTONIC, &t);
#endif
	sink = strlen(text);
}

NOINLINE void all(void) {
	sink = recurse(2);
	sink = crowded(1, 2, 3, 4, 5, 6, 7, 8, 1.5, 2.5);
	for (long i = 0; i < 8; i++)
		sink = choose(i) + wrapped(i);
	sink = jumps(1);
}

int main(int argc, char **argv) {
	(void)argv;
	asm volatile("brk #16" ::: "memory");
	all();
	if (argc > 1) { // what is the same however this is compiled
		signals();
		library();
	}
	asm volatile("brk #17" ::: "memory");
	return 0;
}
