// A program to be patched. CHANGE is the number of a change to it, each of which
// changes the functions that its test expects, and no other.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __clang__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noinline, noclone))
#endif

int shared = 7;
static int counter;
static int table[8] = {1, 2, 3, 4, 5, 6, 7, 8};
static __thread int depth;
__thread int level = 3;
extern int optional(int) __attribute__((weak));

static const char *const names[] = {"zero", "one",
#if CHANGE == 1
	"deux",
#else
	"two",
#endif
	"three"};

NOINLINE static int helper(int x)
{
	counter += x;
#if CHANGE == 2
	return table[x & 7] + 100;
#else
	return table[x & 7];
#endif
}

NOINLINE static int other(int x) { return counter * x; }

NOINLINE const char *name(int i) { return names[i & 3]; }

NOINLINE double scale(double d)
{
#if CHANGE == 3
	return d * 2.71828;
#else
	return d * 3.14159;
#endif
}

NOINLINE int pick(int x)
{
	switch (x) {
	case 0: return helper(1);
	case 1: puts("one"); return 12;
	case 2: return shared;
#if CHANGE == 4
	case 3: puts("drei"); return 5;
#else
	case 3: puts("three"); return 5;
#endif
	case 4: return other(x) + 40;
	case 5: return 77;
	case 6: shared++; return (int)strlen(name(x));
	}
	return -1;
}

typedef int (*operation)(int);

NOINLINE operation choose(int x)
{
#if CHANGE == 5
	return x ? other : helper;
#else
	return x ? helper : other;
#endif
}

NOINLINE int count(void)
{
	static int calls;
	depth++;
#if CHANGE == 6
	level += 2;
#else
	level++;
#endif
	return ++calls + depth + level;
}

#if CHANGE == 7
NOINLINE static int added(int x) { return x * 3 + 1; }
static int fresh = 4;
#endif

NOINLINE int entry(int x)
{
#if CHANGE == 7
	fresh += added(x);
	x += fresh + atoi(getenv("X"));
#endif
	return x * 2;
}

NOINLINE int recurse(int n)
{
	if (n == 0)
		return 0;
#if CHANGE == 8
	return recurse(n - 1) + recurse(n / 2) + 1;
#else
	return recurse(n - 1) + recurse(n / 2);
#endif
}

NOINLINE int weak(int x)
{
#if CHANGE == 9
	x++;
#endif
	return optional ? optional(x) : x;
}

#if CHANGE == 10
int nopal_pre_patch(void) { return counter < 0; }
void nopal_post_unpatch(void) { counter = 0; }
NOINLINE int touched(int x) { return x + 2; }
#else
NOINLINE int touched(int x) { return x + 1; }
#endif

int main(int argc, char **argv)
{
	operation f = choose(argc);
	int sum = f(argc) + pick(argc) + count() + entry(argc) + recurse(argc) + weak(argc) + touched(argc);
	printf("%s %d %g\n", name(argc), sum, scale(sum));
	return argv[0] == NULL;
}
