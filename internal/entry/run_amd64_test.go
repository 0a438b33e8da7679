package entry_test

import (
	"fmt"
	"maps"
	"slices"
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
		{name: "regs", label: b.RegsCaller, jumped: true, action: entry.ActionRegs},
		{name: "regs and stack", label: b.RegsCaller, jumped: true, action: entry.ActionRegs | entry.ActionStack},
		{name: "stack", label: b.StackCaller, jumped: true},
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
	const calls = 200
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
	total := counts[65] + counts[66] + counts[67] + int(r.lost)
	if r.lost == 0 && (counts[65] != calls || counts[66] != handled || counts[67] != handled/3) || total != calls+handled+handled/3 {
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

// TestRegs compares what is recorded with what the registers were.
func TestRegs(t *testing.T) {
	b := load(t)
	for _, action := range []uint64{entry.ActionRegs, entry.ActionStack, entry.ActionRegs | entry.ActionStack} {
		r := newRig(t, b.RegsCaller, 64, entry.Literals{Action: action})
		r.env = append(r.env, "RIG_JUMPED=1")
		out := r.run("regs", 1)
		var all []rigEvent
		for _, events := range r.events {
			all = append(all, events...)
		}
		if len(all) != 1 {
			t.Fatalf("%d events", len(all))
		}
		stack, _ := strconv.ParseUint(out[0], 10, 64)
		body, _ := strconv.ParseUint(out[1], 10, 64)
		rsp := stack - 64 - 8 - 6*8 - 8 // what rig_on and rig_run push, and the return address
		e, words := all[0], all[0].words
		if e.index != 64 || e.sp != (rsp+8)&0xfff0 || e.record>>16&3 != action {
			t.Errorf("event %+v, stack %#x", e, rsp)
		}
		if action&entry.ActionRegs != 0 {
			want := make([]uint64, entry.RegsWords)
			for i := range 15 {
				want[i] = 0x1111111111111111 * uint64(i+1)
			}
			want[4] = stack + 36*8
			want[15], want[16], want[17], want[18], want[19], want[20] = 1<<64-1, body, 0x33, 0xa87, rsp, 0x2b
			if !slices.Equal(words[:entry.RegsWords], want) {
				t.Errorf("registers %#x, want %#x", words, want)
			}
			words = words[entry.RegsWords:]
		}
		if action&entry.ActionStack != 0 {
			if len(words) != 4 || words[0] != 3 || words[2] != 0xabc1 || words[3] != 0xabc2 {
				t.Errorf("stack %#x", words)
			}
		}
	}
}

// TestChange checks that what a handler changes in pt_regs is what the program finds.
func TestChange(t *testing.T) {
	r := newRig(t, load(t).RegsCaller, 64, entry.Literals{Action: entry.ActionRegs})
	r.env = append(r.env, "RIG_JUMPED=1")
	if out := r.run("change", 1); !slices.Equal(out, []string{"40", "41", "42"}) {
		t.Errorf("results %s, want 40 of another function, 41 instead of the function, 42 of the function", out)
	}
}

// TestTriggers has functions that switch recording off and on, and one that writes its
// stack two times.
func TestTriggers(t *testing.T) {
	b := load(t)
	const calls = 100
	for _, then := range []uint64{b.Caller, b.CallerUnknown, b.RegsCaller} {
		r := newRig(t, b.Trigger, 64, entry.Literals{Action: entry.ActionRegs})
		r.env = append(r.env, "RIG_JUMPED=1", fmt.Sprintf("RIG_THEN=%#x", then), fmt.Sprintf("RIG_STACK=%#x", b.StackCaller))
		r.run("trigger", calls)
		counts, stacks := map[uint64]int{}, 0
		for _, events := range r.events {
			for _, e := range events {
				counts[e.index]++
				if e.record&entry.RecordStack != 0 {
					stacks++
				}
			}
		}
		if want := map[uint64]int{64: 2 * calls, 69: 6}; !maps.Equal(counts, want) || stacks != 2 {
			t.Errorf("events %v, %d of them with stacks; want %v and 2", counts, stacks, want)
		}
		if got := r.ring.Header().Wishes; got != entry.WishSwitched|entry.WishSnapshot {
			t.Errorf("wishes %#x", got)
		}
	}
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
	r.rewrites = true
	out := r.run("bench", 20_000)
	t.Logf("cycles: rdtsc %s, function %s, traced %s", out[0], out[1], out[2])
}
