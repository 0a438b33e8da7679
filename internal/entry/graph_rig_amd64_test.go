package entry_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nopal/internal/entry"
	"nopal/internal/ring"
	"nopal/trace"
)

// Where testdata/graph/rig.c has what.
const (
	graphCode      = 0x2000_0000
	graphStubs     = graphCode + 0x10000
	graphCodeSize  = 0x20000
	graphTable     = 0x20_0000_0000
	graphRing      = 0x30_0000_0000
	graphThunks    = 0x40_0000_0000
	graphCFI       = 0x50_0000_0000
	graphCFISize   = 0x4000
	graphThunkFile = 2 << 20
	graphBuffer    = 64 << 20
)

// graphProgram compiles the program of the rig, once.
var graphProgram = sync.OnceValues(func() (string, error) {
	blob, err := entry.Load()
	if err != nil {
		return "", err
	}
	size, err := ring.Size(graphBuffer)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "nopal-graph")
	if err != nil {
		return "", err
	}
	header := ""
	for _, d := range []struct {
		name  string
		value uint64
	}{
		{"CODE", graphCode}, {"CODE_SIZE", graphCodeSize}, {"STUBS", graphStubs}, {"CALLER", blob.Graph.Caller},
		{"SLOTS", entry.SlotCount}, {"TABLE", graphTable}, {"TABLE_SIZE", entry.SlotCount << entry.SlotShift}, {"CONTROL", entry.ControlSize}, {"STACK_LOW", 3},
		{"RING", graphRing}, {"RING_SIZE", size}, {"THUNKS", graphThunks}, {"REGION", entry.GraphRegion}, {"THUNK_FILE", graphThunkFile},
		{"CFI", graphCFI}, {"CFI_SIZE", graphCFISize},
	} {
		header += fmt.Sprintf("#define RIG_%s %#xUL\n", d.name, d.value)
	}
	if err := os.WriteFile(filepath.Join(dir, "rig.h"), []byte(header), 0o644); err != nil {
		return "", err
	}
	const sites = "-fnon-call-exceptions -fpatchable-function-entry=5"
	for _, c := range []string{
		"gcc -O2 -Wall -Wextra -c -o %[1]s/rig.o testdata/graph/rig.c -I %[1]s",
		"gcc -O2 -Wall -Wextra " + sites + " -c -o %[1]s/nested.o testdata/graph/nested.c",
		"g++ -O2 -Wall -Wextra -Wno-infinite-recursion " + sites + " -rdynamic -no-pie -pthread -o %[1]s/program testdata/graph/program.cc %[1]s/nested.o %[1]s/rig.o",
		"g++ -O2 -Wno-infinite-recursion " + sites + " -static -no-pie -pthread -o %[1]s/static testdata/graph/program.cc %[1]s/nested.o %[1]s/rig.o",
	} {
		args := strings.Fields(fmt.Sprintf(c, dir))
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", args[0], err, out)
		}
	}
	return dir, nil
})

// graphRun is a run of the program with its entries and exits recorded.
type graphRun struct {
	t       *testing.T
	out     string
	status  int
	streams map[uint32][]graphEvent
	lost    uint64
}

// graphEvent is an event of function number n.
type graphEvent struct {
	n    int
	exit bool
	sp   uint32
}

func (r *graphRun) Chunk(stream, tid uint32, base, lost uint64, words []uint64) error {
	var c trace.Cursor
	c.Reset(&trace.Chunk{TID: tid, Base: base, Words: wordBytes(words)}, 0)
	r.lost += lost
	last := uint64(0)
	for c.Next() {
		if c.Ticks < last {
			r.t.Errorf("times of stream %d do not ascend", stream)
		}
		last = c.Ticks
		i := int(c.Index) - entry.FirstIndex
		r.streams[stream] = append(r.streams[stream], graphEvent{i / 2, i%2 == 1, c.SP})
	}
	return c.Err()
}

func (r *graphRun) Lost(_, _ uint32, count uint64) error {
	r.lost += count
	return nil
}

func graphDir(t testing.TB) string {
	t.Helper()
	dir, err := graphProgram()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return dir
}

// runGraph runs a job of the program, recorded.
func runGraph(t *testing.T, program string, args ...string) *graphRun {
	t.Helper()
	dir := graphDir(t)
	files := t.TempDir()
	blob, err := entry.Load()
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(files, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code := make([]byte, graphCodeSize)
	copy(code, blob.Code)
	blob.Fill(code, entry.Literals{Table: graphTable})
	blob.Graph.Fill(code, graphThunks)
	write("code", code)
	write("thunks", entry.Thunks(graphThunkFile, graphCode+blob.Graph.Exit))
	cfi := make([]byte, graphCFISize)
	var thunks, island entry.CFI
	thunks.AddThunks(graphThunks)
	copy(cfi, thunks.Bytes())
	island.AddCode(blob, graphCode)
	island.AddStubs(graphStubs, graphCodeSize/2)
	copy(cfi[graphCFISize/2:], island.Bytes())
	write("cfi", cfi)
	size, err := ring.Size(graphBuffer)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(files, "ring"), os.O_RDWR|os.O_CREATE, 0o600)
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
	defer func() { _ = syscall.Munmap(mem) }()
	shared, err := ring.Format(mem, graphBuffer, graphTable-entry.ControlSize, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := &graphRun{t: t, streams: map[uint32][]graphEvent{}}
	cmd := exec.Command("timeout", append([]string{"20", filepath.Join(dir, program)}, args...)...)
	cmd.Env = append(os.Environ(), "RIG_DIR="+files)
	drainer := ring.NewDrainer(shared, r, false)
	done := make(chan struct{})
	var drained sync.WaitGroup
	drained.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(500 * time.Microsecond):
				if _, err := drainer.Look(true); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	out, err := cmd.CombinedOutput()
	close(done)
	drained.Wait()
	r.out = string(out)
	r.status = cmd.ProcessState.ExitCode()
	if err != nil && r.status < 0 {
		t.Errorf("%v: %v", args, err)
	}
	if _, err := drainer.Close(); err != nil {
		t.Fatal(err)
	}
	return r
}

// plain runs a job as it is.
func plain(t *testing.T, program string, args ...string) (string, int) {
	cmd := exec.Command("timeout", append([]string{"20", filepath.Join(graphDir(t), program)}, args...)...)
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// calls checks that entries and exits of each stream are those of nested calls, and
// returns how many calls there are.
func (r *graphRun) calls() int {
	n := 0
	for stream, events := range r.streams {
		var open []graphEvent
		for i, e := range events {
			if !e.exit {
				n++
				open = append(open, e)
				continue
			}
			if len(open) == 0 || open[len(open)-1].n != e.n || open[len(open)-1].sp != e.sp {
				r.t.Errorf("stream %d, event %d: %+v while open are %d", stream, i, e, len(open))
				return n
			}
			open = open[:len(open)-1]
		}
		if len(open) > 1 { // main is left by exit
			r.t.Errorf("stream %d: %d calls are still open", stream, len(open))
		}
	}
	return n
}

func TestGraphJobs(t *testing.T) {
	for _, job := range []struct {
		args  string
		exact bool // all calls return
		calls int
	}{
		{"fib 20", true, 21893},
		{"mutual 500", true, 503},
		{"tail", true, 0},
		{"values", true, 0},
		{"exceptions", false, 0},
		{"longjmp 20000", false, 0},
		{"deep 900", true, 0},
		{"deep 3000", true, 0},
		{"deep 100000", true, 0},
		{"coroutines 0", false, 0},
		{"coroutines 1", false, 0},
		{"migrate", false, 0},
		{"signals", true, 0},
		{"signals-alt", true, 0},
		{"signals-leave", false, 0},
		{"signals-alt-leave", false, 0},
		{"signals-trace", true, 0},
		{"signals-alt-trace", true, 0},
		{"threads", true, 0},
		{"cancel", false, 0},
		{"fork 20", false, 0},
		{"vfork 20", false, 0},
		{"backtrace 50", true, 0},
		{"step call", true, 0},
		{"step trace", true, 0},
		{"step leave", false, 0},
		{"step switch", false, 0},
		{"step throw", false, 0},
		{"step fork", false, 0},
	} {
		for _, program := range []string{"program", "static"} {
			t.Run(program+"/"+job.args, func(t *testing.T) {
				args := strings.Fields(job.args)
				r := runGraph(t, program, args...)
				want, status := plain(t, program, args...)
				if r.out != want || r.status != status {
					t.Errorf("output %q, exit status %d; untraced %q, %d", r.out, r.status, want, status)
				}
				if r.lost != 0 {
					t.Errorf("%d events lost", r.lost)
				}
				if !job.exact {
					return
				}
				if n := r.calls(); n == 0 || job.calls != 0 && n != job.calls {
					t.Errorf("%d calls, want %d", n, job.calls)
				}
			})
		}
	}
}
