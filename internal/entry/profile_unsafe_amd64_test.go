package entry_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"nopal/internal/entry"
)

// Functions of testdata/entry/rig.c that are profiled. The first counters are nobody's.
const (
	profLeaf = iota + 1
	profMid
	profTail
	profRec
	profJump
	profFuncs
)

// profileOf runs a job with a profile and returns the counters of its functions, of all
// threads together.
func profileOf(t *testing.T, job string, n int) (funcs [profFuncs]profCounts, out []string, head *entry.ProfileHeader) {
	t.Helper()
	r := newRig(t, load(t).Profile.Caller, 64, entry.Literals{})
	const (
		areas  = 32
		size   = entry.ProfileAreaAlign
		first  = 1 << 20
		lookup = 0x10000
		bits   = 10
	)
	path := filepath.Join(t.TempDir(), "profile")
	if err := os.WriteFile(path, make([]byte, first+areas*size), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	mem, err := syscall.Mmap(int(file.Fd()), 0, first+areas*size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(mem) })
	head = (*entry.ProfileHeader)(unsafe.Pointer(&mem[0]))
	*head = entry.ProfileHeader{Areas: areas, AreaSize: size, AreasOff: first, LinksOff: 4096, LookupOff: lookup, LookupShift: 32 - bits}
	r.last = path
	out = r.run(job, n)
	for a := range head.Given {
		for f := range funcs {
			c := (*entry.ProfileFunc)(unsafe.Pointer(&mem[first+a*size+entry.ProfileFrameBytes+uint64(f)*entry.ProfileFuncSize]))
			for _, n := range c.Hist {
				funcs[f].timed += n
			}
			funcs[f].untimed += c.Untimed
			funcs[f].inferred += c.Inferred
			funcs[f].total += c.Total
			funcs[f].self += c.Self
			if c.Total < c.Self || c.Most > c.Total {
				t.Errorf("area %d, function %d: total %d, self %d, most %d", a, f, c.Total, c.Self, c.Most)
			}
		}
	}
	return funcs, out, head
}

// profCounts is what is compared.
type profCounts struct{ timed, untimed, inferred, total, self uint64 }

// calls leaves out the times.
func (c profCounts) calls() profCounts {
	return profCounts{timed: c.timed, untimed: c.untimed, inferred: c.inferred}
}

// TestProfile counts calls, calls by jumps, recursion, and calls that are left by
// longjmp, which the next one shows.
func TestProfile(t *testing.T) {
	const calls = 4000 // a thousand frames that are left, of which a thread has more
	for _, c := range []struct {
		job     string
		threads uint64
	}{{"profile", 1}, {"profile-threads", 8}} {
		funcs, _, head := profileOf(t, c.job, calls)
		n := calls * c.threads
		for f, want := range map[int]profCounts{
			profLeaf: {timed: 3*n + n + n/4}, profMid: {timed: n}, profTail: {timed: n}, profRec: {timed: 5 * n},
			profJump: {timed: n / 4, inferred: n / 4},
		} {
			if got := funcs[f].calls(); got != want {
				t.Errorf("%s: function %d has %+v, want %+v", c.job, f, got, want)
			}
		}
		if m, l := funcs[profMid], funcs[profLeaf]; m.total < m.self || m.self == 0 || l.total == 0 {
			t.Errorf("%s: times %+v, %+v", c.job, m, l)
		}
		if head.Uncounted != 0 || head.Given != c.threads {
			t.Errorf("%s: %d uncounted, %d areas", c.job, head.Uncounted, head.Given)
		}
	}
}

// TestProfileDeep has a recursion that finds no room in the end: all calls are counted.
func TestProfileDeep(t *testing.T) {
	const calls = 5000
	funcs, _, _ := profileOf(t, "profile-deep", calls)
	if got := funcs[profRec]; got.timed+got.untimed != calls || got.timed < 1000 || got.inferred > 8 {
		t.Errorf("%+v of %d calls", got, calls)
	}
}

// TestProfileState compares all registers, at the function's body and behind its return.
func TestProfileState(t *testing.T) {
	const calls = 2000
	if funcs, _, _ := profileOf(t, "profile-state", calls); funcs[0].timed != calls {
		t.Errorf("%+v of %d calls", funcs[0], calls)
	}
}

// TestProfileStep calls functions from a signal handler at one instruction of each round.
func TestProfileStep(t *testing.T) {
	const calls = 100
	funcs, out, _ := profileOf(t, "profile-step", calls)
	var handled uint64
	for _, c := range out[0] {
		handled = 10*handled + uint64(c-'0')
	}
	mids := calls + handled/3
	if got := funcs[profMid].calls(); got != (profCounts{timed: mids}) {
		t.Errorf("%d handled: %+v, want %d", handled, got, mids)
	}
	leaves := 3*mids + calls + calls/4 + handled
	if got := funcs[profLeaf].calls(); got != (profCounts{timed: leaves}) {
		t.Errorf("%d handled: %+v, want %d", handled, got, leaves)
	}
	t.Logf("%d handled", handled)
}

// TestProfileFork: a child counts nothing.
func TestProfileFork(t *testing.T) {
	if funcs, _, _ := profileOf(t, "profile-fork", 100); funcs[profLeaf].calls() != (profCounts{timed: 1}) || funcs[profMid].timed != 0 {
		t.Errorf("%+v", funcs)
	}
}

func TestProfileCost(t *testing.T) {
	_, out, _ := profileOf(t, "profile-bench", 20_000)
	t.Logf("cycles: rdtsc %s, profiled %s", out[0], out[1])
}
