package tracee

import (
	"strconv"
	"testing"
	"time"

	"nopal/internal/sys"
)

// A followed process has three reports a thread to be dealt with.
func TestBirths(t *testing.T) {
	ctx := testContext(t)
	tr := newTestTracer(t)
	for _, follow := range []bool{false, true} {
		p, err := tr.Launch(ctx, LaunchOptions{
			Path: targetFile(t), Argv: []string{"target", "births", "512"}, Options: Options{Follow: follow},
		})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if follow {
			err = p.Resume()
		} else {
			err = p.Detach(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.WaitExit(ctx); err != nil {
			t.Error(err)
		}
		t.Logf("follow %v: %v a thread", follow, time.Since(start)/512)
	}
}

// The work for a thread must not grow with the number of threads, beyond what the kernel
// itself does.
func TestCrowd(t *testing.T) {
	needRoot(t)
	ctx := testContext(t)
	n := 600
	if testing.Short() {
		n = 100
	}
	tr := newTestTracer(t)
	g := start(t, "crowd", strconv.Itoa(n))
	begin := time.Now()
	p, err := tr.Attach(ctx, g.pid, Options{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("attach: %v", time.Since(begin))
	if got := len(p.Threads()); got != n+1 {
		t.Errorf("%d threads, want %d", got, n+1)
	}
	for _, what := range []func() error{
		p.Resume,
		func() error { return p.Stop(ctx) },
		func() error { _, err := p.Syscall(ctx, sys.NrGetpid); return err },
		p.Resume,
	} {
		begin = time.Now()
		if err := what(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%v", time.Since(begin))
	}
	begin = time.Now()
	leave(t, p.Memory())
	if line := g.line(); line != "done" {
		t.Errorf("the target says %q", line)
	}
	if _, err := p.WaitExit(ctx); err != nil {
		t.Error(err)
	}
	t.Logf("end: %v", time.Since(begin))
}
