package tracee

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nopal/internal/sys"
)

// Queued signals arrive all, once and in order, and with their siginfo, however often the
// process is stopped and whatever it has to do for us meanwhile.
func TestQueuedSignals(t *testing.T) {
	needRoot(t)
	ctx := testContext(t)
	tr := newTestTracer(t)
	n := "2000"
	if testing.Short() {
		n = "300"
	}
	g := start(t, "signals", n)
	rounds := 0
	for {
		p, err := tr.Attach(ctx, g.pid, Options{})
		if err != nil {
			if errors.Is(err, ErrZombie) || errors.Is(err, ErrExited) || errors.Is(err, ErrNoProcess) {
				break
			}
			t.Fatal(err)
		}
		rounds++
		_, err = p.Syscall(ctx, sys.NrGetpid)
		if err == nil {
			err = p.Detach(ctx)
		}
		if err != nil && !errors.Is(err, ErrExited) {
			t.Fatal(err)
		}
	}
	t.Logf("%d rounds", rounds)
	if line := g.line(); line != n+" of "+n+", in order" {
		t.Error(line)
	}
}

// state waits until the process is in one of the states.
func waitState(t *testing.T, ctx context.Context, pid int, states string) {
	t.Helper()
	for {
		s, err := Status(pid)
		if err != nil {
			t.Fatal(err)
		}
		if strings.IndexByte(states, s.State) >= 0 {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("process %d is in state %c, want %s", pid, s.State, states)
		}
		time.Sleep(time.Millisecond)
	}
}

// A process in a group stop can be attached, worked on, resumed and detached, and stays
// in the group stop until SIGCONT.
func TestGroupStop(t *testing.T) {
	needRoot(t)
	ctx := testContext(t)
	tr := newTestTracer(t)
	g := start(t, "spin", "3")
	counter := symbol(t, "counter")
	if err := syscall.Kill(g.pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitState(t, ctx, g.pid, "T")
	p, err := tr.Attach(ctx, g.pid, Options{})
	if err != nil {
		t.Fatal(err)
	}
	stands := func(when string) {
		t.Helper()
		a, err := p.Memory().ReadUint64(counter)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Millisecond)
		if b, err := p.Memory().ReadUint64(counter); err != nil || a != b {
			t.Errorf("%s: the process runs (%v)", when, err)
		}
	}
	runs := func(when string) {
		t.Helper()
		a, _ := p.Memory().ReadUint64(counter)
		for b := a; b == a; b, err = p.Memory().ReadUint64(counter) {
			if err != nil || ctx.Err() != nil {
				t.Fatalf("%s: the process does not run (%v)", when, err)
			}
		}
	}
	call := func() {
		t.Helper()
		if pid, err := p.Syscall(ctx, sys.NrGetpid); err != nil || int(pid) != g.pid {
			t.Errorf("getpid = %d, %v", pid, err)
		}
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if !p.Threads()[0].GroupStopped() {
		t.Error("the group stop is not seen")
	}
	call()
	stands("attached")
	check(p.Resume())
	stands("resumed")
	check(p.Stop(ctx))
	call()
	check(p.Resume())
	stands("resumed after a call")
	check(p.Stop(ctx))
	check(p.Detach(ctx))
	stands("detached")
	waitState(t, ctx, g.pid, "T")

	p, err = tr.Attach(ctx, g.pid, Options{})
	check(err)
	check(p.Resume())
	check(p.Kill(syscall.SIGCONT))
	runs("continued while attached")
	check(p.Kill(syscall.SIGSTOP))
	time.Sleep(500 * time.Millisecond) // it stops when it has been reported to us
	stands("stopped while attached")
	check(p.Stop(ctx))
	check(p.Kill(syscall.SIGCONT)) // while held
	stands("held")
	check(p.Resume())
	runs("continued while held")
	check(p.Stop(ctx))
	check(p.Kill(syscall.SIGSTOP)) // while held
	check(p.Detach(ctx))
	waitState(t, ctx, g.pid, "T")
	check(syscall.Kill(g.pid, syscall.SIGCONT))
	runs("continued after the detachment")
	leave(t, p.Memory())
	if line := g.line(); line != "done" {
		t.Error(line)
	}
}

// launch runs the target program and returns what it prints and how it ends.
func launch(t *testing.T, follow bool, args ...string) (string, ExitStatus) {
	t.Helper()
	ctx := testContext(t)
	tr := newTestTracer(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := tr.Launch(ctx, LaunchOptions{
		Path:    targetFile(t),
		Argv:    append([]string{"target"}, args...),
		Files:   []*os.File{os.Stdin, w, os.Stderr},
		Options: Options{Follow: follow},
	})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Syscall(ctx, sys.NrGetpid); err != nil {
		t.Error(err)
	}
	if follow {
		err = p.Resume()
	} else {
		err = p.Detach(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	s, err := p.WaitExit(ctx)
	if err != nil {
		t.Error(err)
	}
	return string(out), s
}

func TestLaunchStatus(t *testing.T) {
	for _, follow := range []bool{false, true} {
		if out, s := launch(t, follow, "exit", "77"); out != "" || s != (ExitStatus{Known: true, Code: 77}) {
			t.Errorf("follow %v: %q, %v", follow, out, s)
		}
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGUSR1, syscall.SIGTRAP} {
			_, s := launch(t, follow, "raise", strconv.Itoa(int(sig)))
			if s.Signal != sig {
				t.Errorf("follow %v: %v, want signal %v", follow, s, sig)
			}
		}
		// Ignored and blocked is what any child of ours finds so, in our process group.
		want, err := exec.Command(targetFile(t), "dispositions").Output()
		if err != nil {
			t.Fatal(err)
		}
		if out, _ := launch(t, follow, "dispositions"); out != string(want) {
			t.Errorf("follow %v: %q, want %q", follow, out, want)
		}
	}
}

func TestLaunchErrors(t *testing.T) {
	ctx := testContext(t)
	tr := newTestTracer(t)
	dir := t.TempDir()
	plain, script := dir+"/plain", dir+"/script"
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, []byte("exit 5\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		"/no/such/file":   os.ErrNotExist,
		"no-such-command": os.ErrNotExist,
		plain:             os.ErrPermission,
		dir:               os.ErrPermission,
	} {
		if _, err := tr.Launch(ctx, LaunchOptions{Path: path, Argv: []string{path}}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	p, err := tr.Launch(ctx, LaunchOptions{Path: script, Argv: []string{script}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Detach(ctx); err != nil {
		t.Fatal(err)
	}
	if s, err := p.WaitExit(ctx); err != nil || s.Code != 5 {
		t.Errorf("script: %v, %v", s, err)
	}
}

// A breakpoint leaves no trace in a program that was started with SIGTRAP ignored, or
// blocked.
func TestRunToIgnoredTrap(t *testing.T) {
	ctx := testContext(t)
	tr := newTestTracer(t)
	const sigtrap = 1 << (syscall.SIGTRAP - 1)
	p, err := tr.Launch(ctx, LaunchOptions{
		Path: "/bin/sh", Argv: []string{"sh", "-c", "trap '' TRAP; exec " + targetFile(t) + " dispositions"},
		Options: Options{Follow: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	if e := <-tr.Events(); e.Kind != EventExeced {
		t.Fatalf("event %v", e.Kind)
	}
	for _, th := range p.Threads() {
		if err := th.onHeld("block", func() error { return sys.PtraceSetSigMask(th.tid, sigtrap) }); err != nil {
			t.Fatal(err)
		}
	}
	before, err := Status(p.Pid())
	if err != nil {
		t.Fatal(err)
	}
	if before.SigIgn&sigtrap == 0 {
		t.Errorf("ignored %#x: not SIGTRAP", before.SigIgn)
	}
	if _, err := p.RunTo(ctx, symbol(t, "main")); err != nil {
		t.Fatal(err)
	}
	s, err := Status(p.Pid())
	if err != nil {
		t.Fatal(err)
	}
	if s.SigIgn != before.SigIgn || s.SigBlk != sigtrap {
		t.Errorf("ignored %#x, blocked %#x; want %#x, %#x", s.SigIgn, s.SigBlk, before.SigIgn, sigtrap)
	}
	if err := p.Kill(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}
