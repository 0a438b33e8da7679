package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"nopal/internal/analyze"
	"nopal/trace"
)

// Shape of the recording that is read: threads that walk up and down a tree of calls.
const (
	threads      = 4
	functions    = 100
	functionSize = 64
	firstIndex   = trace.MinIndex
	textAddr     = 0x400000
)

// measureReading reads a large recording on one processor.
func measureReading(events int) ([]figure, error) {
	if err := os.MkdirAll("build/bench", 0o755); err != nil {
		return nil, err
	}
	name := filepath.Join("build/bench", "large.data")
	defer os.Remove(name)
	if err := writeLarge(name, events); err != nil {
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var figures []figure
	for _, m := range []struct {
		what, reach string
		read        func(io.Reader) (uint64, error)
	}{
		{"scan: decode and count", ">= 100 M", scan},
		{"merge in the order of time", "", merge},
		{"replay, text", ">= 20 M", replay(analyze.Text)},
		{"replay, jsonl", "", replay(analyze.JSONL)},
	} {
		// The first reading brings the file into the page cache for the others: the better of two counts.
		best := 0.0
		for range 2 {
			f, err := os.Open(name)
			if err != nil {
				return nil, err
			}
			begun, err := processorTime()
			if err != nil {
				return nil, err
			}
			n, err := m.read(f)
			f.Close()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", m.what, err)
			}
			ended, err := processorTime()
			if err != nil {
				return nil, err
			}
			rate := float64(n) / (ended - begun).Seconds() / 1e6
			if n < uint64(events) {
				return nil, fmt.Errorf("%s: %d events of %d", m.what, n, events)
			}
			best = max(best, rate)
		}
		figures = append(figures, figure{"events read a second, " + m.what, m.reach, fmt.Sprintf("%.0f M", best)})
	}
	return figures, nil
}

// processorTime is what this process has taken, garbage collection included.
func processorTime() (time.Duration, error) {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return 0, fmt.Errorf("get processor time: %w", err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano()), nil
}

func scan(r io.Reader) (uint64, error) {
	rd, err := trace.NewReader(r)
	if err != nil {
		return 0, err
	}
	var counts [firstIndex + functions*functionSize/4]uint64
	var n uint64
	var c trace.Cursor
	for {
		b, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		ch, ok := b.(*trace.Chunk)
		if !ok {
			continue
		}
		c.Reset(ch, 0)
		for c.Next() {
			counts[c.Index%uint32(len(counts))]++
			n++
		}
		if err := c.Err(); err != nil {
			return n, err
		}
	}
}

func merge(r io.Reader) (uint64, error) {
	rd, err := trace.NewReader(r)
	if err != nil {
		return 0, err
	}
	events := trace.NewEvents(rd)
	for n := uint64(0); ; n++ {
		if _, err := events.Next(); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}

func replay(format analyze.Format) func(io.Reader) (uint64, error) {
	return func(r io.Reader) (uint64, error) {
		sum, err := analyze.Replay(r, io.Discard, analyze.Options{Format: format})
		return sum.Shown, err
	}
}

// writeRecording writes a file.
func writeRecording(name string, write func(w *trace.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	buffered := bufio.NewWriterSize(f, 1<<20)
	w, err := trace.NewWriter(buffered, trace.MachineARM64)
	if err != nil {
		return err
	}
	if err := write(w); err != nil {
		return err
	}
	return errors.Join(w.Close(0, "end"), buffered.Flush(), f.Close())
}

// introduceProgram begins a recording of a program of one object.
func introduceProgram(w *trace.Writer, functions uint64, ranges ...trace.Range) error {
	var funcs []trace.Func
	for i := range functions {
		funcs = append(funcs, trace.Func{VA: textAddr + i*functionSize, Size: functionSize, Name: fmt.Sprintf("function_%d", i)})
	}
	err := errors.Join(
		w.WriteMeta(trace.Meta{Version: "bench", Machine: "aarch64"}),
		w.WriteClock(trace.Clock{Source: "cntvct", Frequency: 62_500_000}),
		w.WriteProcess(trace.Process{Proc: 1, PID: 1000}),
		w.WriteImage(trace.Image{ID: 1, Path: "/bin/bench"}, funcs),
	)
	for _, r := range ranges {
		err = errors.Join(err, w.WriteRange(r))
	}
	return err
}

// writeLarge writes a recording as a drainer would: chunks of the threads in turn, a round now and then.
func writeLarge(name string, events int) error {
	return writeRecording(name, func(w *trace.Writer) error { return largeEvents(w, events) })
}

// largeEvents writes what is in it.
func largeEvents(w *trace.Writer, events int) error {
	err := introduceProgram(w, functions, trace.Range{Proc: 1, Image: 1, Index: firstIndex, Count: functions * functionSize / 4, Addr: textAddr, VA: textAddr})
	if err != nil {
		return err
	}
	const perChunk = 8000
	now := uint64(1 << 30)
	words := make([]byte, 0, 8*(perChunk+1))
	for n := 0; n < events; {
		for th := range uint32(threads) {
			words = words[:0]
			// The threads' chunks overlap in time, by which merging has work to do.
			ticks := now + uint64(th)
			base := ticks
			for range perChunk {
				if ticks>>trace.TimeBits != base>>trace.TimeBits && len(words)%(8*perChunk) != 0 {
					words = binary.LittleEndian.AppendUint64(words, trace.ControlWord(trace.WordTime, ticks>>trace.TimeBits))
					base = ticks
				}
				depth := uint64(n % 22)
				if depth > 11 {
					depth = 22 - depth
				}
				index := uint32(firstIndex + n%functions*functionSize/4 + 2)
				words = binary.LittleEndian.AppendUint64(words, trace.EventWord(index, 0x8000-3*depth, ticks))
				ticks += 12
				n++
			}
			if err := w.WriteChunk(trace.Chunk{Proc: 1, Stream: th, TID: 1000 + th, Base: now + uint64(th), Words: words}); err != nil {
				return err
			}
		}
		now += 12 * perChunk
		if err := w.WriteRound(now); err != nil {
			return err
		}
	}
	return nil
}
