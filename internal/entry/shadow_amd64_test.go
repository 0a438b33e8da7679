package entry_test

import (
	"fmt"
	"strings"
	"testing"

	"nopal/internal/entry"
)

// The tree of calls in testdata/entry/rig.c is a(b(c(l))t(l)), where t jumps to l. An
// entry is a small letter, an exit a capital one.
const (
	treeEntry = 64 + 16
	treeExit  = 164
	treeNames = "abctl"
	treeAll   = "abclLCBtTlLA"
)

// shadowRun runs a job with a filter for each function of the tree and returns what was
// recorded of each thread.
func shadowRun(t *testing.T, job string, n int, labels [5]uint64, state [5]int64) (streams []string, out []string) {
	t.Helper()
	r := newRig(t, labels[0], 4096, entry.Literals{Stacks: rigShadows})
	text := func(v any) string { return strings.Trim(fmt.Sprint(v), "[]") }
	// A frame is made between two of a handler's events, with a time before them.
	r.rewrites = job == "tree-step"
	r.env = append(r.env, "RIG_LABELS="+text(labels), "RIG_STATE="+text(state))
	out = r.run(job, n)
	if r.lost != 0 {
		t.Errorf("%d lost", r.lost)
	}
	for _, events := range r.events {
		var b strings.Builder
		var open []rigEvent
		for _, e := range events {
			if i := e.index - treeEntry; i < uint64(len(treeNames)) {
				b.WriteByte(treeNames[i])
				open = append(open, e)
				continue
			}
			i := e.index - treeExit
			if i >= uint64(len(treeNames)) {
				continue
			}
			b.WriteString(strings.ToUpper(treeNames[i : i+1]))
			if job == "tree-jump" || job == "tree-state" {
				continue
			}
			if n := len(open); n > 1 && open[n-1].index == treeEntry+2 && i != 2 {
				open = open[:n-1] // c, of which there is the entry only
			}
			if len(open) == 0 || open[len(open)-1].index-treeEntry != i || open[len(open)-1].sp != e.sp {
				t.Fatalf("exit %+v, and open are %+v", e, open)
			}
			open = open[:len(open)-1]
		}
		streams = append(streams, b.String())
	}
	return streams, out
}

func TestShadow(t *testing.T) {
	s := load(t).Shadow
	all := [5]uint64{s.Caller, s.Caller, s.Caller, s.Caller, s.Caller}
	with := func(i int, label uint64) [5]uint64 {
		l := all
		l[i] = label
		return l
	}
	const every = entry.ShadowAll
	const spin = 1 << 20
	for _, c := range []struct {
		name   string
		labels [5]uint64
		state  [5]int64 // MaxDepth, Depth, Base, Threshold, and how long c takes
		want   string   // of one round
	}{
		{"all", all, [5]int64{every, every, every}, treeAll},
		{"two levels", all, [5]int64{2, every, 2}, "abBtTlLA"},
		{"none", all, [5]int64{every, every, entry.ShadowOff}, ""},
		{"root b", with(1, s.Root), [5]int64{every, every, entry.ShadowOff}, "bclLCB"},
		{"root b, one level", with(1, s.Root), [5]int64{every, 1, entry.ShadowOff}, "bB"},
		{"root b, not deeper than two", with(1, s.Root), [5]int64{2, every, entry.ShadowOff}, "bB"},
		{"root b, not deeper than three", with(1, s.Root), [5]int64{3, every, entry.ShadowOff}, "bcCB"},
		{"not b", with(1, s.Not), [5]int64{every, every, every}, "atTlLA"},
		{"not t", with(3, s.Not), [5]int64{every, every, every}, "abclLCBlLA"},
		{"entry only c", with(2, s.Count), [5]int64{every, every, every}, "abclLBtTlLA"},
		{"threshold", all, [5]int64{every, every, every, spin / 2, spin}, "abcCBA"},
		{"threshold not reached", all, [5]int64{every, every, every, 1 << 40, 0}, ""},
		{"threshold, root c", with(2, s.Root), [5]int64{every, every, entry.ShadowOff, spin / 2, spin}, "cC"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := 2000
			if c.state[4] != 0 {
				n = 60 // several of 2^25 ticks
			}
			want := strings.Repeat(c.want, n)
			streams, _ := shadowRun(t, "tree", n, c.labels, c.state)
			if got := strings.Join(streams, "|"); got != want {
				t.Errorf("%.60s..., %d events, want %.60s..., %d", got, len(got), want, len(want))
			}
			streams, _ = shadowRun(t, "tree-threads", n, c.labels, c.state)
			for _, got := range streams {
				if got != want {
					t.Errorf("of a thread %.60s..., %d events, want %.60s..., %d", got, len(got), want, len(want))
				}
			}
		})
	}
	t.Run("state", func(t *testing.T) {
		for _, label := range []uint64{s.Caller, s.Root, s.Not, s.Count} {
			shadowRun(t, "tree-state", 500, with(0, label), [5]int64{every, every, every})
		}
	})
	t.Run("step", func(t *testing.T) {
		for _, state := range [][5]int64{{every, every, every}, {2, every, 2}, {every, every, every, 1 << 18, 1 << 19}} {
			streams, out := shadowRun(t, "tree-step", 25, all, state)
			total := 0
			for _, s := range streams {
				total += len(s)
			}
			if total%2 != 0 || len(out) == 0 || out[0] == "0" {
				t.Errorf("%d events, %s handled", total, out)
			}
		}
	})
	t.Run("fork", func(t *testing.T) {
		streams, _ := shadowRun(t, "tree-fork", 100, all, [5]int64{every, every, every})
		if got := strings.Join(streams, "|"); got != treeAll+treeAll {
			t.Errorf("%s", got)
		}
	})
	t.Run("longjmp", func(t *testing.T) {
		const n = 500
		streams, _ := shadowRun(t, "tree-jump", n, all, [5]int64{4, every, 4})
		if got, want := strings.Join(streams, "|"), strings.Repeat("bclLCB"+treeAll, n); got != want {
			t.Errorf("%.60s..., %d events, want %.60s..., %d", got, len(got), want, len(want))
		}
	})
}
