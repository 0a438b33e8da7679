//go:build linux && (arm64 || amd64)

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nopal/trace"
)

// A snapshot is a complete recording of what has happened up to it, and the recording goes on.
func TestSnapshot(t *testing.T) {
	for _, options := range [][]string{nil, {"--overwrite"}} {
		t.Run(fmt.Sprint(options), func(t *testing.T) {
			p := startSteps(t)
			r := startRecorder(t, p.pid(), append(options, "-F", "s*")...)
			first, second := t.TempDir()+"/first", r.file+".snapshot-1"
			p.do(t, 10)
			r.ctl(t, "snapshot", "-o", first)
			rounds(t, first, 10)
			p.do(t, 200) // fills pages
			r.ctl(t, "snapshot")
			rounds(t, second, 210)
			r.signal(t, syscall.SIGUSR2)
			eventually(t, "a snapshot for the signal", func() bool {
				return strings.Contains(r.errs.String(), "snapshot written to "+r.file+".snapshot-2")
			})
			p.do(t, 1)
			refused(t, nopal(t, "ctl", "-p", p.pid(), "snapshot", "-o", r.file), "the recording itself")
			refused(t, nopal(t, "ctl", "-p", p.pid(), "snapshot", "-o", "/nowhere/at/all"), "no such file")
			refused(t, nopal(t, "ctl", "-p", p.pid(), "snapshot", "-o", "/dev/full"), "/dev/full")
			if info, err := os.Stat("/dev/full"); err != nil || info.Mode()&os.ModeDevice == 0 {
				t.Errorf("/dev/full is not what it was: %v, %v", info, err)
			}
			r.stop(t)
			rounds(t, first, 10)
			rounds(t, second, 210)
			rounds(t, r.file+".snapshot-2", 210)
			rounds(t, r.file, 211)
			p.finish(t)
		})
	}
}

// A snapshot of a full ring has the newest events and the number of all others.
func TestSnapshotOfFullRing(t *testing.T) {
	p := startSteps(t)
	r := startRecorder(t, p.pid(), "-F", "s*", "--overwrite", "--buffer", "256k")
	last := uint64(0)
	for n := range 3 {
		p.do(t, 20000)
		file := filepath.Join(t.TempDir(), "snapshot")
		r.ctl(t, "snapshot", "-o", file)
		got := count(t, file)
		if want := uint64(p.total * 7); got.events+got.lost != want || got.events < 10000 || got.lost < last {
			t.Errorf("snapshot %d: %d events + %d lost, want %d", n, got.events, got.lost, want)
		}
		last = got.lost
	}
	r.stop(t)
	got := count(t, r.file)
	if want := uint64(p.total * 7); got.events+got.lost != want || got.events < 10000 {
		t.Errorf("%d events + %d lost, want %d", got.events, got.lost, want)
	}
	p.finish(t)
}

// Snapshots of threads at full speed disturb nothing: at the end every call is recorded or counted as lost.
func TestSnapshotsUnderLoad(t *testing.T) {
	for _, options := range [][]string{nil, {"--graph"}} {
		t.Run(fmt.Sprint(options), func(t *testing.T) {
			if options != nil {
				notYet(t, "counts of lost exits")
			}
			file := t.TempDir() + "/nopal.data"
			rec := start(t, append(append([]string{nopalBin(t), "record", "--overwrite", "--buffer", "256k", "-o", file}, options...), "--", fixture(t, "busy"), "2")...)
			rec.waitFor(t, "ready")
			busy := childOf(t, rec.pid())
			answers(t, busy)
			var last uint64
			for i := range 2 {
				snapshot := fmt.Sprintf("%s.%d", file, i)
				nopalOK(t, "ctl", "-p", busy, "snapshot", "-o", snapshot)
				got := count(t, snapshot)
				if got.events == 0 || got.events+got.lost < last {
					t.Errorf("snapshot %d: %d events + %d lost after %d", i, got.events, got.lost, last)
				}
				last = got.events + got.lost
			}
			o := rec.finish(t)
			busyRight(t, o)
			got := count(t, file)
			want := uint64(0)
			for _, n := range truth(t, o.stdout) {
				want += n
			}
			// Exits are events too; a thread's own function and main are calls that the program does not count.
			low, high := want, want+10
			if len(options) > 0 {
				got.events = allEvents(t, file)
				low, high = 2*low, 2*high
			}
			if sum := got.events + got.lost; sum < low || sum > high {
				t.Errorf("%d events + %d lost, want %d to %d", got.events, got.lost, low, high)
			}
		})
	}
}

// allEvents is how many entries and exits a recording says that it has.
func allEvents(t *testing.T, file string) uint64 {
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
	for {
		b, err := r.Next()
		if err != nil {
			t.Fatalf("no END: %v", err)
		}
		if end, ok := b.(*trace.End); ok {
			return end.Events
		}
	}
}

// A trigger takes a snapshot with what led to it.
func TestSnapshotByTrigger(t *testing.T) {
	p := startSteps(t)
	r := startRecorder(t, p.pid(), "--overwrite", "--graph", "-T", "s2:snapshot:1")
	p.do(t, 10)
	eventually(t, "a snapshot", func() bool { return strings.Contains(r.errs.String(), "snapshot written to "+r.file+".snapshot-1") })
	if got := count(t, r.file+".snapshot-1"); got.calls[who{"s1", 0}] == 0 || got.calls[who{"s2", 0}] == 0 {
		t.Errorf("calls: %v", got.calls)
	}
	p.do(t, 10)
	r.stop(t)
	rounds(t, r.file, 20)
	p.finish(t)
}

// A trigger that asks for snapshots all the time gets one a second.
func TestSnapshotsByTriggerAreFew(t *testing.T) {
	p := startSteps(t)
	r := startRecorder(t, p.pid(), "-F", "s1", "-T", "s1:snapshot")
	for range 40 {
		p.do(t, 1)
		time.Sleep(20 * time.Millisecond)
	}
	files, err := filepath.Glob(r.file + ".snapshot-*")
	if err != nil || len(files) < 1 || len(files) > 10 {
		t.Errorf("%d snapshots, %v", len(files), err)
	}
	r.stop(t)
	if text := r.errs.String(); strings.Count(text, "most are left out") != 1 {
		t.Errorf("nopal says:\n%s", text)
	}
	p.finish(t)
}

// When the target dies the recording has its last events, up to the last instruction.
func TestFlightRecorder(t *testing.T) {
	for _, how := range []string{"SIGSEGV", "SIGKILL", "SIGKILL in the middle"} {
		t.Run(how, func(t *testing.T) {
			p := startSteps(t)
			r := startRecorder(t, p.pid(), "-F", "s*", "--overwrite", "--buffer", "256k")
			p.do(t, 30000)
			want := uint64(7 * p.total)
			switch how {
			case "SIGSEGV":
				if _, err := fmt.Fprintln(p.stdin, "crash"); err != nil {
					t.Fatal(err)
				}
				want += 3 // s1, s2, s3
			case "SIGKILL":
				p.signal(t, syscall.SIGKILL)
			default:
				if _, err := fmt.Fprintln(p.stdin, 1000000000); err != nil {
					t.Fatal(err)
				}
				eventually(t, "more events", func() bool { s := r.status(t); return s.Events+s.Lost > 2*want })
				p.signal(t, syscall.SIGKILL)
				want = 0
			}
			if o := p.wait(t); !o.status.Signaled() {
				t.Errorf("the target ends with status %#x", o.status)
			}
			if o := r.wait(t); !o.ok() {
				t.Errorf("nopal ends with status %#x\n%s", o.status, o.stderr)
			}
			got := count(t, r.file)
			if got.events < 10000 || want != 0 && got.events+got.lost != want {
				t.Errorf("%d events + %d lost, want %d", got.events, got.lost, want)
			}
			if how == "SIGSEGV" {
				var last event
				replay(t, r.file, func(e event) bool { last = e; return false })
				if last.Name != "s3" {
					t.Errorf("the last event is of %q, want s3", last.Name)
				}
			}
		})
	}
}
