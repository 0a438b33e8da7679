/* dlopen and dlclose in a loop, of two libraries, one of them while other threads call into the first. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <libgen.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "truth.h"

static char path_a[4096], path_b[4096];

TRACED void *load(const char *path)
{
	void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!h) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	return h;
}

static long use(void *h, long x)
{
	long (*f)(long) = (long (*)(long))dlsym(h, "plug_twice");
	return f(x);
}

static void *run(void *arg)
{
	long x = 0;
	void *h = load(path_b);
	for (int i = 0; i < *(int *)arg; i++)
		x = use(h, x) & 0xffff;
	dlclose(h);
	return (void *)x;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 20, calls = 200;
	char exe[4096] = "";
	long x = 1;
	if (readlink("/proc/self/exe", exe, sizeof exe - 1) < 0)
		return 1;
	const char *dir = dirname(exe);
	snprintf(path_a, sizeof path_a, "%s/libplug.so", dir);
	snprintf(path_b, sizeof path_b, "%s/libplug2.so", dir);
	pthread_t t;
	void *r;
	pthread_create(&t, NULL, run, &calls);
	for (int i = 0; i < rounds; i++) {
		void *h = load(path_a);
		for (int k = 0; k < 5; k++)
			x = use(h, x) & 0xffffff;
		dlclose(h);
	}
	pthread_join(t, &r);
	printf("dl %ld %ld\n", x, (long)r);
	CALLS("load", rounds + 1);
	CALLS("plug_twice", 5 * rounds + calls);
	CALLS("plug_call", 5 * rounds + calls);
	CALLS("plug_leaf", 5 * rounds + calls);
	CALLS("plug_ctor", rounds + 1);
	CALLS("plug_init_work", 2 * (rounds + 1));
	return 0;
}
