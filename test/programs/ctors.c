/* Code before main: constructors of the program and of a linked library, an IFUNC resolver, atexit and destructors. */
#include <stdlib.h>
#include "truth.h"

extern long plug_twice(long x);
static int order[4], n;

TRACED void note(int what) { order[n++ & 3] = what; }
__attribute__((constructor(200))) static void early(void) { note(1); }
__attribute__((constructor(300))) static void late(void) { note(2); }

#ifndef NO_IFUNC
TRACED long chosen_impl(long x) { OPAQUE(x); return x + 40; }
static long (*resolve_chosen(void))(long) { return chosen_impl; }
long chosen(long x) __attribute__((ifunc("resolve_chosen")));
#else
TRACED long chosen_impl(long x) { OPAQUE(x); return x + 40; }
#define chosen chosen_impl
#endif

TRACED void at_end(void) { note(3); }
__attribute__((destructor)) static void last(void)
{
	note(4);
	printf("order %d %d %d %d\n", order[0], order[1], order[2], order[3]);
}

int main(void)
{
	atexit(at_end);
	long x = chosen(2) + plug_twice(3);
	printf("ctors %ld\n", x);
	CALLS("note", 4);
	CALLS("early", 1);
	CALLS("late", 1);
	CALLS("at_end", 1);
	CALLS("last", 1);
	CALLS("chosen_impl", 1);
	CALLS("plug_ctor", 1);
	CALLS("plug_twice", 1);
	CALLS("main", 1);
	return 0;
}
