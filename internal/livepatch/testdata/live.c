// A program that says over and over which of its functions it runs. With NEW
// these are others, which look at everything that a patch can refer to.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __clang__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noinline, noclone))
#endif

int shared = 7;
static int counter = 1;
static __thread int depth;
__thread int level = 3;
static const char *const names[] = {"zero", "one", "two", "three"};
typedef int (*operation)(int);

NOINLINE static int triple(int x)
{
	counter++;
	return x * 3;
}

NOINLINE static double scale(double d)
{
#ifdef NEW
	return d * 2.5;
#else
	return d * 1.5;
#endif
}

NOINLINE operation choose(int x)
{
#ifdef NEW
	return x ? triple : abs;
#else
	return x ? abs : triple;
#endif
}

NOINLINE int local(void)
{
	depth++;
#ifdef NEW
	level += 100;
#endif
	return depth + level;
}

#ifdef NEW
static int fresh = 40;

// The target calls none of these functions of the C library.
NOINLINE static int added(int x)
{
	char a[16], b[16];
	memset(a, 'z', sizeof a);
	memcpy(a, names[x & 3], 4);
	a[sizeof a - 1] = 0;
	memmove(b, a, (size_t)(4 + (x & 1)));
	b[4] = 0;
	return fresh++ + (int)strspn(b, "two\nz") + (getenv("HOME") == names[0]);
}
#endif

NOINLINE int pick(int x)
{
	switch (x) {
	case 0: return 10;
	case 1: return triple(2) + 1;
	case 2: return shared;
	case 3: return 13;
	case 4: return names[x & 3][1];
#ifdef NEW
	case 5: return 500;
	case 6: return added(x);
#endif
	}
	return -x;
}

NOINLINE int recurse(int n)
{
	if (n == 0)
		return 0;
#ifdef NEW
	return recurse(n - 1) + 2;
#else
	return recurse(n - 1) + 1;
#endif
}

NOINLINE void say(int i)
{
#ifdef NEW
	int before = counter, tls = local(), again = local() - tls, was = fresh;
	int ok = choose(1) == triple && choose(0) == abs && choose(1)(5) == 15 && counter == before + 1 && counter > 2 && tls > 103 && again == 101 &&
		pick(0) == 10 && pick(1) == 7 && pick(2) == 7 && pick(4) == 'e' && pick(5) == 500 && pick(6) == was + 3 && fresh == was + 1 && pick(7) == -7 &&
		recurse(10) == 20 && scale(2) == 5;
	printf("new %s %d\n", ok ? "right" : "wrong", i);
#else
	int ok = choose(0) == triple && choose(1) == abs && choose(0)(5) == 15 && local() > 3 && pick(1) == 7 && pick(6) == -6 && recurse(10) == 10 && scale(2) == 3;
	printf("old %s %d\n", ok ? "right" : "wrong", i);
#endif
	fflush(stdout);
}

int main(void)
{
	for (int i = 0;; i++) {
		say(i);
		usleep(2000);
	}
}
