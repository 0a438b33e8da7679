/* Functions that are left in all the ways that compilers know. In those named
 * tail_* every br is a tail call, in all others none is. */
#include <alloca.h>
#include <stdlib.h>
#include <string.h>

#define KEEP __attribute__((noinline))

volatile int sink;
struct ops {
	int (*first)(struct ops *, int);
	int (*second)(struct ops *, int);
};

KEEP int plain(int x) { return x * 3 + sink; }
KEEP void nothing(void) {}
KEEP __attribute__((cold)) void complain(int x) { sink = x; }
KEEP int early(int x)
{
	if (x > 3)
		return plain(x) + 1;
	if (x > 1)
		return x;
	return plain(x) + plain(x + 1);
}
KEEP int direct(int x) { return plain(x + 1); }
KEEP int direct_after_frame(int x)
{
	sink = plain(x);
	return plain(sink);
}
KEEP int tail_pointer(int (*f)(int), int x) { return f(x + 1); }
KEEP int tail_member(struct ops *o, int x) { return o->second(o, x); }
KEEP int tail_member_after_frame(struct ops *o, int x)
{
	x += o->first(o, plain(x));
	return o->second(o, x);
}
KEEP int tail_select(struct ops *o, int x) { return (x > sink ? o->first : o->second)(o, x); }
KEEP int tail_loop(struct ops *o, int x)
{
	for (int i = 0; i < x; i++)
		if (plain(i) > x)
			return o->first(o, i);
	return o->second(o, x);
}
KEEP int recursive(int x) { return x < 2 ? x : recursive(x - 1) + recursive(x - 2); }
KEEP int endless_recursion(int x) { return x ? endless_recursion(plain(x)) : 0; }
KEEP __attribute__((noreturn)) void never(void)
{
	for (;;)
		sink = plain(sink);
}
KEEP __attribute__((noreturn)) void dies(int x)
{
	complain(x);
	abort();
}
KEEP int seldom(int x)
{
	if (__builtin_expect(x == 12345, 0)) {
		complain(x);
		complain(x + 1);
		x = plain(x);
	}
	if (__builtin_expect(x == 54321, 0))
		dies(x);
	return plain(x) + x;
}
KEEP int on_stack(int n)
{
	char *p = alloca(n);
	memset(p, sink, n);
	return plain(p[n / 2]);
}
KEEP int many(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j) { return a + j + plain(b + c + d + e + f + g + h + i); }
KEEP int passes_many(int x) { return many(x, 1, 2, 3, 4, 5, 6, 7, 8, 9); }

#define CASES(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
KEEP int switch_leaf(int x, int y)
{
	switch (x) {
#define CASE(n) case n: return y * (n + 7) ^ (y >> n % 5);
	CASES(CASE)
	}
	return 1;
}
KEEP int switch_calls(int x, int y)
{
	switch (x) {
#undef CASE
#define CASE(n) case n: sink = y + n * n; y += n & 1 ? plain(y ^ n) : early(y - n); break;
	CASES(CASE)
	}
	return y + plain(x);
}
KEEP int switch_tail(int x, int y)
{
	switch (x) {
#undef CASE
#define CASE(n) case n: sink = n * n; return n & 1 ? plain(y ^ n) : early(y - n);
	CASES(CASE)
	}
	return y;
}
KEEP int switch_loop(const unsigned char *p, int y)
{
	for (;; p++)
		switch (*p) {
#undef CASE
#define CASE(n) case n: y = n & 1 ? plain(y ^ n) : y - sink * n; break;
		CASES(CASE)
		case 16: return y;
		}
}
KEEP int goto_frame(const unsigned char *p, int y)
{
	static const void *const labels[] = {&&add, &&sub, &&call, &&end};
#define NEXT goto *labels[*p++]
	NEXT;
add: y += 3; NEXT;
sub: y -= sink; NEXT;
call: y = plain(y); NEXT;
end: return y;
}
KEEP int goto_leaf(const unsigned char *p, int y)
{
	static const void *const labels[] = {&&add, &&sub, &&mul, &&end};
	NEXT;
add: y += 3; NEXT;
sub: y -= 5; NEXT;
mul: y *= 9; NEXT;
end: return y;
}
KEEP int goto_offsets(const unsigned char *p, int y)
{
	static const int labels[] = {&&add - &&add, &&sub - &&add, &&call - &&add, &&end - &&add};
#undef NEXT
#define NEXT goto *(&&add + labels[*p++])
	NEXT;
add: y += 3; NEXT;
sub: y -= sink; NEXT;
call: y = plain(y); NEXT;
end: return y;
}

int main(int argc, char **argv)
{
	struct ops o = {0};
	unsigned char p[] = {0, 1, 2, 3};
	nothing();
	if (argc > 9)
		never();
	return early(argc) + direct(argc) + direct_after_frame(argc) + tail_pointer(plain, argc) + tail_member(&o, argc) +
	       tail_member_after_frame(&o, argc) + tail_select(&o, argc) + tail_loop(&o, argc) + recursive(argc) +
	       endless_recursion(argc) + seldom(argc) + on_stack(argc) + passes_many(argc) + switch_leaf(argc, 1) +
	       switch_calls(argc, 1) + switch_tail(argc, 2) + switch_loop(p, argc) + goto_frame(p, argc) + goto_leaf(p, argc) +
	       goto_offsets(p, argc);
}
