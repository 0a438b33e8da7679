// A threaded server that is patched while it answers: N threads answer requests of as many
// clients over socket pairs, each answer is checked. The answer to x is made by square and
// by twice, which have to be of one version: with NEW they are x*x+1 and 2*x+1.
//
//	patchserver THREADS [fork]    reads lines from stdin: each is answered with counts;
//	                              fork: a child serves, too, when the line is "fork"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef NEW
#define VERSION 1
#else
#define VERSION 0
#endif

#ifdef __clang__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noinline, noclone))
#endif

struct answer { long square, twice; };

atomic_long answered, wrong, newer;
static atomic_int stop, chld;
static long calls; /* the patch goes on counting here */
long hooks;        /* and says here what was called */

NOINLINE long square(long x)
{
	calls++;
	return x * x + VERSION;
}

NOINLINE static long twice(long x) { return 2 * x + VERSION; }

NOINLINE void answer(long x, struct answer *a)
{
#ifdef NEW
	/* Another function, so that it is replaced, too: a thread that is between the two calls stays. */
	__asm__ volatile("nop");
#endif
	a->square = square(x);
	a->twice = twice(x);
	if (a->square - x * x != a->twice - 2 * x)
		atomic_fetch_add(&wrong, 1);
}

#ifdef NEW
int nopal_pre_patch(void)
{
	hooks += 1;
#ifdef VETO
	return 7;
#else
	return 0;
#endif
}
void nopal_post_patch(void) { hooks += 10; }
int nopal_pre_unpatch(void) { hooks += 100; return 0; }
void nopal_post_unpatch(void) { hooks += 1000; }
#endif

static void *serve(void *arg)
{
	int fd = *(int *)arg;
	long x;
	while (read(fd, &x, sizeof x) == sizeof x) {
		struct answer a;
		answer(x, &a);
		if (write(fd, &a, sizeof a) != sizeof a)
			break;
	}
	return 0;
}

static void *ask(void *arg)
{
	int fd = *(int *)arg;
	for (long x = 1; !atomic_load(&stop); x++) {
		struct answer a;
		long q = x & 0xffff;
		if (write(fd, &q, sizeof q) != sizeof q || read(fd, &a, sizeof a) != sizeof a) {
			atomic_fetch_add(&wrong, 1);
			break;
		}
		long version = a.square - q * q;
		if (version != a.twice - 2 * q || version < 0 || version > 1)
			atomic_fetch_add(&wrong, 1);
		atomic_fetch_add(&newer, version);
		atomic_fetch_add(&answered, 1);
	}
	shutdown(fd, SHUT_RDWR);
	return 0;
}

/* The parent of a stopped child gets SIGCHLD; nobody stops anybody here. */
static void on_chld(int sig) { chld = sig; }

static int in_child(void)
{
	for (long x = 0; x < 200; x++) {
		struct answer a;
		answer(x, &a);
		usleep(5000);
	}
	return wrong != 0;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 4;
	int (*fds)[2] = calloc(n, sizeof *fds);
	pthread_t *threads = calloc(2 * n, sizeof *threads);
	signal(SIGCHLD, on_chld);
	for (int i = 0; i < n; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds[i]) != 0)
			return 2;
		pthread_create(&threads[2 * i], 0, serve, &fds[i][0]);
		pthread_create(&threads[2 * i + 1], 0, ask, &fds[i][1]);
	}
	printf("ready\n");
	fflush(stdout);
	char line[64];
	pid_t child = 0;
	while (fgets(line, sizeof line, stdin)) {
		if (!strcmp(line, "fork\n") && (child = fork()) == 0)
			_exit(in_child());
		if (!strcmp(line, "wait\n")) {
			int status = -1;
			waitpid(child, &status, 0);
			printf("child %d\n", status);
		} else {
			printf("%ld answers %ld new %ld wrong\n", atomic_exchange(&answered, 0), atomic_exchange(&newer, 0), atomic_load(&wrong));
		}
		fflush(stdout);
	}
	atomic_store(&stop, 1);
	for (int i = 0; i < 2 * n; i++)
		pthread_join(threads[i], 0);
	printf("end %ld wrong %ld hooks\n", atomic_load(&wrong), hooks);
	return wrong != 0;
}
