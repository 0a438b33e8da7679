//go:build linux && (arm64 || amd64)

package test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"nopal/trace"
)

// unlimited is a filter that leaves nothing out, but has the target look at each call.
var unlimited = append(slices.Clone(roomyGraph), "-D", "100000")

// Compilers differ in how functions end, not in what is kept of their calls.
var shadowNesting = []string{
	"fib", "fib-musl-static", "abi", "nested", "control", "shapes", "virtuals", "exceptions", "exits", "unwind", "preserve",
	"threads", "threads-musl 2", "dl", "ctors", "nolibc", "sandbox", "mdwe again", "tree", "ends exit 77", "ends segv",
	"busy 4 100 1", "many-10000 once", "rawclone 500", "sigprof 50000", "forks 5", "forks-static 2", "forks-musl 2",
}

// A target that keeps a stack of its open calls records what one does that does not.
func TestShadowPrograms(t *testing.T) {
	for _, lines := range [][]string{shadowNesting, switching} {
		nest := &lines[0] == &shadowNesting[0]
		for _, line := range lines {
			t.Run(line, func(t *testing.T) {
				t.Parallel()
				notYetOf(t, line, "unwind", "shapes", "rawclone", "storm")
				argv := strings.Fields(line)
				argv[0] = fixture(t, argv[0])
				got, file := recordSame(t, "a line\nand another\n", unlimited, argv...)
				r := count(t, file)
				if strings.HasPrefix(line, "shapes") {
					balanced(t, r)
					return // 100,000 calls deep: see TestShadowLimits
				}
				if strings.HasPrefix(line, "rawclone") {
					// Threads with one thread block have one stack: what they do at the same
					// time is not told apart, but nothing is made up.
					for f, calls := range truth(t, got.stdout) {
						if r.calls[f] > calls {
							t.Errorf("%v: %d calls, happened %d", f, r.calls[f], calls)
						}
					}
					return
				}
				sameCounts(t, r, truth(t, got.stdout))
				if !nest {
					returned(t, r, got.stdout, argv[0])
				} else if balanced(t, r); !strings.Contains(line, "static") {
					// In a static program threads get another stack when their ids are found.
					sameExits(t, r, got.stdout, argv[0])
					nested(t, r)
				}
			})
		}
	}
}

// Programs run as without nopal while little of them is recorded, and what is recorded is whole.
func TestShadowFilteredPrograms(t *testing.T) {
	const least = 200 * time.Microsecond
	for i, line := range slices.Concat(shadowNesting, switching) {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			notYetOf(t, line, "unwind", "shapes", "rawclone", "storm")
			argv := strings.Fields(line)
			argv[0] = fixture(t, argv[0])
			_, file := recordSame(t, "a line\nand another\n", append(slices.Clone(roomyGraph), "-t", least.String()), argv...)
			count(t, file)
			// A handler may take long between the time of an entry and its record, which
			// is then moved behind it.
			if i < len(shadowNesting) && !strings.HasPrefix(line, "sigprof") {
				took(t, file, least)
			}
			_, file = recordSame(t, "a line\nand another\n", append(slices.Clone(roomyGraph), "-D", "2", "--max-depth", "9"), argv...)
			count(t, file)
		})
	}
}

// took wants every call whose exit was recorded to have taken as long at least.
func took(t *testing.T, file string, least time.Duration) {
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
	events := trace.NewEvents(r)
	for {
		e, err := events.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == trace.FuncExit && !e.Inferred && e.Duration < least.Nanoseconds()-20 {
			t.Errorf("%s took %d ns", e.Site.Name(), e.Duration)
		}
	}
}

// call is a node of the tree that test/programs/tree.c writes down.
type call struct {
	name  byte
	calls []*call
}

func parseCalls(text string) (calls []*call, rest string) {
	for text != "" && text[0] != ')' {
		c := &call{name: text[0]}
		c.calls, text = parseCalls(text[2:])
		text = text[1:]
		calls = append(calls, c)
	}
	return calls, text
}

// pick says what is recorded of calls: those for which a state is given that is not
// negative. next gives the state of a call from that of its caller and its depth.
func pick(b *strings.Builder, calls []*call, state, depth int, next func(name byte, state, depth int) int) {
	for _, c := range calls {
		s := next(c.name, state, depth)
		if s >= 0 {
			b.WriteString(string(c.name) + "(")
		}
		pick(b, c.calls, s, depth+1, next)
		if s >= 0 {
			b.WriteString(")")
		}
	}
}

// Filters leave of a random tree with tail calls and longjmp what they should.
func TestShadowTree(t *testing.T) {
	const off, none, all = -2, -1, 1 << 20
	// below is a state one level down.
	below := func(state int) int {
		if state <= 0 {
			return min(state, none) // off stays off
		}
		return state - 1
	}
	for _, c := range []struct {
		options string
		start   int
		next    func(name byte, state, depth int) int
	}{
		{"-F t_d", off, func(name byte, state, _ int) int {
			if name == 'd' && state == off {
				return all
			}
			return below(state)
		}},
		{"-F t_d -D 3", off, func(name byte, state, _ int) int {
			if name == 'd' && state == off {
				return 2
			}
			return below(state)
		}},
		{"-F t_d -F t_f -N t_c -N t_g", off, func(name byte, state, _ int) int {
			switch {
			case name == 'c' || name == 'g':
				return none
			case (name == 'd' || name == 'f') && state == off:
				return all
			}
			return below(state)
		}},
		{"-N t_e -N t_b", all, func(name byte, state, _ int) int {
			if name == 'e' || name == 'b' {
				return none
			}
			return below(state)
		}},
		{"-F t_a -D 2", off, func(name byte, state, _ int) int {
			if name == 'a' && state == off {
				return 1
			}
			return below(state)
		}},
		// In run, which is a thread's first function, a call is at depth 1.
		{"-F t_b -D 4 --max-depth 7", off, func(name byte, state, depth int) int {
			if name == 'b' && state == off {
				return max(min(4, 7-(depth+1))-1, none)
			}
			return below(state)
		}},
		{"--max-depth 5", 4, func(_ byte, state, _ int) int { return below(state) }},
		{"-D 6", 5, func(_ byte, state, _ int) int { return below(state) }},
	} {
		for _, prog := range []string{"tree", "tree-o0", "tree-clang"} {
			t.Run(c.options+" "+prog, func(t *testing.T) {
				t.Parallel()
				options := append(slices.Clone(roomyGraph), strings.Fields(c.options)...)
				got, file := recordSame(t, "", options, fixture(t, prog), "2000")
				trees := make(map[string]*strings.Builder)
				replay(t, file, func(e event) bool {
					letter, ok := strings.CutPrefix(e.Name, "t_")
					if !ok {
						return false
					}
					tid := fmt.Sprint(e.TID)
					if trees[tid] == nil {
						trees[tid] = new(strings.Builder)
					}
					if e.Type == "entry" {
						trees[tid].WriteString(letter + "(")
					} else {
						trees[tid].WriteString(")")
					}
					return false
				})
				for line := range strings.Lines(got.stdout) {
					f := strings.Fields(line)
					if f[0] != "~tree" {
						continue
					}
					calls, _ := parseCalls(f[2])
					var want strings.Builder
					pick(&want, calls, c.start, 0, c.next)
					var is string
					if trees[f[1]] != nil {
						is = trees[f[1]].String()
					}
					should := want.String()
					if strings.Contains(c.options, "--max-depth 7") {
						// Where neither the function in which a longjmp lands nor what it calls
						// next is recorded, it shows later what was left.
						brackets := strings.NewReplacer("(", "", ")", "")
						is, should = brackets.Replace(is), brackets.Replace(should)
					}
					if is != should {
						at := 0
						for at < len(is) && at < len(should) && is[at] == should[at] {
							at++
						}
						t.Errorf("thread %s: differs at %d of %d: ...%s, want ...%s", f[1], at, len(should), around(is, at), around(should, at))
					}
				}
			})
		}
	}
}

// Calls that take long are found among those that do not, with all calls around them.
func TestShadowThreshold(t *testing.T) {
	_, file := recordSame(t, "", []string{"--graph", "-t", "3ms"}, fixture(t, "opencalls"), "nap", "20")
	r := count(t, file)
	nested(t, r)
	balanced(t, r)
	for name, want := range map[string]uint64{"main": 1, "around": 20, "nap": 20} {
		if got := r.calls[who{name, 0}]; got != want || r.ends.exits[who{name, 0}] != want {
			t.Errorf("%s: %d entries, %d exits, want %d", name, got, r.ends.exits[who{name, 0}], want)
		}
	}
	// One that is interrupted takes long, too.
	if got := r.calls[who{"quick", 0}]; got > 4 {
		t.Errorf("%d calls of quick", got)
	}
}

// The stack is bounded: calls deeper than it are not recorded, and what is left in it
// by calls that never end makes room in the end.
func TestShadowLimits(t *testing.T) {
	prog := fixture(t, "opencalls")
	_, file := recordSame(t, "", unlimited, prog, "deep", "30")
	r := count(t, file)
	nested(t, r)
	balanced(t, r)
	down := r.calls[who{"down", 0}]
	if down%30 != 0 || down < 30*1000 || down > 30*1030 || r.ends.exits[who{"down", 0}] != down {
		t.Errorf("%d entries and %d exits of down in 30 rounds", down, r.ends.exits[who{"down", 0}])
	}
	// 5000 coroutines leave a frame or two each.
	_, file = recordSame(t, "", unlimited, prog, "leave", "5000")
	r = count(t, file)
	for _, name := range []string{"quick", "forever", "resume"} {
		if got := r.calls[who{name, 0}]; got != 5000 {
			t.Errorf("%d calls of %s, want 5000", got, name)
		}
	}
	_, file = recordSame(t, "", unlimited, prog, "jump", "5000")
	r = count(t, file)
	nested(t, r)
	for name, want := range map[string]uint64{"quick": 5000, "catch": 5000, "throw": 40000} {
		if got := r.calls[who{name, 0}]; got != want {
			t.Errorf("%d calls of %s, want %d", got, name, want)
		}
	}
	if got := r.ends.exits[who{"catch", 0}]; got != 5000 {
		t.Errorf("%d exits of catch, want 5000", got)
	}
}

// What is mapped for it is gone afterwards.
func TestShadowDetach(t *testing.T) {
	p := startReady(t, fixture(t, "walker"), "4")
	before := len(mappings(t, p.pid()))
	file := t.TempDir() + "/nopal.data"
	for _, options := range []string{"-t 1ms", "-D 3", "-F w_down", "-t 5us -D 9"} {
		args := append([]string{"record", "-q", "--graph", "-o", file, "-p", p.pid(), "--duration", "100ms"}, strings.Fields(options)...)
		if o := nopal(t, args...); !o.ok() {
			t.Fatalf("%s: %s", options, o.stderr)
		}
		clean(t, p.pid())
		if after := len(mappings(t, p.pid())); after > before+2 {
			t.Errorf("%s: %d mappings before, %d afterwards", options, before, after)
		}
		for _, m := range mappings(t, p.pid()) {
			if m.end-m.start >= 256<<20 {
				t.Errorf("%s: %d MiB are mapped at %#x", options, (m.end-m.start)>>20, m.start)
			}
		}
	}
	walkerRight(t, p.finish(t))
}

// A plain graph gets filters while it runs, and loses them.
func TestShadowCtl(t *testing.T) {
	p := startSteps(t)
	r := startRecorder(t, p.pid(), "--graph")
	p.do(t, 10)
	r.ctl(t, "filter", "-D", "2")
	p.do(t, 10)
	r.ctl(t, "filter", "-t", "1s")
	p.do(t, 10)
	r.ctl(t, "filter", "-t", "0", "-D", "1")
	p.do(t, 10)
	r.ctl(t, "filter", "-F", "s2", "-D", "0")
	p.do(t, 10)
	r.ctl(t, "filter", "-F", "*")
	p.do(t, 1)
	r.stop(t)
	clean(t, p.pid())
	calls(t, r.file, 10+10+10+1, 20+20+20+2, 40+40+4)
	nested(t, count(t, r.file))
	p.do(t, 1)
	p.finish(t)
}
