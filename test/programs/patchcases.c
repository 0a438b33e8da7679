/* Processes that are hard to patch. What is answered is made by square and by twice, which have to be of one version, as
 * in patchserver.c; a line on stdin is answered with counts.
 *
 *	patchcases births      threads are born, answer once and end, all the time
 *	patchcases deadlock    two threads wait for each other inside answer, for ever, while others answer
 *	patchcases strict      a filter kills who maps memory or makes a memfd
 *	patchcases filtered    a filter allows everything
 *	patchcases plain       none of it
 */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef NEW
#define VERSION 1
#else
#define VERSION 0
#endif

#define NOINLINE __attribute__((noinline, noclone))

struct answer { long square, twice; };

atomic_long answered, wrong, newer;
pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER, second = PTHREAD_MUTEX_INITIALIZER;
pthread_barrier_t both;

NOINLINE long square(long x) { return x * x + VERSION; }

NOINLINE long twice(long x) { return 2 * x + VERSION; }

static void embrace(pthread_mutex_t *a, pthread_mutex_t *b)
{
	pthread_mutex_lock(a);
	pthread_barrier_wait(&both);
	pthread_mutex_lock(b);
}

NOINLINE void answer(long x, struct answer *a)
{
#ifdef NEW
	__asm__ volatile("nop");
#endif
	if (x == -1)
		embrace(&first, &second);
	if (x == -2)
		embrace(&second, &first);
	a->square = square(x);
	a->twice = twice(x);
}

static void ask(long x)
{
	struct answer a;
	answer(x, &a);
	long version = a.square - x * x;
	if (version != a.twice - 2 * x || version < 0 || version > 1)
		atomic_fetch_add(&wrong, 1);
	atomic_fetch_add(&newer, version);
	atomic_fetch_add(&answered, 1);
}

static void *once(void *arg)
{
	ask((long)arg);
	return 0;
}

static void *bear(void *arg)
{
	for (long x = 1;; x = (x + 1) & 0xffff) {
		pthread_t t[2];
		for (int i = 0; i < 2; i++)
			if (pthread_create(&t[i], 0, once, (void *)x) != 0)
				_exit(2);
		for (int i = 0; i < 2; i++)
			pthread_join(t[i], 0);
	}
	return arg;
}

static void *work(void *arg)
{
	for (long x = 1;; x = (x + 1) & 0xffff) {
		ask(x);
		if (x % 16 == 0)
			usleep(1000);
	}
	return arg;
}

static int filter(int strict)
{
#define KILL(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
	struct sock_filter prog[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		KILL(SYS_mmap), KILL(SYS_memfd_create), KILL(SYS_munmap), KILL(SYS_mprotect), KILL(SYS_ftruncate), KILL(SYS_openat),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	int n = sizeof prog / sizeof *prog;
	struct sock_fprog fprog = { n, prog };
	if (!strict) {
		prog[0] = prog[n - 1];
		fprog.len = 1;
	}
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &fprog);
}

int main(int argc, char **argv)
{
	const char *kind = argc > 1 ? argv[1] : "";
	pthread_t t;
	char line[64];
	pthread_barrier_init(&both, 0, 2);
	pthread_create(&t, 0, strcmp(kind, "births") ? work : bear, 0);
	if (!strcmp(kind, "deadlock")) {
		pthread_create(&t, 0, once, (void *)-1L);
		pthread_create(&t, 0, once, (void *)-2L);
	}
	printf("ready\n");
	fflush(stdout);
	if (!strcmp(kind, "strict") || !strcmp(kind, "filtered"))
		if (filter(!strcmp(kind, "strict")))
			return 3;
	while (fgets(line, sizeof line, stdin)) {
		printf("%ld answers %ld new %ld wrong\n", atomic_exchange(&answered, 0), atomic_exchange(&newer, 0), atomic_load(&wrong));
		fflush(stdout);
	}
	_exit(wrong != 0);
}
