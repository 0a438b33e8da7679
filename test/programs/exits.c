/* Threads that leave from deep inside: pthread_exit, deferred and asynchronous cancel, with clean-up handlers. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include "truth.h"

static unsigned long cleaned, entered, spins;
static pthread_barrier_t barrier;

TRACED void cleanup(void *arg)
{
	__atomic_add_fetch((unsigned long *)arg, 1, __ATOMIC_RELAXED);
}

TRACED void leave(int depth)
{
	__atomic_add_fetch(&entered, 1, __ATOMIC_RELAXED);
	pthread_cleanup_push(cleanup, &cleaned);
	if (depth == 0)
		pthread_exit((void *)42);
	leave(depth - 1);
	pthread_cleanup_pop(0);
}

TRACED void point(void)
{
	__atomic_add_fetch(&spins, 1, __ATOMIC_RELAXED);
	pthread_testcancel();
	KEEP_FRAME();
}

static void *exiting(void *arg)
{
	leave((int)(long)arg);
	return NULL;
}

static void *deferred(void *arg)
{
	(void)arg;
	pthread_cleanup_push(cleanup, &cleaned);
	pthread_barrier_wait(&barrier);
	for (;;)
		point();
	pthread_cleanup_pop(0);
	return NULL;
}

static void *asynchronous(void *arg)
{
	(void)arg;
	pthread_cleanup_push(cleanup, &cleaned);
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	pthread_barrier_wait(&barrier);
	for (;;)
		__asm__ volatile("");
	pthread_cleanup_pop(0);
	return NULL;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 30;
	unsigned long exited = 0, cancelled = 0;
	pthread_barrier_init(&barrier, NULL, 2);
	for (int i = 0; i < rounds; i++) {
		pthread_t t;
		void *r;
		pthread_create(&t, NULL, exiting, (void *)(long)(i % 8));
		pthread_join(t, &r);
		exited += r == (void *)42;
		pthread_create(&t, NULL, i % 2 ? deferred : asynchronous, NULL);
		pthread_barrier_wait(&barrier);
		pthread_cancel(t);
		pthread_join(t, &r);
		cancelled += r == PTHREAD_CANCELED;
	}
	printf("exited %lu cancelled %lu cleaned %lu\n", exited, cancelled, cleaned);
	CALLS("leave", entered);
	LEFT("leave", entered);
	CALLS("cleanup", cleaned);
	CALLS_VARY("point", spins);
	/* A cancelled thread is in the cancellation point. */
	LEFT("point", rounds / 2);
	CALLS("deferred", rounds / 2);
	LEFT("deferred", rounds / 2);
	CALLS("asynchronous", (rounds + 1) / 2);
	LEFT("asynchronous", (rounds + 1) / 2);
	CALLS("exiting", rounds);
	LEFT("exiting", rounds);
	return 0;
}
