// The program that the tests of this package control. The first argument says what it
// does; it prints a line when it is ready, and what it has found out at the end.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void ready(void)
{
	puts("ready");
	fflush(stdout);
}

// wait_for waits argv[2] milliseconds in the system call KIND and prints its result, errno
// and how long it took.
static int wait_for(const char *kind, long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 }, abs;
	static uint32_t word;
	long start = now_ms(), r;

	ready();
	errno = 0;
	if (!strcmp(kind, "nanosleep")) {
		r = syscall(SYS_nanosleep, &ts, NULL);
	} else if (!strcmp(kind, "clock")) {
		r = syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &ts, NULL);
	} else if (!strcmp(kind, "clockabs")) {
		clock_gettime(CLOCK_MONOTONIC, &abs);
		abs.tv_sec += ts.tv_sec;
		abs.tv_nsec += ts.tv_nsec;
		if (abs.tv_nsec >= 1000000000) {
			abs.tv_sec++;
			abs.tv_nsec -= 1000000000;
		}
		r = syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &abs, NULL);
	} else if (!strcmp(kind, "futex")) {
		r = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0);
	} else if (!strcmp(kind, "ppoll")) {
		r = syscall(SYS_ppoll, NULL, 0, &ts, NULL, 8);
	} else if (!strcmp(kind, "epoll")) {
		struct epoll_event ev;
		r = epoll_wait(epoll_create1(0), &ev, 1, ms);
	} else {
		return 2;
	}
	printf("%ld %d %ld\n", r, r < 0 ? errno : 0, now_ms() - start);
	return 0;
}

// spin makes no system calls until a word in its memory is set by the tracer.
volatile uint64_t counter, leave;

__attribute__((noinline)) void tick(void)
{
	counter++;
	__asm__ volatile("");
}

static void *spin(void *arg)
{
	while (!leave)
		tick();
	return arg;
}

static void *short_life(void *arg)
{
	for (int i = 0; i < 10000; i++)
		tick();
	return arg;
}

// waves keeps threads being born and ending until told to leave.
static void *wave(void *arg)
{
	while (!leave) {
		pthread_t t[4];
		for (int i = 0; i < 4; i++)
			if (pthread_create(&t[i], NULL, short_life, NULL))
				abort();
		for (int i = 0; i < 4; i++)
			pthread_join(t[i], NULL);
	}
	return arg;
}

static int many(void *(*f)(void *), int n)
{
	pthread_t t[64];
	for (int i = 0; i < n; i++)
		if (pthread_create(&t[i], NULL, f, NULL))
			abort();
	ready();
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	puts("done");
	return 0;
}

// crowd has n threads alive at once.
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void *in_crowd(void *arg)
{
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	return arg;
}

static int crowd(int n)
{
	static pthread_t t[10000];
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	pthread_mutex_lock(&gate);
	for (int i = 0; i < n; i++)
		if (pthread_create(&t[i], &attr, in_crowd, NULL))
			abort();
	ready();
	while (!leave)
		usleep(1000);
	pthread_mutex_unlock(&gate);
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	puts("done");
	return 0;
}

// signals counts queued signals and checks that their values arrive in order.
static volatile sig_atomic_t got, disorder;

static void on_queued(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	if (info->si_code != SI_QUEUE || info->si_value.sival_int != got)
		disorder = 1;
	got++;
}

static int signals(int n)
{
	struct sigaction sa = { .sa_sigaction = on_queued, .sa_flags = SA_SIGINFO | SA_RESTART };
	sigaction(SIGRTMIN + 1, &sa, NULL);
	pid_t parent = getpid(), child = fork();
	if (child == 0) {
		ready();
		for (int i = 0; i < n; i++) {
			union sigval v = { .sival_int = i };
			while (sigqueue(parent, SIGRTMIN + 1, v))
				usleep(1000);
			if (i % 16 == 0)
				usleep(500);
		}
		_exit(0);
	}
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	printf("%d of %d, %s\n", (int)got, n, disorder ? "disordered" : "in order");
	return 0;
}

// profile counts the ticks of a timer, whose handler makes system calls too.
static volatile sig_atomic_t ticks;

static void on_tick(int sig)
{
	(void)sig;
	ticks++;
	getppid();
}

// A leaf: what it computes with is in the registers that a system call's arguments are
// in, and its return address is in the link register.
__attribute__((noinline)) static uint64_t sum_up(uint64_t n)
{
	uint64_t sum = 0;
	for (uint64_t i = 0; i < n; i++) {
		sum += i;
		__asm__ volatile("" : "+r"(sum), "+r"(i));
	}
	return sum;
}

// weigh is called from outside. What it is passed shows in what it returns.
volatile uint64_t weighed;

__attribute__((used, noinline)) uint64_t weigh(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	double x = (double)a; // it uses what the thread computes with
	weighed = (uint64_t)x + 10 * b + 100 * c + 1000 * d + 10000 * e + 100000 * f;
	return weighed;
}

static int profile(void)
{
	struct sigaction sa = { .sa_handler = on_tick, .sa_flags = SA_RESTART };
	sigaction(SIGALRM, &sa, NULL);
	struct itimerval it = { { 0, 500 }, { 0, 500 } };
	setitimer(ITIMER_REAL, &it, NULL);
	ready();
	int wrong = 0;
	while (!leave)
		wrong += sum_up(1000) != 499500;
	sigset_t blocked;
	sigprocmask(SIG_SETMASK, NULL, &blocked);
	int before = ticks;
	for (long end = now_ms() + 1000; ticks == before && now_ms() < end;)
		;
	printf("%d wrong, ticking %d, blocked %d\n", wrong, ticks != before, !sigisemptyset(&blocked));
	return 0;
}

// family forks, vforks and executes: every end is checked by its parent.
static int family(const char *self)
{
	int status;
	pid_t pid = fork();
	if (pid == 0)
		_exit(7);
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
		return 1;
	pid = vfork();
	if (pid == 0) {
		execl(self, self, "exit", "9", NULL);
		_exit(1);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 9)
		return 2;
	pid = fork();
	if (pid == 0)
		raise(SIGTERM);
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGTERM)
		return 3;
	pid = fork();
	if (pid == 0) {
		raise(SIGSTOP);
		_exit(5);
	}
	if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP)
		return 4;
	if (kill(pid, SIGCONT) || waitpid(pid, &status, WCONTINUED) != pid)
		return 5;
	// It may have ended before its continuation was asked for.
	if (WIFCONTINUED(status) && waitpid(pid, &status, 0) != pid)
		return 6;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 5)
		return 8;
	execl(self, self, "exit", "42", NULL);
	return 7;
}

// strict may read, write, return from signals and exit, and is killed for all else.
static int strict(void)
{
	ready();
	if (prctl(PR_SET_SECCOMP, 1))
		return 1;
	spin(NULL);
	if (write(1, "done\n", 5) != 5)
		syscall(SYS_exit, 1);
	return syscall(SYS_exit, 0);
}

static const char *self_path;

static void *exec_here(void *arg)
{
	execl(self_path, self_path, "exit", "11", NULL);
	return arg;
}

static int thread_exec(void)
{
	pthread_t t;
	if (pthread_create(&t, NULL, spin, NULL) || pthread_create(&t, NULL, exec_here, NULL))
		abort();
	pause();
	return 1;
}

static void *outlive(void *arg)
{
	usleep(50000);
	ready();
	spin(NULL);
	puts("done");
	exit(3);
	return arg;
}

static int leaderless(void)
{
	pthread_t t;
	if (pthread_create(&t, NULL, outlive, NULL))
		abort();
	pthread_exit(NULL);
}

// dispositions prints what an exec leaves untouched.
static int dispositions(void)
{
	sigset_t blocked;
	sigprocmask(SIG_SETMASK, NULL, &blocked);
	for (int sig = 1; sig < 32; sig++) {
		struct sigaction sa;
		if (sigaction(sig, NULL, &sa) == 0 && sa.sa_handler != SIG_DFL)
			printf("ignored %d\n", sig);
		if (sigismember(&blocked, sig))
			printf("blocked %d\n", sig);
	}
	printf("group %d\n", getpgrp() == getpgid(getppid()));
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	int n = argc > 2 ? atoi(argv[2]) : 0;

	self_path = argv[0];
	if (!strcmp(mode, "wait"))
		return wait_for(argv[3], n);
	if (!strcmp(mode, "exit"))
		return n;
	if (!strcmp(mode, "spin"))
		return many(spin, n);
	if (!strcmp(mode, "waves"))
		return many(wave, n);
	if (!strcmp(mode, "signals"))
		return signals(n);
	if (!strcmp(mode, "profile"))
		return profile();
	if (!strcmp(mode, "family"))
		return family(argv[0]);
	if (!strcmp(mode, "strict"))
		return strict();
	if (!strcmp(mode, "threadexec"))
		return thread_exec();
	if (!strcmp(mode, "leaderless"))
		return leaderless();
	if (!strcmp(mode, "dispositions"))
		return dispositions();
	if (!strcmp(mode, "raise"))
		return raise(n);
	if (!strcmp(mode, "crowd"))
		return crowd(n);
	if (!strcmp(mode, "births")) {
		pthread_t t[64];
		for (; n > 0; n -= 64) {
			for (int i = 0; i < 64; i++)
				if (pthread_create(&t[i], NULL, short_life, NULL))
					abort();
			for (int i = 0; i < 64; i++)
				pthread_join(t[i], NULL);
		}
		return 0;
	}
	if (!strcmp(mode, "hello")) {
		tick();
		puts("hello");
		return 0;
	}
	return 2;
}
