package inject

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"nopal/internal/image"
)

const (
	codeAt     = 0x10000
	tableAt    = 0x200000
	countersAt = 0x300000
	stackAt    = 0x800000
	threadAt   = 0x900000
	callerAt   = 0x400008
	bodyAt     = 0x500008
	nextAt     = 0x20000
)

// site makes the code of a function f with rules.
func site(t *testing.T, sig *image.Signature, env Env, rules ...string) *machine {
	t.Helper()
	s := &Site{Callers: make([][]Range, len(rules))}
	for i, text := range rules {
		r, err := ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		e, err := r.Resolve(i, "f", sig, image.ErrNoDWARF)
		if err != nil {
			t.Fatal(err)
		}
		s.Effects = append(s.Effects, e)
		if r.Caller != nil {
			s.Callers[i] = []Range{{0x3ff000, 0x3ff100}, {0x400000, 0x400040}, {0x400044, 0x400048}, {0x500000, 0x500004}}
		}
	}
	env.At, env.Table, env.Counters, env.Errno = codeAt, tableAt, countersAt, -0x20
	code, err := s.Code(env)
	if err != nil {
		t.Fatal(err)
	}
	if size, err := s.Size(false); err != nil || 4*len(code) > size {
		t.Fatalf("%d bytes of code, at most %d: %v", 4*len(code), size, err)
	}
	return &machine{t: t, code: code, at: codeAt, mem: map[uint64]uint64{tableAt - 8: 1}, tpidr: threadAt, base: stackAt}
}

// call calls f, and returns where it went to. Registers that belong to the program are checked.
func (m *machine) call(caller uint64) uint64 {
	m.t.Helper()
	m.sp, m.monitor = m.base, false
	for i := range m.x {
		m.x[i] = uint64(i) * 0x0101010101010101
	}
	m.x[9], m.x[30] = caller, bodyAt
	before := m.x
	m.steps = 0
	to := m.run(codeAt)
	if m.sp != m.base {
		m.t.Errorf("sp is %#x", m.sp)
	}
	for i := range before {
		if i > 8 && i < 18 || i == 30 || i == 0 && to == caller {
			continue
		}
		if m.x[i] != before[i] {
			m.t.Errorf("x%d is %#x, was %#x", i, m.x[i], before[i])
		}
	}
	switch to {
	case caller, bodyAt:
		if m.x[30] != caller {
			m.t.Errorf("x30 is %#x", m.x[30])
		}
	case nextAt:
		if m.x[9] != caller || m.x[30] != bodyAt {
			m.t.Errorf("x9 is %#x, x30 %#x", m.x[9], m.x[30])
		}
	}
	return to
}

// fired calls f n times and lists which calls returned at once.
func (m *machine) fired(n int) []int {
	var list []int
	for i := 1; i <= n; i++ {
		if m.call(callerAt) == callerAt {
			list = append(list, i)
		}
	}
	return list
}

func TestTurns(t *testing.T) {
	for rule, want := range map[string][]int{
		"f: return 7":                         {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
		"f: return 7 every 3":                 {3, 6, 9, 12},
		"f: return 7 after 4":                 {5, 6, 7, 8, 9, 10, 11, 12},
		"f: return 7 count 2":                 {1, 2},
		"f: return 7 every 4 after 2 count 1": {6},
		"f: return 7 prob 0":                  nil,
		"f: return 7 prob 1 every 5":          {5, 10},
		"f: return 7 caller c":                {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
	} {
		m := site(t, nil, Env{}, rule)
		got := m.fired(12)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v", rule, got)
		}
		if m.mem[countersAt] != 12 || m.mem[countersAt+firedOffset] != uint64(len(want)) {
			t.Errorf("%s: counted %d, %d", rule, m.mem[countersAt], m.mem[countersAt+firedOffset])
		}
	}
}

func TestChance(t *testing.T) {
	for _, p := range []float64{0.001, 0.25, 0.5, 0.999} {
		for index := range 2 {
			rules := []string{"f: return 1 prob 0", "f: return 1 prob 0"}[:index+1]
			m := site(t, nil, Env{Seed: 42}, rules...)
			r := &Rule{Prob: p}
			s := &Site{Effects: []*Effect{{Rule: r, Index: index, returns: true, moves: []move{{}}}}}
			code, err := s.Code(Env{At: codeAt, Table: tableAt, Counters: countersAt, Seed: 42})
			if err != nil {
				t.Fatal(err)
			}
			m.code = code
			const calls = 2000
			got := m.fired(calls)
			var want []int
			for n := 1; n <= calls; n++ {
				if Chosen(42, index, p, uint64(n)) {
					want = append(want, n)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("probability %g, rule %d: %v, want %v", p, index, got, want)
			}
			if n := float64(len(got)); math.Abs(n-p*calls) > 5*math.Sqrt(calls*p*(1-p))+1 {
				t.Errorf("probability %g: %g of %d", p, n, calls)
			}
		}
	}
}

// The figure of a rule that does not fire, of those without memory to read.
func TestInstructions(t *testing.T) {
	for rule, most := range map[string]int{
		"f: return 7 every 1000000":                              30,
		"f: return 7 every 1000000 after 100 count 3":            30,
		"f: return 7 prob 0.0000001 every 2 after 1":             60,
		"f: return 7 count 3 every 1000000 prob 0.001 caller c*": 60,
	} {
		m := site(t, nil, Env{}, rule)
		for range 5 {
			if to := m.call(callerAt); to != bodyAt {
				t.Fatalf("%s: went to %#x", rule, to)
			}
			if got := m.steps; got > most {
				t.Errorf("%s: %d instructions", rule, got)
			}
		}
		t.Logf("%s: %d instructions", rule, m.steps)
	}
}

func TestCallers(t *testing.T) {
	m := site(t, nil, Env{}, "f: return 7 caller c")
	for caller, want := range map[uint64]bool{
		0x3fefff: false, 0x3ff000: false, 0x3ff004: true, 0x3ff100: true, 0x3ff104: false,
		0x400000: false, 0x400004: true, 0x400040: true, 0x400044: false, 0x400048: true, 0x40004c: false,
		0x500004: true, 0x500008 + 8: false, 0xffffffffff00: false, 4: false,
	} {
		if got := m.call(caller) == caller; got != want {
			t.Errorf("called from %#x: %t", caller, got)
		}
	}
	if m.mem[countersAt] != 6 {
		t.Errorf("%d calls are counted", m.mem[countersAt])
	}
	if got := Merge([]Range{{8, 12}, {0, 4}, {4, 8}, {20, 24}, {21, 22}}); !slices.Equal(got, []Range{{0, 12}, {20, 24}}) {
		t.Errorf("merged: %v", got)
	}
}

func TestActs(t *testing.T) {
	m := site(t, nil, Env{}, "f: return -1 errno EIO")
	m.mem[threadAt-0x20] = 0x1111111122222222
	if m.call(callerAt) != callerAt || m.x[0] != math.MaxUint64 || m.mem[threadAt-0x20] != 0x1111111100000005 {
		t.Errorf("x0 = %#x, errno %#x", m.x[0], m.mem[threadAt-0x20])
	}
	m.tpidr = 0
	if m.call(callerAt) != callerAt {
		t.Error("without a thread block")
	}

	// Arguments of several rules, and on with a trampoline.
	m = site(t, nil, Env{Next: nextAt}, "f: set fparg2=1.5", "f: set arg10=-2", "f: return 9 every 2")
	if to := m.call(callerAt); to != nextAt || m.v[1] != math.Float64bits(1.5) || m.mem[stackAt+8] != math.MaxUint64-1 {
		t.Errorf("to %#x, v1 = %#x, stack %#x", to, m.v[1], m.mem[stackAt+8])
	}
	if to := m.call(callerAt); to != callerAt || m.x[0] != 9 {
		t.Errorf("to %#x, x0 = %d", to, m.x[0])
	}

	// A result in memory.
	memory := image.Place{Address: &image.Piece{Kind: image.InX, N: 8, Size: 8}}
	m = site(t, returning(tLarge, memory), Env{}, "f: return zero")
	const result = 0x0808080808080808
	for at := uint64(result); at < result+48; at += 8 {
		m.mem[at] = math.MaxUint64
	}
	if m.call(callerAt) != callerAt || m.mem[result] != 0 || m.mem[result+24] != 0 || m.mem[result+32] != 0xffffff0000000000 || m.mem[result+40] != math.MaxUint64 {
		t.Errorf("result: %#x %#x", m.mem[result+32], m.mem[result+40])
	}

	// The child of a fork that is not followed.
	m = site(t, nil, Env{}, "f: return 7")
	m.mem[tableAt-8] = 0
	if m.call(callerAt) != bodyAt || m.mem[countersAt] != 0 {
		t.Error("a process that is not recorded")
	}
}

// A signal handler that calls the function between any two instructions loses no count and fires nothing twice.
func TestInterrupted(t *testing.T) {
	outer := site(t, nil, Env{}, "f: return 7 count 50")
	random := rand.New(rand.NewPCG(1, 2))
	fired, calls := 0, 0
	for range 200 {
		outer.interrupt = func(m *machine) {
			if random.IntN(12) != 0 {
				return
			}
			inner := *m
			inner.interrupt, inner.base = nil, m.sp-0x1000
			calls++
			if inner.call(callerAt) == callerAt {
				fired++
			}
			m.monitor = false // an exception return clears it
		}
		calls++
		if outer.call(callerAt) == callerAt {
			fired++
		}
	}
	if fired != 50 || outer.mem[countersAt] != uint64(calls) || outer.mem[countersAt+firedOffset] != 50 {
		t.Errorf("%d of %d fired; counted %d, %d", fired, calls, outer.mem[countersAt], outer.mem[countersAt+firedOffset])
	}
}
