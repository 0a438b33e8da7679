//go:build linux && arm64

package test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patchedAs wants a process to have exactly these patches.
func (p *process) patchedAs(t *testing.T, want string) {
	t.Helper()
	if s := p.patches(t); s != want {
		t.Errorf("its patches are %q, not %q", s, want)
	}
}

// goesAndComes applies a patch to a process that is hard to patch, and reverts it.
func goesAndComes(t *testing.T, p *process, patch string) {
	t.Helper()
	before := patchedText(t, p)
	p.serves(t, false)
	t.Log(nopalOK(t, "patch", "apply", "-p", p.pid(), patch).stdout)
	p.serves(t, true)
	t.Log(nopalOK(t, "patch", "revert", "-p", p.pid()).stdout)
	p.serves(t, false)
	if patchedText(t, p) != before {
		t.Error("the text is not what it was")
	}
	p.patchedAs(t, "fix reverted")
	if o := p.finish(t); !o.ok() {
		t.Errorf("it ends with %#x: %s", o.status, o.stderr)
	}
}

// TestPatchBirths patches a process whose threads live for a moment.
func TestPatchBirths(t *testing.T) {
	patch := buildPatch(t, "patchcases")
	begun := time.Now()
	goesAndComes(t, startReady(t, fixture(t, "patchcases"), "births"), patch)
	t.Logf("it took %v", time.Since(begun))
}

// TestPatchSeccomp patches processes that filter their system calls: what nopal makes in their
// names is not theirs.
func TestPatchSeccomp(t *testing.T) {
	patch := buildPatch(t, "patchcases")
	for _, kind := range []string{"strict", "filtered"} {
		t.Run(kind, func(t *testing.T) {
			goesAndComes(t, startReady(t, fixture(t, "patchcases"), kind), patch)
		})
	}
}

// TestPatchDeadlock has two threads that never leave what is to be replaced.
func TestPatchDeadlock(t *testing.T) {
	patch := buildPatch(t, "patchcases")
	p := startReady(t, fixture(t, "patchcases"), "deadlock")
	time.Sleep(100 * time.Millisecond)
	before := patchedText(t, p)
	o := nopal(t, "patch", "apply", "-p", p.pid(), "--timeout", "2s", patch)
	if o.ok() || strings.Count(o.stderr, "is in answer") < 2 || !strings.Contains(o.stderr, "nothing is changed") {
		t.Errorf("it says %s%s", o.stdout, o.stderr)
	}
	p.serves(t, false)
	if patchedText(t, p) != before {
		t.Error("the text is not what it was")
	}
	p.patchedAs(t, "fix reverted")
}

// TestPatchPages is for kernels with other pages, and processors that sign return addresses and
// know landing pads, as well.
func TestPatchPages(t *testing.T) {
	for _, program := range []string{"patchserver", "patchserver-bti"} {
		t.Run(program, func(t *testing.T) {
			goesAndComes(t, startReady(t, fixture(t, program), "3"), buildPatch(t, program))
		})
	}
	t.Run("later", func(t *testing.T) {
		p := startReady(t, fixture(t, "patchloads"))
		w := p.waitsFor(t, "--wait", buildLibraryPatch(t, "libpatchee.so", "libpatchee.o"))
		p.say(t, "load", "loaded 1")
		p.answersAs(t, "loaded", newAnswer)
		if o := w.wait(t); !o.ok() {
			t.Errorf("it ends with %#x: %s%s", o.status, o.stdout, o.stderr)
		}
	})
}

// TestPatchReplace applies a patch that supersedes all others.
func TestPatchReplace(t *testing.T) {
	fix := buildPatch(t, "patchcases")
	again := buildPatch(t, "patchcases", "--name", "again")
	all := buildPatch(t, "patchcases", "--name", "all", "--replace")
	// It replaces less: the other functions are what they were compiled as.
	less := filepath.Join(t.TempDir(), "less.npz")
	nopalOK(t, "patch", "build", "-o", less, "--target", fixture(t, "patchcases"), "--replace", "--function", "answer", fixture(t, "patchcases.o"))
	p := startReady(t, fixture(t, "patchcases"), "plain")
	before := patchedText(t, p)
	nopalOK(t, "patch", "apply", "-p", p.pid(), fix)
	nopalOK(t, "patch", "apply", "-p", p.pid(), again)
	nopalOK(t, "patch", "apply", "-p", p.pid(), all)
	p.serves(t, true)
	p.patchedAs(t, "fix replaced, again replaced, all applied")
	if o := nopal(t, "patch", "revert", "-p", p.pid(), "fix"); o.ok() {
		t.Errorf("one that was replaced is reverted: %s%s", o.stdout, o.stderr)
	}
	nopalOK(t, "patch", "apply", "-p", p.pid(), less)
	p.serves(t, false)
	p.patchedAs(t, "fix replaced, again replaced, all replaced, less applied")
	if patchedText(t, p) == before {
		t.Error("nothing is patched")
	}
	// One upon that, which is not for all.
	nopalOK(t, "patch", "apply", "-p", p.pid(), fix)
	p.serves(t, true)
	nopalOK(t, "patch", "revert", "-p", p.pid())
	p.serves(t, false)
	nopalOK(t, "patch", "revert", "-p", p.pid())
	p.serves(t, false)
	if patchedText(t, p) != before {
		t.Error("the text is not what it was")
	}
	if o := p.finish(t); !o.ok() {
		t.Errorf("it ends with %#x: %s", o.status, o.stderr)
	}
}

// TestPatchReplaceKilled kills nopal while one patch supersedes another.
func TestPatchReplaceKilled(t *testing.T) {
	fix := buildPatch(t, "patchcases")
	all := buildPatch(t, "patchcases", "--name", "all", "--replace")
	p := startReady(t, fixture(t, "patchcases"), "plain")
	before := patchedText(t, p)
	for i := range 4 {
		nopalOK(t, "patch", "apply", "-p", p.pid(), fix)
		killed(t, time.Duration(60+i*180)*time.Millisecond, "patch", "apply", "-q", "-p", p.pid(), all)
		if _, _, wrong := p.served(t); wrong != 0 {
			t.Fatalf("%d wrong answers", wrong)
		}
		for n := 0; strings.Contains(p.patches(t), " applied") || strings.Contains(p.patches(t), " transition"); n++ {
			if nopalOK(t, "patch", "revert", "-p", p.pid()); n > 2 {
				t.Fatalf("reverted %d times: %s", n, p.patches(t))
			}
		}
		p.serves(t, false)
		if patchedText(t, p) != before {
			t.Fatal("the text is not what it was")
		}
	}
	if o := p.finish(t); !o.ok() {
		t.Errorf("it ends with %#x: %s", o.status, o.stderr)
	}
}

// killed runs nopal and kills it after a time. It reports whether it was still there.
func killed(t *testing.T, after time.Duration, args ...string) bool {
	t.Helper()
	cmd := exec.Command(nopalBin(t), args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	return cmd.Wait() != nil
}
