//go:build linux && arm64

package test

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// buildLibraryPatch makes the patch of the library that patchloads loads.
func buildLibraryPatch(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "plugin.npz")
	nopalOK(t, "patch", "build", "-o", out, "--target", fixture(t, "libpatchee.so"), fixture(t, "libpatchee.o"))
	return out
}

// say sends a line to a program and waits for what begins its answer, which it returns.
func (p *process) say(t *testing.T, line, answer string) string {
	t.Helper()
	had := strings.Count(p.out.String(), answer)
	if _, err := fmt.Fprintln(p.stdin, line); err != nil {
		t.Fatal(err)
	}
	eventually(t, answer, func() bool { return strings.Count(p.out.String(), answer) > had })
	out := p.out.String()
	out = out[strings.LastIndex(out, answer):]
	line, _, _ = strings.Cut(out, "\n")
	return line
}

const (
	oldAnswer = "answer 40 constructed 10 calls 2"
	newAnswer = "answer 51 constructed 21 calls 2"
)

// answers calls into the library of patchloads, which has been loaded.
func (p *process) answersAs(t *testing.T, when, want string) {
	t.Helper()
	if got := p.say(t, "call", "answer"); got != want {
		t.Errorf("%s: %s; want %s", when, got, want)
	}
}

// TestPatchLoadedLater has a nopal that waits for a library, which is loaded, unloaded and loaded
// again. Its constructor is patched, too.
func TestPatchLoadedLater(t *testing.T) {
	patch := buildLibraryPatch(t)
	p := startReady(t, fixture(t, "patchloads"))
	if o := nopal(t, "patch", "apply", "-p", p.pid(), patch); o.ok() || !strings.Contains(o.stderr, "--wait") {
		t.Errorf("without the library: %s%s", o.stdout, o.stderr)
	}
	if s := p.patches(t); s != "" {
		t.Errorf("its patches are %q", s)
	}
	w := start(t, nopalBin(t), "patch", "apply", "--watch", "-p", p.pid(), patch)
	defer func() { t.Logf("nopal: %s%s", w.out, w.errs) }()
	eventually(t, "pending", func() bool { return p.patches(t) == "plugin pending" })
	if o := nopalOK(t, "patch", "status", "-p", p.pid()); !strings.Contains(o.stdout, "waits for its object") {
		t.Errorf("status: %s", o.stdout)
	}
	for i := range 3 {
		p.say(t, "load", "loaded 1")
		p.answersAs(t, fmt.Sprintf("load %d", i), newAnswer)
		if s := p.patches(t); s != "plugin applied" {
			t.Errorf("its patches are %q", s)
		}
		p.say(t, "close", "closed 0")
		eventually(t, "pending again", func() bool { return p.patches(t) == "plugin pending" })
	}
	p.say(t, "loop", "looped")
	if n := strings.Count(p.out.String(), newAnswer+"\n"); n != 8 {
		t.Errorf("%d new answers of 8:\n%s", n, p.out.String())
	}
	p.say(t, "load", "loaded 1")
	w.signal(t, syscall.SIGINT)
	if o := w.wait(t); !o.ok() || !strings.Contains(o.stdout, "plugin is applied: 2 functions, while it was loaded") {
		t.Errorf("it ends with %#x: %s%s", o.status, o.stdout, o.stderr)
	}
	p.answersAs(t, "without nopal", newAnswer)
	nopalOK(t, "patch", "revert", "-p", p.pid())
	if got := p.say(t, "call", "answer"); got != "answer 40 constructed 21 calls 3" {
		t.Errorf("reverted: %s", got)
	}
	p.say(t, "close", "closed 0")
	p.say(t, "load", "loaded 1")
	p.answersAs(t, "nobody watches", oldAnswer)
	if o := p.finish(t); !o.ok() {
		t.Errorf("it ends with %#x: %s", o.status, o.stderr)
	}
}
