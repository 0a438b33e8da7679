// Calls of all kinds. Each job prints what comes of it, traced or not.
#include <complex.h>
#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <stdexcept>
#include <string>

#define F __attribute__((noipa))
// Not a loop, nor a tail call.
#define REAL(call) ({ auto v = call; asm volatile("" : "+r"(v)); v; })
#define REALLY(call) do { call; asm volatile(""); } while (0)

extern "C" int nested(int n);
extern "C" F void rig_first() { asm volatile(""); }

extern "C" {

F int fib(int n) { return n < 2 ? n : REAL(fib(n - 1)) + REAL(fib(n - 2)); }

F int odd(int n);
F int even(int n) { return n == 0 ? 1 : REAL(odd(n - 1)); }
F int odd(int n) { return n == 0 ? 0 : REAL(even(n - 1)); }

F int tail3(int n) { return n + 3; }
F int tail2(int n) { return tail3(n + 2); }
F int tail1(int n) { return tail2(n + 1); }
F int spin2(int n);
F int spin1(int n) { return n == 0 ? 7 : spin2(n - 1); }
F int spin2(int n) { return n == 0 ? 8 : spin1(n - 1); }

F double doubles(double a, double b, double c, double d, double e, double f, double g, double h, double i, double j, int k)
{
	return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j + k;
}
F long double longdouble(long double a, long double b) { return a / b; }
F long double _Complex twolong(long double a) { return a + 2.5L * a * 1.0iF; }
struct Two { double a, b; };
F Two two(double a) { return Two{a + 1, a * 2}; }
struct Mixed { long a; double b; };
F Mixed mixed(long a) { return Mixed{a + 1, a * 2.5}; }
struct Wide { __int128 a; };
F __int128 wide(__int128 a) { return a * 3; }
struct Big { int v[1024]; };
F Big big(Big b, int n)
{
	for (int &v : b.v)
		v += n;
	return b;
}
F double vary(int n, ...)
{
	va_list ap;
	va_start(ap, n);
	double sum = 0;
	for (int i = 0; i < n; i++)
		sum += i % 2 ? va_arg(ap, int) : va_arg(ap, double);
	va_end(ap);
	return sum;
}
F int deep(int n) { return n == 0 ? 0 : REAL(deep(n - 1)) + 1; }
}

F static void values()
{
	printf("%g\n", doubles(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
	printf("%.18Lg\n", longdouble(1, 3));
	long double _Complex z = twolong(3);
	printf("%Lg %Lg\n", __real__ z, __imag__ z);
	Two t = two(3);
	Mixed m = mixed(4);
	__int128 w = wide((__int128)1 << 70);
	printf("%g %g %ld %g %lx\n", t.a, t.b, m.a, m.b, (long)(w >> 64));
	Big b;
	for (int i = 0; i < 1024; i++)
		b.v[i] = i;
	b = big(b, 5);
	long sum = 0;
	for (int v : b.v)
		sum += v;
	printf("%ld %g %d\n", sum, vary(5, 1.5, 2, 3.5, 4, 5.5), nested(10));
}

// Exceptions.
static int destroyed;
struct Guard { ~Guard() { destroyed++; } };
extern "C" {
F void thrower(int n)
{
	Guard g;
	if (n == 0)
		throw std::runtime_error("deep");
	thrower(n - 1);
}
F void direct() { throw 7; }
F int catcher(int n)
{
	try {
		thrower(n);
	} catch (const std::exception &e) {
		return strlen(e.what());
	}
	return -1;
}
F int rethrower(int n)
{
	Guard g;
	try {
		thrower(n);
	} catch (...) {
		throw;
	}
	return 0;
}
}
F static void exceptions()
{
	for (int n : {0, 1, 5, 100, 800}) {
		destroyed = 0;
		int c = catcher(n);
		printf("%d %d\n", c, destroyed);
		destroyed = 0;
		try {
			rethrower(n);
		} catch (const std::runtime_error &) {
			printf("again %d\n", destroyed);
		}
	}
	int n = 0;
	for (int i = 0; i < 3000; i++)
		try {
			direct();
		} catch (int v) {
			n += v;
		}
	printf("%d %d\n", n, fib(10));
}

// Jumps out.
static jmp_buf env;
extern "C" {
F void jumper(int n)
{
	if (n == 0)
		longjmp(env, 1);
	REALLY(jumper(n - 1));
}
F int jumps(int n)
{
	volatile int count = 0;
	for (volatile int i = 0; i < n; i = i + 1)
		if (setjmp(env) == 0)
			jumper(i % 7);
		else
			count = count + 1;
	return count;
}
}

// Coroutines.
static ucontext_t back, co[8];
static int results[8];
extern "C" {
F int step(int id, int n)
{
	if (n == 0) {
		swapcontext(&co[id], &back);
		return id;
	}
	return REAL(step(id, n - 1)) + 1;
}
F void body(int id)
{
	int sum = 0;
	for (int i = 0; i < 50; i++)
		sum += step(id, i % 9);
	results[id] = sum;
}
F void resume(int id) { swapcontext(&back, &co[id]); }
}
static volatile int alive[8];
static void start(int id)
{
	body(id);
	alive[id] = 0;
	for (;;)
		swapcontext(&co[id], &back);
}
F static void coroutines(int local)
{
	static char stacks[8][65536];
	char own[local ? 8 * 65536 : 1];
	for (int i = 0; i < 8; i++) {
		getcontext(&co[i]);
		co[i].uc_stack.ss_sp = local ? own + i * 65536 : stacks[i];
		co[i].uc_stack.ss_size = 65536;
		co[i].uc_link = &back;
		makecontext(&co[i], (void (*)())start, 1, i);
		alive[i] = 1;
	}
	for (int any = 1, turn = 0; any; turn++) {
		any = 0;
		for (int i = 0; i < 8; i++)
			if (alive[i] && (turn + i) % 3) {
				resume(i);
				any = 1;
			} else if (alive[i])
				any = 1;
		fib(5);
	}
	for (int i = 0; i < 8; i++)
		printf("%d ", results[i]);
	printf("\n");
}
extern "C" F void *finish(void *)
{
	while (alive[0])
		resume(0);
	return 0;
}
F static void migrate()
{
	static char stack[65536];
	getcontext(&co[0]);
	co[0].uc_stack.ss_sp = stack;
	co[0].uc_stack.ss_size = sizeof stack;
	makecontext(&co[0], (void (*)())start, 1, 0);
	alive[0] = 1;
	for (int i = 0; i < 20; i++)
		resume(0);
	pthread_t t;
	pthread_create(&t, 0, finish, 0);
	pthread_join(t, 0);
	printf("%d\n", results[0]);
}

// Signals.
static volatile long handled, short_traces;
static sigjmp_buf out;
static volatile int leave;
extern "C" {
F int inhandler(int n) { return n == 0 ? 0 : REAL(inhandler(n - 1)) + 1; }
F void handler(int)
{
	handled = handled + inhandler(5) / 5;
	if (leave && handled % 3 == 0)
		siglongjmp(out, 1);
}
F void tracer(int)
{
	void *pcs[64];
	int n = backtrace(pcs, 64);
	handled = handled + 1;
	// main is at the bottom, whatever was interrupted.
	extern char _start[];
	bool found = false;
	for (int i = 0; i < n; i++)
		found = found || (unsigned long)((char *)pcs[i] - _start) < 64;
	if (!found)
		short_traces = short_traces + 1;
}
}
static void every(void (*f)(int), int us, int flags)
{
	struct sigaction sa = {};
	sa.sa_handler = f;
	sa.sa_flags = SA_RESTART | flags;
	sigaction(SIGALRM, &sa, 0);
	itimerval it = {{0, us}, {0, us}};
	setitimer(ITIMER_REAL, &it, 0);
}
F static void signals(const char *how)
{
	char stack[65536];
	stack_t ss = {stack, 0, sizeof stack};
	int flags = 0;
	if (strstr(how, "alt")) {
		sigaltstack(&ss, 0);
		flags = SA_ONSTACK;
	}
	leave = strstr(how, "leave") != 0;
	void *pcs[4];
	backtrace(pcs, 4);
	volatile long sum = 0;
	every(strstr(how, "trace") ? tracer : handler, 150, flags);
	for (volatile int i = 0; handled < 300; i = i + 1)
		if (sigsetjmp(out, 1) == 0)
			sum = sum + fib(12) - 144;
	itimerval none = {};
	setitimer(ITIMER_REAL, &none, 0);
	printf("%ld %d\n", (long)sum, short_traces > 0 ? (int)short_traces : 0);
}

// Threads.
extern "C" {
F void *work(void *p) { return (void *)(long)fib((int)(long)p % 10 + 5); }
F void cleanup(void *p) { ++*(int *)p; }
F void leaver(int n, int *cleaned)
{
	Guard g;
	pthread_cleanup_push(cleanup, cleaned);
	if (n == 0)
		pthread_exit((void *)5);
	leaver(n - 1, cleaned);
	pthread_cleanup_pop(0);
}
F void *exits(void *p)
{
	leaver(6, (int *)p);
	return 0;
}
F void sleeper(int n, int *cleaned)
{
	Guard g;
	pthread_cleanup_push(cleanup, cleaned);
	if (n == 0)
		for (;;)
			pause();
	sleeper(n - 1, cleaned);
	pthread_cleanup_pop(0);
}
F void *waits(void *p)
{
	sleeper(6, (int *)p);
	return 0;
}
F void *busy(void *)
{
	int old;
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
	for (;;)
		fib(10);
}
}
F static void threads()
{
	long sum = 0;
	for (int round = 0; round < 8; round++) {
		pthread_t t[8];
		for (int i = 0; i < 8; i++)
			pthread_create(&t[i], 0, work, (void *)(long)(round * 8 + i));
		for (int i = 0; i < 8; i++) {
			void *v;
			pthread_join(t[i], &v);
			sum += (long)v;
		}
	}
	printf("%ld\n", sum);
}
F static void cancels()
{
	for (int i = 0; i < 20; i++) {
		destroyed = 0;
		int cleaned = 0;
		void *v;
		pthread_t t;
		pthread_create(&t, 0, exits, &cleaned);
		pthread_join(t, &v);
		printf("%ld %d %d\n", (long)v, cleaned, destroyed);
		destroyed = cleaned = 0;
		pthread_create(&t, 0, waits, &cleaned);
		usleep(1000);
		pthread_cancel(t);
		pthread_join(t, &v);
		printf("%d %d %d\n", v == PTHREAD_CANCELED, cleaned, destroyed);
		pthread_create(&t, 0, busy, 0);
		usleep(1000);
		pthread_cancel(t);
		pthread_join(t, &v);
		printf("%d\n", v == PTHREAD_CANCELED);
	}
}

// Children.
extern "C" F int forker(int n)
{
	if (n > 0)
		return REAL(forker(n - 1)) + 1;
	fflush(stdout);
	pid_t pid = fork();
	if (pid != 0) {
		int status;
		waitpid(pid, &status, 0);
		return WEXITSTATUS(status);
	}
	return 100;
}
extern "C" F void child_of_vfork(int n)
{
	if (n == 0)
		_exit(3);
	REALLY(child_of_vfork(n - 1));
}
extern "C" F int vforker(int n)
{
	if (n > 0)
		return REAL(vforker(n - 1)) + 1;
	pid_t pid = vfork();
	if (pid == 0)
		child_of_vfork(5);
	int status;
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

extern "C" {
F int depths(int n)
{
	if (n > 0)
		return REAL(depths(n - 1)) + 1;
	void *pcs[1000];
	int real = 0;
	int count = backtrace(pcs, 1000);
	char **names = backtrace_symbols(pcs, count);
	for (int i = 0; i < count; i++)
		real += strstr(names[i], "depths") != 0;
	free(names);
	return real * 1000;
}
}

// Every instruction of a few calls, the entry's and the exit's included, is interrupted
// once by a signal, whose handler does something.
#define UNTRACED __attribute__((noinline, patchable_function_entry(0)))
static volatile long traps, stop_at, wrong;
static const char *what;
static ucontext_t interrupted, other;
static volatile bool in_child;
enum { TRAP_FLAG = 0x100 };

extern "C" F int few(int n) { return REAL(tail2(n)) + 1; }
// With a frame pointer, by which it can be unwound where it moves the stack pointer.
UNTRACED __attribute__((optimize("no-omit-frame-pointer"))) static int stepped(int n)
{
	asm volatile("lea -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; lea 128(%%rsp), %%rsp" ::: "cc", "memory");
	int v = few(n);
	asm volatile("lea -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; lea 128(%%rsp), %%rsp" ::: "cc", "memory");
	return v;
}
UNTRACED static int caught(int n)
{
	try {
		return stepped(n);
	} catch (int) {
		return -1;
	}
}
extern "C" F void elsewhere()
{
	for (;;) {
		wrong = wrong + (fib(3) != 2);
		swapcontext(&other, &interrupted);
	}
}
UNTRACED static void act(ucontext_t *context)
{
	if (!strcmp(what, "call"))
		wrong = wrong + (inhandler(3) != 3);
	else if (!strcmp(what, "trace"))
		tracer(0);
	else if (!strcmp(what, "switch"))
		swapcontext(&interrupted, &other);
	else if (!strcmp(what, "leave"))
		siglongjmp(out, 1);
	else if (!strcmp(what, "throw")) {
		sigset_t set;
		sigemptyset(&set);
		sigaddset(&set, SIGTRAP);
		sigprocmask(SIG_UNBLOCK, &set, 0);
		throw 1;
	} else if (!strcmp(what, "fork") && stop_at % 16 == 0) {
		pid_t pid = fork();
		int status = 0;
		if (pid == 0) {
			in_child = true;
			return;
		}
		waitpid(pid, &status, 0);
		wrong = wrong + (status != 0);
	}
	(void)context;
}
UNTRACED static void trap(int, siginfo_t *, void *p)
{
	ucontext_t *context = (ucontext_t *)p;
	traps = traps + 1;
	if (traps < stop_at)
		return;
	// An exception is expected in calls only.
	char *pc = (char *)context->uc_mcontext.gregs[REG_RIP];
	if (!strcmp(what, "throw") && pc - (char *)stepped >= 0 && pc - (char *)stepped < 128)
		return;
	context->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
	act(context);
}
UNTRACED static void steps(const char *how)
{
	what = how;
	static char stack[65536], alternate[65536];
	getcontext(&other);
	other.uc_stack.ss_sp = stack;
	other.uc_stack.ss_size = sizeof stack;
	makecontext(&other, elsewhere, 0);
	void *pcs[4];
	backtrace(pcs, 4);
	stack_t ss = {};
	ss.ss_sp = alternate;
	ss.ss_size = sizeof alternate;
	sigaltstack(&ss, 0);
	struct sigaction sa = {};
	sa.sa_sigaction = trap;
	static long rounds[2];
	static int round;
	const int want = few(2);
	for (round = 0; round < 2; round++) {
		sa.sa_flags = SA_SIGINFO | (round ? SA_ONSTACK : 0);
		sigaction(SIGTRAP, &sa, 0);
		for (stop_at = 1; round == 0 || strcmp(how, "throw"); stop_at = stop_at + 1 + 6 * round) {
			traps = 0;
			if (sigsetjmp(out, 1) == 0) {
				int v = caught(2);
				if (in_child)
					_exit(v == want ? 0 : 1);
				wrong = wrong + (v != want && v != -1);
				if (traps < stop_at)
					break;
			}
			rounds[round]++;
		}
		// What was left open does not keep others from being recorded.
		for (int i = 0; i < 50; i++)
			wrong = wrong + (deep(20) != 20);
	}
	printf("%ld %d %d %d\n", (long)wrong, (int)short_traces, fib(10), rounds[0] > 20 && (rounds[1] > 2 || !strcmp(how, "throw")));
}

int main(int argc, char **argv)
{
	std::string job = argc > 1 ? argv[1] : "fib";
	int n = argc > 2 ? atoi(argv[2]) : 20;
	if (job == "fib")
		printf("%d\n", fib(n));
	else if (job == "mutual")
		printf("%d\n", even(n));
	else if (job == "tail")
		printf("%d %d\n", tail1(n), spin1(100000));
	else if (job == "values")
		values();
	else if (job == "exceptions")
		exceptions();
	else if (job == "longjmp")
		printf("%d %d\n", jumps(n), fib(10));
	else if (job == "deep")
		printf("%d %d\n", deep(n), fib(10));
	else if (job == "coroutines")
		coroutines(n);
	else if (job == "migrate")
		migrate();
	else if (job.substr(0, 7) == "signals")
		signals(argv[1]);
	else if (job == "threads")
		threads();
	else if (job == "cancel")
		cancels();
	else if (job == "fork") {
		int v = forker(n);
		if (v == 100 + n) {
			printf("child\n");
			return 9;
		}
		printf("%d\n", v);
	} else if (job == "vfork")
		printf("%d\n", vforker(n) + vforker(n));
	else if (job == "step")
		steps(argv[2]);
	else if (job == "backtrace")
		printf("%d\n", depths(n));
	return 0;
}
