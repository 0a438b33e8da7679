// C++ exceptions through many armed frames with destructors, rethrown, nested, and out of a thread.
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include "truth.h"

static unsigned long ctors, dtors, dives, caught;

struct Guard {
	int depth;
	TRACED explicit Guard(int d) : depth(d) { ctors++; }
	TRACED ~Guard() { dtors++; }
};

TRACED int dive(int depth)
{
	dives++;
	Guard g(depth);
	if (depth == 0)
		throw std::runtime_error("bottom");
	int r = dive(depth - 1);
	OPAQUE(r);
	return r + g.depth;
}

TRACED int rethrow(int depth)
{
	try {
		return dive(depth);
	} catch (const std::runtime_error &) {
		caught++;
		throw std::logic_error("again");
	}
}

TRACED void attempt(int depth)
{
	try {
		rethrow(depth);
	} catch (const std::logic_error &e) {
		caught++;
		if (std::string(e.what()) != "again")
			abort();
	}
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 50;
	for (int i = 0; i < rounds; i++)
		attempt(i % 40);
	unsigned long mainDives = dives;
	std::thread t([&] {
		for (int i = 0; i < rounds; i++)
			attempt(10);
	});
	t.join();
	printf("caught %lu ctors %lu dtors %lu main %lu\n", caught, ctors, dtors, mainDives);
	CALLS("dive", dives);
	LEFT("dive", dives);
	CALLS("rethrow", 2 * rounds);
	LEFT("rethrow", 2 * rounds);
	CALLS("attempt", 2 * rounds);
	CALLS("Guard::Guard", ctors);
	CALLS("Guard::~Guard", dtors);
	return ctors == dtors ? 0 : 1;
}
