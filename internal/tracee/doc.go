// Package tracee controls somebody else's process: it finds and stops its threads,
// reads and writes its registers and memory, and makes system calls in its name. It
// exists so that the rest of nopal can say "while nothing of it runs, do this", and
// leaves the process as it was found.
//
// The kernel accepts ptrace requests only from the thread that attached. A [Tracer] is
// that thread: one goroutine locked to it, which carries out closures sent by the
// others and reaps what the traced threads report. All state of processes and threads
// belongs to it.
//
// # Stops
//
// A thread that counts as stopped always is in PTRACE_EVENT_STOP, the answer to
// PTRACE_INTERRUPT. When it reports something else on the way there (a signal to be
// delivered, a fork), it is interrupted again and let go at once: the signal is
// delivered by the kernel, with its siginfo and in its turn, and the thread stops at the
// first instruction after it. So no signal is ever held by us, nothing has to be
// injected again, and from the same stop a thread can be resumed, left in the group stop
// of its process (PTRACE_LISTEN) or detached.
//
// # System calls
//
// A remote call sets the registers of a stopped thread to a system call instruction that
// exists in the process (the vDSO has one) and goes from stop to stop: entry, exit, and
// EVENT_STOP again. Unlike a breakpoint or a single step it needs no SIGTRAP: a
// forced signal changes what the process does about it where it blocks or ignores it
// (kernel/signal.c, force_sig_info_to_task).
//
// nopal may be killed in the middle of it, and the kernel then lets the thread run, with
// our registers. So these are such that the thread finds back by itself: behind the system
// call it returns to the vDSO's rt_sigreturn, which takes the thread's true registers and
// signal mask from a signal frame that was written before; see gate.go.
//
// # Following
//
// A followed process stays seized, and its children are seized by the kernel as they are
// born. [Tracer.Events] tells of births, execve and ends; who is born or executes waits,
// stopped, until [Process.Resume] or [Process.Detach]. An unfollowed one is detached when
// it has been prepared, and [Process.WaitExit] tells of its end.
package tracee
