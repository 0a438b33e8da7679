/*
 * Results of every class of the System V ABI: in rax, rax:rdx, xmm0, xmm0:xmm1, mixed pairs, the x87
 * stack (one and two values), memory, vectors; nested, so that a result has to survive the exits of
 * callers that do not touch it. And the arguments that only this machine has: the static chain in r10
 * through a pointer, al for variadic functions, more on the stack than in registers.
 *
 *   returns [ROUNDS]
 */
#include <complex.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "truth.h"

typedef double v4 __attribute__((vector_size(32)));

struct ii { long a, b; };
struct dd { double a, b; };
struct id { long a; double b; };
struct di { double a; long b; };
struct memory { long v[9]; };
struct small { char c[13]; };

/* Each class as a leaf, as a tail call of it, and as a caller with a frame. */
#define CLASS(T, name, params, args, body) \
	TRACED T name params body \
	TRACED T name##_tail params { return name args; } \
	TRACED T name##_frame params { T r = name##_tail args; KEEP_FRAME(); return r; }

CLASS(long, r_int, (long x), (x), { return x * 3 + 1; })
CLASS(__int128, r_wide, (long x), (x), { return (__int128)x << 65 | x; })
CLASS(struct ii, r_ii, (long x), (x), { return ((struct ii){ x, ~x }); })
CLASS(double, r_double, (double x), (x), { return x * 1.5; })
CLASS(float, r_float, (float x), (x), { return x * 2.5f; })
CLASS(struct dd, r_dd, (double x), (x), { return ((struct dd){ x, -x }); })
CLASS(struct id, r_id, (long x), (x), { return ((struct id){ x, x * .5 }); })
CLASS(struct di, r_di, (long x), (x), { return ((struct di){ x * .25, x }); })
CLASS(long double, r_x87, (long double x), (x), { return x * 1.000000001L; })
CLASS(_Complex long double, r_x87x2, (long double x), (x), { return x - x * 2.5L * I; })
CLASS(_Complex double, r_complex, (double x), (x), { return x + 3 * x * I; })
CLASS(struct memory, r_memory, (long x), (x), { struct memory m; for (int i = 0; i < 9; i++) m.v[i] = x + i; return m; })
CLASS(struct small, r_small, (long x), (x), { struct small s; memset(&s, (int)x, sizeof s); return s; })
CLASS(_Bool, r_bool, (long x), (x), { return x & 1; })

/* Vectors of 32 bytes, in xmm pairs or memory as the ABI without AVX has it. */
TRACED void r_vector(v4 *r, const v4 *a) { *r = *a * *a; }
__attribute__((target("avx"))) TRACED v4 r_ymm(v4 a) { return a * a + a; }

TRACED long many(long a, long b, long c, long d, long e, long f, long g, struct memory m, double h, long i, long j, struct small s)
{
	return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + m.v[8] + (long)h + 8 * i + 9 * j + s.c[12];
}

TRACED double sum(int n, ...)
{
	double r = 0;
	va_list ap;
	va_start(ap, n);
	for (int i = 0; i < n; i++)
		r += va_arg(ap, double);
	va_end(ap);
	return r;
}

static uint64_t hash = 14695981039346656037u;

static UNTRACED void add(const void *p, size_t n)
{
	const unsigned char *b = p;
	while (n--)
		hash = (hash ^ *b++) * 1099511628211u;
}

/* What differs from the plain expression is told by name. */
static unsigned long bad;
#define ADD(name, x, size) \
	do { \
		__typeof__(x) v1 = (x), v2 = (x); \
		if (memcmp(&v1, &v2, size)) { \
			printf("%s differs from itself\n", name); \
			bad++; \
		} \
		add(&v1, size); \
	} while (0)
/* 10 of 16 bytes of an x87 value count. */
#define EACH(name, x) ADD(#name, name##_frame(x), sizeof(name(x)))

__attribute__((target("avx"))) static UNTRACED int ymm(long i)
{
	v4 a = { i, i + 1, i + 2, i + 3 }, r = r_ymm(a), w = a * a + a;
	return memcmp(&r, &w, sizeof r) != 0;
}

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 200;
	long ymms = 0;
	__builtin_cpu_init();
	for (long i = 0; i < rounds; i++) {
		EACH(r_int, i);
		EACH(r_wide, i);
		EACH(r_ii, i);
		EACH(r_double, i);
		EACH(r_float, i);
		EACH(r_dd, i);
		EACH(r_id, i);
		EACH(r_di, i);
		ADD("r_x87", r_x87_frame(i + 0.1L), 10);
		_Complex long double c = r_x87x2_frame(i + 0.3L);
		long double re = creall(c), im = cimagl(c), wre = i + 0.3L, wim = -((i + 0.3L) * 2.5L);
		if (memcmp(&re, &wre, 10) || memcmp(&im, &wim, 10)) {
			printf("r_x87x2 %ld is wrong\n", i);
			bad++;
		}
		EACH(r_complex, i);
		EACH(r_memory, i);
		EACH(r_small, i);
		EACH(r_bool, i);
		v4 a = { i, 1, 2, 3 }, r;
		r_vector(&r, &a);
		add(&r, sizeof r);
		if (__builtin_cpu_supports("avx")) {
			bad += ymm(i);
			ymms++;
		}
		struct memory m = r_memory(i);
		struct small s = r_small(i);
		long n = many(i, 2, 3, 4, 5, 6, 7, m, 8.5, i, 10, s);
		add(&n, sizeof n);
		double d = sum(3, 1.5, (double)i, 2.5) + sum(10, 1., 2., 3., 4., 5., 6., 7., 8., 9., (double)i);
		add(&d, sizeof d);
		/* The static chain, through a trampoline on the stack where the compiler knows nested functions. */
#if !defined(__clang__)
		long base = i;
		long inner(long x) { OPAQUE(x); return x + base; }
		long (*volatile f)(long) = inner;
		n = f(3);
		add(&n, sizeof n);
#endif
	}
	printf("returns %016llx %s\n", (unsigned long long)hash, bad ? "WRONG" : "right");
	CALLS("r_int_frame", 2 * rounds);
	CALLS("r_int_tail", 2 * rounds);
	CALLS("r_int", 2 * rounds);
	CALLS("r_x87_frame", 2 * rounds);
	CALLS("r_x87", 2 * rounds);
	CALLS("r_x87x2", rounds);
	CALLS("r_complex", 2 * rounds);
	CALLS("r_memory", 3 * rounds);
	CALLS("r_small_tail", 2 * rounds);
	CALLS("r_vector", rounds);
	CALLS("r_ymm", ymms);
	CALLS("many", rounds);
	CALLS("sum", 2 * rounds);
	return bad != 0;
}
