package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/google/pprof/profile"
	"google.golang.org/protobuf/encoding/protowire"

	"nopal/internal/analyze"
)

var formats = []Format{Chrome, Perfetto, Folded, Pprof, Speedscope}

// wellFormed checks what any output has to be.
func wellFormed(t *testing.T, f Format, out []byte) {
	t.Helper()
	switch f {
	case Chrome, Speedscope:
		if !json.Valid(out) {
			t.Errorf("no JSON: %s", out)
		}
	case Perfetto:
		parseMessage(t, out, func(_ protowire.Number, v any) { fields(t, v) })
	case Pprof:
		p, err := profile.ParseData(out)
		check(t, err, p.CheckValid())
	}
}

// TestDamaged: whatever is left of a recording, the output is complete, and the
// damage is told.
func TestDamaged(t *testing.T) {
	whole := sample(t)
	for _, f := range formats {
		for n := 0; n < len(whole); n += 23 {
			var out bytes.Buffer
			sum, err := Write(bytes.NewReader(whole[:n]), &out, Options{Format: f})
			if n < 32 {
				if err == nil {
					t.Errorf("%s: %d bytes are a recording", f, n)
				}
				continue
			}
			if check(t, err); !sum.Truncated {
				t.Errorf("%s: %d bytes are not truncated", f, n)
			}
			wellFormed(t, f, out.Bytes())
		}
		bad := bytes.Clone(whole)
		bad[len(bad)-250] ^= 1
		var out bytes.Buffer
		_, err := Write(bytes.NewReader(bad), &out, Options{Format: f})
		var damaged *DamageError
		if !errors.As(err, &damaged) {
			t.Errorf("%s: error %v", f, err)
		}
		wellFormed(t, f, out.Bytes())
	}
}

func TestEmpty(t *testing.T) {
	var file bytes.Buffer
	begin(t, &file, true).close()
	for _, f := range formats {
		out, sum := export(t, file.Bytes(), Options{Format: f})
		if sum.Events != 0 {
			t.Errorf("%s: %+v", f, sum)
		}
		wellFormed(t, f, out)
		if f == Speedscope {
			parseSpeedscope(t, out)
		}
	}
}

// TestProfileHasNoTimeline: sums cannot be shown in time.
func TestProfileHasNoTimeline(t *testing.T) {
	for _, f := range []Format{Chrome, Perfetto} {
		if _, err := Write(bytes.NewReader(profiled(t)), io.Discard, Options{Format: f}); !errors.Is(err, ErrNoEvents) {
			t.Errorf("%s: error %v", f, err)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestFullDisk(t *testing.T) {
	for _, f := range formats {
		_, err := Write(bytes.NewReader(sample(t)), fullDisk{}, Options{Format: f})
		var w *analyze.WriteError
		if !errors.As(err, &w) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: error %v", f, err)
		}
	}
}

// heapPeak watches the heap while something is read.
type heapPeak struct {
	r    io.Reader
	n    int
	peak uint64
}

func (h *heapPeak) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if h.n += n; h.n > 1<<20 {
		h.n = 0
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		h.peak = max(h.peak, m.HeapAlloc)
	}
	return n, err
}

// TestMemory: ten times the events take no more memory. (Speedscope from a
// pipe: from a file it keeps each of up to maxEvented calls.)
func TestMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	peak := func(f Format, events int) uint64 {
		file, err := os.Create(path)
		check(t, err)
		program(t, file, 4, events)
		_, err = file.Seek(0, io.SeekStart)
		check(t, err)
		h := &heapPeak{r: file}
		_, err = Write(h, io.Discard, Options{Format: f})
		check(t, err, file.Close())
		return h.peak
	}
	for _, f := range formats {
		few, many := peak(f, 100_000), peak(f, 1_000_000)
		if many > few+2<<20 {
			t.Errorf("%s: %d bytes for 100,000 events, %d for 1,000,000", f, few, many)
		}
	}
}
