package tracee

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"nopal/internal/sys"
)

// calls attaches to a process and makes remote calls until it is killed.
func calls(pid string) int {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return 1
	}
	ctx := context.Background()
	t := NewTracer()
	for {
		p, err := t.Attach(ctx, n, Options{})
		if err != nil {
			return 1
		}
		for range 20 {
			if _, err := p.Syscall(ctx, sys.NrGetpid); err != nil {
				return 1
			}
		}
		if err := p.Detach(ctx); err != nil {
			return 1
		}
	}
}

// A process outlives a tracer that is killed in the middle of a remote call, and computes
// on as if nothing had been. With PAC (the second VM) the way back is another one.
func TestSmokeKilledTracer(t *testing.T) {
	needRoot(t)
	g := start(t, "profile")
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for i := range rounds {
		if time.Since(begin) > 8*time.Second { // an emulated machine
			t.Logf("%d rounds in time", i)
			break
		}
		cmd := exec.Command(self, strconv.Itoa(g.pid))
		cmd.Env = append(os.Environ(), "NOPAL_TEST_CALLS=1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for s, err := Status(g.pid); err == nil && s.TracerPid == 0; s, err = Status(g.pid) {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if s, err := Status(g.pid); err != nil || s.TracerPid != 0 || s.State == 'Z' {
			t.Fatalf("the target is in state %c, traced by %d, %v", s.State, s.TracerPid, err)
		}
	}
	m, err := OpenMemory(g.pid)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	leave(t, m)
	if line := g.line(); line != "0 wrong, ticking 1, blocked 0" {
		t.Errorf("the target says %q", line)
	}
	if line := g.line(); line != "status exit status 0" {
		t.Errorf("the target ends with %q", line)
	}
}
