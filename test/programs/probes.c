// Functions with arguments and results that are known: probes [faults|race|sandbox].
// It prints a checksum of what it was passed, so that a register or a result that
// was disturbed shows.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __clang__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noipa))
#endif

static uint64_t sum;

static inline void mix(uint64_t v) { sum = (sum ^ v) * 0x9e3779b97f4a7c15u; }

NOINLINE int ints(int8_t a, uint8_t b, int16_t c, uint16_t d, int32_t e, uint32_t f, int64_t g, uint64_t h)
{
	mix(a); mix(b); mix(c); mix(d); mix(e); mix(f); mix(g); mix(h);
	return e - 1;
}

NOINLINE long twelve(long a, long b, long c, long d, long e, long f, long g, long h, long i, long j, long k, long l)
{
	mix(a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j + 11 * k + 12 * l);
	return l;
}

NOINLINE double floats(float a, double b, int c, double d)
{
	mix((uint64_t)(a * 16)); mix((uint64_t)(b * 16)); mix(c); mix((uint64_t)(d * 16));
	return a + b + d;
}

NOINLINE const char *text(const char *s, int n)
{
	mix(strlen(s) + n);
	return s + 1;
}

// Never looks at what it is passed.
NOINLINE int blind(const void *p, int n)
{
	mix(n);
	return n + (p == NULL);
}

// Fails for odd numbers, and calls something when it does not.
NOINLINE int leaf(int n)
{
	mix(n);
	return n;
}

NOINLINE int failing(int n)
{
	if (n & 1) {
		errno = EIO;
		return -n;
	}
	return leaf(n) + 1;
}

static void faults(void)
{
	long page = sysconf(_SC_PAGESIZE);
	char *two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(two + page, page);
	strcpy(two + page - 6, "brink");
	memcpy(two, "whole", 6);
	char stack[32] = "on the stack";
	blind(two, 0);
	blind(two + page - 6, 1);   // ends with the page
	memset(two + page - 4, 'x', 4);
	blind(two + page - 4, 2);   // has no end before the page's
	blind(two + page, 3);       // not mapped
	blind(NULL, 4);
	blind((void *)0x123, 5);
	blind((void *)0xdead00000000beefu, 6);
	blind("constant", 7);
	blind(stack, 8);
	blind("", 9);
}

static char *volatile racing;
static volatile int over;

static void *mapper(void *arg)
{
	long page = sysconf(_SC_PAGESIZE);
	(void)arg;
	while (!over) {
		char *p = mmap((void *)0x500000000000, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		strcpy(p, "there");
		racing = p;
		munmap(p, page);
	}
	return NULL;
}

static void race(void)
{
	pthread_t t;
	pthread_create(&t, NULL, mapper, NULL);
	while (!racing)
		;
	for (int i = 0; i < 3000; i++)
		blind(racing, i);
	over = 1;
	pthread_join(t, NULL);
}

// A filter that kills for reading memory of processes.
static void sandbox(void)
{
	// As in linux/filter.h and linux/seccomp.h, which not every C library has beside it.
	struct {
		uint16_t code;
		uint8_t yes, no;
		uint32_t k;
	} filter[] = {
		{0x20, 0, 0, 0},                      // load the number of the system call
		{0x15, 0, 1, __NR_process_vm_readv},  // if it is this one
		{0x06, 0, 0, 0x80000000},             // kill the process
		{0x06, 0, 0, 0x7fff0000},             // else allow it
	};
	struct {
		unsigned short len;
		void *filter;
	} prog = {sizeof filter / sizeof *filter, filter};
	char *heap = strdup("on the heap"), stack[32] = "on the stack";
	blind(heap, 0);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &prog))
		exit(3);
	blind(heap, 1);
	blind(stack, 2);
	pid_t child = fork();
	int status;
	if (child == 0) {
		blind(heap, 3);
		_exit(7);
	}
	if (waitpid(child, &status, 0) != child || status != 7 << 8)
		exit(4);
	free(heap);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	errno = 77;
	if (!strcmp(mode, "faults")) {
		faults();
	} else if (!strcmp(mode, "race")) {
		race();
	} else if (!strcmp(mode, "sandbox")) {
		sandbox();
	} else {
		for (int i = 0; i < 3; i++) {
			mix(ints(-1 - i, 255, -300, 60000, -70000 + i, 4000000000u, -5000000000, 18000000000000000000u));
			mix(twelve(1, 2, 3, 4, 5, 6, 7, 8, 9, -10, 11, 12 + i));
			mix((uint64_t)floats(0.5f, -2.25, i, 1e10));
			mix(*text("hello \"world\"\n", i));
		}
		if (errno != 77)
			return 2;
		for (int i = 0; i < 10; i++)
			mix(failing(i));
	}
	printf("sum %016lx\n", (unsigned long)sum);
	return 0;
}
