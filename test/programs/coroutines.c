/* swapcontext: eight coroutines on stacks of their own, switched inside armed frames. */
#include <stdlib.h>
#include <ucontext.h>
#include "truth.h"

enum { N = 8 };
static ucontext_t main_ctx, ctx[N];
static char stacks[N][65536];
static unsigned long sum;
static int rounds;

TRACED void yield(int i)
{
	swapcontext(&ctx[i], &main_ctx);
}

TRACED void deeper(int i, int depth)
{
	if (depth)
		deeper(i, depth - 1);
	else
		yield(i);
	sum = sum * 33 + i;
}

static void body(int i)
{
	for (int k = 0; k < rounds; k++)
		deeper(i, k % 4);
	swapcontext(&ctx[i], &main_ctx);
	KEEP_FRAME();
}

int main(int argc, char **argv)
{
	rounds = argc > 1 ? atoi(argv[1]) : 100;
	unsigned long frames = 0;
	for (int i = 0; i < N; i++) {
		getcontext(&ctx[i]);
		ctx[i].uc_stack.ss_sp = stacks[i];
		ctx[i].uc_stack.ss_size = sizeof stacks[i];
		ctx[i].uc_link = &main_ctx;
		makecontext(&ctx[i], (void (*)(void))body, 1, i);
	}
	for (int k = 0; k <= rounds; k++)
		for (int i = 0; i < N; i++)
			swapcontext(&main_ctx, &ctx[i]);
	for (int k = 0; k < rounds; k++)
		frames += k % 4 + 1;
	printf("sum %lu\n", sum);
	CALLS("yield", (unsigned long)N * rounds);
	CALLS("deeper", N * frames);
	CALLS("body", N);
	LEFT("body", N);
	return 0;
}
