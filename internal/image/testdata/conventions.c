/* Calling conventions in which x9 to x15 hold values of the caller's. */
extern void other(void);
volatile int sink;

/* Saves x9 and others, after a branch. */
__attribute__((preserve_most)) void saves(int x) {
	if (x)
		other();
}

/* Touches none of them: only DWARF tells. */
__attribute__((preserve_most)) int silent(int x) { return x + 1; }

int ordinary(int x) {
	saves(x);
	return silent(x) + sink;
}

__attribute__((noinline)) void other(void) { sink++; }
