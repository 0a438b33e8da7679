package entry_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"nopal/internal/entry"
	"nopal/internal/ring"
)

// Where testdata/entry/rig.c has what.
const (
	rigCode    = 0x10_0000_0000
	rigStubs   = rigCode + 0x10000
	rigSize    = 0x20000
	rigTable   = 0x20_0000_0000
	rigRing    = 0x30_0000_0000
	rigThunks  = 0x40_0000_0000
	rigProfile = 0x50_0000_0000
	rigShadows = 0x60_0000_0000
)

// rig runs the entry code in a process of its own.
type rig struct {
	t        *testing.T
	path     string // of the program
	env      []string
	args     []string // code and ring
	last     string   // and another file
	ring     *ring.Ring
	drainer  *ring.Drainer
	events   map[uint32][]rigEvent // of threads
	lost     uint64
	rewrites bool // the job does not keep the order of times
}

type rigEvent struct {
	index, ticks, sp uint64
	record           uint64   // the word before it
	words            []uint64 // those behind it
}

// rigProgram compiles the rig, once.
var rigProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nopal-rig")
	if err != nil {
		return "", err
	}
	blob, err := entry.Load()
	if err != nil {
		return "", err
	}
	header := fmt.Sprintf("#define RIG_THUNKS %#xUL\n#define RIG_REGION %#xUL\n#define RIG_PROFILE %#xUL\n#define RIG_STACKS %d\n#define RIG_THUNK \"",
		rigThunks, entry.GraphRegion, rigProfile, unsafe.Offsetof(entry.Control{}.Stacks))
	for _, b := range entry.Thunks(64, rigCode+blob.Profile.Thunk) {
		header += fmt.Sprintf("\\%03o", b)
	}
	header += "\"\n#define RIG_SHADOW_THUNK \""
	for _, b := range entry.Thunks(64, rigCode+blob.Shadow.Thunk) {
		header += fmt.Sprintf("\\%03o", b)
	}
	header += fmt.Sprintf("\"\n#define RIG_SHADOWS %#xUL\n#define RIG_SHADOWS_SIZE %#xUL\n", rigShadows, entry.ShadowRegion)
	header += fmt.Sprintf("#define RIG_CODE %#xUL\n#define RIG_STUBS %#xUL\n#define RIG_CODE_SIZE %#xUL\n#define RIG_TABLE %#xUL\n#define RIG_TABLE_SIZE %#xUL\n#define RIG_RING %#xUL\n#define RIG_FSBASE %d\n#define RIG_TRIGGERS %d\n#define RIG_TRIGGER_LEN %d\n",
		rigCode, rigStubs, rigSize, rigTable, entry.SlotCount<<entry.SlotShift, rigRing, unsafe.Offsetof(entry.Control{}.FSBase), unsafe.Offsetof(entry.RingHeader{}.Triggers), unsafe.Offsetof(entry.RingHeader{}.TriggerLen))
	if err := os.WriteFile(filepath.Join(dir, "rig.h"), []byte(header), 0o644); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "rig")
	out, err := exec.Command("gcc", "-O2", "-Wall", "-Wextra", "-no-pie", "-pthread", "-I", dir, "-o", path, "testdata/entry/rig.c").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := rigProgram(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// newRig makes the files of a rig that calls the trampoline at label, with a ring of so
// many pages.
func newRig(t *testing.T, label uint64, pages int, literals entry.Literals) *rig {
	t.Helper()
	path, err := rigProgram()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	blob, err := entry.Load()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, path: path, events: map[uint32][]rigEvent{}}
	code := make([]byte, rigSize)
	copy(code, blob.Code)
	literals.Table = rigTable
	literals.Reserved = entry.WordReserved<<entry.WordIndexShift | entry.RegsRecord
	literals.Record = entry.WordRecord<<entry.WordIndexShift | entry.RecordRegs | entry.RegsRecord
	blob.Fill(code, literals)
	blob.Graph.Fill(code, rigThunks)
	dir := t.TempDir()
	r.args = []string{filepath.Join(dir, "code"), filepath.Join(dir, "ring")}
	if err := os.WriteFile(r.args[0], code, 0o600); err != nil {
		t.Fatal(err)
	}
	buffer := int64(pages) * entry.PageSize
	size, err := ring.Size(buffer)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(r.args[1], os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if err := file.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	mem, err := syscall.Mmap(int(file.Fd()), 0, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(mem) })
	if r.ring, err = ring.Format(mem, buffer, rigTable-entry.ControlSize, 1); err != nil {
		t.Fatal(err)
	}
	r.drainer = ring.NewDrainer(r.ring, r, false)
	r.env = append(os.Environ(), fmt.Sprintf("RIG_ENTRY=%#x", label))
	return r
}

// run runs a job, with a drainer beside it, and returns what it has printed.
func (r *rig) run(job string, n int) []string {
	r.t.Helper()
	done := make(chan struct{})
	var drained sync.WaitGroup
	drained.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if _, err := r.drainer.Look(true); err != nil {
					r.t.Error(err)
					return
				}
				syscall.Select(0, nil, nil, nil, &syscall.Timeval{Usec: 500})
			}
		}
	})
	cmd := exec.Command(r.path, append(r.args, job, strconv.Itoa(n), r.last)...)
	cmd.Env = r.env
	out, err := cmd.CombinedOutput()
	close(done)
	drained.Wait()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", job, err, out)
	}
	noSlot, err := r.drainer.Close()
	if err != nil {
		r.t.Fatal(err)
	}
	r.lost += noSlot
	return strings.Fields(string(out))
}

// Chunk takes what the drainer has found.
func (r *rig) Chunk(stream, _ uint32, base, lost uint64, words []uint64) error {
	r.lost += lost
	high := base >> entry.TimeBits
	for i := 0; i < len(words); i++ {
		w := words[i]
		n := int(w & 0xffff)
		switch kind := w >> entry.WordIndexShift; {
		case w == 0: // nothing yet, or nothing any more: events are counted
		case kind == entry.WordTime:
			high = w & (1<<entry.WordIndexShift - 1)
		case kind == entry.WordPad, kind == entry.WordReserved:
			if kind == entry.WordReserved {
				r.t.Errorf("stream %d has a record that was not committed", stream)
			}
			i += n - 1
		case kind == entry.WordRecord:
			if n < 2 || i+n > len(words) {
				return fmt.Errorf("stream %d has a record of %d words, and %d are left", stream, n, len(words)-i)
			}
			r.event(stream, high, words[i+1], w, append([]uint64(nil), words[i+2:i+n]...))
			i += n - 1
		case kind >= entry.FirstIndex:
			r.event(stream, high, w, 0, nil)
		default:
			return fmt.Errorf("stream %d has a word %#x", stream, w)
		}
	}
	return nil
}

func (r *rig) event(stream uint32, high, w, record uint64, words []uint64) {
	e := rigEvent{
		index: w >> entry.WordIndexShift,
		ticks: high<<entry.TimeBits | w&(1<<entry.TimeBits-1),
		sp:    w >> entry.WordSPShift << 4 & 0xffff, record: record, words: words,
	}
	events := r.events[stream]
	// A record may be interrupted behind its place, but its place and time are taken together.
	if n := len(events); n > 0 && events[n-1].ticks > e.ticks && !r.rewrites {
		r.t.Errorf("event %d of stream %d has time %d, the one before %d", n, stream, e.ticks, events[n-1].ticks)
	}
	r.events[stream] = append(events, e)
}

func (r *rig) Lost(_, _ uint32, count uint64) error {
	r.lost += count
	return nil
}

// total is how many events there are.
func (r *rig) total() int {
	n := 0
	for _, events := range r.events {
		n += len(events)
	}
	return n
}

func wordBytes(words []uint64) []byte {
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 8*len(words))...)
}
