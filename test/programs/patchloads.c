/* Loads and unloads libpatchee.so, or the library that its argument names, as the lines say that it reads:
 *
 *	load     loads it, in another thread
 *	call     calls into it; what it answers, what its constructor was answered, and how many calls there were
 *	close    unloads it
 *	loop     loads, calls and unloads it many times
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[4096];
static void *handle;

static void *load(void *unused)
{
	(void)unused;
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!handle)
		fprintf(stderr, "%s\n", dlerror());
	return 0;
}

static void *look(const char *name)
{
	void *p = handle ? dlsym(handle, name) : 0;
	if (!p)
		exit(3);
	return p;
}

static void call(void)
{
	long (*answer)(long) = (long (*)(long))look("patchee_answer");
	long (*constructed)(void) = (long (*)(void))look("patchee_constructed");
	long a = answer(4);
	printf("answer %ld constructed %ld calls %ld\n", a, constructed(), *(long *)look("patchee_calls"));
}

int main(int argc, char **argv)
{
	char exe[4096] = "", line[64];
	if (readlink("/proc/self/exe", exe, sizeof exe - 1) < 0)
		return 1;
	snprintf(path, sizeof path, "%s/%s", dirname(exe), argc > 1 ? argv[1] : "libpatchee.so");
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		if (!strcmp(line, "load\n")) {
			pthread_t t;
			pthread_create(&t, 0, load, 0);
			pthread_join(t, 0);
			printf("loaded %d\n", handle != 0);
		} else if (!strcmp(line, "call\n")) {
			call();
		} else if (!strcmp(line, "close\n")) {
			printf("closed %d\n", dlclose(handle));
			handle = 0;
		} else if (!strcmp(line, "loop\n")) {
			for (int i = 0; i < 5; i++) {
				load(0);
				call();
				dlclose(handle);
			}
			printf("looped\n");
		}
		fflush(stdout);
	}
	printf("end\n");
	return 0;
}
