package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
)

// TestDieBySignal runs itself as the process that dies; the runtime's own handlers would turn most of these into exit code 2.
func TestDieBySignal(t *testing.T) {
	const variable = "NOPAL_TEST_DIE"
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		signal.Notify(make(chan os.Signal, 1), syscall.Signal(n))
		dieBySignal(syscall.Signal(n))
	}
	for _, s := range []syscall.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE,
		syscall.SIGKILL, syscall.SIGPIPE, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGSYS,
	} {
		c := exec.Command(os.Args[0], "-test.run=^TestDieBySignal$")
		c.Env = append(os.Environ(), variable+"="+strconv.Itoa(int(s)))
		out, err := c.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Errorf("%v: ended with %v", s, err)
			continue
		}
		w := exit.Sys().(syscall.WaitStatus)
		if !w.Signaled() || w.Signal() != s || w.CoreDump() || len(out) > 0 {
			t.Errorf("%v: ended with %v, core %v, output %q", s, err, w.CoreDump(), out)
		}
	}
}
