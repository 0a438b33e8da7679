/*
 * Threads that wait inside the kernel while somebody attaches: nanosleep, relative and absolute
 * clock_nanosleep, a futex with a timeout, ppoll, a read of a pipe, sem_timedwait. Each wait must
 * take its time, not be cut short and not begin anew. epoll_wait may return EINTR after any stop
 * (signal(7)); the program repeats it as programs do.
 *
 *   blocked [MILLISECONDS [SLACK]]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "truth.h"

static long ms = 2000, slack = 400;

static long now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static struct timespec span(long t)
{
	return (struct timespec){ t / 1000, t % 1000 * 1000000 };
}

static long do_nanosleep(void) { struct timespec t = span(ms); return nanosleep(&t, NULL); }
static long do_clock(void) { struct timespec t = span(ms); return clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL); }
static long do_absolute(void)
{
	struct timespec t = span(now() + ms);
	return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}
static long do_futex(void)
{
	static int word;
	struct timespec t = span(ms);
	long r = syscall(SYS_futex, &word, FUTEX_WAIT, 0, &t, NULL, 0);
	return r == -1 && errno == ETIMEDOUT ? 0 : -1;
}
static long do_ppoll(void) { struct timespec t = span(ms); return ppoll(NULL, 0, &t, NULL); }
static long do_epoll(void)
{
	int fd = epoll_create1(0);
	struct epoll_event e;
	long end = now() + ms, left;
	while ((left = end - now()) > 0)
		if (epoll_wait(fd, &e, 1, (int)left) < 0 && errno != EINTR)
			return -1;
	close(fd);
	return 0;
}
static int fds[2];
static long do_read(void) { char c; return read(fds[0], &c, 1) == 1 ? 0 : -1; }

static const struct { const char *name; long (*fn)(void); } waits[] = {
	{ "nanosleep", do_nanosleep }, { "clock_nanosleep", do_clock }, { "absolute", do_absolute },
	{ "futex", do_futex }, { "ppoll", do_ppoll }, { "epoll", do_epoll }, { "read", do_read },
};
enum { N = sizeof waits / sizeof *waits };
static long took[N], result[N], err[N];

TRACED void record(int i, long start, long r)
{
	took[i] = now() - start;
	result[i] = r;
	err[i] = r ? errno : 0;
}

static void *run(void *arg)
{
	int i = (int)(long)arg;
	long start = now(), r;
	errno = 0;
	r = waits[i].fn();
	record(i, start, r);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t[N];
	int bad = 0;
	if (argc > 1)
		ms = atol(argv[1]);
	if (argc > 2)
		slack = atol(argv[2]);
	if (pipe(fds))
		return 1;
	for (long i = 0; i < N; i++)
		pthread_create(&t[i], NULL, run, (void *)i);
	puts("ready");
	fflush(stdout);
	long end = now() + ms;
	while (now() < end)
		usleep(1000 * (end - now()) + 1000);
	if (write(fds[1], "x", 1) != 1)
		return 1;
	for (int i = 0; i < N; i++) {
		pthread_join(t[i], NULL);
		int ok = result[i] == 0 && took[i] >= ms - 5 && took[i] <= ms + slack;
		if (!ok)
			fprintf(stderr, "%s: took %ld ms of %ld, result %ld errno %ld\n", waits[i].name, took[i], ms, result[i], err[i]);
		printf("%s %s\n", waits[i].name, ok ? "right" : "WRONG");
		bad |= !ok;
	}
	CALLS("record", N);
	return bad;
}
