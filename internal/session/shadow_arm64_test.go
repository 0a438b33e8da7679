package session

import (
	"fmt"
	"strings"
	"testing"

	"nopal/internal/entry"
)

// script runs a line of calls: "a(b c(d))" enters a, in it b, and so on, each with 48
// bytes of stack. Letters are functions; upper case ones are roots, digits functions
// below which nothing is recorded. Behind a letter, - leaves out the exit, * makes the
// open calls 2 s older, ? makes it a call of which its exit tells that it is recorded,
// and / one of which it tells that it is not. A threshold is in seconds.
func (r *shadowRig) script(s string) {
	depth := uint64(1)
	var open []int
	leave := func(fn int, depth uint64, kind int, drop bool) {
		if drop {
			exits := r.labels.Exit
			r.labels.Exit = r.labels.Drop
			defer func() { r.labels.Exit = exits }()
		}
		r.leave(fn, depth, kind)
	}
	var drops []bool
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == ' ':
			continue
		case c == ')':
			depth--
			fn := open[len(open)-1]
			if fn >= 0 {
				leave(fn, 48*depth, i%3, drops[len(open)-1])
			}
			open = open[:len(open)-1]
			drops = drops[:len(open)]
			continue
		}
		what := r.labels.Caller
		switch {
		case c >= 'A' && c <= 'Z':
			what = r.labels.Root
		case c >= '0' && c <= '9':
			what = r.labels.Not
		}
		exit, drop := int(c), false
		if i+1 < len(s) && (s[i+1] == '?' || s[i+1] == '/') {
			what, drop = r.labels.Pend, s[i+1] == '/'
			i++
		}
		r.enter(what, int(c), 48*depth)
	flags:
		for i+1 < len(s) {
			switch s[i+1] {
			case '-':
				exit = -1
			case '*':
				r.age(2 * entry.CounterFrequency())
			default:
				break flags
			}
			i++
		}
		if i+1 < len(s) && s[i+1] == '(' {
			open = append(open, exit)
			drops = append(drops, drop)
			depth++
			i++
			continue
		}
		if exit >= 0 {
			leave(exit, 48*depth, i%3, drop)
		}
	}
}

// text is what was recorded: a function for its entry, a dot for an exit of the last
// open one, and its letter where it is another.
func (r *shadowRig) text() string {
	var b strings.Builder
	last := uint64(0)
	for _, e := range r.events() {
		if e.exit {
			fmt.Fprintf(&b, ".%c", e.fn)
		} else {
			fmt.Fprintf(&b, "%c", e.fn)
		}
		if e.ticks < last {
			r.t.Errorf("time goes back by %d", last-e.ticks)
		}
		last = e.ticks
	}
	return b.String()
}

func TestShadow(t *testing.T) {
	const all = entry.ShadowAll
	for _, unknown := range []bool{false, true} {
		for _, c := range []struct {
			name               string
			threshold          uint64
			base, depth, limit int64
			script, want       string
		}{
			{"everything", 0, all, all, all, "a(b c(d e))", "ab.bcd.de.e.c.a"},
			{"depth", 0, 2, 2, all, "a(b c(d e) f) g", "ab.bc.cf.f.ag.g"},
			{"threshold", 1, all, all, all, "a(b c(d* e) f) g", "acd.d.c.a"},
			{"threshold, a parent that is long itself", 1, all, all, all, "a*(b c(d e) f) g", "a.a"},
			{"threshold, no exits", 1, all, all, all, "a(b c-(d* e) f) g", "acd.d.a"},
			{"threshold and depth", 1, 2, 2, all, "a(b(c*(d*)))", "ab.b.a"},
			{"roots", 0, entry.ShadowOff, all, all, "a(b B(c d(e)) f(C C(C)) g)", "Bc.cd" + "e.e.d.BC.CCC.C.C"},
			{"roots and depth", 0, entry.ShadowOff, 2, all, "a(b B(c d(e)) f(C C(C(C))) g)", "Bc.cd.d.BC.CCC.C.C"},
			{"roots and a depth from the first function", 0, entry.ShadowOff, 2, 4, "a(B(c(d)) b(c(B(c) d(B))))", "Bc.c.BB.B"},
			{"nothing below", 0, all, all, all, "a(1(b B) c 2)", "ac.c.a"},
			{"roots, and nothing below", 0, entry.ShadowOff, all, all, "a(A(b 1(b B) c) 2(B))", "Ab.bc.c.A"},
			{"a result that counts", 0, all, all, all, "a(b? c/ d? e)", "ab.bd.de.e.a"},
			{"a result that counts, as a root", 0, entry.ShadowOff, all, all, "a(b? c/ B(d? e/ f) 1(b?)) g", "b.bBd.df.f.B"},
			{"a result that counts, alone", 0, all, all, all, "a(b?(c d?) c/(d? e) b?)", "ab.bb.b.a"},
			{"a result and a threshold", 1, all, all, all, "a(b? c/* d?* e*)", "ad.de.e.a"},
			{"roots and a threshold", 1, entry.ShadowOff, all, all, "a*(A(b* c) A*(b) A)", "Ab.b.AA.A"},
		} {
			t.Run(fmt.Sprintf("%s %v", c.name, unknown), func(t *testing.T) {
				r := newShadowRig(t)
				r.unknown(unknown)
				r.set(c.threshold*entry.CounterFrequency(), c.base, c.depth, c.limit)
				for range 3 {
					r.script(c.script)
					if got := r.text(); got != c.want {
						t.Errorf("%s gave %s, want %s", c.script, got, c.want)
					}
				}
			})
		}
	}
}

// Coroutines on stacks of their own that end in the order in which they began, again and
// again: each call's frame is found below those of the others, and there is room for ever.
func TestShadowStacks(t *testing.T) {
	r := newShadowRig(t)
	const stacks, rounds = 8, 2000
	r.enter(r.labels.Caller, 'm', 48)
	var want, got strings.Builder
	want.WriteString("m")
	at := func(i int, depth uint64) uint64 { return uint64(i+1)<<16 + 64*depth }
	for round := range rounds {
		for i := range stacks {
			c := 'a' + i
			if round > 0 {
				for depth := range uint64(3) {
					r.leave(c, at(i, 2-depth), i%3)
					fmt.Fprintf(&want, ".%c", c)
				}
			}
			for depth := range uint64(3) {
				r.enter(r.labels.Caller, c, at(i, depth))
				fmt.Fprintf(&want, "%c", c)
			}
			r.enter(r.labels.Caller, 'x', at(i, 3))
			r.leave('x', at(i, 3), 0)
			want.WriteString("x.x")
		}
		got.WriteString(r.text())
	}
	r.leave('m', 48, 0)
	want.WriteString(".m")
	got.WriteString(r.text())
	is, should := got.String(), want.String()
	if is != should {
		at := 0
		for at < min(len(is), len(should)) && is[at] == should[at] {
			at++
		}
		t.Errorf("differs at %d of %d: ...%s, want ...%s", at, len(should), is[at:min(at+40, len(is))], should[at:min(at+40, len(should))])
	}
	if r.lost != 0 {
		t.Errorf("%d events lost", r.lost)
	}
}

// A longjmp over more than is near leaves nothing in the way.
func TestShadowJumpFar(t *testing.T) {
	r := newShadowRig(t)
	for range 3000 {
		r.enter(r.labels.Caller, 'a', 48)
		for depth := range uint64(20) {
			r.enter(r.labels.Caller, 'b', 4992*(depth+1))
		}
		r.enter(r.labels.Caller, 'c', 96)
		r.leave('c', 96, 0)
		r.leave('a', 48, 0)
		if got, want := r.text(), "a"+strings.Repeat("b", 20)+"c.c.a"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}
