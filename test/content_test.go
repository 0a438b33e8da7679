//go:build linux && (arm64 || amd64)

package test

import (
	"encoding/json"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func number(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		t.Fatalf("bad number %q: %v", text, err)
	}
	return n
}

// Stacks show every caller, the traced function's own first.
func TestStack(t *testing.T) {
	for _, options := range [][]string{{"--stack"}, {"--regs", "--stack"}} {
		_, file := record(t, "", options, fixture(t, "values"))
		r := replay(t, file, func(e event) bool { return e.Name == "known" })
		if len(r.all) != 10 {
			t.Errorf("%d calls of known, want 10", len(r.all))
		}
		for _, e := range r.all {
			text, err := json.Marshal(e.Stack)
			if err != nil {
				t.Fatal(err)
			}
			rest := string(text)
			for _, name := range []string{"chain3+0x", "chain2+0x", "chain1+0x", "main+0x"} {
				var ok bool
				plain, _, _ := strings.Cut(name, "+")
				if _, rest, ok = strings.Cut(rest, plain); !ok {
					t.Fatalf("%v: stack has no %s in its place: %s", options, plain, text)
				}
			}
		}
	}
}

// Depth rises by one along a call chain.
func TestDepth(t *testing.T) {
	_, file := record(t, "", roomy, fixture(t, "values"))
	want := map[string]int{"chain1": 1, "chain2": 2, "chain3": 3, "known": 4}
	r := replay(t, file, func(e event) bool { return want[e.Name] > 0 || e.Name == "main" })
	base := -1
	for _, e := range r.all {
		if e.Name == "main" {
			base = e.Depth
		} else if e.Depth-base != want[e.Name] {
			t.Errorf("depth of %s is %d, of main %d", e.Name, e.Depth, base)
		}
	}
}

// Filters choose at record and at replay alike; a function without a filter's word is not recorded.
func TestFilters(t *testing.T) {
	prog := fixture(t, "control")
	_, all := recordSame(t, "", roomy, prog)
	for _, c := range []struct {
		filters []string
		want    []string
	}{
		{[]string{"-F", "tail*"}, []string{"tail1", "tail2", "tail3"}},
		{[]string{"-F", "tail?", "-N", "tail2"}, []string{"tail1", "tail3"}},
		{[]string{"-F", "is_[eo]*", "-F", "frame"}, []string{"is_even", "is_odd", "frame"}},
		{[]string{"-F", "control:t*"}, []string{"tail1", "tail2", "tail3", "two"}},
	} {
		_, file := recordSame(t, "", append(c.filters, roomy...), prog)
		for what, r := range map[string]recording{
			"record": count(t, file), "replay": replay(t, all, nil, c.filters...),
		} {
			got := make(map[string]bool)
			for w := range r.calls {
				got[w.name] = true
			}
			for _, name := range c.want {
				if !got[name] {
					t.Errorf("%s %v: no %s", what, c.filters, name)
				}
				delete(got, name)
			}
			if len(got) > 0 {
				t.Errorf("%s %v: also %v", what, c.filters, got)
			}
		}
	}
}

// Functions of a library that was loaded while recording have its name.
func TestDlopenNames(t *testing.T) {
	_, file := recordSame(t, "", roomy, fixture(t, "dl"))
	r := replay(t, file, func(e event) bool { return e.Name == "plug_call" })
	objects := make(map[string]int)
	for _, e := range r.all {
		objects[e.Object[strings.LastIndex(e.Object, "/")+1:]]++
	}
	if objects["libplug.so"] != 100 || objects["libplug2.so"] != 200 || len(objects) != 2 {
		t.Errorf("calls of plug_call by object: %v, want 100 and 200", objects)
	}
}

// Libraries loaded into a process that nopal is attached to.
func TestAttachDlopen(t *testing.T) {
	times := "2000"
	if runtime.GOARCH == "amd64" {
		times = "20000" // not emulated
	}
	p := start(t, fixture(t, "dl"), times)
	time.Sleep(200 * time.Millisecond)
	_, file := attachFor(t, p.pid(), 300*time.Millisecond)
	// Stopped, because its mappings come and go.
	p.signal(t, syscall.SIGSTOP)
	eventually(t, "stop", func() bool { return strings.HasPrefix(status(t, p.pid(), "State"), "T") })
	clean(t, p.pid())
	p.signal(t, syscall.SIGCONT)
	if o := p.wait(t); !o.ok() {
		t.Errorf("status %#x: %s", o.status, o.stderr)
	}
	if r := count(t, file); r.calls[who{"plug_call", 0}] == 0 || r.calls[who{"load", 0}] == 0 {
		t.Errorf("no call into the library in %d events", r.events)
	}
}

// --no-follow: children are left alone, and the command itself is not ptraced.
func TestNoFollow(t *testing.T) {
	_, file := recordSame(t, "", append([]string{"--no-follow"}, roomy...), fixture(t, "forks"), "5")
	r := count(t, file)
	if r.calls[who{"child_work", 0}] != 0 || r.calls[who{"link_work", 0}] != 0 || len(r.pids) != 1 {
		t.Errorf("children were recorded: %v", r.pids)
	}
	if got := r.calls[who{"parent_work", 0}]; got != 10 {
		t.Errorf("%d calls of parent_work, want 10", got)
	}
	prog := fixture(t, "busy")
	rec := start(t, nopalBin(t), "record", "-q", "--no-follow", "-o", t.TempDir()+"/nopal.data", "--", prog, "2")
	rec.waitFor(t, "ready")
	child := childOf(t, rec.pid())
	eventually(t, "an untraced command", func() bool { return tracer(t, child) == 0 })
	if !armed(t, child, prog) {
		t.Error("the command is not armed")
	}
	busyRight(t, rec.finish(t))
}

// With -p --follow-forks children are recorded, without it they are not; they are unharmed either way.
func TestAttachForks(t *testing.T) {
	prog := fixture(t, "forks")
	for _, options := range [][]string{{"-q"}, {"-q", "--follow-forks"}} {
		p := startReady(t, prog, "8", "wait")
		file := t.TempDir() + "/nopal.data"
		rec := start(t, append([]string{nopalBin(t), "record", "-p", p.pid(), "-o", file, "--buffer", "64m"}, options...)...)
		eventually(t, "armed functions", func() bool { return armed(t, p.pid(), prog) })
		time.Sleep(50 * time.Millisecond)
		if _, err := p.stdin.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
		o := p.wait(t)
		if !o.ok() || !strings.Contains(o.stdout, "bad 0") {
			t.Errorf("%v: status %#x\n%s%s", options, o.status, o.stdout, o.stderr)
		}
		// The recording ends with the process.
		if o := rec.wait(t); !o.ok() {
			t.Errorf("%v: nopal: status %#x\n%s", options, o.status, o.stderr)
		}
		want := truth(t, o.stdout)
		r := count(t, file)
		if len(options) == 1 {
			if len(r.pids) != 1 || r.calls[who{"child_work", 0}] != 0 {
				t.Errorf("children were recorded: %v", r.pids)
			}
			want = map[who]uint64{{"parent_work", 0}: want[who{"parent_work", 0}]}
		}
		sameCounts(t, r, want)
	}
}

// childOf is the first child of a process.
func childOf(t *testing.T, pid string) string {
	t.Helper()
	o := run(t, "", "/bin/sh", "-c", "cat /proc/"+pid+"/task/*/children")
	f := strings.Fields(o.stdout)
	if len(f) == 0 {
		t.Fatalf("process %s has no child", pid)
	}
	return f[0]
}

// Recorded and lost are together what happened, exactly, however small the buffer.
func TestSmallBuffer(t *testing.T) {
	for _, line := range []string{"fib 21", "threads 4 64 40", "sigprof 100000"} {
		t.Run(line, func(t *testing.T) {
			argv := strings.Fields(line)
			argv[0] = fixture(t, argv[0])
			filter := []string{"-F", "fib", "--buffer", "64k"}
			if argv[0] != fixture(t, "fib") {
				filter = []string{"-N", "main", "--buffer", "64k"}
			}
			o, file := recordSame(t, "", filter, argv...)
			r := count(t, file)
			var want uint64
			for w, n := range truth(t, o.stdout) {
				if w.tid == 0 && w.name != "main" {
					want += n
				}
			}
			if r.events+r.lost != want {
				t.Errorf("%d recorded + %d lost = %d, happened %d", r.events, r.lost, r.events+r.lost, want)
			}
			t.Logf("%d recorded, %d lost", r.events, r.lost)
		})
	}
}

// --overwrite keeps the newest: the last calls of a program are in the recording, and the count is exact.
func TestOverwrite(t *testing.T) {
	o, file := recordSame(t, "", []string{"--overwrite", "--buffer", "128k"}, fixture(t, "fib"), "22")
	r := count(t, file)
	want := truth(t, o.stdout)[who{"fib", 0}] + 1
	if r.events+r.lost != want {
		t.Errorf("%d recorded + %d lost = %d, happened %d", r.events, r.lost, r.events+r.lost, want)
	}
	if r.lost == 0 || r.events == 0 {
		t.Errorf("%d recorded, %d lost: nothing was overwritten, or all", r.events, r.lost)
	}
	if r.calls[who{"main", 0}] != 0 {
		t.Error("the oldest event, main's, is still there")
	}
}

// The disk is full: recording stops, what was written is readable, nopal says so, the command is unharmed.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=128k"); err != nil {
		skip(t, "mount: "+err.Error())
	}
	defer func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	file := dir + "/nopal.data"
	prog := fixture(t, "fib")
	want := run(t, "", prog, "27")
	got := nopal(t, "record", "-o", file, "--", prog, "27")
	if got.stdout != want.stdout || got.status != want.status {
		t.Errorf("the command was harmed: status %#x\n%s", got.status, got.stdout)
	}
	if !strings.Contains(got.stderr, "no space left") {
		t.Errorf("does not say that the disk is full: %s", got.stderr)
	}
	if r := countBroken(t, file); r.events == 0 {
		t.Error("nothing is readable")
	}
	p := startReady(t, fixture(t, "busy"), "2")
	o := nopal(t, "record", "-p", p.pid(), "-o", dir+"/second.data", "--duration", "1s")
	if !strings.Contains(o.stderr, "no space left") {
		t.Errorf("does not say that the disk is full: %s", o.stderr)
	}
	clean(t, p.pid())
	busyRight(t, p.finish(t))
}

// What a user types at the terminal while a command is recorded goes to the command.
func TestInterruptGoesToTheCommand(t *testing.T) {
	rec := start(t, nopalBin(t), "record", "-q", "-o", t.TempDir()+"/nopal.data", "--", fixture(t, "busy"), "2")
	rec.waitFor(t, "ready")
	child := childOf(t, rec.pid())
	// As the terminal does: to both. busy does not handle SIGINT and dies of it.
	if o := run(t, "", "/bin/sh", "-c", "kill -INT "+rec.pid()+" "+child); !o.ok() {
		t.Fatal(o.stderr)
	}
	o := rec.wait(t)
	if !o.status.Signaled() || o.status.Signal() != syscall.SIGINT {
		t.Errorf("status %#x, want death by SIGINT", o.status)
	}
}

// An existing recording is moved aside, not overwritten.
func TestOldRecording(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		nopalOK(t, "record", "-o", dir+"/nopal.data", "--", fixture(t, "fib"), "5")
	}
	for _, name := range []string{"nopal.data", "nopal.data.old"} {
		if r := count(t, dir+"/"+name); r.events == 0 {
			t.Errorf("%s is empty", name)
		}
	}
}

// info and sites on what was recorded.
func TestInfoAndSites(t *testing.T) {
	prog := fixture(t, "fib")
	_, file := record(t, "", roomy, prog)
	o := nopalOK(t, "info", "-i", file)
	for _, word := range []string{prog, machineName, "2189"} {
		if !strings.Contains(o.stdout, word) {
			t.Errorf("info has no %q:\n%s", word, o.stdout)
		}
	}
	o = nopalOK(t, "sites", prog)
	if !strings.Contains(o.stdout, "fib") || !strings.Contains(o.stdout, "main") {
		t.Errorf("sites:\n%s", o.stdout)
	}
	busy := fixture(t, "busy")
	p := startReady(t, busy, "1")
	rec := start(t, nopalBin(t), "record", "-p", p.pid(), "-o", t.TempDir()+"/nopal.data", "-F", "b2")
	eventually(t, "armed functions", func() bool { return armed(t, p.pid(), busy) && tracer(t, p.pid()) == 0 })
	o = nopalOK(t, "sites", "-p", p.pid(), "-F", "b[12]")
	for line := range strings.Lines(o.stdout) {
		if slices.Contains(strings.Fields(line), "b1") && strings.Contains(line, "record") {
			t.Errorf("b1 is shown as armed: %s", line)
		}
	}
	if !strings.Contains(o.stdout, "b2") {
		t.Errorf("sites -p:\n%s", o.stdout)
	}
	rec.signal(t, syscall.SIGINT)
	rec.wait(t)
	clean(t, p.pid())
	busyRight(t, p.finish(t))
}
