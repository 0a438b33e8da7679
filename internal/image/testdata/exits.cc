// C++ that is left in its own ways: virtual calls at the end, exceptions that are
// caught, destructors that run as one passes through, and what templates of the
// library become.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#define KEEP __attribute__((noinline))

volatile int sink;

struct Shape {
	virtual ~Shape() {}
	virtual int area(int) const = 0;
	virtual int grow(int n) { return area(n) + 1; }
};
struct Square : Shape {
	int side = 3;
	int area(int n) const override { return side * side + n; }
};
struct Wrapper : Shape {
	std::unique_ptr<Shape> inner;
	KEEP int area(int n) const override { return inner->area(n + 1); }
	KEEP int grow(int n) override { return inner->grow(n); }
};
struct Guard {
	std::string text;
	KEEP ~Guard() { sink = sink + text.size(); }
};

KEEP int throws(int x)
{
	Guard g{"throws"};
	if (x > 100)
		throw std::runtime_error("too much " + std::to_string(x));
	return x + 1;
}
KEEP int passes(int x)
{
	Guard g{"passes"};
	return throws(x) + throws(x * 2);
}
KEEP int catches(int x)
{
	try {
		return passes(x);
	} catch (const std::runtime_error &e) {
		return e.what()[0] + sink;
	} catch (...) {
		sink = 1;
	}
	return -1;
}
KEEP int rethrows(int x)
{
	try {
		return catches(x) + throws(x);
	} catch (std::exception &) {
		sink = 3;
		throw;
	}
}
KEEP int dispatch(Shape &s, int n)
{
	Guard g{"dispatch"};
	switch (n) {
	case 0: return s.area(1);
	case 1: return s.grow(2);
	case 2: return throws(n);
	case 3: return passes(n);
	case 4: return catches(n);
	case 5: return sink;
	case 6: return rethrows(n);
	}
	return n;
}
KEEP int through_function(const std::function<int(int)> &f, int n) { return f(n); }
KEEP int through_member(Shape &s, int (Shape::*m)(int), int n) { return (s.*m)(n); }

int main(int argc, char **argv)
{
	std::map<std::string, std::vector<int>> words;
	for (int i = 0; i < argc; i++) {
		std::istringstream in(argv[i]);
		for (std::string w; in >> w;)
			words[w].push_back(catches(i));
	}
	std::vector<std::pair<std::string, int>> sorted;
	for (auto &[w, v] : words)
		sorted.emplace_back(w, v.size());
	std::stable_sort(sorted.begin(), sorted.end(), [](auto &a, auto &b) { return a.second < b.second; });
	Wrapper w;
	w.inner = std::make_unique<Square>();
	int total = 0;
	for (auto &[s, n] : sorted)
		total += dispatch(w, n) + through_function([&](int x) { return x + total; }, n) + through_member(w, &Shape::grow, n);
	return total;
}
