//go:build linux && (arm64 || amd64)

package test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nopal/internal/analyze"
	"nopal/trace"
)

// profile is what is in a recording of --profile.
type profile struct {
	recording
	funcs map[who]trace.FuncProfile // of single threads
	hz    float64
}

// milliseconds of ticks.
func (p profile) milliseconds(ticks uint64) float64 { return float64(ticks) / p.hz * 1000 }

// readProfile reads a recording that must have no events and checks that its numbers can be true.
func readProfile(t *testing.T, file string) profile {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := trace.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	p := profile{newRecording(), map[who]trace.FuncProfile{}, 0}
	events := trace.NewEvents(r)
	for {
		e, err := events.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("read %s: %v", file, err)
		}
		switch e.Kind {
		case trace.LostCount:
			p.lost += e.Count
		case trace.Entry, trace.FuncExit:
			t.Fatalf("an event in a profile: %+v", e)
		}
	}
	rec := events.Recording()
	p.hz = 1e9 / (float64(rec.NanosecondsOf(1<<40)) / (1 << 40))
	for _, f := range rec.Profiles() {
		name, _, _ := strings.Cut(analyze.Demangle(f.Site.Name()), "(")
		timed := uint64(0)
		for _, n := range f.Hist {
			timed += n
		}
		switch {
		case timed > f.Calls:
			err = fmt.Errorf("%d durations", timed)
		case f.Self > f.Total:
			err = errors.New("self > total")
		case timed > 0 && (f.Min > f.Max || f.Max > f.Total || f.Min*timed > f.Total || f.Max*timed < f.Total):
			err = errors.New("extremes do not fit the total")
		}
		if err != nil {
			t.Errorf("%s in thread %d: %v: %+v", name, f.Task.TID, err, f)
		}
		p.calls[who{name, 0}] += f.Calls
		p.calls[who{name, int(f.Task.TID)}] += f.Calls
		p.funcs[who{name, int(f.Task.TID)}] = f
		p.pids[int(f.Task.Program.PID)] = true
	}
	return p
}

// Each program runs as without nopal, and the profile has each call, whatever way it ended.
func TestProfilePrograms(t *testing.T) {
	for _, line := range []string{
		"fib", "fib-static", "fib-musl-static", "fib-o0", "abi-clang", "nested", "control", "shapes-os", "virtuals-clang", "exceptions", "exits",
		"unwind", "preserve", "threads 2", "threads-musl 2", "dl", "ctors", "nolibc", "sandbox", "mdwe again", "tree", "ends exit 77", "ends segv",
		"brief", "many-10000 once", "rawclone 200", "sigprof 50000", "forks 2", "forks chain 3",
		"coroutines", "altstack", "jumps", "jumps-musl-static", "storm 100", "storm-clang 50",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			notYetOf(t, line, "unwind", "shapes", "rawclone")
			argv := strings.Fields(line)
			argv[0] = fixture(t, argv[0])
			got, file := recordSame(t, "a line\nand another\n", []string{"--profile"}, argv...)
			p := readProfile(t, file)
			if strings.HasPrefix(line, "rawclone") {
				return // threads with one thread block count in one place
			}
			sameCounts(t, p.recording, truth(t, got.stdout))
			if info, err := os.Stat(file); err == nil && !strings.HasPrefix(line, "many") && info.Size() > 1<<20 {
				t.Errorf("the recording takes %d bytes", info.Size())
			}
		})
	}
}

// What is open when the program ends is counted until then; what a function calls is not its own time.
func TestProfileDurations(t *testing.T) {
	file := t.TempDir() + "/nopal.data"
	began := time.Now()
	o := nopal(t, "record", "-q", "--profile", "-o", file, "--", fixture(t, "sleeps"), "5", "20")
	took := time.Since(began)
	if !o.ok() {
		t.Fatalf("%#x %s", o.status, o.stderr)
	}
	p := readProfile(t, file)
	sameCounts(t, p.recording, truth(t, o.stdout))
	one := func(name string) trace.FuncProfile {
		for w, f := range p.funcs {
			if w.name == name {
				return f
			}
		}
		t.Fatalf("no %s in %v", name, slices.Collect(maps.Keys(p.funcs)))
		return trace.FuncProfile{}
	}
	nap, outer, all := one("nap"), one("outer"), one("main")
	if ms := p.milliseconds(nap.Min); ms < 20 {
		t.Errorf("the shortest nap of 20 ms took %g ms", ms)
	}
	if outer.Total < nap.Total || outer.Self > outer.Total/2 || outer.Total-outer.Self < nap.Total {
		t.Errorf("outer %d, of it itself %d, nap %d", outer.Total, outer.Self, nap.Total)
	}
	if ms := p.milliseconds(all.Total); ms < 5*20 || ms > float64(took.Milliseconds()) {
		t.Errorf("main took %g ms, nopal %v", ms, took)
	}
	if all.Calls != 1 {
		t.Errorf("%d calls of main", all.Calls)
	}
}

// Each moment of a thread is one function's own, whatever interrupts it.
func TestProfileSums(t *testing.T) {
	for _, line := range []string{"fib", "fib-bti", "sigprof 100000", "exceptions"} {
		t.Run(line, func(t *testing.T) {
			argv := strings.Fields(line)
			argv[0] = fixture(t, argv[0])
			_, file := recordSame(t, "", []string{"--profile"}, argv...)
			p := readProfile(t, file)
			for w, main := range p.funcs {
				if w.name != "main" {
					continue
				}
				var sum uint64
				for other, f := range p.funcs {
					if other.tid == w.tid {
						sum += f.Self
					}
				}
				if off := max(sum, main.Total) - min(sum, main.Total); off > main.Total/50 {
					t.Errorf("own times are %d, main took %d", sum, main.Total)
				}
				return
			}
			t.Error("no main")
		})
	}
}

// Calls deeper than there is room for are counted, and cost no more than a bounded time each.
func TestProfileDeep(t *testing.T) {
	got, file := recordSame(t, "", []string{"--profile"}, fixture(t, "deep"), "100000", "3")
	p := readProfile(t, file)
	sameCounts(t, p.recording, truth(t, got.stdout))
	for w, f := range p.funcs {
		if w.name != "down" {
			continue
		}
		timed := uint64(0)
		for _, n := range f.Hist {
			timed += n
		}
		if timed < 3*1000 || timed == f.Calls {
			t.Errorf("%d of %d calls of down have a duration", timed, f.Calls)
		}
	}
}

// Switched off and on again while it runs: what was open meanwhile has no false duration.
func TestProfileSwitched(t *testing.T) {
	p := startReady(t, fixture(t, "busy"), "2")
	file := t.TempDir() + "/nopal.data"
	rec := start(t, nopalBin(t), "record", "-q", "--profile", "-o", file, "-p", p.pid())
	eventually(t, "a recording of "+p.pid(), func() bool { return nopal(t, "ctl", "-p", p.pid(), "status").ok() })
	time.Sleep(200 * time.Millisecond)
	nopalOK(t, "ctl", "-p", p.pid(), "off")
	time.Sleep(1500 * time.Millisecond)
	nopalOK(t, "ctl", "-p", p.pid(), "on")
	time.Sleep(200 * time.Millisecond)
	rec.signal(t, syscall.SIGINT)
	if o := rec.wait(t); !o.ok() {
		t.Fatalf("%#x %s", o.status, o.stderr)
	}
	got := readProfile(t, file)
	if len(got.funcs) == 0 {
		t.Error("no profile")
	}
	for w, f := range got.funcs {
		if ms := got.milliseconds(f.Max); ms > 1400 && w.name != "main" && w.name != "run" {
			t.Errorf("%v: a call took %g ms, so long as nothing was recorded", w, ms)
		}
	}
}

// Children that nobody follows run the code that their parent has, and count nothing.
func TestProfileChildrenAlone(t *testing.T) {
	for _, line := range []string{"forks 5", "forks-static 2", "forks-musl 2", "forkmid 30 5"} {
		t.Run(line, func(t *testing.T) {
			argv := strings.Fields(line)
			argv[0] = fixture(t, argv[0])
			_, file := recordSame(t, "", []string{"--profile", "--no-follow"}, argv...)
			if p := readProfile(t, file); p.lost != 0 || len(p.pids) != 1 {
				t.Errorf("%d processes, %d calls lost", len(p.pids), p.lost)
			}
		})
	}
}

// A handler that forks, wherever it finds the program: child and parent may both end the call that
// was just ending, and nothing else is counted twice.
func TestProfileForkInHandler(t *testing.T) {
	notYet(t, "forks in handlers")
	const forks = 20
	got, file := recordSame(t, "", []string{"--profile", "--no-follow"}, fixture(t, "sigfork"), strconv.Itoa(forks), "300")
	p := readProfile(t, file)
	for w, n := range truth(t, got.stdout) {
		if calls := p.calls[w]; calls < n || calls > n+forks {
			t.Errorf("%s: %d calls, want %d", w.name, calls, n)
		}
	}
}

// A child that is forked in the middle of calls returns through exits whose entries are its parent's.
func TestProfileForkInTheMiddle(t *testing.T) {
	got, file := recordSame(t, "", []string{"--profile"}, fixture(t, "forkmid"), "30", "5")
	sameCounts(t, readProfile(t, file).recording, truth(t, got.stdout))
}

// Attached in the middle, detached again: what runs at both ends does no harm, and nothing is left.
func TestProfileAttach(t *testing.T) {
	p := startReady(t, fixture(t, "busy"), "2")
	file := t.TempDir() + "/nopal.data"
	nopalOK(t, "record", "-q", "--profile", "--duration", "1500ms", "-o", file, "-p", p.pid())
	got := readProfile(t, file)
	if got.lost != 0 || len(got.funcs) == 0 {
		t.Errorf("%d functions, %d calls lost", len(got.funcs), got.lost)
	}
	for w, f := range got.funcs {
		if ms := got.milliseconds(f.Max); ms > 2500 {
			t.Errorf("%v: a call took %g ms in a recording of 1500 ms", w, ms)
		}
	}
	maps, err := os.ReadFile("/proc/" + p.pid() + "/maps")
	if err != nil || strings.Contains(string(maps), "nopal") {
		t.Errorf("%v\n%s", err, maps)
	}
}

// A killed nopal is cleared away as in every mode, and what it has written is good.
func TestProfileKilled(t *testing.T) {
	p := startReady(t, fixture(t, "busy"), "2")
	file := t.TempDir() + "/nopal.data"
	rec := start(t, nopalBin(t), "record", "-q", "--profile", "-o", file, "-p", p.pid())
	eventually(t, "a profile in "+file, func() bool {
		info, err := os.Stat(file)
		return err == nil && info.Size() > 0 && tries(file)
	})
	rec.signal(t, syscall.SIGKILL)
	rec.wait(t)
	nopalOK(t, "detach", "-p", p.pid())
	maps, err := os.ReadFile("/proc/" + p.pid() + "/maps")
	if err != nil || strings.Contains(string(maps), "nopal") {
		t.Errorf("%v\n%s", err, maps)
	}
}

// tries reports whether a recording that is being written has a profile in it.
func tries(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	r, err := trace.NewReader(f)
	if err != nil {
		return false
	}
	events := trace.NewEvents(r)
	for {
		if _, err := events.Next(); err != nil {
			return len(events.Recording().Profiles()) > 0
		}
	}
}

// Threads that come and go take the place of those before; the counts of all are there.
func TestProfileThreadsComeAndGo(t *testing.T) {
	got, file := recordSame(t, "", []string{"--profile", "--no-follow"}, fixture(t, "threads"), "6", "32", "1000")
	sameCounts(t, readProfile(t, file).recording, truth(t, got.stdout))
}

// A program that locks all of its memory has little of what is there for more threads.
func TestProfileLockedMemory(t *testing.T) {
	notYet(t, "limits of locked memory")
	prog := fixture(t, "locked")
	o, file := record(t, "go\n", []string{"--profile"}, prog)
	if !o.ok() {
		t.Fatalf("%#x %s", o.status, o.stderr)
	}
	sameCounts(t, readProfile(t, file).recording, truth(t, o.stdout))

	p := startReady(t, prog)
	rec := start(t, nopalBin(t), "record", "-q", "--profile", "-o", file, "-p", p.pid())
	eventually(t, "a recording of "+p.pid(), func() bool { return nopal(t, "ctl", "-p", p.pid(), "status").ok() })
	status, err := os.ReadFile("/proc/" + p.pid() + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			if n, _ := strconv.Atoi(f[1]); n > 400<<10 {
				t.Errorf("%d KiB of memory are in use", n)
			}
		}
	}
	if _, err := io.WriteString(p.stdin, "go\n"); err != nil {
		t.Fatal(err)
	}
	if o := p.finish(t); !o.ok() {
		t.Errorf("%#x %s", o.status, o.stderr)
	}
	rec.wait(t)
	got := readProfile(t, file)
	if n := got.calls[who{"work", 0}]; n != 1000 {
		t.Errorf("%d calls of work", n)
	}
}
