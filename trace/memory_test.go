package trace

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"
)

// repeat is a file of a beginning and a block that comes again and again.
type repeat struct {
	w      *Writer
	file   bytes.Buffer
	block  func(w *Writer, i int) error
	left   int
	events uint64
	n      int
}

func (r *repeat) Read(p []byte) (int, error) {
	for r.file.Len() == 0 {
		if r.left <= 0 {
			return 0, io.EOF
		}
		for range 16 {
			if err := r.block(r.w, r.n); err != nil {
				return 0, err
			}
			r.n++
		}
		if err := r.w.Sync(); err != nil {
			return 0, err
		}
		// What events would take that were not encoded.
		r.left -= r.file.Len() + 8*int(r.w.Stats().Events-r.events)
		r.events = r.w.Stats().Events
	}
	return r.file.Read(p)
}

// TestMemory reads long and hostile files, whose memory must not follow.
func TestMemory(t *testing.T) {
	chunk := func(i int) Chunk {
		return Chunk{Proc: 1, Stream: 1, TID: 100, Base: uint64(i) * 100,
			Words: bytesOf(EventWord(funcIndex(i%90), 0x1000, uint64(i)*100))}
	}
	long := chunk(0)
	for range 8000 {
		long.Words = append(long.Words, long.Words[:8]...)
	}
	for _, c := range []struct {
		name  string
		size  int // of the file, MB
		limit uint64
		block func(w *Writer, i int) error
	}{
		{"threads that end", 8, 3, func(w *Writer, i int) error {
			c := chunk(i)
			c.Stream, c.TID = uint32(i), uint32(1000+i)
			return errors.Join(w.WriteThread(Thread{1, c.TID, "worker"}), w.WriteChunk(c),
				w.WriteExit(Exit{1, c.TID, 0, c.Base}), w.WriteRound(c.Base+100))
		}},
		{"rounds", 40, 8, func(w *Writer, i int) error {
			long.Base = uint64(i) << TimeBits
			return errors.Join(w.WriteChunk(long), w.WriteRound(long.Base+1))
		}},
		{"no rounds", 40, 16, func(w *Writer, i int) error {
			long.Base = uint64(i) << TimeBits
			return w.WriteChunk(long)
		}},
		{"tiny chunks and no rounds", 8, 6, func(w *Writer, i int) error { return w.WriteChunk(chunk(i)) }},
		{"losses", 8, 6, func(w *Writer, _ int) error { return w.WriteLost(Lost{1, 100, 1, 1 << 60}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &repeat{block: c.block, left: c.size << 20}
			r.w = beginFile(t, &r.file)
			rd, err := NewReader(r)
			check(t, err)
			e := NewEvents(rd)
			e.maximum = 4 << 20
			n, peak := 0, uint64(0)
			for ; ; n++ {
				if _, err := e.Next(); err != nil {
					if !errors.Is(err, io.EOF) {
						t.Fatal(err)
					}
					break
				}
				if n%20_000 == 19_999 && (n < 200_000 || n%200_000 == 199_999) {
					runtime.GC()
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					peak = max(peak, m.HeapAlloc)
				}
			}
			t.Logf("%d events, %d MiB at most", n, peak>>20)
			if peak>>20 > c.limit {
				t.Errorf("%d MiB of memory, more than %d", peak>>20, c.limit)
			}
		})
	}
}
