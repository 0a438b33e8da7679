/* Control flow: computed goto, tail calls, mutual recursion, indirect calls, a function with a huge frame. */
#include <stdlib.h>
#include "truth.h"

static unsigned long interp_calls, odds, evens;

TRACED long interp(const unsigned char *code, long acc)
{
	static void *const ops[] = { &&add, &&mul, &&neg, &&halt };
	interp_calls++;
#define NEXT goto *ops[*code++]
	NEXT;
add:	acc += 3;
	NEXT;
mul:	acc *= 5;
	NEXT;
neg:	acc = -acc;
	NEXT;
halt:	return acc;
}

TRACED long tail3(long x) { OPAQUE(x); return x ^ 0x55; }
TRACED long tail2(long x) { OPAQUE(x); return tail3(x + 2); }
TRACED long tail1(long x) { OPAQUE(x); return tail2(x * 3); }

TRACED long is_even(long n);
TRACED long is_odd(long n)
{
	odds++;
	OPAQUE(n);
	return n == 0 ? 0 : is_even(n - 1);
}
TRACED long is_even(long n)
{
	evens++;
	OPAQUE(n);
	return n == 0 ? 1 : is_odd(n - 1);
}

TRACED long frame(long n)
{
	volatile unsigned char buf[200000];
	for (int i = 0; i < 200000; i += 4096)
		buf[i] = (unsigned char)(n + i);
	return buf[4096] + buf[8192];
}

TRACED long one(long x) { OPAQUE(x); return x + 1; }
TRACED long two(long x) { OPAQUE(x); return x + 2; }

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 100;
	static const unsigned char code[] = { 0, 1, 2, 0, 0, 1, 3 };
	long (*volatile table[2])(long) = { one, two };
	long sum = 0;
	for (int i = 0; i < rounds; i++) {
		sum += interp(code, i);
		sum += tail1(i);
		sum = sum * 2 + is_even(i % 50);
		sum += frame(i);
		sum += table[i & 1](i);
	}
	printf("control %ld\n", sum);
	CALLS("interp", interp_calls);
	CALLS("tail1", rounds);
	CALLS("tail2", rounds);
	CALLS("tail3", rounds);
	CALLS("is_odd", odds);
	CALLS("is_even", evens);
	CALLS("frame", rounds);
	CALLS("one", (rounds + 1) / 2);
	CALLS("two", rounds / 2);
	return 0;
}
