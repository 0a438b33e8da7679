/* Functions of the kinds that patch areas are written for: exported, static,
 * reached through a pointer, tail-calling, and one that nothing uses. */
#define KEEP __attribute__((noinline))

volatile int sink;

KEEP static int local_function(int x) { return x * 3 + sink; }

KEEP int exported(int x) { return local_function(x) + 1; }

KEEP int tail_caller(int x) { return exported(x + 1); }

KEEP static int through_pointer(int x) { return x - sink; }

int (*volatile pointer)(int) = through_pointer;

/* Not marked as used: --gc-sections drops it. */
__attribute__((noinline)) int dropped(int x) { return x + 7 * sink; }

#ifndef LIBRARY
#ifdef FREESTANDING
void _start(void)
#else
int main(void)
#endif
{
	sink = tail_caller(1) + pointer(2);
#ifdef FREESTANDING
	for (;;)
		;
#else
	return 0;
#endif
}
#endif
