// Throws all the time, through many traced calls with destructors, until its input ends:
// hardly ever is it not in the unwinder.
#include <atomic>
#include <cstdio>
#include <thread>
#include <unistd.h>

static std::atomic<bool> stop;
static int live;

struct Guard {
	__attribute__((noinline)) Guard() { live++; }
	__attribute__((noinline)) ~Guard() { live--; }
};

__attribute__((noinline)) static long thrower(int depth)
{
	Guard g;
	if (depth == 0)
		throw 42;
	return thrower(depth - 1) + 1;
}

int main()
{
	std::thread reader([] {
		char c;
		while (read(0, &c, 1) > 0)
			;
		stop = true;
	});
	puts("ready");
	fflush(stdout);
	long wrong = 0, caught = 0;
	while (!stop) {
		try {
			wrong += thrower(30) | 1;
		} catch (int value) {
			caught++;
			wrong += value != 42 || live != 0;
		}
	}
	reader.join();
	printf("throwing wrong %ld, some caught: %s\n", wrong, caught > 0 ? "yes" : "no");
	return wrong != 0;
}
