// Classes as arguments and results. What is to be shown of each call is printed.
#include <cstdio>
#include <string>
#include <string_view>

#define TRACED extern "C++" __attribute__((noinline))

class Counted {
public:
	explicit Counted(int n) : n(n) {}
	Counted(const Counted &o) : n(o.n + 1) {}
	~Counted() { n = -1; }
	int n;
};
struct Point { int x, y; };
struct Box { Point low, high; double weight; };
struct Base {
	virtual ~Base() {}
	__attribute__((noinline)) virtual long method(int a, const Point &p) { return a + p.x; }
	long b = 7;
};
enum class Mode : unsigned char { Read = 1, Write = 2, Exec = 4 };
enum Option { A = 1, B = 2, C = 4, D = 8 };

TRACED int counted(Counted c, int after)
{
	printf("counted [{\"n\":%d},%d] 5\n", c.n, after);
	return 5;
}

TRACED size_t strings(const std::string &a, std::string b, std::string_view c, std::string *d)
{
	printf("strings [\"%s\",\"%s\",\"%.*s\",\"%s\"] 3\n", a.c_str(), b.c_str(), (int)c.size(), c.data(), d->c_str());
	return 3;
}

TRACED double boxes(const Box &a, Box b, const Point *c, int &d)
{
	printf("boxes [{\"low\":{\"x\":%d,\"y\":%d},\"high\":{\"x\":%d,\"y\":%d},\"weight\":%g},"
	       "{\"low\":{\"x\":%d,\"y\":%d},\"high\":{\"x\":%d,\"y\":%d},\"weight\":%g},{\"x\":%d,\"y\":%d},%d] 2.5\n",
	       a.low.x, a.low.y, a.high.x, a.high.y, a.weight, b.low.x, b.low.y, b.high.x, b.high.y, b.weight, c->x, c->y, d);
	return 2.5;
}

TRACED Mode modes(Mode a, Option b, bool c, char d)
{
	// Callers pass nothing that is not used.
	const char *mode = a == Mode::Write ? "Write" : "?", *option = b == (A | C) ? "A|C" : "?";
	printf("modes [\"%s\",\"%s\",%s,%d] \"Exec\"\n", mode, option, c ? "true" : "false", d);
	return Mode::Exec;
}

TRACED Point point(const char *a, const void *b)
{
	printf("point [\"%s\",\"0x%lx\"] {\"x\":1,\"y\":-2}\n", a, (unsigned long)b);
	return {1, -2};
}

TRACED std::string joined(const std::string &a)
{
	std::string all = a + "|" + a;
	printf("joined [\"%s\"] \"%s\"\n", a.c_str(), all.c_str());
	return all;
}

TRACED Counted made(void)
{
	printf("made [] {\"n\":77}\n");
	return Counted(77);
}

int main()
{
	std::string text = "a text that is longer than fifteen characters", word = "word";
	Point p = {3, -4};
	int number = 41;
	counted(Counted(20), 9);
	strings(text, word, std::string_view(text).substr(2, 4), &word);
	boxes(Box{{1, 2}, {3, 4}, 0.5}, Box{{5, 6}, {7, 8}, -1.5}, &p, number);
	modes(Mode::Write, Option(A | C), true, 'x');
	point("the point", (void *)0x1234);
	joined(word);
	made();
	Base *base = new Base;
	printf("Base::method [null,6,{\"x\":3,\"y\":-4}] %ld\n", base->method(6, p));
	delete base;
	return 0;
}
