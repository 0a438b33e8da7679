package tracee

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"nopal/internal/sys"
)

func TestAttachRefused(t *testing.T) {
	needRoot(t)
	ctx := testContext(t)
	tr := newTestTracer(t)
	refused := func(pid int, want error, text string) {
		t.Helper()
		_, err := tr.Attach(ctx, pid, Options{})
		if !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
			t.Errorf("attach to %d: %v, want %v, %q", pid, err, want, text)
		}
	}
	refused(0, ErrNoProcess, "")
	refused(1<<22+1, ErrNoProcess, "")
	refused(2, ErrKernelThread, "kthreadd")

	g := start(t, "spin", "1")
	tids, err := Tasks(g.pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, tid := range tids {
		if tid != g.pid {
			refused(tid, ErrNoProcess, "thread of process")
		}
	}

	other := newTestTracer(t)
	p, err := other.Attach(ctx, g.pid, Options{})
	if err != nil {
		t.Fatal(err)
	}
	comm, err := Comm(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	refused(g.pid, ErrTraced, comm)
	if err := p.Detach(ctx); err != nil {
		t.Fatal(err)
	}

	zombie := exec.Command(targetFile(t), "exit", "0")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	waitState(t, ctx, zombie.Process.Pid, "Z")
	refused(zombie.Process.Pid, ErrZombie, "")
	if err := zombie.Wait(); err != nil {
		t.Error(err)
	}
}

// A process that is being attached may end at any moment.
func TestAttachToTheEnding(t *testing.T) {
	needRoot(t)
	ctx := testContext(t)
	tr := newTestTracer(t)
	for i := range 30 {
		g := start(t, "waves", "4")
		go func() {
			time.Sleep(time.Duration(i) * 300 * time.Microsecond)
			_ = syscall.Kill(g.pid, syscall.SIGKILL)
		}()
		for {
			p, err := tr.Attach(ctx, g.pid, Options{})
			if err == nil {
				if _, err = p.Syscall(ctx, sys.NrGetpid); err == nil {
					err = p.Detach(ctx)
				}
			}
			if err == nil {
				continue
			}
			if !errors.Is(err, ErrExited) && !errors.Is(err, ErrNoProcess) && !errors.Is(err, ErrZombie) {
				t.Errorf("round %d: %v", i, err)
			}
			break
		}
		if line := g.line(); line != "status signal: killed" {
			t.Errorf("round %d: %s", i, line)
		}
	}
}

// The first thread may end before the others.
func TestLeaderless(t *testing.T) {
	needRoot(t)
	ctx := testContext(t)
	tr := newTestTracer(t)
	g := start(t, "leaderless")
	for range 5 {
		p, err := tr.Attach(ctx, g.pid, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if pid, err := p.Syscall(ctx, sys.NrGetpid); err != nil || int(pid) != g.pid {
			t.Errorf("getpid = %d, %v", pid, err)
		}
		if err := p.Detach(ctx); err != nil {
			t.Fatal(err)
		}
	}
	m, err := OpenMemory(g.pid)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	leave(t, m)
	for _, want := range []string{"done", "status exit status 3"} {
		if line := g.line(); line != want {
			t.Errorf("the target says %q, want %q", line, want)
		}
	}
}

// Another thread than the first calls execve while others run, with the process followed.
func TestThreadExec(t *testing.T) {
	ctx := testContext(t)
	tr := newTestTracer(t)
	for range 20 {
		p, err := tr.Launch(ctx, LaunchOptions{
			Path: targetFile(t), Argv: []string{targetFile(t), "threadexec"}, Options: Options{Follow: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Resume(); err != nil {
			t.Fatal(err)
		}
		e := <-tr.Events()
		if e.Kind != EventExeced || e.Process != p {
			t.Fatalf("event %v", e.Kind)
		}
		if ths := p.Threads(); len(ths) != 1 || ths[0].Tid() != p.Pid() {
			t.Errorf("threads %v after execve", ths)
		}
		if pid, err := p.Syscall(ctx, sys.NrGetpid); err != nil || int(pid) != p.Pid() {
			t.Errorf("getpid = %d, %v", pid, err)
		}
		if err := p.Resume(); err != nil {
			t.Fatal(err)
		}
		if e := <-tr.Events(); e.Kind != EventExited || e.Status.Code != 11 {
			t.Errorf("event %v, %v", e.Kind, e.Status)
		}
	}
}

// The tracer's end, orderly or not, lets the process go on.
func TestClose(t *testing.T) {
	needRoot(t)
	ctx := testContext(t)
	g := start(t, "spin", "4")
	for _, resume := range []bool{false, true} {
		tr := NewTracer()
		p, err := tr.Attach(ctx, g.pid, Options{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		if resume {
			if err := p.Resume(); err != nil {
				t.Fatal(err)
			}
		}
		tr.Close()
		if err := p.Stop(ctx); !errors.Is(err, ErrClosed) {
			t.Errorf("stop after close: %v", err)
		}
		if s, err := Status(g.pid); err != nil || s.TracerPid != 0 {
			t.Errorf("traced by %d, %v", s.TracerPid, err)
		}
	}
	m, err := OpenMemory(g.pid)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	leave(t, m)
	if line := g.line(); line != "done" {
		t.Error(line)
	}
}

// A stop that cannot be reached in time is given up, and names who is late: here the
// parent of a vfork whose child waits, stopped.
func TestStopInTime(t *testing.T) {
	ctx := testContext(t)
	tr := newTestTracer(t)
	p, err := tr.Launch(ctx, LaunchOptions{
		Path: targetFile(t), Argv: []string{targetFile(t), "family"}, Options: Options{Follow: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	for e := range tr.Events() {
		switch e.Kind {
		case EventForked:
			_ = e.Child.Resume()
			continue
		case EventExited:
			continue
		case EventVforked:
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			if err := p.Stop(short); err != nil {
				t.Errorf("stop of the waiting parent: %v", err)
			}
			if err := p.Detach(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("detach of the waiting parent: %v", err)
			}
			cancel()
			if err := p.Resume(); err != nil {
				t.Error(err)
			}
			if err := e.Child.Detach(ctx); err != nil {
				t.Error(err)
			}
			if err := p.Detach(ctx); err != nil {
				t.Error(err)
			}
		default:
			t.Errorf("event %v", e.Kind)
		}
		break
	}
	go func() { // it may have forked before it was detached
		for e := range tr.Events() {
			if e.Child != nil {
				_ = e.Child.Detach(ctx)
			}
		}
	}()
	if s, err := p.WaitExit(ctx); err != nil || s.Code != 42 {
		t.Errorf("%v, %v", s, err)
	}
}

// A process that has forbidden itself all system calls makes ours, and none other after.
func TestSeccomp(t *testing.T) {
	needRoot(t)
	ctx := testContext(t)
	tr := newTestTracer(t)
	g := start(t, "strict")
	for s, err := Status(g.pid); s.Seccomp == 0; s, err = Status(g.pid) {
		if err != nil {
			t.Fatal(err)
		}
	}
	p, err := tr.Attach(ctx, g.pid, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if pid, err := p.Syscall(ctx, sys.NrGetpid); errors.Is(err, ErrSeccomp) {
		t.Logf("the kernel cannot suspend it: %v", err)
	} else if err != nil || int(pid) != g.pid {
		t.Errorf("getpid = %d, %v", pid, err)
	}
	if err := p.Detach(ctx); err != nil {
		t.Fatal(err)
	}
	leave(t, p.Memory())
	for _, want := range []string{"done", "status exit status 0"} {
		if line := g.line(); line != want {
			t.Errorf("the target says %q, want %q", line, want)
		}
	}
}
