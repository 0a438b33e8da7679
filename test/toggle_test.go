//go:build linux && (arm64 || amd64)

package test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"nopal/internal/session"
)

// manyLoad is programs/many.c, which says how often it was stopped.
type manyLoad struct {
	*process
	asked int
}

// stops asks the program.
func (m *manyLoad) stops(t *testing.T) (stops, rounds int) {
	t.Helper()
	m.asked++
	if _, err := fmt.Fprintln(m.stdin); err != nil {
		t.Fatal(err)
	}
	var lines []string
	eventually(t, "an answer of many", func() bool {
		lines = strings.Split(strings.TrimSpace(m.out.String()), "\n")
		return len(lines) > m.asked && strings.HasSuffix(m.out.String(), "\n")
	})
	if _, err := fmt.Sscanf(lines[m.asked], "stops %d rounds %d", &stops, &rounds); err != nil {
		t.Fatalf("%q: %v", lines[m.asked], err)
	}
	return stops, rounds
}

var toggles = flag.Int("toggles", 0, "switch functions that `many` times, however long it takes")

// toggle does first and second in turn, so many times or for so long. It returns how often.
func toggle(t *testing.T, pid, times int, limit time.Duration, first, second session.ControlRequest) int {
	t.Helper()
	begin := time.Now()
	for i := range times {
		if time.Since(begin) > limit && i >= 4 && i%2 == 0 {
			return i
		}
		request := first
		if i%2 == 1 {
			request = second
		}
		if reply, err := session.Control(context.Background(), pid, request); err != nil {
			t.Fatalf("%s: %q, %v", request.Action, reply.Message, err)
		}
	}
	return times
}

// watchStops looks at all threads' states until the returned function is called, which
// tells how often it has looked and what it has seen of a stop.
func watchStops(t *testing.T, pid string) func() (looks int, seen []string) {
	t.Helper()
	done := make(chan struct{})
	var wait sync.WaitGroup
	looks, seen := 0, []string(nil)
	wait.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
			}
			tasks, err := filepath.Glob("/proc/" + pid + "/task/*/status")
			if err != nil || len(tasks) == 0 {
				seen = append(seen, "no threads")
				return
			}
			for _, path := range tasks {
				text, err := os.ReadFile(path)
				if err != nil {
					continue
				}
				looks++
				for line := range strings.Lines(string(text)) {
					name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
					if name == "State" && strings.ContainsAny(value[:1], "tT") || name == "TracerPid" && value != "0" {
						seen = append(seen, line)
					}
				}
			}
		}
	})
	return func() (int, []string) {
		close(done)
		wait.Wait()
		return looks, seen
	}
}

// mostOfMany of 10,000 functions are traced: a site of x86-64 that lies across the border of two pages is left alone.
const mostOfMany = 9900

// Sites are switched without stopping a thread, while all processors run them: all 10,000 sites of a
// program, and a hundred of them, 1000 times each. Under emulation, where each change of code costs its
// translation, they are switched for as long as toggleTime, unless -toggles says how often.
func TestToggleStopsNobody(t *testing.T) {
	times, toggleTime := 1000, 3*time.Second
	if *toggles > 0 {
		times, toggleTime = *toggles, 24*time.Hour
	}
	prog := fixture(t, "many-10000")
	some := []string{"m77??"}
	for _, options := range [][]string{nil, {"--graph"}} {
		t.Run(fmt.Sprint(options), func(t *testing.T) {
			m := &manyLoad{process: startReady(t, prog, "load", fmt.Sprint(runtime.NumCPU()))}
			r := startRecorder(t, m.pid(), append(options, "--overwrite", "--buffer", "256k")...)
			if s := r.status(t); s.Processes[0].Armed < mostOfMany {
				t.Fatalf("not armed: %+v", s)
			}
			before, rounds := m.stops(t)
			looked := watchStops(t, m.pid())
			begin := time.Now()
			n := toggle(t, m.Process.Pid, times, toggleTime, session.ControlRequest{Action: session.ActionOff}, session.ControlRequest{Action: session.ActionOn})
			t.Logf("switched 10,000 functions %d times in %v", n, time.Since(begin))
			begin = time.Now()
			n = toggle(t, m.Process.Pid, times, toggleTime, session.ControlRequest{Action: session.ActionDisarm, Globs: some},
				session.ControlRequest{Action: session.ActionArm, Globs: some})
			t.Logf("switched 100 functions %d times in %v", n, time.Since(begin))
			looks, seen := looked()
			after, more := m.stops(t)
			if len(seen) > 0 {
				t.Errorf("threads were stopped: %q", seen[:min(len(seen), 5)])
			}
			if after != before {
				t.Errorf("the program was stopped %d times", after-before)
			}
			if looks < 20 || more <= rounds {
				t.Errorf("looked %d times at threads, which made %d rounds", looks, more-rounds)
			}
			if s := r.status(t); s.Processes[0].Armed < mostOfMany {
				t.Errorf("not all armed at last: %+v", s)
			}
			r.stop(t)
			// For the removal it is stopped, and notices.
			if n, _ := m.stops(t); n == after {
				t.Error("the program does not notice when it is stopped")
			}
			if o := m.finish(t); !o.ok() || !strings.Contains(o.stdout, "load right") {
				t.Errorf("the program was harmed: %#x\n%s%s", o.status, o.stdout, o.stderr)
			}
			got := count(t, r.file)
			for w := range got.calls {
				if w.name != "round_of_all" && !strings.HasPrefix(w.name, "m") {
					t.Errorf("events of %q", w.name)
				}
			}
			if got.events == 0 {
				t.Error("nothing was recorded")
			}
		})
	}
}
