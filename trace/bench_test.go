package trace

import (
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

var benchEvents = flag.Int("events", 5_000_000, "events in the file that is read by benchmarks")

// benchFile writes a recording of four threads that walk up and down a call
// tree of 100 functions, interleaved at the given number
// of events, in chunks of so many words.
func benchFile(tb testing.TB, run, perChunk int) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "bench.data")
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	w := beginFile(tb, f)
	const threads = 4
	var (
		words [threads][]byte
		base  [threads]uint64
		high  [threads]uint64
		now   = uint64(1 << 40)
		n     = 0
	)
	flush := func(th int) {
		check(tb, w.WriteChunk(Chunk{Proc: 1, Stream: uint32(th), TID: uint32(100 + th), Base: base[th], Words: words[th]}))
		words[th] = words[th][:0]
	}
	for round := now; n < *benchEvents; {
		for th := range threads {
			for range run {
				if len(words[th]) == 0 {
					base[th], high[th] = now, now>>TimeBits
				}
				if h := now >> TimeBits; h != high[th] {
					high[th] = h
					words[th] = binary.LittleEndian.AppendUint64(words[th], ControlWord(WordTime, h))
				}
				depth := uint64(n) % 23
				if depth > 11 {
					depth = 22 - depth
				}
				words[th] = binary.LittleEndian.AppendUint64(words[th], EventWord(funcIndex(n%97), 0x8000-48*depth, now))
				now += 3
				n++
				if len(words[th]) >= 8*perChunk {
					flush(th)
				}
			}
		}
		if now-round > 3_000_000 {
			for th := range threads {
				flush(th)
			}
			round = now
			check(tb, w.WriteRound(now))
		}
	}
	for th := range threads {
		flush(th)
	}
	check(tb, w.Close(0, ""))
	check(tb, f.Close())
	return path
}

func benchRead(b *testing.B, run, perChunk int, read func(r *Reader) int) {
	path := benchFile(b, run, perChunk)
	n := 0
	start := cpuTime(b, 0)
	for b.Loop() {
		f, err := os.Open(path)
		check(b, err)
		r, err := NewReader(f)
		check(b, err)
		n += read(r)
		f.Close()
	}
	b.ReportMetric(float64(n)/cpuTime(b, start).Seconds()/1e6, "Mevents/cpu-s")
}

func BenchmarkBlocks(b *testing.B) {
	benchRead(b, 1000, 8191, func(r *Reader) int {
		n := uint64(0)
		for {
			blk, err := r.Next()
			if errors.Is(err, io.EOF) {
				return int(n)
			}
			check(b, err)
			if c, ok := blk.(*Chunk); ok {
				n += CountEvents(c.Words)
			}
		}
	})
}

func benchMerge(b *testing.B, run, perChunk int) {
	benchRead(b, run, perChunk, func(r *Reader) int {
		e := NewEvents(r)
		for n := 0; ; n++ {
			if _, err := e.Next(); err != nil {
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
				return n
			}
		}
	})
}

func BenchmarkEvents(b *testing.B)            { benchMerge(b, 1000, 8191) }
func BenchmarkEventsInterleaved(b *testing.B) { benchMerge(b, 1, 8191) }
func BenchmarkEventsSmallChunks(b *testing.B) { benchMerge(b, 10, 10) }

// cpuTime is the processor time that the test has taken, garbage collection
// included, less start. The benchmarks' figures are for one processor, and
// should not depend on what else the machine does.
func cpuTime(b *testing.B, start time.Duration) time.Duration {
	var u syscall.Rusage
	check(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano()+u.Stime.Nano()) - start
}

// graphFile writes a recording of calls and their exits by two threads.
func graphFile(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "graph.data")
	f, err := os.Create(path)
	check(tb, err)
	w := beginGraph(tb, f)
	// Making calls takes longer than writing them: some are written again
	// and again, at other times.
	const part = 1_000_000
	progs := [2]*prog{newProg(1, 300, 0.1), newProg(2, 300, 0.1)}
	var words [2][]byte
	for i, p := range progs {
		for len(p.stack) != 1 {
			p.step()
		}
		// All of it has the same high bits of time.
		p.time = 1 << TimeBits
		for k := 0; k < part || len(p.stack) > 1; k++ {
			if w := p.step(); w != 0 {
				words[i] = binary.LittleEndian.AppendUint64(words[i], w)
			}
		}
		if p.time>>TimeBits != 1 {
			tb.Fatal("the part takes too long")
		}
	}
	for n, high := 0, uint64(1); n < *benchEvents; high++ {
		for at := 0; at < max(len(words[0]), len(words[1])); at += 4064 {
			for i, all := range words {
				if at < len(all) {
					c := all[at:min(len(all), at+4064)]
					check(tb, w.WriteChunk(Chunk{Proc: 1, Stream: uint32(i), TID: 100 + uint32(i), Base: high << TimeBits, Words: c}))
					n += len(c) / 8
				}
			}
			if at%(4064*100) == 0 {
				check(tb, w.WriteRound(high<<TimeBits))
				// It is not known how fast encoders are meant to be.
				check(tb, w.Sync())
			}
		}
	}
	check(tb, w.Close(0, ""))
	s := w.Stats()
	tb.Logf("%d events, %.2f bytes an event", s.Events, float64(s.Bytes)/float64(s.Events))
	check(tb, f.Close())
	return path
}

func benchGraph(b *testing.B, read func(r *Reader)) {
	path := graphFile(b)
	start := cpuTime(b, 0)
	for b.Loop() {
		f, err := os.Open(path)
		check(b, err)
		r, err := NewReader(f)
		check(b, err)
		read(r)
		f.Close()
	}
	b.ReportMetric(float64(b.N)*float64(*benchEvents)/cpuTime(b, start).Seconds()/1e6, "Mevents/cpu-s")
}

func benchCalls(b *testing.B, o CallsOptions) {
	benchGraph(b, func(r *Reader) {
		c := NewCalls(r, o)
		sum := uint64(0)
		for {
			batch, err := c.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			check(b, err)
			for i := range batch.Calls {
				sum += batch.Calls[i].Total
			}
		}
	})
}

func BenchmarkCalls(b *testing.B)     { benchCalls(b, CallsOptions{}) }
func BenchmarkCallNodes(b *testing.B) { benchCalls(b, CallsOptions{Nodes: true}) }

func BenchmarkGraphEvents(b *testing.B) {
	benchGraph(b, func(r *Reader) {
		e := NewEvents(r)
		for {
			if _, err := e.Next(); err != nil {
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
				return
			}
		}
	})
}

// BenchmarkWriter is what a drainer has to do for events that come in pages,
// and what encoding them takes besides.
func BenchmarkWriter(b *testing.B) {
	p := newProg(1, 300, 0.1)
	p.time = 1 << TimeBits
	var words []byte
	for len(words) < 8*508*1000 {
		if w := p.step(); w != 0 {
			words = binary.LittleEndian.AppendUint64(words, w)
		}
	}
	w := beginGraph(b, io.Discard)
	start, n := cpuTime(b, 0), 0
	for i := uint64(1); b.Loop(); i++ {
		for at := 0; at < len(words); at += 8 * 508 {
			check(b, w.WriteChunk(Chunk{Proc: 1, TID: 100, Base: i << TimeBits, Words: words[at:min(len(words), at+8*508)]}))
			if at%(8*508*256) == 0 {
				check(b, w.WriteRound(i<<TimeBits), w.Sync()) // encoders keep up
			}
		}
		n += len(words) / 8
	}
	b.ReportMetric(float64(n)/cpuTime(b, start).Seconds()/1e6, "Mevents/cpu-s")
	b.ReportMetric(float64(w.Stats().Bytes)/float64(n), "bytes/event")
}
