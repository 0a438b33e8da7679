// As signatures.c, for C++.
#include <string>
#include <string_view>

#define KEEP __attribute__((noinline, used))

static volatile int sink; // clang has no parameters that are not used

struct Plain { int x, y; };
class Counted {
public:
	Counted(const Counted &);
	~Counted();
	int n;
};
struct Base {
	virtual ~Base() {}
	virtual int virtual_method(int a);
	int b;
};
struct Derived : Base {
	int virtual_method(int a) override;
	double d;
};
struct Virtual : virtual Base {
	Virtual(int x);
	int z;
};
struct Holder { Counted c; };
struct Empty {};
struct Homogeneous : Empty { float a, b; };
enum class Mode : unsigned char { Read = 1, Write = 2, Exec = 4 };

//= Counted(pointer8 struct x0, &pointer8 struct x1)
//x Counted(pointer8 struct rdi, &pointer8 struct rsi)
Counted::Counted(const Counted &) : n(1) {}

//= ~Counted(pointer8 struct x0)
//x ~Counted(pointer8 struct rdi)
Counted::~Counted() {}

//= virtual_method(pointer8 struct x0, int4 x1) int4 x0
//x virtual_method(pointer8 struct rdi, int4 rsi) int4 rax
int Base::virtual_method(int a) { return a; }
int Derived::virtual_method(int a) { return a + 1; }

namespace ns {
//= by_value(struct4 *x0, struct8 x1, struct1 x2, struct8 v0+v1, struct4 *x3, struct16 *x4) struct4 *x8
//x by_value(struct4 *rsi, struct8 rdx, struct1, struct8 v0, struct4 *rcx, struct16 *r8) struct4 *rax
KEEP Counted by_value(Counted a, Plain b, Empty c, Homogeneous d, Holder e, Base f) { sink = e.c.n + f.b; return a; }
}

//= members(opaque8 x0, struct16 x1+x2, pointer8 void x3, &pointer8 int x4, &pointer8 struct x5, enum1 x6) enum1 x0
//x members(opaque8 rdi, struct16 rsi+rdx, pointer8 void rcx, &pointer8 int r8, &pointer8 struct r9, enum1 s0) enum1 rax
KEEP Mode members(int Plain::*a, int (Base::*b)(int), std::nullptr_t c, int &d, Plain &&e, Mode f) { return f; }

//= strings(&pointer8 struct x0, struct32 *x1, struct16 x2+x3, pointer8 struct x4) struct32 *x8
//x strings(&pointer8 struct rsi, struct32 *rdx, struct16 rcx+r8, pointer8 struct r9) struct32 *rax
KEEP std::string strings(const std::string &a, std::string b, std::string_view c, std::string *d) { return a + b; }

template <typename T> KEEP T add(T a, const T &b) { return a + b; }
//= add<double>(float8 v0, &pointer8 float x0) float8 v0
//x add<double>(float8 v0, &pointer8 float rdi) float8 v0
template double add<double>(double, const double &);

Virtual::Virtual(int x) : z(x) {}

KEEP inline int outer(int k)
{
	struct Local {
		int z;
		//= local_method(pointer8 struct x0, int4 x1) int4 x0
		//x local_method(pointer8 struct rdi, int4 rsi) int4 rax
		KEEP int local_method(int q) { return q * z; }
	};
	//= operator()(pointer8 struct x0, int4 x1) int4 x0
	//x operator()(pointer8 struct rdi, int4 rsi) int4 rax
	auto lambda = [&](int a) KEEP { return a + k; };
	return Local{k}.local_method(3) + lambda(k);
}
int calls_outer(int k) { return outer(k); }

int main() { return 0; }
