package session

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
)

const strictChild = "NOPAL_TEST_STRICT"

// beStrict has the calling thread in seccomp's strict mode, and never ends.
func beStrict() {
	runtime.LockOSThread()
	if _, err := os.Stdout.WriteString("ready\n"); err != nil {
		os.Exit(1)
	}
	const prSetSeccomp, strict = 22, 1
	if _, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, prSetSeccomp, strict, 0); e != 0 {
		os.Exit(1)
	}
	// A call might be a system call, for which it would be killed.
	for n := uint(1); n != 0; n |= 1 {
	}
}

// TestStrictHasNoCounter attaches to nobody whose threads would be killed by RDTSC.
func TestStrictHasNoCounter(t *testing.T) {
	if os.Getenv(strictChild) != "" {
		beStrict()
	}
	if err := machineOf("amd64").counterRuns(os.Getpid()); err != nil {
		t.Fatalf("a process without a filter: %v", err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestStrictHasNoCounter$")
	cmd.Env = append(os.Environ(), strictChild+"=1", "GODEBUG=asyncpreemptoff=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		err := machineOf("amd64").counterRuns(cmd.Process.Pid)
		if errors.Is(err, errNoCounter) {
			break
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("a process in strict mode: %v", err)
		}
	}
	if err := machineOf("arm64").counterRuns(cmd.Process.Pid); err != nil {
		t.Errorf("where the counter goes on: %v", err)
	}
}
