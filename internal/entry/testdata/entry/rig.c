/* The entry code of amd64 in a process of its own. rig CODE RING JOB [N]: CODE is
 * mapped where it was linked for, RING is the ring; what is where stands in rig.h,
 * which the test writes. Prints what the test wants to know, exits with 1 if the code
 * has changed something that it must not. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <x86intrin.h>
#include "rig.h"

typedef uint64_t u64;
typedef void fn(void);

/* Registers in the order of rig_in: as pt_regs, then flags. */
enum { R15, R14, R13, R12, RBP, RBX, R11, R10, R9, R8, RAX, RCX, RDX, RSI, RDI, FLAGS, NREGS };
u64 rig_in[NREGS], rig_out[NREGS], rig_after[NREGS], rig_sp, rig_sp_out;
void *rig_to;
unsigned char rig_fp_in[4096] __attribute__((aligned(64))), rig_fp_out[4096] __attribute__((aligned(64)));

/* rig_run sets all registers and calls rig_to; rig_body, where the stub goes on, stores
 * what it finds. */
asm(".text\n"
    "rig_run: push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "mov $-1,%eax; mov $-1,%edx; xrstor rig_fp_in(%rip)\n"
    "mov %rsp, rig_sp(%rip)\n"
    "push rig_in+8*15(%rip); popfq\n"
    "mov rig_in+8*0(%rip),%r15; mov rig_in+8*1(%rip),%r14; mov rig_in+8*2(%rip),%r13; mov rig_in+8*3(%rip),%r12\n"
    "mov rig_in+8*4(%rip),%rbp; mov rig_in+8*5(%rip),%rbx; mov rig_in+8*6(%rip),%r11; mov rig_in+8*7(%rip),%r10\n"
    "mov rig_in+8*8(%rip),%r9; mov rig_in+8*9(%rip),%r8; mov rig_in+8*10(%rip),%rax; mov rig_in+8*11(%rip),%rcx\n"
    "mov rig_in+8*12(%rip),%rdx; mov rig_in+8*13(%rip),%rsi; mov rig_in+8*14(%rip),%rdi\n"
    "call *rig_to(%rip)\n"
    "mov %r15,rig_after+8*0(%rip); mov %r14,rig_after+8*1(%rip); mov %r13,rig_after+8*2(%rip); mov %r12,rig_after+8*3(%rip)\n"
    "mov %rbp,rig_after+8*4(%rip); mov %rbx,rig_after+8*5(%rip); mov %r11,rig_after+8*6(%rip); mov %r10,rig_after+8*7(%rip)\n"
    "mov %r9,rig_after+8*8(%rip); mov %r8,rig_after+8*9(%rip); mov %rax,rig_after+8*10(%rip); mov %rcx,rig_after+8*11(%rip)\n"
    "mov %rdx,rig_after+8*12(%rip); mov %rsi,rig_after+8*13(%rip); mov %rdi,rig_after+8*14(%rip)\n"
    "pushfq; pop rig_after+8*15(%rip)\n"
    "cld; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n"
    "rig_body: mov %r15,rig_out+8*0(%rip); mov %r14,rig_out+8*1(%rip); mov %r13,rig_out+8*2(%rip); mov %r12,rig_out+8*3(%rip)\n"
    "mov %rbp,rig_out+8*4(%rip); mov %rbx,rig_out+8*5(%rip); mov %r11,rig_out+8*6(%rip); mov %r10,rig_out+8*7(%rip)\n"
    "mov %r9,rig_out+8*8(%rip); mov %r8,rig_out+8*9(%rip); mov %rax,rig_out+8*10(%rip); mov %rcx,rig_out+8*11(%rip)\n"
    "mov %rdx,rig_out+8*12(%rip); mov %rsi,rig_out+8*13(%rip); mov %rdi,rig_out+8*14(%rip)\n"
    "mov %rsp,rig_sp_out(%rip); pushfq; pop rig_out+8*15(%rip)\n"
    "mov $-1,%eax; mov $-1,%edx; xsave rig_fp_out(%rip)\n"
    "ret\n"
    "rig_on: push %rbx; mov %rsp,%rbx; mov %rdi,%rsp; sub $64,%rsp; mov %rbx,56(%rsp); call rig_run; mov 56(%rsp),%rsp; pop %rbx; ret\n"
    "rig_ret: ret\n"
    "rig_loop: push %rbx; mov %rdi,%rbx\n"
    "1: call *rig_to(%rip); dec %rbx; jne 1b; pop %rbx; ret\n"
    "rig_loop_tsc: mov %rdi,%rcx\n"
    "1: rdtsc; shl $32,%rdx; or %rdx,%rax; dec %rcx; jne 1b; ret\n");
void rig_run(void), rig_body(void), rig_ret(void), rig_on(void *), rig_loop(u64), rig_loop_tsc(u64);

static void fail(const char *what, u64 a, u64 b)
{
	printf("%s: %#lx, want %#lx\n", what, a, b);
	exit(1);
}

static unsigned char *stubs;

/* stub makes what a site leads to, as internal/arch/amd64 does. */
static fn *stub(int number, u64 to, int jumped, void *body, u64 second)
{
	unsigned char *s = stubs + 64 * number;
	static const unsigned char head[] = {0x48, 0x8d, 0x64, 0x24, 0xf8, 0x4c, 0x89, 0x1c, 0x24, 0x4c, 0x8d, 0x1d, 16, 0, 0, 0};
	int32_t rel = to - (u64)(s + 21);
	u64 words[4] = {(u64)(64 + number) << 37, (u64)body, second, 0};
	memcpy(s, head, sizeof head);
	s[16] = jumped ? 0xe9 : 0xe8;
	memcpy(s + 17, &rel, 4);
	s[21] = 0x41, s[22] = 0x5b, s[23] = 0xff, s[24] = 0x25; /* pop r11; jmp [rip+..body] */
	rel = 40 - 29;
	memcpy(s + 25, &rel, 4);
	memcpy(s + 32, words, sizeof words);
	return (fn *)s;
}

static void *map(const char *file, u64 addr, int prot)
{
	struct stat st;
	int fd = open(file, O_RDWR);
	if (fd < 0 || fstat(fd, &st) != 0)
		fail(file, 0, 1);
	void *p = mmap((void *)addr, st.st_size, prot, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
	if (p != (void *)addr)
		fail(file, (u64)p, addr);
	return p;
}

static u64 fsbase(void)
{
	u64 base = 0;
	syscall(SYS_arch_prctl, ARCH_GET_FS, &base);
	return base;
}

/* tid_offset finds the thread id in the thread block. */
static u64 tid_offset(void)
{
	for (u64 off = 64; off < 4096; off += 4)
		if (*(uint32_t *)(fsbase() + off) == (uint32_t)gettid())
			return off;
	fail("tid", 0, 1);
	return 0;
}

static void setup(char **argv)
{
	map(argv[1], RIG_CODE, PROT_READ | PROT_WRITE | PROT_EXEC);
	map(argv[2], RIG_RING, PROT_READ | PROT_WRITE);
	void *p = mmap((void *)(RIG_TABLE - 4096), 4096 + RIG_TABLE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
	if (p != (void *)(RIG_TABLE - 4096) || madvise(p, 4096 + RIG_TABLE_SIZE, MADV_WIPEONFORK) != 0)
		fail("table", (u64)p, RIG_TABLE - 4096);
	u64 *control = p;
	control[1] = getpid();
	control[RIG_FSBASE / 8] = getauxval(AT_HWCAP2) >> 1 & 1;
	control[510] = getenv("RIG_UNKNOWN") ? 1 : tid_offset();
	control[5] = control[510];
	control[511] = RIG_RING;
	stubs = (unsigned char *)RIG_STUBS;
}

static u64 x = 88172645463325252ULL;
static u64 random64(void)
{
	x ^= x << 13;
	x ^= x >> 7;
	return x ^= x << 17;
}

/* state calls the stub with random registers and compares. */
static void state(fn *f, int n)
{
	for (int i = 0; i < n; i++) {
		unsigned char *a = rig_fp_in, *b = rig_fp_out;
		for (int r = 0; r < NREGS; r++)
			rig_in[r] = random64();
		rig_in[FLAGS] = (rig_in[FLAGS] & 0xcd5) | 0x202; /* CF PF AF ZF SF DF OF */
		memset(a, 0, sizeof rig_fp_in);
		asm volatile("xsave %0" : "+m"(rig_fp_in) : "a"(-1), "d"(-1));
		*(u64 *)(a + 512) |= 7;
		*(uint16_t *)a = 0x27f;			/* FCW: 53 bits */
		*(uint16_t *)(a + 2) = 5 << 11;		/* FSW: three on the stack */
		a[4] = 0xe0;
		*(uint32_t *)(a + 24) = 0x1fbf;		/* MXCSR */
		for (int r = 0; r < 8; r++)
			for (int j = 0; j < 10; j++)
				a[32 + 16 * r + j] = random64();
		for (int j = 160; j < 416; j++)
			a[j] = random64();
		for (int j = 576; j < 832; j++)
			a[j] = random64();
		rig_to = f;
		rig_run();
		for (int r = 0; r < NREGS; r++)
			if (rig_out[r] != rig_in[r]) {
				printf("register %d: ", r);
				fail("changed", rig_out[r], rig_in[r]);
			}
		rig_in[RAX] = rig_in[RDX] = 0xffffffff; /* rig_body's */
		for (int r = 0; r < NREGS; r++)
			if (rig_after[r] != rig_in[r]) {
				printf("register %d after the function: ", r);
				fail("changed", rig_after[r], rig_in[r]);
			}
		if (rig_sp_out != rig_sp - 8)
			fail("rsp", rig_sp_out, rig_sp - 8);
		for (int j = 0; j < 832; j++)
			if (a[j] != b[j] && !(j >= 6 && j < 24) && !(j >= 28 && j < 32) && (j < 416 || j >= 576) && !(j >= 32 && j < 160 && (j & 15) > 9)) {
				printf("byte %d of the floating point state ", j);
				fail("changed", b[j], a[j]);
			}
	}
}

/* changer changes pt_regs once it is complete: rip, and rsp too, or rax. */
static int change;
void other(void), keep(void);
asm("other: mov $40,%eax; ret\nkeep: ret\n");
static void changer(int sig, siginfo_t *si, void *u)
{
	greg_t *g = ((ucontext_t *)u)->uc_mcontext.gregs;
	u64 *regs = (u64 *)g[REG_RSP];
	(void)sig, (void)si;
	if (change == 0 || (u64)g[REG_RIP] - RIG_CODE >= RIG_CODE_SIZE || g[REG_R13] != g[REG_RSP])
		return;
	regs[RAX] = change + 39;
	if (change == 1)
		regs[16] = (u64)other;
	if (change == 2)
		regs[16] = *(u64 *)regs[19], regs[19] += 8;
	change = 0;
}

/* In the handler two functions are called, nested[0] and nested[1]: of the storm each
 * time, and while stepping at one instruction of a call, since a call that is disturbed
 * at each instruction never ends. */
static fn *nested[2];
static int steps, step_at;
static volatile u64 handled;
static void handler(int sig, siginfo_t *si, void *u)
{
	ucontext_t *c = u;
	(void)si;
	if (sig == SIGTRAP && (u64)c->uc_mcontext.gregs[REG_RIP] - RIG_CODE >= RIG_CODE_SIZE)
		return;
	if (sig == SIGTRAP && steps++ != step_at)
		return;
	handled++;
	nested[0]();
	if (handled % 3 == 0)
		nested[1]();
}

static void on(int sig)
{
	struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigaction(sig, &sa, 0);
}

static u64 flags_step(u64 set)
{
	asm volatile("pushfq; andq $~0x100, (%%rsp); orq %0, (%%rsp); popfq" : : "r"(set) : "memory", "cc");
	return set;
}

static int count;
static void *thread(void *arg)
{
	for (int i = 0; i < count; i++)
		((fn *)arg)();
	return 0;
}

static void storm(fn *f)
{
	timer_t timer;
	struct sigevent se = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1, ._sigev_un._tid = gettid()};
	struct itimerspec its = {{0, 20000}, {0, 20000}};
	on(SIGUSR1);
	if (timer_create(CLOCK_MONOTONIC, &se, &timer) != 0)
		fail("timer", 0, 1);
	timer_settime(timer, 0, &its, 0);
	for (int i = 0; i < count; i++)
		f();
	timer_delete(timer);
}

static double cycles(void (*loop)(u64), fn *f)
{
	double best = 1e9;
	rig_to = f;
	for (int i = 0; i < 40; i++) {
		u64 from = __rdtsc();
		loop(count);
		double d = (double)(__rdtsc() - from) / count;
		if (d < best)
			best = d;
	}
	return best;
}

/* recycle empties the page of this thread, so that the ring never is full. */
static void recycled(u64 n)
{
	u64 *slot = (u64 *)(RIG_TABLE + (u64)(gettid() & 8191) * 64);
	for (; n > 400; n -= 400) {
		rig_loop(400);
		slot[0] -= 400;
	}
}

/* A profile: functions whose bodies are called, by thunks. */
enum { LEAF, MID, TAIL, REC, JUMP, NFUNCS };
static fn *funcs[NFUNCS];
static __thread int depth;
static __thread jmp_buf back;
static void leaf(void) { asm volatile("" ::: "memory"); }
static void mid(void)
{
	for (int i = 0; i < 3; i++)
		funcs[LEAF]();
	asm volatile("" ::: "memory");
}
void *tail_to;
void tail(void);
asm("tail: jmp *tail_to(%rip)\n");
static void rec(void)
{
	if (--depth > 0)
		funcs[REC]();
	asm volatile("" ::: "memory");
}
static void jump(void)
{
	funcs[LEAF]();
	longjmp(back, 1);
}

static const char *thunk;
static void thunks(void)
{
	u64 area = RIG_THUNKS + (u64)(gettid() & 8191) * 65536;
	for (int i = 0; i < 1024; i++)
		memcpy((char *)area + 64 * i, thunk, 64);
	/* This thread's stack, where frames are looked at that are over. */
	pthread_attr_t attr;
	void *stack;
	size_t size;
	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstack(&attr, &stack, &size);
	pthread_attr_destroy(&attr);
	u64 *slot = (u64 *)(RIG_TABLE + (u64)(gettid() & 8191) * 64);
	slot[4] = (u64)stack, slot[5] = (u64)stack + size;
}

static void map_thunks(const char *code)
{
	thunk = code;
	if (mmap((void *)RIG_THUNKS, 2 * RIG_REGION, PROT_READ | PROT_WRITE | PROT_EXEC,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0) != (void *)RIG_THUNKS)
		fail("thunks", 0, RIG_THUNKS);
	thunks();
}

static void profile_setup(u64 to)
{
	void (*bodies[])(void) = {leaf, mid, tail, rec, jump};
	u64 *head = (u64 *)RIG_PROFILE, *control = (u64 *)(RIG_TABLE - 4096);
	map_thunks(RIG_THUNK);
	control[RIG_STACKS / 8] = RIG_PROFILE;
	for (int i = 0; i < NFUNCS; i++) {
		u64 counters = 32768 + 576 * (i + 1) + 512;
		uint32_t hash = (uint32_t)((u64)bodies[i] >> 2) * 0x9e3779b1u >> head[5];
		u64 *e = (u64 *)(RIG_PROFILE + head[4]) + 2 * hash;
		while (e[0] != 0)
			e += 2;
		e[0] = (u64)bodies[i], e[1] = counters;
		funcs[i] = stub(8 + i, to, 1, bodies[i], counters);
	}
	tail_to = funcs[LEAF];
}

static void profiled(int i)
{
	funcs[MID]();
	funcs[TAIL]();
	depth = 5;
	funcs[REC]();
	if (i % 4 == 0 && setjmp(back) == 0)
		funcs[JUMP]();
}

static void *profiled_thread(void *arg)
{
	thunks();
	for (int i = 0; i < count; i++)
		profiled(i);
	return arg;
}

/* A tree of calls of which filters record some: a calls b and t; b calls c, which calls
 * leaf; t jumps to leaf. */
enum { A, B, C, T, L, NTREE };
static fn *tree[NTREE];
static u64 spin;
static void tree_a(void)
{
	tree[B]();
	tree[T]();
	asm volatile("" ::: "memory");
}
static void tree_b(void)
{
	tree[C]();
	asm volatile("" ::: "memory");
}
static void tree_c(void)
{
	u64 from = __rdtsc();
	tree[L]();
	while (__rdtsc() - from < spin)
		;
}
static void tree_l(void) { asm volatile("" ::: "memory"); }

static void tree_jump(void)
{
	tree[B]();
	longjmp(back, 1);
}

static void tree_setup(void)
{
	void (*bodies[])(void) = {tree_a, tree_b, tree_c, tail, tree_l};
	char *labels = getenv("RIG_LABELS"), *state = getenv("RIG_STATE");
	u64 *control = (u64 *)(RIG_TABLE - 4096);
	if (mmap((void *)RIG_SHADOWS, RIG_SHADOWS_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0) != (void *)RIG_SHADOWS)
		fail("stacks", 0, RIG_SHADOWS);
	control[505] = strtol(state, &state, 0); /* MaxDepth, Depth */
	control[506] = strtol(state, &state, 0);
	control[508] = strtol(state, &state, 0); /* Base, Threshold */
	control[509] = strtol(state, &state, 0);
	spin = strtol(state, &state, 0);
	for (int i = 0; i < NTREE; i++)
		tree[i] = stub(16 + i, RIG_CODE + strtoul(labels, &labels, 0), 1, bodies[i], (u64)(164 + i) << 37);
	tail_to = tree[L];
	map_thunks(RIG_SHADOW_THUNK);
}

static void *tree_thread(void *arg)
{
	thunks();
	for (int i = 0; i < count; i++)
		tree[A]();
	return arg;
}

int main(int argc, char **argv)
{
	const char *job = argv[3];
	count = argc > 4 ? atoi(argv[4]) : 1000;
	setup(argv);
	int jumped = getenv("RIG_JUMPED") != 0;
	u64 to = RIG_CODE + strtoul(getenv("RIG_ENTRY"), 0, 0);
	fn *checked = stub(0, to, jumped, rig_body, 0), *f = stub(1, to, jumped, rig_ret, 0);
	nested[0] = stub(2, to, jumped, rig_ret, 0), nested[1] = stub(3, to, jumped, rig_ret, 0);
	if (!strcmp(job, "state")) {
		state(checked, count);
	} else if (!strcmp(job, "regs")) {
		/* rbp leads to frame records: one on the stack, one above, one that is no stack. */
		static u64 frames[1 << 13] __attribute__((aligned(4096)));
		u64 *record = frames + 4096;
		u64 *control = (u64 *)(RIG_TABLE - 4096);
		control[3] = (u64)frames, control[4] = (u64)(frames + (1 << 13));
		for (int r = 0; r < NREGS; r++)
			rig_in[r] = 0x1111111111111111UL * (r + 1);
		rig_in[FLAGS] = 0xa87;
		record[100] = (u64)(record + 1000), record[101] = 0xabc1;
		record[1000] = (u64)main & ~7UL, record[1001] = 0xabc2;
		rig_in[RBP] = (u64)(record + 100);
		rig_to = checked;
		asm volatile("xsave %0" : "+m"(rig_fp_in) : "a"(-1), "d"(-1));
		rig_on(record + 64);
		printf("%lu %lu\n", (u64)(record + 64), (u64)rig_body);
		return 0;
	} else if (!strcmp(job, "change")) {
		struct sigaction sa = {.sa_sigaction = changer, .sa_flags = SA_SIGINFO};
		u64 (*call)(void) = (u64 (*)(void))stub(4, to, 1, keep, 0);
		u64 result[3];
		sigaction(SIGTRAP, &sa, 0);
		for (int i = 0; i < 3; i++) {
			change = i + 1;
			flags_step(0x100);
			result[i] = call();
			flags_step(0);
		}
		printf("%lu %lu %lu\n", result[0], result[1], result[2]);
		return 0;
	} else if (!strncmp(job, "profile", 7)) {
		map(argv[5], RIG_PROFILE, PROT_READ | PROT_WRITE);
		profile_setup(to);
		if (!strcmp(job, "profile")) {
			profiled_thread(0);
		} else if (!strcmp(job, "profile-threads")) {
			pthread_t t[8];
			for (int i = 0; i < 8; i++)
				pthread_create(&t[i], 0, profiled_thread, 0);
			for (int i = 0; i < 8; i++)
				pthread_join(t[i], 0);
		} else if (!strcmp(job, "profile-deep")) {
			depth = count;
			funcs[REC]();
		} else if (!strcmp(job, "profile-state")) {
			state(stub(4, to, 1, rig_body, 32768 + 512), count);
		} else if (!strcmp(job, "profile-step")) {
			nested[0] = funcs[LEAF], nested[1] = funcs[MID];
			on(SIGTRAP);
			for (int i = 0; i < count; i++) {
				steps = 0, step_at = i * 17 % 1500;
				flags_step(0x100);
				profiled(i);
				flags_step(0);
			}
		} else if (!strcmp(job, "profile-fork")) {
			funcs[LEAF]();
			pid_t child = fork();
			if (child == 0) {
				profiled_thread(0);
				_exit(0);
			}
			int status;
			if (waitpid(child, &status, 0) != child || status != 0)
				fail("child", status, 0);
		} else if (!strcmp(job, "profile-bench")) {
			funcs[LEAF]();
			printf("%.1f %.1f\n", cycles(rig_loop_tsc, 0), cycles(rig_loop, stub(4, to, 1, rig_ret, 32768 + 512)));
			return 0;
		}
	} else if (!strncmp(job, "tree", 4)) {
		tree_setup();
		if (!strcmp(job, "tree")) {
			tree_thread(0);
		} else if (!strcmp(job, "tree-threads")) {
			pthread_t t[8];
			for (int i = 0; i < 8; i++)
				pthread_create(&t[i], 0, tree_thread, 0);
			for (int i = 0; i < 8; i++)
				pthread_join(t[i], 0);
		} else if (!strcmp(job, "tree-step")) {
			nested[0] = tree[A], nested[1] = tree[L];
			on(SIGTRAP);
			for (int i = 0; i < count; i++) {
				steps = 0, step_at = i * 17 % 1500;
				flags_step(0x100);
				tree[A]();
				flags_step(0);
			}
		} else if (!strcmp(job, "tree-jump")) {
			for (int i = 0; i < count; i++) {
				if (setjmp(back) == 0)
					stub(8, RIG_CODE + strtoul(getenv("RIG_LABELS"), 0, 0), 1, tree_jump, 200UL << 37)();
				tree[A]();
			}
		} else if (!strcmp(job, "tree-state")) {
			state(stub(4, RIG_CODE + strtoul(getenv("RIG_LABELS"), 0, 0), 1, rig_body, 164UL << 37), count);
		} else if (!strcmp(job, "tree-fork")) {
			tree[A]();
			pid_t child = fork();
			if (child == 0) {
				tree_thread(0);
				_exit(0);
			}
			int status;
			if (waitpid(child, &status, 0) != child || status != 0)
				fail("child", status, 0);
			tree[A]();
		}
	} else if (!strcmp(job, "trigger")) {
		/* rig_ret's function switches off, rig_body's on, keep's writes a stack twice. */
		u64 next = RIG_CODE + strtoul(getenv("RIG_THEN"), 0, 0), stack = RIG_CODE + strtoul(getenv("RIG_STACK"), 0, 0);
		u64 triggers[3][6] = {
			{(u64)rig_ret, 2, 8, 1UL << 62, next, next},
			{(u64)rig_body, 1, 8, 1UL << 62, next, next},
			{(u64)keep, 0, 1, 2, stack, next},
		};
		memcpy((char *)RIG_RING + RIG_TRIGGERS, triggers, sizeof triggers);
		*(u64 *)(RIG_RING + RIG_TRIGGER_LEN) = 3;
		fn *plain = stub(4, to, 1, other, 0), *twice = stub(5, to, 1, keep, 0);
		state(checked, count); /* events of 64 */
		plain();	       /* has none: not recorded */
		for (int i = 0; i < 5; i++)
			twice();	/* 2 stacks, 3 plain */
		f();			/* off */
		twice();
		state(checked, count); /* on again */
		twice();		/* 1 plain */
		return 0;
	} else if (!strcmp(job, "storm")) {
		storm(f);
	} else if (!strcmp(job, "step")) {
		on(SIGTRAP);
		for (int i = 0; i < count; i++) {
			steps = 0, step_at = i * 7 % 500;
			flags_step(0x100);
			f();
			flags_step(0);
		}
	} else if (!strcmp(job, "threads")) {
		pthread_t t[16];
		for (int i = 0; i < 16; i++)
			pthread_create(&t[i], 0, thread, f);
		for (int i = 0; i < 16; i++)
			pthread_join(t[i], 0);
	} else if (!strcmp(job, "fork")) {
		f();
		pid_t child = fork();
		if (child == 0) {
			for (int i = 0; i < count; i++)
				f();
			_exit(0);
		}
		int status;
		if (waitpid(child, &status, 0) != child || status != 0)
			fail("child", status, 0);
		f();
	} else if (!strcmp(job, "bench")) {
		f();
		double rdtsc = cycles(rig_loop_tsc, 0), plain = cycles(rig_loop, rig_ret), traced = cycles(recycled, f);
		printf("%.1f %.1f %.1f\n", rdtsc, plain, traced);
		return 0;
	}
	printf("%lu\n", handled);
	return 0;
}
