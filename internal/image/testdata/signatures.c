// What each function's signature is stands in front of it: the name, the kind and
// size of each parameter and where it is, the result and where that is: on arm64
// (=) and on x86-64 (x).
#include <stddef.h>

#define KEEP __attribute__((noinline, used, visibility("default")))

typedef struct { int x, y; } point;
typedef struct { float a, b, c; } triangle;
typedef struct { double d[4]; } quad;
typedef struct { double d[5]; } five;
typedef struct { long a, b, c; } big;
typedef struct { char c; short s; long l; } mixed;
typedef struct { __int128 v; } wide;
typedef struct { long v; } __attribute__((aligned(16))) adjusted;
typedef struct { __attribute__((aligned(16))) long v; } aligned_member;
typedef union { double d; long l; } either;
typedef union { float f; float g[2]; } floats;
typedef struct { unsigned a : 3, b : 7; } bits;
typedef struct { triangle t; float d; } nested;
typedef float vec8 __attribute__((vector_size(8)));
typedef float vec16 __attribute__((vector_size(16)));
typedef struct { vec16 v[3]; } vectors;
typedef struct { } nothing;
typedef char huge[100];
typedef struct { huge h; } page;
enum color { RED, GREEN = 5, BLUE = -1 };
struct undefined;
static volatile long sink; // clang has no parameters that are not used

//= numbers(int4 x0, int8 x1, uint1 x2, int2 x3, uint4 x4, bool1 x5, char1 x6, int8 x7, int1 s0, uint2 s8, int8 s16) int4 x0
//x numbers(int4 rdi, int8 rsi, uint1 rdx, int2 rcx, uint4 r8, bool1 r9, char1 s0, int8 s8, int1 s16, uint2 s24, int8 s32) int4 rax
KEEP int numbers(int a, long b, unsigned char c, short d, unsigned e, _Bool f, char g, long long h, signed char i, unsigned short j, long k)
{
	return a;
}

//= floating(float4 v0, float8 v1, float16 v2, int4 x0, complex8 v3+v4, complex16 v5+v6, float4 v7, float8 s0, float4 s8, float16 s16) float4 v0
//x floating(float4 v0, float8 v1, float16 s0, int4 rdi, complex8 v2, complex16 v3+v4, float4 v5, float8 v6, float4 v7, float16 s16) float4 v0
KEEP float floating(float a, double b, long double c, int d, _Complex float e, _Complex double f, float g, double h, float i, long double j)
{
	return a;
}

//= small(struct8 x0, struct16 x1+x2, struct4 x3, union8 x4, union8 v0+v1, struct16 x5+x6, struct8 x7, struct16 s0+s8) struct8 x0
//x small(struct8 rdi, struct16 rsi+rdx, struct4 rcx, union8 r8, union8 v0, struct16 s0+s8, struct8 r9, struct16 s16+s24) struct8 rax
KEEP point small(point a, mixed b, bits c, either d, floats e, mixed f, point g, mixed h)
{
	return a;
}

//= homogeneous(struct12 v0+v1+v2, struct16 v3+v4+v5+v6, struct32 s0+s8+s16+s24, float8 s32, struct40 *x0, int4 x1) struct32 v0+v1+v2+v3
//x homogeneous(struct12 v0+v1, struct16 v2+v3, struct32 s0+s8+s16+s24, float8 v4, struct40 s32+s40+s48+s56+s64, int4 rsi) struct32 *rax
KEEP quad homogeneous(triangle a, nested b, quad c, double d, five e, int f)
{
	sink = e.d[0];
	return c;
}

//= alignment(int4 x0, int16 x2+x3, int4 x4, struct16 x6+x7, int4 s0, int16 s16+s24, struct16 s32+s40, int4 s48) int16 x0+x1
//x alignment(int4 rdi, int16 rsi+rdx, int4 rcx, struct16 r8+r9, int4 s0, int16 s16+s24, struct16 s32+s40, int4 s48) int16 rax+rdx
KEEP __int128 alignment(int a, __int128 b, int c, wide d, int e, __int128 f, wide g, int h)
{
	return b;
}

//= attributes(int4 x0, struct16 x1+x2, struct16 x4+x5, int4 x6) struct16 x0+x1
//x attributes(int4 rdi, struct16 rsi, struct16 rdx, int4 rcx) struct16 rax
KEEP adjusted attributes(int a, adjusted b, aligned_member c, int d)
{
	return b;
}

//= pair_at_the_end(int8 x0, int8 x1, int8 x2, int8 x3, int8 x4, int8 x5, int8 x6, struct16 s0+s8, int8 s16)
//x pair_at_the_end(int8 rdi, int8 rsi, int8 rdx, int8 rcx, int8 r8, int8 r9, int8 s0, struct16 s8+s16, int8 s24)
KEEP void pair_at_the_end(long a, long b, long c, long d, long e, long f, long g, mixed h, long i)
{
}

//= large(struct24 *x0, struct100 *x1, int4 x2) struct24 *x8
//x large(struct24 s0+s8+s16, struct100 s24+s32+s40+s48+s56+s64+s72+s80+s88+s96+s104+s112+s120, int4 rsi) struct24 *rax
KEEP big large(big a, page b, int c)
{
	sink = b.h[0];
	return a;
}

//= vector(vector8 v0, vector16 v1, struct48 v2+v3+v4, int4 x0) vector16 v0
//x vector(vector8 v0, vector16 v1, struct48 s0+s8+s16+s24+s32+s40, int4 rdi) vector16 v0
KEEP vec16 vector(vec8 a, vec16 b, vectors c, int d)
{
	return b;
}

//= pointers(pointer8 char x0, pointer8 void x1, pointer8 struct x2, pointer8 opaque x3, pointer8 struct x4, uint8 x5, enum4 x6) pointer8 char x0
//x pointers(pointer8 char rdi, pointer8 void rsi, pointer8 struct rdx, pointer8 opaque rcx, pointer8 struct r8, uint8 r9, enum4 s0) pointer8 char rax
KEEP const char *pointers(const char *a, void *b, struct undefined *c, int (*d)(int), const point *e, size_t f, enum color g)
{
	return a;
}

//= variadic(pointer8 char x0, ...) int4 x0
//x variadic(pointer8 char rdi, ...) int4 rax
KEEP int variadic(const char *format, ...)
{
	return 0;
}

//= empty(int4 x0, struct0, int4 x1)
//x empty(int4 rdi, struct0, int4 rsi)
KEEP void empty(int a, nothing b, int c)
{
}

//= none()
//x none()
KEEP void none(void)
{
}

//= stops(int4 x0) noreturn
//x stops(int4 rdi) noreturn
KEEP __attribute__((noreturn)) void stops(int a)
{
	for (;;)
		;
}

typedef struct { long double v; } extended;
typedef union { long double f; long l; } no_extended;
typedef struct { char c; long l; } __attribute__((packed)) packed;
typedef struct { char c; int i; } __attribute__((packed)) small_packed;
typedef struct { float f; int i; double d; } halves;
typedef struct { long a : 40, b : 40; } wide_bits;
typedef struct { char a[9]; } chars;

//x x87(float16 s0, struct16 s16+s24, int4 rdi, complex32 s32+s40+s48+s56) float16 st0
KEEP long double x87(long double a, extended b, int c, _Complex long double d)
{
	return a;
}

//x x87_struct(struct16 s0+s8, union16 s16+s24) struct16 st0
KEEP extended x87_struct(extended a, no_extended b)
{
	return a;
}

//x x87_pair(int4 rdi) complex32 st0+st1
KEEP _Complex long double x87_pair(int a)
{
	return a;
}

//x in_memory(int4 rsi) union16 *rax
KEEP no_extended in_memory(int a)
{
	return (no_extended){ .l = a };
}

//x packings(struct9 s0+s8, struct5 s16, int4 rdi, struct16 rsi+v0, struct16 rdx+rcx, struct9 r8+r9) struct16 rax+v0
KEEP halves packings(packed a, small_packed b, int c, halves d, wide_bits e, chars f)
{
	return d;
}

// Both classes have to have registers left; what comes later may have them.
//x mixture(int8 rdi, int8 rsi, int8 rdx, int8 rcx, int8 r8, struct16 r9+v0, struct16 s0+s8, float8 v1, int8 s16)
KEEP void mixture(long a, long b, long c, long d, long e, halves f, halves g, double h, long i)
{
}

int main(void)
{
	return 0;
}
