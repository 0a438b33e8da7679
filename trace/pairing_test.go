package trace

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// machine runs a random program and keeps the truth about its calls.
type machine struct {
	rnd    *rand.Rand
	time   uint64
	words  []byte
	truth  []callEvent // of the thread, in the order in which they are delivered
	calls  []trueCall
	stack  []*trueCall
	gone   []*trueCall // left without an exit since the last event, the innermost last
	frames [progFuncs]uint64
	proven [progFuncs]bool
}

type trueCall struct {
	f, parent, depth    int
	sp, start, end      uint64
	inferred, recursive bool
	path                string
}

func newMachine(seed uint64) *machine {
	m := &machine{rnd: rand.New(rand.NewPCG(seed, 5)), time: 1 << 30}
	for i := range m.frames {
		m.frames[i] = 32 + 16*m.rnd.Uint64N(30)
		m.proven[i] = m.rnd.IntN(4) != 0
	}
	return m
}

// event writes an event word. Whatever was left before it is over now.
func (m *machine) event(index uint32, sp uint64) {
	m.time += m.rnd.Uint64N(20)
	for len(m.gone) > 0 {
		c := m.gone[len(m.gone)-1]
		m.gone = m.gone[:len(m.gone)-1]
		m.over(c, true)
	}
	m.words = binary.LittleEndian.AppendUint64(m.words, EventWord(index, sp, m.time))
}

func (m *machine) over(c *trueCall, inferred bool) {
	c.end, c.inferred = m.time, inferred
	m.truth = append(m.truth, callEvent{kind: FuncExit, name: fmt.Sprintf("func%d", c.f), ticks: m.time, depth: c.depth,
		duration: int64(c.end-c.start) * 16, inferred: inferred})
	m.calls = append(m.calls, *c)
}

func (m *machine) enter(f int, sp uint64) {
	m.event(funcIndex(f), sp)
	c := &trueCall{f: f, parent: -1, depth: len(m.stack), sp: sp, start: m.time}
	for _, o := range m.stack {
		c.recursive = c.recursive || o.f == f
		c.parent = o.f
		c.path = o.path
	}
	c.path += fmt.Sprintf("/%d", f)
	m.stack = append(m.stack, c)
	m.truth = append(m.truth, callEvent{kind: Entry, name: fmt.Sprintf("func%d", f), ticks: m.time, depth: c.depth})
}

// leave takes away the innermost call: with an exit, if it has one.
func (m *machine) leave(exit bool) {
	n := len(m.stack) - 1
	c := m.stack[n]
	if exit && m.proven[c.f] {
		m.event(exitIndex(c.f), c.sp)
		m.over(c, false)
	} else {
		// Those that are left first are the innermost.
		m.gone = slices.Insert(m.gone, 0, c)
	}
	m.stack = m.stack[:n]
}

// calleeSP is the stack pointer of what the innermost call calls.
func (m *machine) calleeSP() uint64 {
	if len(m.stack) == 0 {
		return 1 << 40
	}
	c := m.stack[len(m.stack)-1]
	return c.sp - m.frames[c.f]
}

func (m *machine) step() {
	n := len(m.stack)
	switch k := m.rnd.IntN(100); {
	case n == 0 || k < 48 && n < 3000:
		m.enter(m.rnd.IntN(20+m.rnd.IntN(progFuncs-20)), m.calleeSP())
	case k < 49 && n > 20 && len(m.gone) == 0:
		// longjmp or an exception, over less than 32 KiB of stack
		for range 1 + m.rnd.IntN(15) {
			m.leave(false)
		}
	case k < 52 && len(m.gone) == 0:
		// A tail call.
		c := m.stack[n-1]
		if m.proven[c.f] {
			m.leave(true)
			m.enter(m.rnd.IntN(progFuncs), c.sp)
		}
	default:
		if len(m.gone) < 16 {
			m.leave(true)
		}
	}
}

func (m *machine) finish() {
	m.time += 5
	for len(m.stack) > 0 {
		m.leave(false)
	}
	for len(m.gone) > 0 {
		c := m.gone[len(m.gone)-1]
		m.gone = m.gone[:len(m.gone)-1]
		m.over(c, true)
	}
}

// file writes the recording in chunks of random sizes.
func (m *machine) file(t *testing.T) []byte {
	var file bytes.Buffer
	w := beginGraph(t, &file)
	for words := m.words; len(words) > 0; {
		n := min(len(words), 8*(1+m.rnd.IntN(3000)))
		check(t, w.WriteChunk(Chunk{Proc: 1, TID: 100, Base: 1 << 30, Words: words[:n]}))
		words = words[n:]
		if m.rnd.IntN(3) == 0 {
			check(t, w.WriteRound(1<<30))
		}
	}
	check(t, w.WriteExit(Exit{1, 100, 0, m.time}), w.Close(0, ""))
	return file.Bytes()
}

// readCalls reads the calls of a recording, with the paths of their contexts.
func readCalls(t testing.TB, file []byte) (list []Call, paths []string, rec *Recording) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file))
	check(t, err)
	c := NewCalls(r, CallsOptions{Nodes: true})
	for {
		b, err := c.Next()
		if errors.Is(err, io.EOF) {
			return list, paths, c.Recording()
		}
		check(t, err)
		for _, call := range b.Calls {
			path := ""
			for n := call.Node; n >= 0; n = c.Node(n).Parent {
				path = "/" + c.Recording().SiteByID(c.Node(n).Site).Name()[len("func"):] + path
			}
			list, paths = append(list, call), append(paths, path)
		}
	}
}

// TestPairing: programs that leave their functions in every way there is, on
// one stack and without losses. What is read is what happened.
func TestPairing(t *testing.T) {
	for seed := range uint64(20) {
		m := newMachine(seed)
		for range 20_000 {
			m.step()
		}
		m.finish()
		file := m.file(t)
		got := graphEvents(t, file)
		leaves := 0
		for i := range max(len(got), len(m.truth)) {
			if i >= len(got) || i >= len(m.truth) {
				t.Fatalf("seed %d: %d events, want %d", seed, len(got), len(m.truth))
			}
			g := got[i]
			if g.leaf {
				leaves++
				// What a leaf's entry says is what its exit says.
				if g.kind == Entry {
					o := got[i+1]
					if o.kind != FuncExit || !o.leaf || o.name != g.name || o.duration != g.duration || o.inferred != g.inferred {
						t.Fatalf("seed %d: after the leaf %+v comes %+v", seed, g, o)
					}
					g.duration, g.inferred = 0, false
				}
				g.leaf = false
			}
			if g != m.truth[i] {
				t.Fatalf("seed %d: event %d of %d is %+v, want %+v", seed, i, len(got), g, m.truth[i])
			}
		}
		if leaves < len(got)/4 {
			t.Errorf("seed %d: only %d of %d events are of leaves", seed, leaves, len(got))
		}

		list, paths, rec := readCalls(t, file)
		type result struct {
			path                string
			f, parent, depth    int
			start, total        uint64
			inferred, recursive bool
		}
		number := func(site int32) int {
			var n int
			if site < 0 {
				return -1
			}
			_, err := fmt.Sscanf(rec.SiteByID(site).Name(), "func%d", &n)
			check(t, err)
			return n
		}
		var have, want []result
		self := uint64(0)
		for i, c := range list {
			have = append(have, result{paths[i], number(c.Site), number(c.Parent), int(c.Depth), c.Start, c.Total,
				c.Flags&CallInferred != 0, c.Flags&CallRecursive != 0})
			self += c.Self
			if c.Flags&(CallNoEntry|CallCountOnly) != 0 {
				t.Fatalf("seed %d: flags of %+v", seed, c)
			}
		}
		whole := uint64(0)
		for _, c := range m.calls {
			want = append(want, result{c.path, c.f, c.parent, c.depth, c.start, c.end - c.start, c.inferred, c.recursive})
			if c.depth == 0 {
				whole += c.end - c.start
			}
		}
		order := func(a, b result) int {
			return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.depth, b.depth), cmp.Compare(a.path, b.path), cmp.Compare(a.total, b.total))
		}
		slices.SortFunc(have, order)
		slices.SortFunc(want, order)
		for i := range max(len(have), len(want)) {
			if i >= len(have) || i >= len(want) || have[i] != want[i] {
				t.Fatalf("seed %d: call %d: %+v, want %+v", seed, i, have[min(i, len(have)):min(i+2, len(have))], want[min(i, len(want)):min(i+2, len(want))])
			}
		}
		if self != whole {
			t.Errorf("seed %d: the calls took %d ticks themselves, and %d together", seed, self, whole)
		}
	}
}

// TestCoroutines: a thread that goes from stack to stack. Every exit is paired
// with its own entry.
func TestCoroutines(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		const stacks = 8
		var list [stacks]*machine
		var words []byte
		var durations []int64
		for i := range list {
			list[i] = newMachine(seed)
			list[i].rnd = rnd
			for f := range list[i].proven {
				list[i].proven[f] = true
			}
		}
		now := uint64(1 << 30)
		for range 3000 {
			i := rnd.IntN(stacks)
			m := list[i]
			m.time, m.words = now, nil
			for range 1 + rnd.IntN(20) {
				if n := len(m.stack); n == 0 || rnd.IntN(2) == 0 && n < 50 {
					sp := m.calleeSP()
					if n == 0 {
						sp = 1<<40 + 9008*uint64(i)
					}
					m.enter(rnd.IntN(progFuncs), sp)
				} else {
					m.leave(true)
					durations = append(durations, m.truth[len(m.truth)-1].duration)
				}
			}
			now, words = m.time, append(words, m.words...)
		}
		m := list[0]
		m.words, m.time = words, now
		file := m.file(t)
		k, opened, closed := 0, 0, 0
		for _, e := range graphEvents(t, file) {
			switch {
			case e.kind == Entry:
				opened++
				continue
			case !e.resumed:
				closed++
			}
			if !e.inferred {
				if e.duration != durations[k] {
					t.Fatalf("seed %d: exit %d is %+v, want a duration of %d", seed, k, e, durations[k])
				}
				k++
			}
		}
		if k != len(durations) || opened != closed {
			t.Errorf("seed %d: %d exits, want %d; %d calls were entered and %d left", seed, k, len(durations), opened, closed)
		}
		calls, _, _ := readCalls(t, file)
		exits := 0
		for _, c := range calls {
			if c.Flags&CallNoEntry != 0 {
				t.Fatalf("seed %d: an exit without an entry: %+v", seed, c)
			}
			if c.Flags&CallInferred == 0 {
				exits++
			}
		}
		if exits != len(durations) || len(calls) != opened {
			t.Errorf("seed %d: %d calls of %d with exits, want %d of %d", seed, exits, len(calls), len(durations), opened)
		}
	}
}

// TestLosses: whatever is lost in between, each call that is entered is left
// once, and no exit is told twice.
func TestLosses(t *testing.T) {
	for seed := range uint64(20) {
		m := newMachine(seed)
		for range 20_000 {
			m.step()
		}
		m.finish()
		var file bytes.Buffer
		w := beginGraph(t, &file)
		entries, exits := 0, 0
		lost := uint64(0)
		for words := m.words; len(words) > 0; {
			n := min(len(words), 8*(1+m.rnd.IntN(500)))
			check(t, w.WriteChunk(Chunk{Proc: 1, TID: 100, Base: 1 << 30, Lost: lost, Words: words[:n]}))
			for i := 0; i < n; i += 8 {
				if binary.LittleEndian.Uint64(words[i:])>>indexShift >= uint64(exitIndex(0)-2) {
					exits++
				} else {
					entries++
				}
			}
			words = words[n:]
			if lost = 0; m.rnd.IntN(3) == 0 {
				n := min(len(words)/8, m.rnd.IntN(400))
				words, lost = words[8*n:], uint64(n)
			}
		}
		check(t, w.WriteExit(Exit{1, 100, 0, m.time}), w.Close(0, ""))
		opened, closed, orphans, recorded := 0, 0, 0, 0
		for _, e := range graphEvents(t, file.Bytes()) {
			switch {
			case e.kind == LostCount:
			case e.kind == Entry:
				opened++
			case e.duration < 0:
				orphans++
				recorded++
			case e.resumed:
				t.Fatalf("seed %d: %+v", seed, e)
			default:
				closed++
				if !e.inferred {
					recorded++
				}
			}
		}
		if opened != entries || closed != entries || recorded != exits {
			t.Errorf("seed %d: %d calls are entered and %d left, want %d; %d exits, want %d", seed, opened, closed, entries, recorded, exits)
		}
		calls, _, _ := readCalls(t, file.Bytes())
		if len(calls) != entries+orphans {
			t.Errorf("seed %d: %d calls, want %d and %d exits without entries", seed, len(calls), entries, orphans)
		}
	}
}
