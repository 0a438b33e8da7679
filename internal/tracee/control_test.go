package tracee

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"nopal/internal/sys"
)

func TestLaunchRunToExit(t *testing.T) {
	ctx := testContext(t)
	tr := newTestTracer(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := tr.Launch(ctx, LaunchOptions{
		Path:  targetFile(t),
		Argv:  []string{"target", "hello"},
		Files: []*os.File{os.Stdin, w, os.Stderr},
	})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"main", "tick"} {
		th, err := p.RunTo(ctx, symbol(t, name))
		if err != nil {
			t.Fatal(err)
		}
		regs, err := th.Regs()
		if err != nil {
			t.Fatal(err)
		}
		if regs.PC() != symbol(t, name) {
			t.Errorf("pc = %#x, want %s at %#x", regs.PC(), name, symbol(t, name))
		}
	}
	if err := p.Detach(ctx); err != nil {
		t.Fatal(err)
	}
	if out, _ := io.ReadAll(r); string(out) != "hello\n" {
		t.Errorf("the target prints %q", out)
	}
	if s, err := p.WaitExit(ctx); err != nil || s != (ExitStatus{Known: true}) {
		t.Errorf("WaitExit = %v, %v", s, err)
	}
}

func TestAttachStopResumeDetach(t *testing.T) {
	needRoot(t)
	ctx := testContext(t)
	tr := newTestTracer(t)
	g := start(t, "spin", "5")
	p, err := tr.Attach(ctx, g.pid, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(p.Threads()); n != 6 {
		t.Errorf("%d threads, want 6", n)
	}
	counter := symbol(t, "counter")
	count := func() uint64 {
		n, err := p.Memory().ReadUint64(counter)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	stands := func() {
		t.Helper()
		a := count()
		time.Sleep(20 * time.Millisecond)
		if b := count(); a != b {
			t.Errorf("counter goes from %d to %d although all is stopped", a, b)
		}
	}
	stands()
	for range 20 {
		a := count()
		if err := p.Resume(); err != nil {
			t.Fatal(err)
		}
		for count() == a {
		}
		if err := p.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	stands()
	pid, err := p.Syscall(ctx, sys.NrGetpid)
	if err != nil || int(pid) != g.pid {
		t.Errorf("getpid = %d, %v; want %d", pid, err, g.pid)
	}
	if _, err := p.Syscall(ctx, sys.NrClose, 12345); err != syscall.EBADF {
		t.Errorf("close: %v, want %v", err, syscall.EBADF)
	}
	addr, err := p.Mmap(ctx, 0, 4096, sys.ProtRead|sys.ProtExec, sys.MapPrivate|sys.MapAnonymous, -1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.WriteAt([]byte("text"), int64(addr)); err != nil {
		t.Error(err)
	}
	if err := p.Munmap(ctx, addr, 4096); err != nil {
		t.Error(err)
	}
	for _, th := range p.Threads() {
		if _, err := th.Regs(); err != nil {
			t.Error(err)
		}
		if tp, err := th.TLS(); err != nil || tp == 0 {
			t.Errorf("thread pointer %#x, %v", tp, err)
		}
	}
	if err := p.Detach(ctx); err != nil {
		t.Fatal(err)
	}
	if s, err := Status(g.pid); err != nil || s.TracerPid != 0 {
		t.Errorf("after detach: TracerPid %d, %v", s.TracerPid, err)
	}
	leave(t, p.Memory())
	if line := g.line(); line != "done" {
		t.Errorf("the target says %q", line)
	}
	if s, err := p.WaitExit(ctx); err != nil || s.Known {
		t.Errorf("WaitExit = %v, %v", s, err)
	}
}

func TestRestart(t *testing.T) {
	needRoot(t)
	for _, kind := range []string{"nanosleep", "clock", "clockabs", "futex", "ppoll", "epoll"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			tr := newTestTracer(t)
			g := start(t, "wait", "2000", kind)
			time.Sleep(700 * time.Millisecond)
			p, err := tr.Attach(ctx, g.pid, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, err := p.Syscall(ctx, sys.NrGetpid); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Detach(ctx); err != nil {
				t.Fatal(err)
			}
			var ret, errno, ms int
			if _, err := fmt.Sscan(g.line(), &ret, &errno, &ms); err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %d, %v after %d ms", kind, ret, syscall.Errno(errno), ms)
			switch kind {
			case "epoll": // the kernel's own doing: no attach can avoid it
				if syscall.Errno(errno) != syscall.EINTR {
					t.Errorf("%v, want EINTR", syscall.Errno(errno))
				}
				return
			case "futex":
				if syscall.Errno(errno) != syscall.ETIMEDOUT {
					t.Errorf("%v, want ETIMEDOUT", syscall.Errno(errno))
				}
			default:
				if errno != 0 {
					t.Errorf("%v, want success", syscall.Errno(errno))
				}
			}
			if ms < 1990 || ms > 2400 {
				t.Errorf("waited %d ms, want 2000", ms)
			}
		})
	}
}

func TestWaves(t *testing.T) {
	needRoot(t)
	ctx := testContext(t)
	tr := newTestTracer(t)
	g := start(t, "waves", "16")
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	begin := time.Now()
	for i := range rounds {
		if time.Since(begin) > 15*time.Second { // an emulated machine
			t.Logf("%d rounds in time", i)
			break
		}
		p, err := tr.Attach(ctx, g.pid, Options{})
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		tids, err := Tasks(g.pid)
		if err != nil {
			t.Fatal(err)
		}
		known := map[int]bool{}
		for _, th := range p.Threads() {
			known[th.Tid()] = true
		}
		for _, tid := range tids {
			if s := taskState(g.pid, tid); !known[tid] && s != 'X' && s != 'Z' && s != 0 || s == 'R' {
				t.Fatalf("round %d: thread %d is in state %c, known: %v", i, tid, s, known[tid])
			}
		}
		if err := p.Detach(ctx); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	m, err := OpenMemory(g.pid)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	leave(t, m)
	if line := g.line(); line != "done" {
		t.Errorf("the target says %q", line)
	}
}

func TestFollowFamily(t *testing.T) {
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
	var got []string
	for e := range tr.Events() {
		switch e.Kind {
		case EventForked, EventVforked:
			if _, err := e.Child.Syscall(ctx, sys.NrGetpid); err != nil {
				t.Error(err)
			}
			if err := e.Child.Resume(); err != nil {
				t.Error(err)
			}
		case EventExeced:
			if err := e.Process.Resume(); err != nil {
				t.Error(err)
			}
		}
		s := e.Kind.String()
		if e.Kind == EventExited {
			s += " " + e.Status.String()
		}
		got = append(got, s)
		if e.Kind == EventExited && e.Process == p {
			break
		}
	}
	want := "forked, exited exit status 7, vforked, execed, exited exit status 9, " +
		"forked, exited killed by signal 15 (terminated), forked, exited exit status 5, execed, exited exit status 42"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("events:\n%s\nwant:\n%s", s, want)
	}
}
