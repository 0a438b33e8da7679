//go:build linux && arm64

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// buildLibraryPatch makes the patch of the library that patchloads loads.
func buildLibraryPatch(t *testing.T, library, object string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "plugin.npz")
	nopalOK(t, "patch", "build", "-o", out, "--target", fixture(t, library), fixture(t, object))
	return out
}

// waitsFor starts a nopal that applies a patch when its library is loaded.
func (p *process) waitsFor(t *testing.T, flag, patch string) *process {
	t.Helper()
	w := start(t, nopalBin(t), "patch", "apply", flag, "-p", p.pid(), patch)
	eventually(t, "pending", func() bool { return strings.HasSuffix(p.patches(t), "plugin pending") })
	return w
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
	patch := buildLibraryPatch(t, "libpatchee.so", "libpatchee.o")
	p := startReady(t, fixture(t, "patchloads"))
	if o := nopal(t, "patch", "apply", "-p", p.pid(), patch); o.ok() || !strings.Contains(o.stderr, "--wait") {
		t.Errorf("without the library: %s%s", o.stdout, o.stderr)
	}
	if s := p.patches(t); s != "" {
		t.Errorf("its patches are %q", s)
	}
	w := p.waitsFor(t, "--watch", patch)
	if o := nopalOK(t, "patch", "status", "-p", p.pid()); !strings.Contains(o.stdout, "waits for its object") {
		t.Errorf("status: %s", o.stdout)
	}
	for i := range 3 {
		begun := time.Now()
		p.say(t, "load", "loaded 1")
		t.Logf("loaded in %v", time.Since(begun))
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

// TestPatchLoadedOtherwise has libraries that do not show when their relocations are made, and a
// loader that makes them before it tells anybody.
func TestPatchLoadedOtherwise(t *testing.T) {
	for _, c := range []struct{ program, library, object string }{
		{"patchloads", "libpatchee-norelro.so", "libpatchee.o"},
		{"patchloads-musl", "libpatchee-musl.so", "libpatchee-musl.o"},
	} {
		t.Run(c.library, func(t *testing.T) {
			patch := buildLibraryPatch(t, c.library, c.object)
			p := startReady(t, fixture(t, c.program), c.library)
			w := p.waitsFor(t, "--wait", patch)
			p.say(t, "load", "loaded 1")
			if strings.Contains(c.library, "musl") {
				p.answersAs(t, "loaded", newAnswer)
			}
			if o := w.wait(t); !o.ok() {
				t.Errorf("it ends with %#x: %s%s", o.status, o.stdout, o.stderr)
			}
			p.patchedAs(t, "plugin applied")
			if got := p.say(t, "call", "answer"); !strings.HasPrefix(got, "answer 51 ") {
				t.Errorf("it is applied: %s", got)
			}
			if o := p.finish(t); !o.ok() {
				t.Errorf("it ends with %#x: %s", o.status, o.stderr)
			}
		})
	}
}

// TestPatchWaitKilled kills the nopal that waits. What is loaded next waits for it once.
func TestPatchWaitKilled(t *testing.T) {
	patch := buildLibraryPatch(t, "libpatchee.so", "libpatchee.o")
	p := startReady(t, fixture(t, "patchloads"))
	before := memoryText(t, p, "ld-linux-aarch64.so.1")
	w := p.waitsFor(t, "--watch", patch)
	if memoryText(t, p, "ld-linux-aarch64.so.1") == before {
		t.Error("the loader's calls lead nowhere")
	}
	w.signal(t, syscall.SIGKILL)
	w.wait(t)
	if o := nopalOK(t, "patch", "status", "-p", p.pid()); !strings.Contains(o.stdout, "no nopal waits") {
		t.Errorf("status: %s", o.stdout)
	}
	p.say(t, "load", "loaded 1")
	p.answersAs(t, "nobody answers", oldAnswer)
	begun := time.Now()
	p.say(t, "close", "closed 0")
	p.say(t, "load", "loaded 1")
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("it waits again: %v", took)
	}
	nopalOK(t, "patch", "apply", "-p", p.pid(), patch)
	p.patchedAs(t, "plugin applied")
	if got := p.say(t, "call", "answer"); got != "answer 51 constructed 10 calls 2" {
		t.Errorf("patched: %s", got)
	}
	if memoryText(t, p, "ld-linux-aarch64.so.1") != before {
		t.Error("the loader is not what it was")
	}
	if o := p.finish(t); !o.ok() {
		t.Errorf("it ends with %#x: %s", o.status, o.stderr)
	}
}

// TestPatchWaitReverted reverts what another nopal waits with, and what it has applied.
func TestPatchWaitReverted(t *testing.T) {
	patch := buildLibraryPatch(t, "libpatchee.so", "libpatchee.o")
	p := startReady(t, fixture(t, "patchloads"))
	before := memoryText(t, p, "ld-linux-aarch64.so.1")
	for _, load := range []bool{false, true} {
		w := p.waitsFor(t, "--watch", patch)
		if o := nopal(t, "patch", "apply", "--wait", "-p", p.pid(), patch); o.ok() || !strings.Contains(o.stderr, "waits for") {
			t.Errorf("two wait: %s%s", o.stdout, o.stderr)
		}
		if load {
			p.say(t, "load", "loaded 1")
		}
		nopalOK(t, "patch", "revert", "-p", p.pid(), "plugin")
		if o := w.wait(t); !o.ok() || !strings.Contains(o.stderr, "was reverted") {
			t.Errorf("it ends with %#x: %s%s", o.status, o.stdout, o.stderr)
		}
		p.patchedAs(t, "plugin reverted")
	}
	if memoryText(t, p, "ld-linux-aarch64.so.1") != before {
		t.Error("the loader is not what it was")
	}
	if got := p.say(t, "call", "answer"); got != "answer 40 constructed 21 calls 2" {
		t.Errorf("reverted: %s", got)
	}
	// The program's end ends the wait.
	w := start(t, nopalBin(t), "patch", "apply", "--watch", "-p", p.pid(), patch)
	eventually(t, "applied", func() bool { return p.patches(t) == "plugin applied" })
	p.finish(t)
	if o := w.wait(t); !o.ok() {
		t.Errorf("it ends with %#x: %s%s", o.status, o.stdout, o.stderr)
	}
}

// TestPatchUnloaded unloads a library that is patched.
func TestPatchUnloaded(t *testing.T) {
	patch := buildLibraryPatch(t, "libpatchee.so", "libpatchee.o")
	p := startReady(t, fixture(t, "patchloads"))
	for _, revert := range []bool{true, false} {
		p.say(t, "load", "loaded 1")
		nopalOK(t, "patch", "apply", "-p", p.pid(), patch)
		if n := p.ownCode(t); n == 0 {
			t.Error("there is no code of the patch")
		}
		p.say(t, "close", "closed 0")
		p.patchedAs(t, "plugin unloaded")
		p.say(t, "load", "loaded 1") // to the same place
		p.patchedAs(t, "plugin unloaded")
		p.answersAs(t, "loaded again", oldAnswer)
		if revert {
			nopalOK(t, "patch", "revert", "-p", p.pid())
			p.patchedAs(t, "plugin reverted")
			if n := p.ownCode(t); n != 0 {
				t.Errorf("%d pieces of code of the patch are left", n)
			}
		}
		nopalOK(t, "patch", "apply", "-p", p.pid(), patch)
		if got := p.say(t, "call", "answer"); got != "answer 51 constructed 10 calls 3" {
			t.Errorf("patched again: %s", got)
		}
		p.say(t, "close", "closed 0")
	}
	if o := p.finish(t); !o.ok() {
		t.Errorf("it ends with %#x: %s", o.status, o.stderr)
	}
}

// ownCode counts the pieces of code in a process that are of no file.
func (p *process) ownCode(t *testing.T) (n int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/" + p.pid() + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if f := strings.Fields(line); len(f) == 5 && strings.Contains(f[1], "x") {
			n++
		}
	}
	return n
}

// TestPatchWaitRecorded records a library that is loaded, while it is patched.
func TestPatchWaitRecorded(t *testing.T) {
	patch := buildLibraryPatch(t, "libpatchee.so", "libpatchee.o")
	p := startReady(t, fixture(t, "patchloads"))
	data := filepath.Join(t.TempDir(), "nopal.data")
	record := func() *process {
		r := start(t, nopalBin(t), "record", "-p", p.pid(), "-o", data)
		eventually(t, "recording", func() bool { return nopal(t, "ctl", "-p", p.pid(), "status").ok() })
		return r
	}
	for _, first := range []string{"record", "patch"} {
		var r, w *process
		if first == "record" {
			r = record()
			w = p.waitsFor(t, "--watch", patch)
		} else {
			w = p.waitsFor(t, "--watch", patch)
			r = record()
		}
		p.say(t, "load", "loaded 1")
		p.answersAs(t, first+" first", newAnswer)
		r.signal(t, syscall.SIGINT)
		if o := r.wait(t); !o.ok() {
			t.Errorf("%s first: record ends with %#x: %s", first, o.status, o.stderr)
		}
		if o := nopalOK(t, "report", "-i", data); !strings.Contains(o.stdout, "patchee_answer") {
			t.Errorf("%s first: in the report\n%s", first, o.stdout)
		}
		w.signal(t, syscall.SIGINT)
		if o := w.wait(t); !o.ok() {
			t.Errorf("%s first: nopal ends with %#x: %s", first, o.status, o.stderr)
		}
		p.say(t, "close", "closed 0")
	}
	if o := p.finish(t); !o.ok() {
		t.Errorf("it ends with %#x: %s", o.status, o.stderr)
	}
}

// TestPatchWaitSeveral has patches for two libraries, one of which is loaded.
func TestPatchWaitSeveral(t *testing.T) {
	patch := buildLibraryPatch(t, "libpatchee.so", "libpatchee.o")
	other := filepath.Join(t.TempDir(), "other.npz")
	nopalOK(t, "patch", "build", "-o", other, "--target", fixture(t, "libpatchee-norelro.so"), fixture(t, "libpatchee.o"))
	p := startReady(t, fixture(t, "patchloads"))
	w := start(t, nopalBin(t), "patch", "apply", "--wait", "-p", p.pid(), other, patch)
	eventually(t, "pending", func() bool { return p.patches(t) == "other pending, plugin pending" })
	p.say(t, "load", "loaded 1")
	p.answersAs(t, "loaded", newAnswer)
	p.patchedAs(t, "other pending, plugin applied")
	w.signal(t, syscall.SIGINT)
	if o := w.wait(t); !o.ok() {
		t.Errorf("it ends with %#x: %s%s", o.status, o.stdout, o.stderr)
	}
	p.patchedAs(t, "plugin applied")
	if o := p.finish(t); !o.ok() {
		t.Errorf("it ends with %#x: %s", o.status, o.stderr)
	}
}
