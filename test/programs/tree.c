/*
 * A random but repeatable call tree on each of three threads, written down by the program itself:
 * ordinary calls, tail calls by name and by pointer, several returns, a jump table, a large frame,
 * and longjmp out of any depth. A tail call's caller is over before its callee begins; frames that
 * longjmp leaves are over when it lands.
 *
 *   tree [NODES]
 *
 * Prints "~tree TID a(b()c(d()))" for each thread: t_a called t_b, and so on.
 */
#define _GNU_SOURCE
#include <alloca.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "truth.h"

struct log {
	char *text;
	size_t length;
	unsigned depth;
	long nodes;
	unsigned long random, sum;
	jmp_buf *landing;
	int tid;
};

#define INLINE static inline __attribute__((always_inline))

INLINE void enter(struct log *l, char name)
{
	l->text[l->length++] = name;
	l->text[l->length++] = '(';
	l->depth++;
	l->nodes--;
}

INLINE long leave(struct log *l, long result)
{
	l->text[l->length++] = ')';
	l->depth--;
	return result;
}

/*
 * TAIL_CALL(l, call) returns what call does. The caller is over before, if the compiler makes a tail call of
 * it, which it does unless it does not optimise.
 */
#ifdef __OPTIMIZE__
#define TAIL_CALL(l, call)   \
	do {                 \
		leave(l, 0); \
		return call; \
	} while (0)
#else
#define TAIL_CALL(l, call) return leave(l, call)
#endif

INLINE unsigned pick(struct log *l, unsigned n)
{
	l->random = l->random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(l->random >> 33) % n;
}

TRACED long t_a(struct log *l, long x);
TRACED long t_b(struct log *l, long x);
TRACED long t_c(struct log *l, long x);
TRACED long t_d(struct log *l, long x);
TRACED long t_e(struct log *l, long x);
TRACED long t_f(struct log *l, long x);
TRACED long t_g(struct log *l, long x);
TRACED long t_h(struct log *l, long x);

static long (*const functions[])(struct log *, long) = { t_a, t_b, t_c, t_d, t_e, t_f, t_g, t_h };

/* any chooses the next function; a leaf when enough was called. */
INLINE long (*any(struct log *l))(struct log *, long)
{
	return l->nodes <= 0 || l->depth > 60 ? t_h : functions[pick(l, 8)];
}

TRACED long t_a(struct log *l, long x)
{
	enter(l, 'a');
	for (unsigned n = pick(l, 4); n > 0; n--)
		x += any(l)(l, x);
	return leave(l, x);
}

/* A tail call by pointer. */
TRACED long t_b(struct log *l, long x)
{
	enter(l, 'b');
	x += any(l)(l, x);
	long (*next)(struct log *, long) = any(l);
	TAIL_CALL(l, next(l, x + 1));
}

/* A tail call by name, on one of two ways. */
TRACED long t_c(struct log *l, long x)
{
	enter(l, 'c');
	if (pick(l, 3) == 0)
		TAIL_CALL(l, t_h(l, x));
	x ^= any(l)(l, x);
	return leave(l, x);
}

/* Catches what t_e throws, and what comes from further below. */
TRACED long t_d(struct log *l, long x)
{
	jmp_buf here;
	jmp_buf *volatile outer = l->landing;
	volatile unsigned depth;
	volatile long y = x;
	enter(l, 'd');
	depth = l->depth;
	l->landing = &here;
	if (setjmp(here) == 0)
		y += any(l)(l, x);
	else
		while (l->depth > depth)
			leave(l, 0);
	l->landing = outer;
	if (pick(l, 2))
		y += any(l)(l, y);
	return leave(l, y);
}

TRACED long t_e(struct log *l, long x)
{
	enter(l, 'e');
	if (l->landing && pick(l, 2))
		longjmp(*l->landing, 1);
	x -= any(l)(l, x);
	return leave(l, x);
}

/* A jump table, several returns, a tail call in one arm. */
TRACED long t_f(struct log *l, long x)
{
	enter(l, 'f');
	switch (pick(l, 9)) {
	case 0: return leave(l, x + 1);
	case 1: x *= 3; break;
	case 2: x += any(l)(l, 2); break;
	case 3: TAIL_CALL(l, t_a(l, x));
	case 4: return leave(l, x ^ 0x55);
	case 5: x = any(l)(l, 5) - x; break;
	case 6: x >>= 2; break;
	case 7: return leave(l, t_h(l, x));
	default: x = -x;
	}
	l->sum += x;
	return leave(l, x);
}

/*
 * A frame whose size is known at run time only. Not too large: of stacks that are unwound by more than
 * 32 KiB at once without an event a reader cannot tell that (see FORMAT.md).
 */
TRACED long t_g(struct log *l, long x)
{
	enter(l, 'g');
	unsigned n = 64 + pick(l, 400);
	unsigned char *p = alloca(n);
	memset(p, (int)x, n);
	OPAQUE(p);
	x += any(l)(l, x) + p[n / 2];
	return leave(l, x);
}

TRACED long t_h(struct log *l, long x)
{
	enter(l, 'h');
	return leave(l, x * 7 + 1);
}

static void *run(void *arg)
{
	struct log *l = arg;
	l->tid = (int)syscall(SYS_gettid);
	while (l->nodes > 0)
		l->sum += t_a(l, (long)l->sum);
	return NULL;
}

int main(int argc, char **argv)
{
	long nodes = argc > 1 ? atol(argv[1]) : 5000;
	struct log logs[3];
	pthread_t t[3];
	for (int i = 0; i < 3; i++) {
		/* After the last node the open calls still make leaves. */
		logs[i] = (struct log){ .text = malloc(3 * nodes + 4096), .nodes = nodes, .random = 12345 + i };
		pthread_create(&t[i], NULL, run, &logs[i]);
	}
	for (int i = 0; i < 3; i++) {
		pthread_join(t[i], NULL);
		printf("tree %zu %lx\n", logs[i].length, logs[i].sum);
		printf("~tree %d %.*s\n", logs[i].tid, (int)logs[i].length, logs[i].text);
	}
	CALLS("run", 3);
	return 0;
}
