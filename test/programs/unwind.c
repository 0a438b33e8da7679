/* backtrace() through armed frames: every frame must be there, while tracing as without. */
#include <execinfo.h>
#include <stdlib.h>
#include <string.h>
#include "truth.h"

static void *frames[64];
static int depth_seen;

TRACED void look(void)
{
	depth_seen = backtrace(frames, 64);
}

TRACED void level(int n)
{
	if (n == 0)
		look();
	else
		level(n - 1);
	__asm__ volatile("");
}

int main(void)
{
	level(0);
	int base = depth_seen;
	for (int n = 1; n < 30; n++) {
		level(n);
		if (depth_seen != base + n) {
			printf("depth %d: %d frames, want %d\n", n, depth_seen, base + n);
			return 1;
		}
	}
	/* The frames of one function are equal except for the first and the last call. */
	for (int i = 4; i < 25; i++) {
		if (frames[i] != frames[3]) {
			printf("frame %d differs\n", i);
			return 1;
		}
	}
	puts("frames right");
	CALLS("look", 30);
	CALLS("level", 30 * 31 / 2);
	return 0;
}
