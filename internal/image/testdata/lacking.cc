// Parameters that are passed by reference and not used: clang does not tell of them if
// it does not optimise.
struct Counted { long a; Counted(const Counted &); ~Counted(); };
Counted::Counted(const Counted &) = default;
Counted::~Counted() {}
struct Mixed { char c; long l; };
typedef float vec16 __attribute__((vector_size(16)));

//x registers(int4 rsi, float8 v0, char1 rdx, bool1 rcx, int2 r8, float4 v1, pointer8 void r9, struct16 s0+s8, vector16 v2, struct8 *s16) int4 rax
int registers(Counted unused, int a, double d, char c, bool b, short s, float g, void *p, Mixed m, vec16 v, Counted used)
{
	return a + used.a;
}

//x structures(struct16 ?, int8 rcx, struct8 *r8, int2 r9) int4 rax
int structures(Counted unused, Mixed m, long l, Counted used, short s)
{
	return m.c + used.a;
}

//x all(int4 rdi, struct8 *rsi, int4 rdx) int4 rax
int all(int a, Counted used, int b)
{
	return a + used.a + b;
}
