//go:build linux && (arm64 || amd64)

package test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// refused wants nopal to fail with a message that has all the words, and no Go panic in it.
func refused(t *testing.T, o outcome, words ...string) {
	t.Helper()
	if o.status.ExitStatus() <= 0 {
		t.Errorf("status %#x, want an error", o.status)
	}
	for _, w := range words {
		if !strings.Contains(strings.ToLower(o.stderr), strings.ToLower(w)) {
			t.Errorf("the message has no %q: %s", w, o.stderr)
		}
	}
	if strings.Contains(o.stderr, "goroutine ") {
		t.Errorf("a panic: %s", o.stderr)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	out := dir + "/nopal.data"
	t.Run("no such process", func(t *testing.T) {
		refused(t, nopal(t, "record", "-p", "999999", "-o", out), "999999", "no such process")
	})
	t.Run("kernel thread", func(t *testing.T) {
		refused(t, nopal(t, "record", "-p", "2", "-o", out), "kernel")
	})
	t.Run("itself traced", func(t *testing.T) {
		p := startReady(t, fixture(t, "busy"), "1")
		holder := start(t, fixture(t, "holder"), p.pid())
		holder.waitFor(t, "held")
		refused(t, nopal(t, "record", "-p", p.pid(), "-o", out), "traced", "holder", holder.pid())
		holder.finish(t)
		clean(t, p.pid())
		busyRight(t, p.finish(t))
	})
	t.Run("no permission", func(t *testing.T) {
		p := startReady(t, fixture(t, "busy"), "1")
		content, err := os.ReadFile(nopalBin(t))
		if err != nil {
			t.Fatal(err)
		}
		// The directory of a test is closed to others; /tmp is open to all.
		nobody := "/tmp/nopal-nobody"
		if err := os.WriteFile(nobody, content, 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(nobody)
		cmd := exec.Command(nobody, "record", "-p", p.pid(), "-o", "/tmp/nobody.data")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true}}
		var errs strings.Builder
		cmd.Stderr = &errs
		if err := cmd.Run(); err == nil {
			t.Error("nobody may trace root's process")
		}
		if msg := errs.String(); !strings.Contains(msg, "permi") || !strings.Contains(msg, "root") && !strings.Contains(msg, "sudo") {
			t.Errorf("does not say what to do: %s", msg)
		}
		clean(t, p.pid())
		busyRight(t, p.finish(t))
	})
	t.Run("not found", func(t *testing.T) {
		o := nopal(t, "record", "-o", out, "--", "/does/not/exist")
		refused(t, o, "/does/not/exist")
		if o.status.ExitStatus() != 127 {
			t.Errorf("status %d, want 127", o.status.ExitStatus())
		}
	})
	t.Run("not executable", func(t *testing.T) {
		o := nopal(t, "record", "-o", out, "--", "/etc/passwd")
		refused(t, o, "/etc/passwd")
		if o.status.ExitStatus() != 126 {
			t.Errorf("status %d, want 126", o.status.ExitStatus())
		}
	})
	t.Run("no sites", func(t *testing.T) {
		refused(t, nopal(t, "record", "-o", out, "--", fixture(t, "plain")), "-fpatchable-function-entry")
	})
	t.Run("filter matches nothing", func(t *testing.T) {
		refused(t, nopal(t, "record", "-o", out, "-F", "fbi", "--", fixture(t, "fib")), "fbi", "fib")
	})
	t.Run("filter matches nothing attached", func(t *testing.T) {
		p := startReady(t, fixture(t, "busy"), "1")
		refused(t, nopal(t, "record", "-p", p.pid(), "-o", out, "-F", "nosuchfunction"), "nosuchfunction")
		clean(t, p.pid())
		busyRight(t, p.finish(t))
	})
	t.Run("not ELF", func(t *testing.T) {
		refused(t, nopal(t, "sites", "/etc/passwd"), "/etc/passwd", "ELF")
	})
	t.Run("another architecture", func(t *testing.T) {
		content, err := os.ReadFile(fixture(t, "fib"))
		if err != nil {
			t.Fatal(err)
		}
		content[18] = 8 // e_machine: MIPS
		other := dir + "/other"
		if err := os.WriteFile(other, content, 0o755); err != nil {
			t.Fatal(err)
		}
		refused(t, nopal(t, "sites", other), other, "MIPS")
		o := nopal(t, "record", "-o", out, "--", other)
		refused(t, o, other, "arch")
		if o.status.ExitStatus() != 126 {
			t.Errorf("status %#x, want 126: %s", o.status, o.stderr)
		}
	})
	t.Run("not a recording", func(t *testing.T) {
		refused(t, nopal(t, "replay", "-i", "/etc/passwd"), "/etc/passwd")
	})
	t.Run("output in the way", func(t *testing.T) {
		p := startReady(t, fixture(t, "busy"), "1")
		refused(t, nopal(t, "record", "-p", p.pid(), "-o", "/does/not/exist/x.data"), "/does/not/exist")
		clean(t, p.pid())
		busyRight(t, p.finish(t))
	})
	t.Run("nothing to detach", func(t *testing.T) {
		p := startReady(t, fixture(t, "busy"), "1")
		nopalOK(t, "detach", "-p", p.pid())
		clean(t, p.pid())
		busyRight(t, p.finish(t))
	})
}

// A recording cut anywhere is read up to the cut, or refused; it is never a panic.
func TestTruncatedRecording(t *testing.T) {
	_, file := record(t, "", roomy, fixture(t, "fib"), "12")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	whole := count(t, file).events
	cut := t.TempDir() + "/cut.data"
	for i := range 12 {
		n := len(content) * i / 12
		if err := os.WriteFile(cut, content[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		o := nopal(t, "replay", "-i", cut, "--format=jsonl")
		if got := uint64(strings.Count(o.stdout, "\n")); got > whole {
			t.Errorf("%d of %d bytes: %d events of %d", n, len(content), got, whole)
		}
		if strings.Contains(o.stderr, "goroutine ") {
			t.Errorf("%d of %d bytes: a panic: %s", n, len(content), o.stderr)
		}
		if n > len(content)/2 && o.status.ExitStatus() != 0 && o.stderr == "" {
			t.Errorf("%d of %d bytes: refused without a word", n, len(content))
		}
	}
}
