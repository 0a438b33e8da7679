/*
 * Handlers on an alternate stack: one for raise(), one for a real stack overflow, from which the
 * program escapes. Each thread has an alternate stack of its own.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include "truth.h"

static __thread sigjmp_buf env;
static unsigned long usr, overflows;
static volatile unsigned char sink;

TRACED void count(unsigned long *p)
{
	__atomic_add_fetch(p, 1, __ATOMIC_RELAXED);
}

static void on_usr(int sig)
{
	(void)sig;
	count(&usr);
}

static void on_segv(int sig)
{
	(void)sig;
	count(&overflows);
	siglongjmp(env, 1);
}

TRACED unsigned long overflow(unsigned long n)
{
	volatile unsigned char buf[1024];
	buf[n % 1024] = (unsigned char)n;
	unsigned long r = overflow(n + 1);
	OPAQUE(r);
	return r + buf[n % 1024];
}

static void *run(void *arg)
{
	(void)arg;
	stack_t ss = { .ss_sp = malloc(32768), .ss_size = 32768 };
	sigaltstack(&ss, NULL);
	for (int i = 0; i < 50; i++)
		raise(SIGUSR1);
	if (!sigsetjmp(env, 1))
		sink = (unsigned char)overflow(0);
	ss.ss_flags = SS_DISABLE;
	sigaltstack(&ss, NULL);
	return NULL;
}

int main(void)
{
	struct sigaction a = { .sa_handler = on_usr, .sa_flags = SA_ONSTACK };
	struct sigaction b = { .sa_handler = on_segv, .sa_flags = SA_ONSTACK | SA_NODEFER };
	sigaction(SIGUSR1, &a, NULL);
	sigaction(SIGSEGV, &b, NULL);
	sigaction(SIGBUS, &b, NULL);
	for (int i = 0; i < 4; i++) {
		pthread_t t;
		pthread_attr_t attr;
		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, 256 << 10);
		pthread_create(&t, &attr, run, NULL);
		pthread_join(t, NULL);
	}
	printf("usr %lu overflows %lu\n", usr, overflows);
	CALLS("count", 204);
	CALLS("on_usr", 200);
	CALLS("on_segv", 4);
	LEFT("on_segv", 4);
	return usr == 200 && overflows == 4 ? 0 : 1;
}
