package main

import (
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

func TestCatchLeavesIgnoredSignalsIgnored(t *testing.T) {
	signal.Ignore(syscall.SIGUSR1)
	defer signal.Reset(syscall.SIGUSR1)
	got := make(chan os.Signal, 2)
	catch(got, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(got)
	for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2} {
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case s := <-got:
		if s != syscall.SIGUSR2 {
			t.Errorf("caught %v, which was ignored", s)
		}
	case <-time.After(10 * time.Second):
		t.Error("SIGUSR2 was not caught")
	}
	if !signal.Ignored(syscall.SIGUSR1) {
		t.Error("SIGUSR1 is not ignored any more")
	}
}
