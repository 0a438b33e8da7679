package analyze

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nopal/trace"
)

func check(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func words(list ...uint64) []byte {
	var b []byte
	for _, w := range list {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// index is the code position of an event of the nth function of begin's.
func index(n int) uint32 { return uint32(64 + 16*n + 2) }

// begin writes what precedes the chunks.
func begin(t testing.TB, out io.Writer) *trace.Writer {
	t.Helper()
	w, err := trace.NewWriter(out, trace.MachineARM64)
	check(t, err)
	names := []string{"main", "_ZN3foo3barEi", "_RNvC3foo3bar", "tail\x1b[31m\"q\"", "lua_call", "f<int>"}
	var funcs []trace.Func
	for i, n := range names {
		funcs = append(funcs, trace.Func{VA: 0x1000 + 64*uint64(i), Size: 64, Name: n})
	}
	check(t,
		w.WriteMeta(trace.Meta{Version: "1.0", Command: []string{"nopal", "record", "--", "prog", "a b"}, Host: "box",
			System: "Linux 6.1", Machine: "aarch64", CPUs: 4, PageSize: 4096, Started: 1_700_000_000_000_000_000,
			Options: []trace.Option{{Name: "regs", Value: "true"}}}),
		w.WriteClock(trace.Clock{Source: "cntvct", Frequency: 62_500_000, Ticks: 1000, Mono: 12_345_678_901_000}),
		w.WriteProcess(trace.Process{Proc: 1, PID: 100, PPID: 1, Command: []string{"/bin/prog", "a b"}}),
		w.WriteThread(trace.Thread{Proc: 1, TID: 100, Name: "prog"}),
		w.WriteImage(trace.Image{ID: 1, Path: "/bin/prog", BuildID: "0123abcd"}, funcs),
		w.WriteImage(trace.Image{ID: 2, Path: "/lib/libx.so.1"}, []trace.Func{{VA: 0x100, Size: 0x40, Name: "xcall"}}),
		w.WriteRange(trace.Range{Proc: 1, Image: 1, Index: 64, Count: 1600, Addr: 0xaaaa00001000, VA: 0x1000}),
		w.WriteRange(trace.Range{Proc: 1, Image: 2, Index: 1664, Count: 160, Addr: 0xffff00000100, VA: 0x100}))
	return w
}

// sample is a recording with a bit of everything.
func sample(t testing.TB) []byte {
	t.Helper()
	var file bytes.Buffer
	w := begin(t, &file)
	regs := []uint64{trace.ControlWord(trace.WordRecord, trace.RecordRegs|trace.RecordStack|39),
		trace.EventWord(index(4), 0x7f00, 70_000_000)}
	for i := range uint64(len(trace.MachineARM64.Registers())) {
		regs = append(regs, i<<60|i)
	}
	regs = append(regs, 2, 0xaaaa0000104c, 0x1234)
	check(t,
		w.WriteChunk(trace.Chunk{Proc: 1, Stream: 1, TID: 100, Base: 1000, Words: words(
			trace.EventWord(index(0), 0x8000, 1000),
			trace.EventWord(index(1), 0x7fe0, 1063),
			trace.EventWord(index(2), 0x7fc0, 1200),
			trace.EventWord(index(3), 0x7fe0, 2000),
			trace.EventWord(1664+2, 0x7fc0, 2100),
			trace.EventWord(1664+60, 0x7fa0, 2200))}),
		w.WriteChunk(trace.Chunk{Proc: 1, Stream: 2, TID: 101, Base: 1500, Lost: 7, Words: words(
			trace.EventWord(index(5), 0x8000, 1500))}),
		w.WriteRound(3000),
		w.WriteChunk(trace.Chunk{Proc: 1, Stream: 1, TID: 100, Base: 70_000_000, Words: words(regs...)}),
		w.WriteLost(trace.Lost{Proc: 1, TID: 102, Count: 9}),
		w.WriteRound(80_000_000),
		w.WriteExit(trace.Exit{Proc: 1, Status: 256}),
		w.Close(1_120_000_000, "the command ended"))
	return file.Bytes()
}

func replay(t testing.TB, file []byte, o Options) (string, Summary) {
	t.Helper()
	var out strings.Builder
	sum, err := Replay(bytes.NewReader(file), &out, o)
	check(t, err)
	return out.String(), sum
}

func TestText(t *testing.T) {
	got, sum := replay(t, sample(t), Options{})
	want := `#              TASK-TID        SECONDS  FUNCTION
               prog-100   12345.678901:  main
               prog-100   12345.678902:    foo::bar(int)
               prog-100   12345.678904:      foo::bar
               prog-101   12345.678909:  LOST 7 events
               prog-101   12345.678909:  f<int>
               prog-100   12345.678917:    tail\x1b[31m"q"
               prog-100   12345.678918:      xcall [libx.so.1]
               prog-100   12345.678920:        libx.so.1+0x1e8
               prog-102   12345.678933:  LOST 9 events
               prog-100   12346.798885:          lua_call
                              x0 0000000000000000     x1 1000000000000001     x2 2000000000000002     x3 3000000000000003
                              x4 4000000000000004     x5 5000000000000005     x6 6000000000000006     x7 7000000000000007
                              x8 8000000000000008     x9 9000000000000009    x10 a00000000000000a    x11 b00000000000000b
                             x12 c00000000000000c    x13 d00000000000000d    x14 e00000000000000e    x15 f00000000000000f
                             x16 0000000000000010    x17 1000000000000011    x18 2000000000000012    x19 3000000000000013
                             x20 4000000000000014    x21 5000000000000015    x22 6000000000000016    x23 7000000000000017
                             x24 8000000000000018    x25 9000000000000019    x26 a00000000000001a    x27 b00000000000001b
                             x28 c00000000000001c    x29 d00000000000001d    x30 e00000000000001e     sp f00000000000001f
                              pc 0000000000000020 pstate 1000000000000021
                          => foo::bar(int)+0xc (prog)
                          => 0x1234
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if sum.Events != 8 || sum.Shown != 8 || sum.Lost != 16 || sum.Truncated {
		t.Errorf("summary %+v", sum)
	}
}

func TestJSONL(t *testing.T) {
	got, _ := replay(t, sample(t), Options{Format: JSONL})
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	want := []string{
		`{"type":"entry","time":12345678901000,"pid":100,"tid":100,"name":"main","object":"/bin/prog","addr":"0xaaaa00001000","depth":0}`,
		`{"type":"entry","time":12345678902008,"pid":100,"tid":100,"name":"foo::bar(int)","object":"/bin/prog","addr":"0xaaaa00001040","depth":1}`,
		`{"type":"entry","time":12345678904200,"pid":100,"tid":100,"name":"foo::bar","object":"/bin/prog","addr":"0xaaaa00001080","depth":2}`,
		`{"type":"lost","count":7,"tid":101,"pid":100,"time":12345678909000}`,
		`{"type":"entry","time":12345678909000,"pid":100,"tid":101,"name":"f<int>","object":"/bin/prog","addr":"0xaaaa00001140","depth":0}`,
		`{"type":"entry","time":12345678917000,"pid":100,"tid":100,"name":"tail\u001b[31m\"q\"","object":"/bin/prog","addr":"0xaaaa000010c0","depth":1}`,
		`{"type":"entry","time":12345678918600,"pid":100,"tid":100,"name":"xcall","object":"/lib/libx.so.1","addr":"0xffff00000100","depth":2}`,
		`{"type":"entry","time":12345678920200,"pid":100,"tid":100,"name":"libx.so.1+0x1e8","object":"/lib/libx.so.1","addr":"0xffff000001e8","depth":3}`,
		`{"type":"lost","count":9,"tid":102,"pid":100,"time":12345678933000}`,
	}
	for i := range want {
		if lines[i] != want[i] {
			t.Errorf("line %d:\n got %s\nwant %s", i, lines[i], want[i])
		}
	}
	var last struct {
		Type, Name string
		Regs       map[string]string
		Stack      []struct {
			Addr, Name, Object string
			Offset             int
		}
	}
	for _, l := range lines {
		check(t, json.Unmarshal([]byte(l), &last))
	}
	if len(last.Regs) != len(trace.MachineARM64.Registers()) || last.Regs["x30"] != "0xe00000000000001e" || last.Regs["pstate"] != "0x1000000000000021" {
		t.Errorf("registers %v", last.Regs)
	}
	if len(last.Stack) != 2 || fmt.Sprint(last.Stack) != "[{0xaaaa0000104c foo::bar(int) /bin/prog 12} {0x1234   0}]" {
		t.Errorf("stack %v", last.Stack)
	}
}

type matchFunc func(raw, demangled, object string) bool

func (f matchFunc) Match(raw, demangled, object string) bool { return f(raw, demangled, object) }

func TestSelection(t *testing.T) {
	seen := map[string]int{}
	got, sum := replay(t, sample(t), Options{Format: JSONL, Selection: Selection{TID: 100, Only: matchFunc(func(raw, demangled, object string) bool {
		seen[demangled]++
		return object == "/lib/libx.so.1" && demangled == "xcall" || raw == "main"
	})}})
	if n := strings.Count(got, "\n"); n != 2 || sum.Shown != 2 || sum.Events != 8 {
		t.Errorf("%d lines, summary %+v:\n%s", n, sum, got)
	}
	if seen["xcall"] != 1 || seen["f<int>"] != 0 {
		t.Errorf("functions were asked for %v times", seen)
	}
}

func TestDeep(t *testing.T) {
	var file bytes.Buffer
	w := begin(t, &file)
	var all []byte
	for i := range uint64(100) {
		all = append(all, words(trace.EventWord(index(0), 0x8000-16*i, 1000+i))...)
	}
	check(t, w.WriteChunk(trace.Chunk{Proc: 1, TID: 100, Words: all}), w.Close(0, ""))
	got, _ := replay(t, file.Bytes(), Options{})
	if !strings.HasSuffix(got, spaces[:100]+"(99) main\n") {
		t.Error(got)
	}
}

type failingWriter struct{ n int }

func (f *failingWriter) Write(p []byte) (int, error) {
	f.n += len(p)
	return 0, errors.New("no room")
}

func TestWriteError(t *testing.T) {
	_, err := Replay(bytes.NewReader(sample(t)), &failingWriter{}, Options{})
	if we := (*WriteError)(nil); !errors.As(err, &we) {
		t.Errorf("error %v", err)
	}
}

var benchEvents = flag.Int("events", 2_000_000, "events in the file that is read by benchmarks")

// benchFile writes a recording of four threads.
func benchFile(b *testing.B) string {
	path := filepath.Join(b.TempDir(), "bench.data")
	f, err := os.Create(path)
	check(b, err)
	w := begin(b, f)
	now := uint64(1 << 30)
	for n := 0; n < *benchEvents; {
		for th := range uint32(4) {
			c := trace.Chunk{Proc: 1, Stream: th, TID: 100 + th, Base: now}
			high := now >> trace.TimeBits
			for range 8000 {
				if now>>trace.TimeBits != high {
					high = now >> trace.TimeBits
					c.Words = append(c.Words, words(trace.ControlWord(trace.WordTime, high))...)
				}
				depth := uint64(n % 22)
				if depth > 11 {
					depth = 22 - depth
				}
				c.Words = append(c.Words, words(trace.EventWord(index(n%6), 0x8000-48*depth, now))...)
				now += 3
				n++
			}
			check(b, w.WriteChunk(c))
		}
		check(b, w.WriteRound(now))
	}
	check(b, w.Close(0, ""), f.Close())
	return path
}

func benchReplay(b *testing.B, o Options) {
	path := benchFile(b)
	events := uint64(0)
	start := cpuTime(b, 0)
	for b.Loop() {
		f, err := os.Open(path)
		check(b, err)
		sum, err := Replay(f, io.Discard, o)
		check(b, err, f.Close())
		events += sum.Events
	}
	b.ReportMetric(float64(events)/cpuTime(b, start).Seconds()/1e6, "Mevents/cpu-s")
}

func BenchmarkText(b *testing.B)  { benchReplay(b, Options{}) }
func BenchmarkJSONL(b *testing.B) { benchReplay(b, Options{Format: JSONL}) }

// cpuTime is the processor time that the test has taken, garbage collection
// included, less start. The benchmarks' figures are for one processor, and
// should not depend on what else the machine does.
func cpuTime(b *testing.B, start time.Duration) time.Duration {
	var u syscall.Rusage
	check(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano()+u.Stime.Nano()) - start
}
