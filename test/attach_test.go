//go:build linux && (arm64 || amd64)

package test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"
)

// attachFor records a running process for a time.
func attachFor(t *testing.T, pid string, d time.Duration, options ...string) (outcome, string) {
	t.Helper()
	file := t.TempDir() + "/nopal.data"
	args := append([]string{"record", "-p", pid, "-o", file, "--duration", d.String()}, options...)
	return nopalOK(t, args...), file
}

func busyRight(t *testing.T, o outcome) {
	t.Helper()
	if !o.ok() || !strings.Contains(o.stdout, "busy right") {
		t.Errorf("the program was harmed: status %#x\n%s%s", o.status, o.stdout, o.stderr)
	}
}

var busyNames = []string{"b1", "b2", "b3", "f8", "a8"}

func TestAttach(t *testing.T) {
	for _, c := range []struct {
		argv    string
		options []string
	}{
		{argv: "busy 4"}, {argv: "busy-musl 4"}, {argv: "busy 16 0 1"},
		{argv: "busy 4", options: []string{"--regs"}}, {argv: "busy 4", options: []string{"--stack"}},
		{argv: "busy 4", options: []string{"-a"}}, {argv: "busy-musl 4", options: []string{"--graph", "-a"}},
		{argv: "busy 4", options: []string{"--overwrite"}}, {argv: "busy 4", options: []string{"--follow-forks"}},
	} {
		t.Run(c.argv+strings.Join(c.options, ""), func(t *testing.T) {
			if strings.Contains(strings.Join(c.options, " "), "-a") {
				notYet(t, "arguments")
			}
			argv := strings.Fields(c.argv)
			argv[0] = fixture(t, argv[0])
			p := startReady(t, argv...)
			_, file := attachFor(t, p.pid(), 100*time.Millisecond, append(c.options, "--buffer", "4m")...)
			clean(t, p.pid())
			busyRight(t, p.finish(t))
			checkBusy(t, file)
		})
	}
}

// checkBusy wants all of busy's functions in a recording, and only what has a name.
func checkBusy(t *testing.T, file string) {
	t.Helper()
	r := count(t, file)
	for _, name := range busyNames {
		if r.calls[who{name, 0}] == 0 {
			t.Errorf("no event of %s in %d events (%d lost)", name, r.events, r.lost)
		}
	}
	for w := range r.calls {
		if strings.Contains(w.name, "+0x") {
			t.Errorf("an event of no known function: %q", w.name)
		}
	}
}

// While nopal records a process that it only attached to, the process is not ptraced: a debugger may come.
func TestAttachedIsNotTraced(t *testing.T) {
	prog := fixture(t, "busy")
	p := startReady(t, prog, "2")
	rec := start(t, nopalBin(t), "record", "-p", p.pid(), "-o", t.TempDir()+"/nopal.data")
	eventually(t, "armed functions", func() bool { return armed(t, p.pid(), prog) && tracer(t, p.pid()) == 0 })
	holder := start(t, fixture(t, "holder"), p.pid())
	holder.waitFor(t, "held")
	if o := holder.finish(t); !o.ok() {
		t.Errorf("a debugger could not attach beside nopal: %s", o.stderr)
	}
	rec.signal(t, syscall.SIGINT)
	if o := rec.wait(t); !o.ok() {
		t.Errorf("Ctrl-C ends with status %#x\n%s", o.status, o.stderr)
	}
	clean(t, p.pid())
	busyRight(t, p.finish(t))
}

// SIGTERM ends a recording like Ctrl-C does.
func TestAttachSignals(t *testing.T) {
	prog := fixture(t, "busy")
	p := startReady(t, prog, "2")
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		file := t.TempDir() + "/nopal.data"
		rec := start(t, nopalBin(t), "record", "-p", p.pid(), "-o", file)
		eventually(t, "armed functions", func() bool { return armed(t, p.pid(), prog) })
		time.Sleep(30 * time.Millisecond)
		rec.signal(t, sig)
		if o := rec.wait(t); !o.ok() {
			t.Errorf("%v ends with status %#x\n%s", sig, o.status, o.stderr)
		}
		clean(t, p.pid())
		checkBusy(t, file)
	}
	busyRight(t, p.finish(t))
}

// Attach and detach a hundred times under load.
func TestAttachDetachOften(t *testing.T) {
	times := 100
	if testing.Short() {
		times = 10
	}
	for _, c := range []struct {
		argv  []string
		times int
	}{
		{[]string{"busy", "2"}, times * 3 / 4},
		{[]string{"busy", "2", "0", "1"}, times - times*3/4},
	} {
		p := startReady(t, append([]string{fixture(t, c.argv[0])}, c.argv[1:]...)...)
		for i := range c.times {
			d := time.Duration(i%5)*7*time.Millisecond + time.Millisecond
			file := t.TempDir() + "/nopal.data"
			o := nopal(t, "record", "-q", "-p", p.pid(), "-o", file, "--buffer", "1m", "--duration", d.String())
			if !o.ok() {
				t.Fatalf("%v: attach %d: status %#x\n%s", c.argv, i, o.status, o.stderr)
			}
			clean(t, p.pid())
			if t.Failed() {
				t.Fatalf("%v: after attach %d", c.argv, i)
			}
		}
		busyRight(t, p.finish(t))
	}
}

// nopal is killed at random moments of attach, recording and detach; the target goes on, and nopal detach cleans it.
func TestKillNopal(t *testing.T) {
	times := 100
	if testing.Short() {
		times = 10
	}
	// A fixed seed: a failure's moment can be found again, roughly.
	random := rand.New(rand.NewPCG(1, 2))
	prog := fixture(t, "busy")
	p := startReady(t, prog, "2")
	var found int
	for i := range times {
		rec := start(t, nopalBin(t), "record", "-q", "-p", p.pid(), "-o", t.TempDir()+"/nopal.data", "--buffer", "1m", "--duration", "150ms")
		moment := time.Duration(random.Int64N(int64(500 * time.Millisecond)))
		if i%2 == 1 {
			// From when nopal takes hold of the process.
			eventually(t, "nopal at work", func() bool { return tracer(t, p.pid()) != 0 || armed(t, p.pid(), prog) })
			moment /= 4
		}
		time.Sleep(moment)
		select {
		case <-rec.done:
			// Too late, it had ended.
		default:
			rec.signal(t, syscall.SIGKILL)
			<-rec.done
		}
		if i%3 == 2 {
			// Not every state is cleaned at once: the next nopal finds it.
			continue
		}
		if len(residue(t, p.pid())) > 0 {
			found++
		}
		o := nopal(t, "detach", "-p", p.pid())
		if !o.ok() {
			t.Fatalf("kill %d after %v: detach: status %#x\n%s%s", i, moment, o.status, o.stdout, o.stderr)
		}
		clean(t, p.pid())
		if t.Failed() {
			t.Fatalf("after kill %d at %v", i, moment)
		}
	}
	nopalOK(t, "detach", "-p", p.pid())
	clean(t, p.pid())
	busyRight(t, p.finish(t))
	if found == 0 {
		t.Error("no kill left anything: the moments miss the recording")
	}
	t.Logf("%d of %d kills left something", found, times)
}

// A launched command goes on when its nopal is killed, and ends as it would have.
func TestKillNopalOfCommand(t *testing.T) {
	times := 12
	if testing.Short() {
		times = 3
	}
	random := rand.New(rand.NewPCG(3, 4))
	for i := range times {
		rec := start(t, nopalBin(t), "record", "-q", "-o", t.TempDir()+"/nopal.data", "--", fixture(t, "busy"), "2")
		rec.waitFor(t, "ready")
		time.Sleep(time.Duration(random.Int64N(int64(50 * time.Millisecond))))
		rec.signal(t, syscall.SIGKILL)
		time.Sleep(30 * time.Millisecond)
		rec.stdin.Close()
		eventually(t, "the command's end", func() bool { return strings.Contains(rec.out.String(), "calls one") })
		if !strings.Contains(rec.out.String(), "busy right") {
			t.Errorf("kill %d: the command was harmed:\n%s", i, rec.out)
		}
	}
}

// A stopped process is recorded, and stays stopped.
func TestAttachStopped(t *testing.T) {
	p := startReady(t, fixture(t, "busy"), "2")
	p.signal(t, syscall.SIGSTOP)
	eventually(t, "stop", func() bool { return strings.HasPrefix(status(t, p.pid(), "State"), "T") })
	attachFor(t, p.pid(), 100*time.Millisecond)
	if s := status(t, p.pid(), "State"); !strings.HasPrefix(s, "T (stopped)") {
		t.Errorf("a stopped process is %s after nopal", s)
	}
	clean(t, p.pid())
	p.signal(t, syscall.SIGCONT)
	busyRight(t, p.finish(t))
}

// Waits inside the kernel take their time although somebody attaches and detaches meanwhile.
func TestAttachBlocked(t *testing.T) {
	// Attached late, a wait that is begun again takes twice its time; one that is only held up by
	// the stop itself, as relative ppoll is, a little longer.
	p := startReady(t, fixture(t, "blocked"), "4000", "1500")
	time.Sleep(2500 * time.Millisecond)
	attachFor(t, p.pid(), 20*time.Millisecond)
	clean(t, p.pid())
	o := p.wait(t)
	if !o.ok() || strings.Contains(o.stdout, "WRONG") {
		t.Errorf("a wait was cut short or prolonged:\n%s%s", o.stdout, o.stderr)
	}
}

// A filter that allows next to no system call: nopal attaches without harm, or says why it does not.
func TestAttachSandbox(t *testing.T) {
	p := start(t, fixture(t, "sandbox"), "1000", "stay")
	p.waitFor(t, "calls boxed")
	o := nopal(t, "record", "-p", p.pid(), "-o", t.TempDir()+"/nopal.data", "--duration", "100ms")
	if !o.ok() && !strings.Contains(o.stderr, "seccomp") {
		t.Errorf("status %#x, and no word of seccomp: %s", o.status, o.stderr)
	}
	clean(t, p.pid())
	if end := p.finish(t); !end.ok() || !strings.Contains(end.stdout, "left 1") {
		t.Errorf("the sandboxed program was harmed: status %#x\n%s", end.status, end.stdout)
	}
}

// Targets that end while nopal attaches.
func TestAttachToTheEnding(t *testing.T) {
	n := 40
	if testing.Short() {
		n = 8
	}
	prog := fixture(t, "brief")
	recorded := 0
	for i := range n {
		// The last one lives long enough for any machine.
		p := start(t, prog, fmt.Sprint(i*10+i/(n-1)*2000))
		o := nopal(t, "record", "-q", "-p", p.pid(), "-o", t.TempDir()+"/nopal.data", "--duration", "5s")
		if o.ok() {
			recorded++
		} else if !strings.Contains(o.stderr, "no such process") && !strings.Contains(o.stderr, "ended") && !strings.Contains(o.stderr, "exited") {
			t.Errorf("after %d ms: status %#x: %s", i*10, o.status, o.stderr)
		}
		if end := p.wait(t); !end.ok() {
			t.Errorf("after %d ms the target ended with %#x\n%s", i*10, end.status, end.stderr)
		}
	}
	if recorded == 0 {
		t.Error("not one target was recorded")
	}
}

// Two nopals at one process: the second says so and harms nothing.
func TestAttachTwice(t *testing.T) {
	prog := fixture(t, "busy")
	p := startReady(t, prog, "2")
	file := t.TempDir() + "/nopal.data"
	rec := start(t, nopalBin(t), "record", "-p", p.pid(), "-o", file)
	eventually(t, "armed functions", func() bool { return armed(t, p.pid(), prog) && tracer(t, p.pid()) == 0 })
	second := nopal(t, "record", "-p", p.pid(), "-o", t.TempDir()+"/nopal.data", "--duration", "50ms")
	if second.ok() {
		t.Log("two nopals record one process")
	} else if !strings.Contains(second.stderr, rec.pid()) {
		t.Errorf("the second nopal does not say who is in the way: %s", second.stderr)
	}
	if !armed(t, p.pid(), prog) {
		t.Error("the second nopal disarmed the first one's functions")
	}
	rec.signal(t, syscall.SIGINT)
	if o := rec.wait(t); !o.ok() {
		t.Errorf("status %#x: %s", o.status, o.stderr)
	}
	clean(t, p.pid())
	checkBusy(t, file)
	busyRight(t, p.finish(t))
}
