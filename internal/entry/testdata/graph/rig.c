// Makes the functions of the program that it is linked with call our code, as nopal does
// it from outside: before main, from the files in the directory RIG_DIR. Without that the
// program is as it was compiled.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rig.h"

extern void __register_frame(void *);
extern void rig_first(void);
extern char *__start___patchable_function_entries[] __attribute__((weak, visibility("hidden")));
extern char *__stop___patchable_function_entries[] __attribute__((weak, visibility("hidden")));

static void die(const char *what)
{
	perror(what);
	_exit(99);
}

static void *map(const char *name, uint64_t at, size_t size, int prot, int flags)
{
	int fd = -1;
	if (name) {
		char path[4096];
		snprintf(path, sizeof path, "%s/%s", getenv("RIG_DIR"), name);
		fd = open(path, O_RDWR);
		if (fd < 0)
			die(path);
	} else {
		flags |= MAP_ANONYMOUS;
	}
	void *p = mmap((void *)at, size, prot, flags | MAP_FIXED_NOREPLACE | MAP_NORESERVE, fd, 0);
	if (p == MAP_FAILED)
		die(name ? name : "map");
	if (fd >= 0)
		close(fd);
	return p;
}

static void jump(char *at, char op, uint64_t to)
{
	int32_t d = to - ((uint64_t)at + 5);
	at[0] = op;
	memcpy(at + 1, &d, 4);
}

static const unsigned char stub[32] = {
	0x48, 0x8d, 0x64, 0x24, 0xf8, 0x4c, 0x89, 0x1c, 0x24, 0x4c, 0x8d, 0x1d, 0x10, 0, 0, 0,
	0xe9, 0, 0, 0, 0, 0x41, 0x5b, 0xe9, 0, 0, 0, 0, 0xcc, 0xcc, 0xcc, 0xcc,
};

__attribute__((constructor(101))) static void install(void)
{
	if (!getenv("RIG_DIR"))
		return;
	map("code", RIG_CODE, RIG_CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE);
	map("ring", RIG_RING, RIG_RING_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED);
	map(0, RIG_TABLE - RIG_CONTROL, RIG_CONTROL + RIG_TABLE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	madvise((void *)(RIG_TABLE - RIG_CONTROL), RIG_CONTROL + RIG_TABLE_SIZE, MADV_WIPEONFORK);
	for (uint64_t at = RIG_THUNKS; at < RIG_THUNKS + RIG_REGION; at += RIG_THUNK_FILE)
		map("thunks", at, RIG_THUNK_FILE, PROT_READ | PROT_EXEC, MAP_SHARED);
	map(0, RIG_THUNKS + RIG_REGION, RIG_REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	*(uint64_t *)(RIG_THUNKS + 2 * RIG_REGION - 64) = 1;
	char *cfi = map("cfi", RIG_CFI, RIG_CFI_SIZE, PROT_READ, MAP_PRIVATE);
	__register_frame(cfi);
	__register_frame(cfi + RIG_CFI_SIZE / 2);

	uint64_t stack;
	uint64_t *control = (uint64_t *)(RIG_TABLE - RIG_CONTROL);
	control[RIG_STACK_LOW] = (uint64_t)&stack - (4 << 20);
	control[RIG_STACK_LOW + 1] = (uint64_t)&stack + (128 << 10);
	// The place of the thread id in glibc's thread block.
	char *self = (char *)__builtin_thread_pointer();
	int pid = getpid(), off;
	for (off = 0; *(int *)(self + off) != pid; off += 4)
		if (off > 2000)
			_exit(98);
	((uint64_t *)RIG_TABLE)[-2] = off;

	char *at = (char *)RIG_STUBS;
	uint64_t index = 64;
	for (char **site = __start___patchable_function_entries; site < __stop___patchable_function_entries; site++, at += 64) {
		char *entry = *site;
		uint64_t words[4] = {index << 37, (uint64_t)entry + 5, (index + 1) << 37, 0};
		index += 2;
		memcpy(at, stub, sizeof stub);
		jump(at + 16, 0xe9, RIG_CODE + RIG_CALLER);
		jump(at + 23, 0xe9, (uint64_t)entry + 5);
		memcpy(at + 32, words, sizeof words);
		uint64_t page = (uint64_t)entry & ~4095UL;
		if (mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC))
			die("mprotect");
		jump(entry, 0xe9, (uint64_t)at);
	}
	((uint64_t *)RIG_TABLE)[-1] = RIG_RING;
	// The thread gets its slot with its first call, then the slot its stack.
	rig_first();
	uint64_t *slot = (uint64_t *)(RIG_TABLE + pid % RIG_SLOTS * 64);
	slot[4] = control[RIG_STACK_LOW];
	slot[5] = control[RIG_STACK_LOW + 1];
}
