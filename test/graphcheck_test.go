//go:build linux && (arm64 || amd64)

package test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"nopal/trace"
)

// ends says how the calls of a graph recording ended.
type ends struct {
	exits    map[who]uint64 // recorded, of calls whose entry was recorded
	inferred map[who]uint64
	orphans  map[who]uint64 // exits of calls whose entry was not recorded
	// How often the events did not nest: an exit that is not of the innermost call, an entry at another depth
	// than that of the open calls; the first case in words.
	misnested int
	first     string
	// Calls that took less time than those which they made; the first in words.
	short      int
	firstShort string
}

// graphCheck follows the open calls of each thread as the events give them.
type graphCheck struct {
	exits, inferred, orphans map[place]uint64
	threads                  map[thread]*openCalls
	result                   ends
}

// thread is what keeps its calls when it changes its name.
type thread struct {
	program *trace.Program
	tid     uint32
}

type openCalls struct {
	sites    []*trace.Site
	children []int64 // their durations so far
	gap      bool    // events were lost, or an exit had no entry: the depth is not known
}

func newGraphCheck() *graphCheck {
	return &graphCheck{
		exits: make(map[place]uint64), inferred: make(map[place]uint64), orphans: make(map[place]uint64),
		threads: make(map[thread]*openCalls),
	}
}

func (g *graphCheck) thread(e *trace.Event) *openCalls {
	key := thread{e.Task.Program, e.Task.TID}
	o := g.threads[key]
	if o == nil {
		o = &openCalls{children: make([]int64, 1)}
		g.threads[key] = o
	}
	return o
}

func (g *graphCheck) lost(e *trace.Event) { g.thread(e).gap = true }

func (g *graphCheck) wrong(format string, args ...any) {
	if g.result.misnested == 0 {
		g.result.first = fmt.Sprintf(format, args...)
	}
	g.result.misnested++
}

func (g *graphCheck) entry(e *trace.Event) {
	o := g.thread(e)
	if e.Depth != len(o.sites) && !o.gap {
		g.wrong("%s is entered at depth %d inside of %d calls", e.Site.Name(), e.Depth, len(o.sites))
	}
	o.sites = append(o.sites, e.Site)
	o.children = append(o.children, 0)
}

func (g *graphCheck) exit(e *trace.Event) {
	o := g.thread(e)
	p := place{e.Site, e.Task}
	switch {
	case e.Duration < 0:
		g.orphans[p]++
		o.gap = true
		return
	case e.Inferred:
		g.inferred[p]++
	default:
		g.exits[p]++
	}
	n := len(o.sites) - 1
	if n < 0 || o.sites[n] != e.Site || e.Depth != n && !o.gap {
		g.wrong("%s at depth %d is left inside of %d calls", e.Site.Name(), e.Depth, n+1)
	}
	if n < 0 {
		return
	}
	if o.children[n+1] > e.Duration {
		if g.result.short == 0 {
			g.result.firstShort = fmt.Sprintf("%s took %d ns, its calls %d", e.Site.Name(), e.Duration, o.children[n+1])
		}
		g.result.short++
	}
	o.children[n] += e.Duration
	o.sites, o.children = o.sites[:n], o.children[:n+1]
}

// ends gives the counts names.
func (g *graphCheck) ends(name func(*trace.Site) string) ends {
	named := func(counts map[place]uint64) map[who]uint64 {
		all := make(map[who]uint64)
		for p, n := range counts {
			all[who{name(p.site), 0}] += n
			all[who{name(p.site), int(p.task.TID)}] += n
		}
		return all
	}
	g.result.exits, g.result.inferred, g.result.orphans = named(g.exits), named(g.inferred), named(g.orphans)
	return g.result
}

// nested wants the events of a recording to nest, and no call to be shorter than those which it made.
func nested(t *testing.T, got recording) {
	t.Helper()
	if got.ends.misnested > 0 {
		t.Errorf("%d events do not nest; first: %s", got.ends.misnested, got.ends.first)
	}
	if got.ends.short > 0 {
		t.Errorf("%d calls are shorter than their parts; first: %s", got.ends.short, got.ends.firstShort)
	}
}

// sameExits wants every call of a complete recording to have ended: as many exits recorded as calls returned, as
// the program says, and the others inferred. Functions of which the program does not speak need only be balanced.
func sameExits(t *testing.T, got recording, stdout string, prog string) {
	t.Helper()
	balanced(t, got)
	left := truthOf(t, "left", stdout)
	var unproven map[string]bool
	for _, w := range slices.SortedFunc(maps.Keys(truth(t, stdout)), byName) {
		if got.ends.inferred[w] == left[w] || w.tid != 0 && left[who{w.name, 0}] > 0 {
			continue
		}
		// Only now: reading the whole program takes a while.
		if unproven == nil {
			unproven = entryOnly(t, prog)
		}
		if !unproven[w.name] {
			t.Errorf("%s (thread %d): %d exits recorded and %d inferred, of %d calls %d never returned",
				w.name, w.tid, got.ends.exits[w], got.ends.inferred[w], got.calls[w], left[w])
		}
	}
}

// returned wants the exit of every call that returned to be recorded, once. Of programs whose stacks lie at the same
// distance within 64 KiB it cannot be told which call it was.
func returned(t *testing.T, got recording, stdout string, prog string) {
	t.Helper()
	left := truthOf(t, "left", stdout)
	unproven := entryOnly(t, prog)
	for _, w := range slices.SortedFunc(maps.Keys(truth(t, stdout)), byName) {
		if n := got.ends.exits[w] + got.ends.orphans[w]; n != got.calls[w]-left[w] && !unproven[w.name] && w.tid == 0 {
			t.Errorf("%s: %d exits recorded, of %d calls %d never returned", w.name, n, got.calls[w], left[w])
		}
	}
}

// balanced wants every call to have ended once, in whatever way.
func balanced(t *testing.T, got recording) {
	t.Helper()
	wrong := 0
	for _, w := range slices.SortedFunc(maps.Keys(got.calls), byName) {
		if ended := got.ends.exits[w] + got.ends.inferred[w]; ended != got.calls[w] && wrong < 10 {
			wrong++
			t.Errorf("%s (thread %d): %d calls, %d ended", w.name, w.tid, got.calls[w], ended)
		}
	}
}

func byName(a, b who) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.tid, b.tid)) }
