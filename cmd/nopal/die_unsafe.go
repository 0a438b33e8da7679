package main

import (
	"syscall"
	"unsafe"
)

const (
	prSetDumpable  = 4  // PR_SET_DUMPABLE, linux/prctl.h
	sigactionBytes = 32 // struct sigaction of rt_sigaction: handler, flags, restorer, mask; all zero is SIG_DFL
	sigsetBytes    = 8
)

// preventCore makes the process one that is never dumped. A limit of 0 would not stop a core_pattern that is a pipe: core(5).
func preventCore() {
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0)
}

// defaultAction gives a signal its default action in the kernel. signal.Reset is not enough: the runtime keeps its own handler
// for the likes of SIGSEGV, which prints every goroutine and exits with 2.
func defaultAction(signal syscall.Signal) {
	var action [sigactionBytes]byte
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(signal), uintptr(unsafe.Pointer(&action)), 0, sigsetBytes, 0, 0)
}
