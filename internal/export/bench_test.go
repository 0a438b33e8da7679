package export

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

var benchEvents = flag.Int("events", 4_000_000, "events in the file that is exported by benchmarks")

// benchmark exports a recording of 4 threads. The figure is of entries and
// exits, for one processor.
func benchmark(b *testing.B, o Options) {
	path := filepath.Join(b.TempDir(), "bench.data")
	f, err := os.Create(path)
	check(b, err)
	program(b, f, 4, *benchEvents)
	check(b, f.Close())
	events, size := uint64(0), int64(0)
	start := cpuTime(b, 0)
	for b.Loop() {
		f, err := os.Open(path)
		check(b, err)
		w := &counter{w: io.Discard}
		_, err = Write(f, w, o)
		check(b, err, f.Close())
		events += uint64(*benchEvents)
		size += w.n
	}
	b.ReportMetric(float64(events)/cpuTime(b, start).Seconds()/1e6, "Mevents/cpu-s")
	b.ReportMetric(float64(size)/float64(events), "bytes/event")
}

func BenchmarkChrome(b *testing.B)     { benchmark(b, Options{Format: Chrome}) }
func BenchmarkPerfetto(b *testing.B)   { benchmark(b, Options{Format: Perfetto}) }
func BenchmarkFolded(b *testing.B)     { benchmark(b, Options{Format: Folded}) }
func BenchmarkPprof(b *testing.B)      { benchmark(b, Options{Format: Pprof}) }
func BenchmarkSpeedscope(b *testing.B) { benchmark(b, Options{Format: Speedscope}) }

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return c.w.Write(b)
}

// cpuTime is the processor time that the test has taken, garbage collection
// included, less start.
func cpuTime(b *testing.B, start time.Duration) time.Duration {
	var u syscall.Rusage
	check(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano()+u.Stime.Nano()) - start
}
