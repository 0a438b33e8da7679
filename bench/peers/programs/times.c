// Linked to each program that is measured, and itself not traced: takes the time between the start of main
// and the end, and writes "CPU-NS WALL-NS CALLS" to the file that PEERS_TIMES names. So start-up and
// clearing away, which differ much between tracers, are no part of the cost of a call.
//
// XRay's flight data recorder has to be started and told to write its file by the program; this is done here too.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "times.h"

#pragma weak __xray_log_select_mode
#pragma weak __xray_log_init_mode
#pragma weak __xray_patch
#pragma weak __xray_log_finalize
#pragma weak __xray_log_flushLog
int __xray_log_select_mode(const char *mode);
int __xray_log_init_mode(const char *mode, const char *config);
int __xray_patch(void);
int __xray_log_finalize(void);
int __xray_log_flushLog(void);

long times_calls;
static long cpu, wall;

static long now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

__attribute__((constructor)) static void start(void)
{
	const char *mode = getenv("PEERS_XRAY");

	if (mode && __xray_log_select_mode) {
		__xray_log_select_mode(mode);
		__xray_log_init_mode(mode, getenv("PEERS_XRAY_CONFIG"));
		__xray_patch();
	}
	wall = now(CLOCK_MONOTONIC);
	cpu = now(CLOCK_PROCESS_CPUTIME_ID);
}

__attribute__((destructor)) static void stop(void)
{
	cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	wall = now(CLOCK_MONOTONIC) - wall;
	const char *name = getenv("PEERS_TIMES");
	if (name) {
		char line[100];
		int length = snprintf(line, sizeof line, "%ld %ld %ld\n", cpu, wall, times_calls);
		int file = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
		if (file < 0 || write(file, line, length) != length)
			_exit(99);
		close(file);
	}
	if (getenv("PEERS_XRAY") && __xray_log_finalize) {
		__xray_log_finalize();
		__xray_log_flushLog();
	}
}
