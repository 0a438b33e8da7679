/* No C library at all: the thread pointer is 0 for ever. Built with -nostdlib -static. */
#define TRACED __attribute__((noipa, used))
#define OPAQUE(x) __asm__ volatile("" : "+r"(x)::"memory")

#if defined(__x86_64__)
enum { WRITE = 1, EXIT = 60 };

static long syscall3(long nr, long a, long b, long c)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}
#else
enum { WRITE = 64, EXIT = 93 };

static long syscall3(long nr, long a, long b, long c)
{
	register long x8 __asm__("x8") = nr, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
}
#endif

TRACED unsigned long spin(unsigned long x) { OPAQUE(x); return x * 25214903917u + 11; }

TRACED void start(void)
{
	unsigned long x = 1;
	for (int i = 0; i < 5000; i++)
		x = spin(x);
	static const char right[] = "nolibc right\ncalls spin 5000\ncalls start 1\nleft start 1\n";
	static const char wrong[] = "nolibc WRONG\n";
	if (x == 0x8d4c66889bcb4ae9u)
		syscall3(WRITE, 1, (long)right, sizeof right - 1);
	else
		syscall3(WRITE, 1, (long)wrong, sizeof wrong - 1);
	syscall3(EXIT, 0, 0, 0);
}

__attribute__((naked, patchable_function_entry(0))) void _start(void)
{
#if defined(__x86_64__)
	__asm__ volatile("call start\n\tud2");
#else
	__asm__ volatile("bl start\n\tbrk #0");
#endif
}
