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

func walkerRight(t *testing.T, o outcome) {
	t.Helper()
	if !o.ok() || !strings.Contains(o.stdout, "walker right") {
		t.Errorf("the program was harmed: status %#x\n%s%s", o.status, o.stdout, o.stderr)
	}
}

// Attached while threads are deep in calls: their first exits have no entries, and everything after that nests.
// Detached while they are deep again: the text is as before, and they return through it.
func TestGraphAttach(t *testing.T) {
	for _, prog := range []string{"walker 4", "busy 4", "busy-musl 4", "busy 16 0 1"} {
		t.Run(prog, func(t *testing.T) {
			notYetOf(t, prog, "walker")
			argv := strings.Fields(prog)
			argv[0] = fixture(t, argv[0])
			p := startReady(t, argv...)
			_, file := attachFor(t, p.pid(), 50*time.Millisecond, "--graph", "--buffer", "8m")
			clean(t, p.pid())
			o := p.finish(t)
			r := count(t, file)
			balanced(t, r)
			if strings.HasPrefix(prog, "walker") {
				walkerRight(t, o)
				if r.ends.orphans[who{"w_down", 0}] == 0 {
					t.Errorf("no exit of w_down without an entry: nobody was inside (%d calls)", r.events)
				}
				if r.lost == 0 {
					nested(t, r)
				}
			} else {
				busyRight(t, o)
				checkBusy(t, file)
			}
		})
	}
}

// Attach and detach often, with exits, under load.
func TestGraphAttachDetachOften(t *testing.T) {
	times := 15
	if testing.Short() {
		times = 5
	}
	for _, argv := range [][]string{{"walker", "3"}, {"busy", "2", "0", "1"}} {
		p := startReady(t, append([]string{fixture(t, argv[0])}, argv[1:]...)...)
		for i := range times {
			d := time.Duration(i%5)*7*time.Millisecond + time.Millisecond
			o := nopal(t, "record", "-q", "--graph", "-p", p.pid(), "-o", t.TempDir()+"/nopal.data", "--buffer", "1m", "--duration", d.String())
			if !o.ok() {
				t.Fatalf("%v: attach %d: status %#x\n%s", argv, i, o.status, o.stderr)
			}
			clean(t, p.pid())
			if t.Failed() {
				t.Fatalf("%v: after attach %d", argv, i)
			}
		}
		if argv[0] == "walker" {
			walkerRight(t, p.finish(t))
		} else {
			busyRight(t, p.finish(t))
		}
	}
}

// nopal is killed at random moments in graph mode; the target goes on through the exits, and nopal detach puts them back.
func TestGraphKillNopal(t *testing.T) {
	times := 20
	if testing.Short() {
		times = 5
	}
	random := rand.New(rand.NewPCG(5, 6))
	prog := fixture(t, "walker")
	p := startReady(t, prog, "2")
	found := 0
	for i := range times {
		rec := start(t, nopalBin(t), "record", "-q", "--graph", "-p", p.pid(), "-o", t.TempDir()+"/nopal.data", "--buffer", "1m", "--duration", "150ms")
		if i%2 == 1 {
			eventually(t, "nopal at work", func() bool { return tracer(t, p.pid()) != 0 || armed(t, p.pid(), prog) })
		}
		moment := time.Duration(random.Int64N(int64(300 * time.Millisecond)))
		time.Sleep(moment)
		select {
		case <-rec.done:
			// Too late, it had ended.
		default:
			rec.signal(t, syscall.SIGKILL)
			<-rec.done
		}
		if i%3 == 2 {
			// The next nopal finds it.
			continue
		}
		if len(residue(t, p.pid())) > 0 {
			found++
		}
		if o := nopal(t, "detach", "-p", p.pid()); !o.ok() {
			t.Fatalf("kill %d after %v: detach: status %#x\n%s%s", i, moment, o.status, o.stdout, o.stderr)
		}
		clean(t, p.pid())
		if t.Failed() {
			t.Fatalf("after kill %d at %v", i, moment)
		}
	}
	nopalOK(t, "detach", "-p", p.pid())
	clean(t, p.pid())
	walkerRight(t, p.finish(t))
	if found == 0 {
		t.Error("no kill left anything: the moments miss the recording")
	}
}

// The target is killed: what it committed is in the file, to the last call.
func TestGraphKillTarget(t *testing.T) {
	for _, attach := range []bool{false, true} {
		t.Run(fmt.Sprintf("attach %v", attach), func(t *testing.T) {
			prog := fixture(t, "lastwords")
			file := t.TempDir() + "/nopal.data"
			args := []string{nopalBin(t), "record", "-q", "--graph", "--buffer", "64m", "-o", file}
			var rec *process
			var said func() string
			if attach {
				p := startReady(t, prog, "wait")
				rec = start(t, append(args, "-p", p.pid())...)
				eventually(t, "armed functions", func() bool { return armed(t, p.pid(), prog) && tracer(t, p.pid()) == 0 })
				if _, err := p.stdin.Write([]byte("\n")); err != nil {
					t.Fatal(err)
				}
				if o := p.wait(t); !o.status.Signaled() || o.status.Signal() != syscall.SIGKILL {
					t.Errorf("the target ended with %#x", o.status)
				}
				said = p.out.String
				if o := rec.wait(t); !o.ok() {
					t.Errorf("nopal: status %#x: %s", o.status, o.stderr)
				}
			} else {
				rec = start(t, append(args, "--", prog)...)
				if o := rec.wait(t); !o.status.Signaled() || o.status.Signal() != syscall.SIGKILL {
					t.Errorf("nopal ended with %#x, its command by SIGKILL\n%s", o.status, o.stderr)
				}
				said = rec.out.String
			}
			r := count(t, file)
			sameCounts(t, r, truth(t, said()))
			sameExits(t, r, said(), prog)
		})
	}
}
