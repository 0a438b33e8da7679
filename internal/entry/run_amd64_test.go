package entry_test

import (
	"strconv"
	"testing"

	"nopal/internal/entry"
)

func load(t *testing.T) entry.Blob {
	t.Helper()
	b, err := entry.Load()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// entries are the trampolines of an entry.
func entries(b entry.Blob) []struct {
	name    string
	label   uint64
	jumped  bool
	unknown bool
	action  uint64
} {
	return []struct {
		name    string
		label   uint64
		jumped  bool
		unknown bool
		action  uint64
	}{
		{name: "caller", label: b.Caller},
		{name: "callerUnknown", label: b.CallerUnknown},
		{name: "no thread id", label: b.CallerUnknown, unknown: true},
	}
}

func eachEntry(t *testing.T, pages int, f func(*testing.T, *rig)) {
	for _, e := range entries(load(t)) {
		t.Run(e.name, func(t *testing.T) {
			r := newRig(t, e.label, pages, entry.Literals{Action: e.action})
			if e.jumped {
				r.env = append(r.env, "RIG_JUMPED=1")
			}
			if e.unknown {
				r.env = append(r.env, "RIG_UNKNOWN=1")
			}
			f(t, r)
		})
	}
}

// TestState calls the code with random values in all registers.
func TestState(t *testing.T) {
	const calls = 3000
	eachEntry(t, 64, func(t *testing.T, r *rig) {
		r.run("state", calls)
		if n := r.total(); n+int(r.lost) != calls {
			t.Errorf("%d events and %d lost of %d calls", n, r.lost, calls)
		}
	})
}

// TestStep calls two functions from a signal handler after each instruction of the code:
// nothing is lost or torn, and times ascend.
func TestStep(t *testing.T) {
	const calls = 700
	eachEntry(t, 4096, func(t *testing.T, r *rig) {
		checkNested(t, r, r.run("step", calls), calls)
	})
}

// TestStorm does it at random instructions, at full speed.
func TestStorm(t *testing.T) {
	const calls = 1_000_000
	eachEntry(t, 4096, func(t *testing.T, r *rig) {
		checkNested(t, r, r.run("storm", calls), calls)
	})
}

func checkNested(t *testing.T, r *rig, out []string, calls int) {
	t.Helper()
	handled, err := strconv.Atoi(out[0])
	if err != nil {
		t.Fatal(err)
	}
	if handled < 10 {
		t.Errorf("the handler ran %d times", handled)
	}
	counts := map[uint64]int{}
	for _, events := range r.events {
		for _, e := range events {
			counts[e.index]++
		}
	}
	if len(r.events) > 2 { // a handler may come while the slot is being claimed
		t.Errorf("%d streams of one thread", len(r.events))
	}
	if r.lost != 0 || counts[65] != calls || counts[66] != handled || counts[67] != handled/3 {
		t.Errorf("%d handled: counts %v and %d lost of %d calls", handled, counts, r.lost, calls)
	}
	t.Logf("%d handled", handled)
}

// TestThreads has more threads than processors, and a ring that is too small.
func TestThreads(t *testing.T) {
	const calls = 100_000
	eachEntry(t, 64, func(t *testing.T, r *rig) {
		r.run("threads", calls)
		n := r.total()
		if n+int(r.lost) != 16*calls {
			t.Errorf("%d events and %d lost of %d calls", n, r.lost, 16*calls)
		}
		t.Logf("%d lost", r.lost)
	})
}

// TestFork checks that a child is not recorded, and its parent is afterwards.
func TestFork(t *testing.T) {
	eachEntry(t, 64, func(t *testing.T, r *rig) {
		r.run("fork", 1000)
		if n := r.total(); n != 2 {
			t.Errorf("%d events, want 2", n)
		}
	})
}

// TestCost measures ftrace_caller against the instruction that it cannot do without.
func TestCost(t *testing.T) {
	b := load(t)
	r := newRig(t, b.Caller, 64, entry.Literals{})
	out := r.run("bench", 20_000)
	t.Logf("cycles: rdtsc %s, function %s, traced %s", out[0], out[1], out[2])
}
