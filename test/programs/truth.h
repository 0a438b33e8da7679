/*
 * What every test program shares: functions that stay functions, and "truth lines" on stdout.
 *
 *   calls NAME N          function NAME was called N times, the same in every run
 *   ~calls NAME N [TID]   the same for counts that differ from run to run (timers, thread ids)
 *   left NAME N           N of these calls never returned: longjmp, an exception, the thread's end
 *   ~left NAME N          the same for counts that differ from run to run
 *
 * The integration tests compare stdout with that of an untraced run, lines that begin with ~ left
 * out, and the counts with the recording.
 */
#ifndef NOPAL_TEST_TRUTH_H
#define NOPAL_TEST_TRUTH_H

#include <stdio.h>

/* TRACED functions are neither inlined, cloned nor looked into by their callers. */
#if defined(__clang__)
#define TRACED __attribute__((noinline, used))
#else
#define TRACED __attribute__((noipa, used))
#define LEFT(name, n) printf("left %s %llu\n", name, (unsigned long long)(n))
#define LEFT_VARY(name, n) printf("~left %s %llu\n", name, (unsigned long long)(n))

#endif

/* UNTRACED functions have no NOPs. */
#define UNTRACED __attribute__((noinline, patchable_function_entry(0)))

/* OPAQUE makes the compiler forget what it knows of an integer, so that no call is merged, hoisted or made a loop. */
#define OPAQUE(x) __asm__ volatile("" : "+r"(x)::"memory")

/* KEEP_FRAME after a call at a function's end keeps it from being a tail call, after which the function is over. */
#define KEEP_FRAME() __asm__ volatile("")

#define CALLS(name, n) printf("calls %s %llu\n", name, (unsigned long long)(n))
#define CALLS_VARY(name, n) printf("~calls %s %llu\n", name, (unsigned long long)(n))
#define CALLS_TID(name, n, tid) printf("~calls %s %llu %d\n", name, (unsigned long long)(n), (int)(tid))

#define LEFT(name, n) printf("left %s %llu\n", name, (unsigned long long)(n))
#define LEFT_VARY(name, n) printf("~left %s %llu\n", name, (unsigned long long)(n))

#endif
