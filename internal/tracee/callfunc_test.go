package tracee

import (
	"runtime"
	"testing"
	"time"
)

// A thread that is in the middle of something calls a function with arguments, returns
// what it returns, and goes on as if nothing had been.
func TestCall(t *testing.T) {
	needRoot(t)
	g := start(t, "profile")
	ctx := testContext(t)
	p, err := newTestTracer(t).Attach(ctx, g.pid, Options{})
	if err != nil {
		t.Fatal(err)
	}
	fn, weighed := symbol(t, "weigh"), symbol(t, "weighed")
	for range 20 {
		const want = 654321
		ret, err := p.Threads()[0].Call(fn, 5*time.Second, 1, 2, 3, 4, 5, 6)
		if err != nil || ret != want && runtime.GOARCH != "amd64" {
			t.Fatalf("%d, %v; want %d", ret, err, want)
		}
		if got, err := p.Memory().ReadUint64(weighed); err != nil || got != want {
			t.Fatalf("%d, %v; want %d", got, err, want)
		}
		if _, err := p.WriteAt(make([]byte, 8), int64(weighed)); err != nil {
			t.Fatal(err)
		}
		if err := p.Resume(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		if err := p.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Detach(ctx); err != nil {
		t.Fatal(err)
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
}
