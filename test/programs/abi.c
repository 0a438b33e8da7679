/*
 * Everything the procedure call standard passes in registers and in memory: eight doubles,
 * homogeneous aggregates, 4 KB structs in memory, twelve arguments, variadics, long double, __int128,
 * vectors. The results go into one checksum.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "truth.h"

typedef float vector4 __attribute__((vector_size(16)));

struct hfa { double a, b, c, d; };
struct hfaf { float a, b, c; };
struct big { unsigned char b[4096]; };
struct pair { long a, b; };
struct mixed { long a; double d; };

TRACED double doubles8(double a, double b, double c, double d, double e, double f, double g, double h)
{
	return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h;
}

TRACED struct hfa hfa4(struct hfa x, double k)
{
	struct hfa r = { x.d * k, x.c * k, x.b * k, x.a * k };
	return r;
}

TRACED struct hfaf hfa3f(struct hfaf x)
{
	struct hfaf r = { x.c, x.a, x.b };
	return r;
}

TRACED struct big big4k(unsigned seed, struct big in)
{
	for (int i = 0; i < 4096; i++)
		in.b[i] = (unsigned char)(in.b[i] * 3 + seed + i);
	return in;
}

TRACED struct pair pair2(struct pair p, long k)
{
	struct pair r = { p.b + k, p.a - k };
	return r;
}

TRACED struct mixed mixed2(struct mixed m)
{
	struct mixed r = { m.a + 1, m.d * 2 };
	return r;
}

TRACED long args12(long a, long b, long c, long d, long e, long f, long g, long h, long i, long j, long k, long l)
{
	return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j + 11 * k + 12 * l;
}

TRACED double variadic(int n, ...)
{
	va_list ap;
	double r = 0;
	va_start(ap, n);
	for (int i = 0; i < n; i++)
		r += i % 2 ? va_arg(ap, double) : (double)va_arg(ap, long);
	va_end(ap);
	return r;
}

TRACED long double quad(long double a, long double b)
{
	return a * b + 1;
}

TRACED __int128 wide(__int128 a, unsigned __int128 b)
{
	return a * 3 - (__int128)b;
}

TRACED vector4 vector(vector4 a, vector4 b)
{
	return a * b + a;
}

static uint64_t sum = 14695981039346656037u;

static void add(const void *p, size_t n)
{
	const unsigned char *b = p;
	while (n--)
		sum = (sum ^ *b++) * 1099511628211u;
}

#define ADD(x) add(&(x), sizeof(x))

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 100;
	static struct big big;
	for (int i = 0; i < rounds; i++) {
		double d = doubles8(i, 1.5, 2.5, 3.5, 4.5, i * .5, 6.5, 7.5);
		ADD(d);
		struct hfa h = hfa4((struct hfa){ i, 2, 3, 4 }, 1.25);
		ADD(h);
		struct hfaf hf = hfa3f((struct hfaf){ i, 2, 3 });
		ADD(hf);
		big = big4k(i, big);
		ADD(big);
		struct pair p = pair2((struct pair){ i, 9 }, 4);
		ADD(p);
		struct mixed m = mixed2((struct mixed){ i, 9.75 });
		ADD(m);
		long a = args12(i, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, i);
		ADD(a);
		d = variadic(6, (long)i, 2.5, 3L, 4.5, 5L, i * 1.5);
		ADD(d);
		d = variadic(20, 1L, 1., 2L, 2., 3L, 3., 4L, 4., 5L, 5., 6L, 6., 7L, 7., 8L, 8., 9L, 9., 10L, 10.);
		ADD(d);
		long double q = quad(i + 0.1L, 3.25L);
		double lo = (double)q, rest = (double)(q - lo);
		ADD(lo);
		ADD(rest);
		__int128 w = wide((__int128)i << 70, 77);
		ADD(w);
		vector4 v = vector((vector4){ i, i, i, i }, (vector4){ 1, 2, 3, 4 });
		ADD(v);
	}
	printf("abi %016llx\n", (unsigned long long)sum);
	CALLS("doubles8", rounds);
	CALLS("hfa4", rounds);
	CALLS("hfa3f", rounds);
	CALLS("big4k", rounds);
	CALLS("pair2", rounds);
	CALLS("mixed2", rounds);
	CALLS("args12", rounds);
	CALLS("variadic", 2 * rounds);
	CALLS("quad", rounds);
	CALLS("wide", rounds);
	CALLS("vector", rounds);
	return 0;
}
