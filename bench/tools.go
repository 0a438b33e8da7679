package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"nopal/trace"
)

// measureTools runs nopal itself on a large recording with entries and exits: processor time, and
// memory for that many events and for a tenth of them.
func measureTools(ctx context.Context, events int) ([]figure, error) {
	dir, err := os.MkdirTemp("", "nopal-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	large, small := filepath.Join(dir, "large.data"), filepath.Join(dir, "small.data")
	for name, n := range map[string]int{large: events, small: events / 10} {
		if err := writeGraph(name, n); err != nil {
			return nil, fmt.Errorf("write %s: %w", name, err)
		}
	}
	info, err := os.Stat(large)
	if err != nil {
		return nil, err
	}
	figures := []figure{{
		"bytes per event of the generated recording", "", fmt.Sprintf("%.2f", float64(info.Size())/float64(events)),
	}}
	for _, m := range []struct {
		what, reach string
		args        []string
	}{
		{"report", ">= 100 M", []string{"report"}},
		{"graph", "", []string{"graph"}},
		{"replay, text", ">= 20 M", []string{"replay", "--no-pager"}},
		{"replay --flat", "", []string{"replay", "--no-pager", "--flat"}},
		{"export chrome", ">= 8 M", []string{"export", "--format=chrome", "-o", "/dev/stdout"}},
		{"export perfetto", ">= 8 M", []string{"export", "--format=perfetto", "-o", "/dev/stdout"}},
		{"export folded", ">= 8 M", []string{"export", "--format=folded", "-o", "/dev/stdout"}},
		{"export pprof", ">= 8 M", []string{"export", "--format=pprof", "-o", "/dev/stdout"}},
	} {
		smallUse, err := use(ctx, small, m.args)
		if err != nil {
			return nil, err
		}
		largeUse, err := use(ctx, large, m.args)
		if err != nil {
			return nil, err
		}
		figures = append(figures, figure{
			"events a second and core, " + m.what, m.reach,
			fmt.Sprintf("%.0f M (%.0f M of a tenth); %d MB, of a tenth %d MB", float64(events)/1e6/largeUse.seconds,
				float64(events)/1e7/smallUse.seconds, largeUse.memory>>20, smallUse.memory>>20),
		})
	}
	return figures, nil
}

// usage is what a command took.
type usage struct {
	seconds float64 // of processors
	memory  int64   // most that was resident
}

func use(ctx context.Context, file string, args []string) (usage, error) {
	cmd := exec.CommandContext(ctx, "build/nopal", append(args, "-i", file)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return usage{}, fmt.Errorf("run nopal %s: %w", args[0], err)
	}
	ru := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	seconds := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return usage{seconds: seconds.Seconds(), memory: ru.Maxrss << 10}, nil
}

// Shape of the recording: an interpreter's. Each function calls a few others, hot ones more often.
const (
	graphFunctions = 300
	graphCallees   = 6
	graphDepth     = 24
)

// walker makes the events of one thread: a random walk over the tree of calls.
type walker struct {
	random  *rand.Rand
	callees [][graphCallees]int
	stack   []uint64 // function << 12 | sp
	ticks   uint64
}

// next returns the code position, stack pointer and time of the next event.
func (w *walker) next() (index uint32, sp, ticks uint64) {
	w.ticks += 3 + w.random.Uint64N(8)
	n := len(w.stack)
	fn := 0
	at := uint64(0xfff0)
	if n > 0 {
		fn, at = int(w.stack[n-1]>>16), w.stack[n-1]&0xffff
	}
	// In the middle of the depths calls and returns are as likely.
	if n > 0 && int(w.random.Uint32N(graphDepth)) < n {
		w.stack = w.stack[:n-1]
		return uint32(firstIndex + (graphFunctions+fn)*functionSize/4 + 2), at, w.ticks
	}
	// The first callees are the usual ones.
	callee := w.callees[fn][min(w.random.Uint32N(graphCallees), w.random.Uint32N(graphCallees))]
	sp = at - uint64(fn%7+2)*16
	w.stack = append(w.stack, uint64(callee)<<16|sp&0xffff)
	return uint32(firstIndex + callee*functionSize/4 + 2), sp, w.ticks
}

// writeGraph writes a recording with entries and exits as a drainer would.
func writeGraph(name string, events int) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	buffered := bufio.NewWriterSize(f, 1<<20)
	w, err := trace.NewWriter(buffered)
	if err != nil {
		return err
	}
	var funcs []trace.Func
	for i := range uint64(graphFunctions) {
		funcs = append(funcs, trace.Func{VA: textAddr + i*functionSize, Size: functionSize, Name: fmt.Sprintf("function_%d", i)})
	}
	const positions = graphFunctions * functionSize / 4
	entries := trace.Range{Proc: 1, Image: 1, Index: firstIndex, Count: positions, Addr: textAddr, VA: textAddr}
	exits := entries
	exits.Index, exits.Kind = firstIndex+positions, trace.RangeExits
	err = errors.Join(
		w.WriteMeta(trace.Meta{Version: "bench", Machine: "aarch64"}),
		w.WriteClock(trace.Clock{Source: "cntvct", Frequency: 62_500_000}),
		w.WriteProcess(trace.Process{Proc: 1, PID: 1000}),
		w.WriteImage(trace.Image{ID: 1, Path: "/bin/bench"}, funcs),
		w.WriteRange(entries), w.WriteRange(exits),
	)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2))
	callees := make([][graphCallees]int, graphFunctions)
	for i := range callees {
		for k := range callees[i] {
			callees[i][k] = random.IntN(graphFunctions)
		}
	}
	var walkers [threads]*walker
	for i := range walkers {
		walkers[i] = &walker{random: rand.New(rand.NewPCG(uint64(i), 3)), callees: callees, ticks: 1 << 30}
	}
	const perChunk = 8000
	words := make([]byte, 0, 8*2*perChunk)
	for n := 0; n < events; {
		for th, walk := range walkers {
			words = words[:0]
			base, high := walk.ticks, walk.ticks>>trace.TimeBits
			for range perChunk {
				index, sp, ticks := walk.next()
				if ticks>>trace.TimeBits != high {
					high = ticks >> trace.TimeBits
					words = binary.LittleEndian.AppendUint64(words, trace.ControlWord(trace.WordTime, high))
				}
				words = binary.LittleEndian.AppendUint64(words, trace.EventWord(index, sp, ticks))
			}
			n += perChunk
			chunk := trace.Chunk{Proc: 1, Stream: uint32(th), TID: 1000 + uint32(th), Base: base, Words: words}
			if err := w.WriteChunk(chunk); err != nil {
				return err
			}
		}
		least := walkers[0].ticks
		for _, walk := range walkers {
			least = min(least, walk.ticks)
		}
		if err := w.WriteRound(least); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(0, "end"), buffered.Flush(), f.Close())
}
