/* A library with a constructor and a destructor of its own; loaded and unloaded by dl.c, linked by ctors.c. */
#include "truth.h"

static long state;

TRACED void plug_init_work(void) { state++; }
TRACED long plug_call(long x) { OPAQUE(x); return x * 11 + state; }
TRACED long plug_leaf(long x) { OPAQUE(x); return x - 1; }
TRACED long plug_twice(long x) { long r = plug_call(x); OPAQUE(r); return plug_leaf(r); }

__attribute__((constructor)) static void plug_ctor(void) { plug_init_work(); }
__attribute__((destructor)) static void plug_dtor(void) { plug_init_work(); }
