package main

import (
	"os"
	"syscall"
	"time"
)

// dieBySignal ends nopal as its command ended, so that a shell or a CI system sees the same thing it would have seen without
// nopal. It leaves no core file: the one that matters is the command's.
func dieBySignal(signal syscall.Signal) {
	preventCore()
	defaultAction(signal)
	if err := syscall.Kill(os.Getpid(), signal); err == nil {
		// Another thread than this one may be chosen to take it.
		time.Sleep(time.Second)
	}
	// What a shell makes of a death by a signal, should this one have been blocked.
	os.Exit(128 + int(signal))
}
