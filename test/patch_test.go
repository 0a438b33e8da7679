//go:build linux && arm64

package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// buildPatch makes a patch of a server's program and returns its path.
func buildPatch(t *testing.T, program string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "fix.npz")
	argv := append([]string{"patch", "build", "-o", out, "--target", fixture(t, program), "--function", "square", "--function", "twice", "--function", "answer"}, args...)
	nopalOK(t, append(argv, fixture(t, program+".o"))...)
	return out
}

// served asks a patchserver for what it has answered since it was last asked.
func (p *process) served(t *testing.T) (answers, newer, wrong int) {
	t.Helper()
	had := strings.Count(p.out.String(), "wrong\n")
	if _, err := fmt.Fprintln(p.stdin); err != nil {
		t.Fatal(err)
	}
	eventually(t, "counts", func() bool { return strings.Count(p.out.String(), "wrong\n") > had })
	lines := strings.Split(strings.TrimSpace(p.out.String()), "\n")
	if _, err := fmt.Sscanf(lines[len(lines)-1], "%d answers %d new %d wrong", &answers, &newer, &wrong); err != nil {
		t.Fatalf("%q: %v", lines[len(lines)-1], err)
	}
	return answers, newer, wrong
}

// serves wants all answers of a while to be new, or old, and none to be wrong.
func (p *process) serves(t *testing.T, isNew bool) {
	t.Helper()
	p.served(t)
	time.Sleep(50 * time.Millisecond)
	p.served(t) // and with it what was on its way
	time.Sleep(50 * time.Millisecond)
	answers, newer, wrong := p.served(t)
	right := newer == 0
	if isNew {
		// The counts are read one after the other while each thread may be between them.
		const threads = 8
		right = newer > 0 && newer-answers <= threads && answers-newer <= threads
	}
	if wrong != 0 || answers == 0 || !right {
		t.Errorf("%d answers, %d new, %d wrong; want new %v", answers, newer, wrong, isNew)
	}
}

// patchedText gives the text of a process's program as it is in memory.
func patchedText(t *testing.T, p *process) string {
	t.Helper()
	return memoryText(t, p, filepath.Base(p.Path))
}

// memoryText gives the text of one of the objects of a process.
func memoryText(t *testing.T, p *process, name string) string {
	t.Helper()
	maps, err := os.ReadFile("/proc/" + p.pid() + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open("/proc/" + p.pid() + "/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		var start, end int64
		var perms string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &start, &end, &perms); err != nil || perms != "r-xp" || !strings.HasSuffix(strings.TrimSpace(line), name) {
			continue
		}
		b := make([]byte, end-start)
		if _, err := mem.ReadAt(b, start); err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	t.Fatal("no text in", string(maps))
	return ""
}

type patchStatus struct {
	Patches []struct {
		Name    string
		State   string
		Pending []int
	}
}

func (p *process) patches(t *testing.T) string {
	t.Helper()
	var st patchStatus
	o := nopalOK(t, "patch", "status", "-p", p.pid(), "--format=json")
	if err := json.Unmarshal([]byte(o.stdout), &st); err != nil {
		t.Fatalf("%v: %s", err, o.stdout)
	}
	var list []string
	for _, q := range st.Patches {
		list = append(list, q.Name+" "+q.State)
	}
	return strings.Join(list, ", ")
}

// TestPatchServer patches a server while it answers, and takes the patch out again. Its
// parent sees nothing of it.
func TestPatchServer(t *testing.T) {
	for _, program := range []string{"patchserver", "patchserver-static", "patchserver-clang", "patchserver-musl"} {
		t.Run(program, func(t *testing.T) {
			patch := buildPatch(t, program)
			p := startReady(t, fixture(t, program), "4")
			before := patchedText(t, p)
			p.serves(t, false)
			for range 1 {
				nopalOK(t, "patch", "apply", "-p", p.pid(), patch)
				p.serves(t, true)
				if s := p.patches(t); s != "fix applied" {
					t.Errorf("its patches are %q", s)
				}
				if o := nopal(t, "patch", "apply", "-p", p.pid(), patch); o.ok() || !strings.Contains(o.stderr, "applied already") {
					t.Errorf("to apply it twice: %s", o.stderr)
				}
				nopalOK(t, "patch", "revert", "-p", p.pid())
				p.serves(t, false)
				if patchedText(t, p) != before {
					t.Error("the text is not what it was")
				}
			}
			if s := p.patches(t); s != "fix reverted" {
				t.Errorf("its patches are %q", s)
			}
			if o := p.finish(t); !o.ok() || !strings.Contains(o.stdout, "end 0 wrong 1111 hooks") {
				t.Errorf("it ends with %#x: %s%s", o.status, o.stdout, o.stderr)
			}
		})
	}
}

// TestPatchVeto applies a patch that does not want to be.
func TestPatchVeto(t *testing.T) {
	patch := filepath.Join(t.TempDir(), "veto.npz")
	nopalOK(t, "patch", "build", "-o", patch, "--target", fixture(t, "patchserver"), "--function", "square", "--function", "twice", fixture(t, "patchserver-veto.o"))
	p := startReady(t, fixture(t, "patchserver"), "2")
	before := patchedText(t, p)
	if o := nopal(t, "patch", "apply", "-p", p.pid(), patch); o.ok() || !strings.Contains(o.stderr, "returned 7") {
		t.Errorf("it was applied: %s%s", o.stdout, o.stderr)
	}
	p.serves(t, false)
	if patchedText(t, p) != before {
		t.Error("the text is not what it was")
	}
	if o := p.finish(t); !strings.Contains(o.stdout, "end 0 wrong 1 hooks") {
		t.Errorf("it says %s", o.stdout)
	}
}

// TestPatchTraced traces what is patched, and patches what is traced.
func TestPatchTraced(t *testing.T) {
	for _, mode := range [][]string{nil, {"--graph"}} {
		t.Run(strings.Join(mode, ""), func(t *testing.T) {
			patch := buildPatch(t, "patchserver")
			p := startReady(t, fixture(t, "patchserver"), "2")
			before := patchedText(t, p)
			data := filepath.Join(t.TempDir(), "nopal.data")
			record := func() *process {
				argv := append([]string{nopalBin(t), "record", "-p", p.pid(), "-F", "answer", "-F", "square", "-o", data}, mode...)
				r := start(t, argv...)
				eventually(t, "recording", func() bool {
					o := nopal(t, "ctl", "-p", p.pid(), "status")
					return o.ok()
				})
				return r
			}
			end := func(r *process, what string) {
				t.Helper()
				r.signal(t, syscall.SIGINT)
				if o := r.wait(t); !o.ok() {
					t.Errorf("%s: record ends with %#x: %s", what, o.status, o.stderr)
				}
				o := nopalOK(t, "report", "-i", data)
				if !strings.Contains(o.stdout, "square") || !strings.Contains(o.stdout, "answer") {
					t.Errorf("%s: in the report\n%s", what, o.stdout)
				}
			}
			r := record()
			nopalOK(t, "patch", "apply", "-p", p.pid(), patch)
			p.serves(t, true)
			end(r, "patched while traced")
			p.serves(t, true)
			nopalOK(t, "patch", "revert", "-p", p.pid())
			p.serves(t, false)
			if patchedText(t, p) != before {
				t.Error("the text is not what it was")
			}
			nopalOK(t, "patch", "apply", "-p", p.pid(), patch)
			r = record()
			p.serves(t, true)
			nopalOK(t, "patch", "revert", "-p", p.pid())
			p.serves(t, false)
			end(r, "traced while patched")
			if patchedText(t, p) != before {
				t.Error("the text is not what it was")
			}
			p.serves(t, false)
		})
	}
}

// TestPatchFork has a child that is born with a patch.
func TestPatchFork(t *testing.T) {
	patch := buildPatch(t, "patchserver")
	p := startReady(t, fixture(t, "patchserver"), "2")
	nopalOK(t, "patch", "apply", "-p", p.pid(), patch)
	if _, err := fmt.Fprintln(p.stdin, "fork"); err != nil {
		t.Fatal(err)
	}
	var child string
	eventually(t, "child", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%s/task/%s/children", p.pid(), p.pid()))
		child = strings.TrimSpace(string(b))
		return err == nil && child != ""
	})
	o := nopalOK(t, "patch", "status", "-p", child)
	if !strings.Contains(o.stdout, "fix: applied") {
		t.Errorf("the child's patches: %s", o.stdout)
	}
	nopalOK(t, "patch", "revert", "-p", child)
	p.serves(t, true)
	if _, err := fmt.Fprintln(p.stdin, "wait"); err != nil {
		t.Fatal(err)
	}
	p.waitFor(t, "child 0\n")
}

// TestPatchRefused gives patches to processes that they are not for.
func TestPatchRefused(t *testing.T) {
	patch := buildPatch(t, "patchserver")
	other := startReady(t, fixture(t, "patchserver-clang"), "2")
	o := nopal(t, "patch", "apply", "-p", other.pid(), patch)
	if o.ok() {
		t.Errorf("another build was patched: %s", o.stdout)
	}
	other.serves(t, false)
	p := startReady(t, fixture(t, "patchserver"), "2")
	nopalOK(t, "patch", "apply", "-p", p.pid(), patch)
	// One that fails takes none back that is there.
	again := buildPatch(t, "patchserver", "--name", "again")
	o = nopal(t, "patch", "apply", "-p", p.pid(), "--timeout", "1ns", again)
	if o.ok() {
		t.Errorf("applied in no time: %s", o.stdout)
	}
	p.serves(t, true)
	if s := p.patches(t); !strings.Contains(s, "fix applied") {
		t.Errorf("its patches are %q", s)
	}
	// Two, out of order.
	nopalOK(t, "patch", "apply", "-p", p.pid(), again)
	if o := nopal(t, "patch", "revert", "-p", p.pid(), "fix"); o.ok() || !strings.Contains(o.stderr, "again") {
		t.Errorf("to revert the lower one: %s%s", o.stdout, o.stderr)
	}
	nopalOK(t, "patch", "revert", "-p", p.pid(), "again")
	p.serves(t, true)
	nopalOK(t, "patch", "revert", "-p", p.pid(), "fix")
	p.serves(t, false)
}

// killSpread is how many milliseconds after its start nopal is killed at most: most patches are
// applied by then.
const killSpread = 800

// TestPatchKilled kills nopal a hundred times, at many moments. The next one goes on from there.
func TestPatchKilled(t *testing.T) {
	patch := buildPatch(t, "patchserver")
	p := startReady(t, fixture(t, "patchserver"), "3")
	before := patchedText(t, p)
	kills, finished := 0, 0
	for ; kills-finished < 100; kills++ {
		args := []string{"patch", "apply", "-q", "-p", p.pid(), patch}
		if kills%2 == 1 {
			args = []string{"patch", "revert", "-q", "-p", p.pid()}
		}
		if !killed(t, time.Duration(kills*37%killSpread)*time.Millisecond, args...) {
			finished++
		}
		if _, _, wrong := p.served(t); wrong != 0 {
			t.Fatalf("%d wrong answers after %d kills", wrong, kills)
		}
	}
	t.Logf("%d runs, %d of which ended before they were killed", kills, finished)
	nopal(t, "patch", "revert", "-p", p.pid())
	for strings.Contains(p.patches(t), "applied") || strings.Contains(p.patches(t), "transition") {
		nopalOK(t, "patch", "revert", "-p", p.pid())
	}
	p.serves(t, false)
	if patchedText(t, p) != before {
		t.Error("the text is not what it was")
	}
	if o := p.finish(t); !o.ok() {
		t.Errorf("it ends with %#x: %s", o.status, o.stderr)
	}
}

// TestPatchUnseen looks at the states of threads while they are moved: tracing stops come,
// for moments, but nothing that a shell would call stopped.
func TestPatchUnseen(t *testing.T) {
	patch := buildPatch(t, "patchserver")
	p := startReady(t, fixture(t, "patchserver"), "4")
	done := make(chan bool)
	seen := make(chan string, 1)
	go func() {
		bad := ""
		for {
			select {
			case <-done:
				seen <- bad
				return
			default:
			}
			stats, _ := filepath.Glob("/proc/" + p.pid() + "/task/*/stat")
			for _, path := range stats {
				b, _ := os.ReadFile(path)
				if s := string(b); strings.Contains(s, ") T ") {
					bad = s
				}
			}
		}
	}()
	nopalOK(t, "patch", "apply", "-p", p.pid(), patch)
	nopalOK(t, "patch", "revert", "-p", p.pid())
	close(done)
	if s := <-seen; s != "" {
		t.Errorf("a thread was stopped: %s", s)
	}
	if o := p.finish(t); !o.ok() {
		t.Errorf("it ends with %#x: %s", o.status, o.stderr)
	}
}
