// C++: virtual calls in tail position, thunks of multiple inheritance, std::function, members by
// pointer, exceptions that pass tail callers and catch blocks with calls in them.
#include <cstdlib>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>
#include "truth.h"

static unsigned long thrown, visits, closes;

struct Shape {
	virtual ~Shape() = default;
	virtual long area(long x) = 0;
	virtual long twice(long x) = 0;
};

struct Other {
	virtual ~Other() = default;
	virtual long other(long x) = 0;
	long field = 3;
};

struct Square : Shape {
	TRACED long area(long x) override { OPAQUE(x); return x * x; }
	// A virtual call in tail position: the target is known at run time only.
	TRACED long twice(long x) override { OPAQUE(x); return area(x + x); }
};

struct Round : Shape, Other {
	TRACED long area(long x) override { OPAQUE(x); return 3 * x * x; }
	TRACED long twice(long x) override { OPAQUE(x); return area(2 * x); }
	// Reached through Other by a thunk that moves `this`.
	TRACED long other(long x) override { OPAQUE(x); return x + field; }
};

TRACED long ask(Shape *s, long x) { OPAQUE(x); return s->twice(x); }
TRACED long ask_other(Other *o, long x) { OPAQUE(x); return o->other(x); }
TRACED long ask_member(Shape *s, long (Shape::*f)(long), long x) { OPAQUE(x); return (s->*f)(x); }
TRACED long ask_function(const std::function<long(long)> &f, long x) { OPAQUE(x); return f(x); }

struct Closer {
	TRACED ~Closer() { closes++; }
};

TRACED long bottom(long x)
{
	OPAQUE(x);
	if (x % 3 == 0) {
		thrown++;
		throw std::runtime_error("bottom");
	}
	return x;
}
TRACED long passing(long x) { OPAQUE(x); return bottom(x); } // over when bottom throws
TRACED long holding(long x)
{
	Closer c;
	long r = passing(x);
	OPAQUE(r);
	return r + 1;
}
TRACED void visit(long x) { OPAQUE(x); visits++; }
TRACED long catching(long x)
{
	try {
		return holding(x);
	} catch (const std::runtime_error &) {
		visit(x);
		return -1;
	}
}

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 300, sum = 0;
	std::vector<std::unique_ptr<Shape>> shapes;
	shapes.emplace_back(new Square);
	shapes.emplace_back(new Round);
	Round round;
	std::function<long(long)> add = [&](long x) { return x + rounds; };
	for (long i = 0; i < rounds; i++) {
		Shape *s = shapes[i & 1].get();
		sum += ask(s, i) + ask_other(&round, i) + ask_member(s, &Shape::area, i) + ask_function(add, i) + catching(i);
	}
	printf("virtuals %ld thrown %lu visits %lu closes %lu\n", sum, thrown, visits, closes);
	CALLS("ask", rounds);
	CALLS("ask_other", rounds);
	CALLS("ask_member", rounds);
	CALLS("ask_function", rounds);
	CALLS("Square::twice", (rounds + 1) / 2);
	CALLS("Round::twice", rounds / 2);
	CALLS("Round::other", rounds);
	CALLS("bottom", rounds);
	LEFT("bottom", thrown);
	CALLS("passing", rounds);
#ifndef __OPTIMIZE__
	LEFT("passing", thrown); // its call of bottom is no tail call
#endif
	CALLS("holding", rounds);
	LEFT("holding", thrown);
	CALLS("visit", visits);
	CALLS("Closer::~Closer", closes);
	CALLS("catching", rounds);
	return visits == thrown && closes == (unsigned long)rounds ? 0 : 1;
}
