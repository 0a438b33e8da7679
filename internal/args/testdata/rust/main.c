/* Calls the functions of internal/image/testdata/rust.rs, whose parameters C has in
 * the same places, and says what is to be shown of each call. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define RUST(name) __asm__("_RNvCshKuLGoDTFBq_4rust" name)

struct str { const char *data; size_t length; };
struct string { char *data; size_t capacity, length; };
struct pair { double b; uint32_t a; };

struct str name(struct str s) RUST("4name");
uint64_t greet(struct str s, struct string t, const struct string *u, struct str v, uint64_t n) RUST("5greet");
struct string pass(struct string s, struct str t) RUST("4pass");
uint64_t split(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g, const char *s, size_t n, uint64_t z)
	RUST("5split");
double numbers(uint8_t a, int16_t b, _Bool c, uint32_t d, float e, double f, int g, double h, uint32_t i) RUST("7numbers");

int main(void)
{
	struct str hello = { "hello, not this", 5 };
	struct string text = { "a string of Rust", 16, 8 }, other = { "other", 5, 5 };

	printf("name [\"hello\"] \"hello\"\n");
	name(hello);
	printf("greet [\"hello\",\"a string\",\"other\",\"68656c6c6f\",77] 77\n");
	greet(hello, text, &other, hello, 77);
	printf("pass [\"a string\",\"hello\"] \"a string\"\n");
	pass(text, hello);
	printf("split [1,2,3,4,5,6,7,\"he\",9] 9\n");
	split(1, 2, 3, 4, 5, 6, 7, hello.data, 2, 9);
	printf("numbers [200,-300,true,8364,0.5,{\"__0\":2.25},\"Write\",{\"a\":42,\"b\":-1.5}] {\"__0\":2.25}\n");
	numbers(200, -300, 1, 0x20ac, 0.5f, 2.25, 2, -1.5, 42);
	return 0;
}
