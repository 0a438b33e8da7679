// As live.c, with exceptions that go through the functions that are replaced.
#include <cstdio>
#include <stdexcept>
#include <string>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

struct Guard {
	std::string s;
	int *p;
	~Guard() { ++*p; }
};

static int cleaned;

NOINLINE int thrower(int x)
{
	if (x % 2)
		throw std::runtime_error("odd " + std::to_string(x));
	return x;
}

NOINLINE int middle(int x)
{
	Guard g{"guard", &cleaned};
#ifdef NEW
	return thrower(x) + 1000;
#else
	return thrower(x) + 1;
#endif
}

NOINLINE int catcher(int x)
{
	try {
		return middle(x);
	} catch (const std::runtime_error &e) {
#ifdef NEW
		try {
			throw std::runtime_error("in");
		} catch (const std::exception &f) {
			return -100 - static_cast<int>(std::string(f.what()).size());
		}
#else
		return -1;
#endif
	}
}

NOINLINE void say(int i)
{
	int before = cleaned;
	std::string what;
	try {
		middle(3);
	} catch (const std::exception &e) {
		what = e.what();
	}
	int even = catcher(2), odd = catcher(1);
#ifdef NEW
	bool ok = even == 1002 && odd == -102 && what == "odd 3" && cleaned == before + 3;
	std::printf("new %s %d\n", ok ? "right" : "wrong", i);
#else
	bool ok = even == 3 && odd == -1 && what == "odd 3" && cleaned == before + 3;
	std::printf("old %s %d\n", ok ? "right" : "wrong", i);
#endif
	std::fflush(stdout);
}

int main()
{
	for (int i = 0;; i++) {
		say(i);
		usleep(2000);
	}
}
