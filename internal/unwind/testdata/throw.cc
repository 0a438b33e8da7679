// Exceptions that pass frames with and without landing pads; as chain.c.
#include <stdexcept>
#include <string>

#define OPAQUE(x) asm volatile("" : "+r"(x))

volatile long sink;

struct Guard {
	long n;
	explicit Guard(long n) : n(n) {}
	__attribute__((noinline)) ~Guard() { sink = sink + n; }
};

__attribute__((noinline)) long thrower(long x) {
	OPAQUE(x);
	if (x > 0)
		throw std::runtime_error("thrown");
	return x;
}

__attribute__((noinline)) long guarded(long x) {
	Guard g(x);
	long y = thrower(x);
	OPAQUE(y);
	return y + 1;
}

__attribute__((noinline)) long plain(long x) {
	long y = guarded(x);
	OPAQUE(y);
	return y + 1;
}

__attribute__((noinline)) long catcher(long x) {
	try {
		return plain(x);
	} catch (const std::exception &e) {
		return e.what()[0] + x;
	}
}

int main() {
	asm volatile("brk #16" ::: "memory");
	sink = catcher(0);
	sink = catcher(1);
	asm volatile("brk #17" ::: "memory");
}
