// Functions with mangled names, aliases among them.
namespace shop {
template <typename T> struct Basket {
	T total{};
	__attribute__((noinline)) void add(T price) { total += price; }
};
template struct Basket<int>;
}

struct Lock {
	Lock(int n);
	~Lock();
	volatile int n;
};
Lock::Lock(int n) : n(n) {}
Lock::~Lock() { n = 0; }

int operator+(const Lock &a, const Lock &b) { return a.n + b.n; }
