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

// Shape of the recording: an interpreter's. So many functions call one another in so many contexts, to
// this depth.
const (
	graphFunctions = 300
	graphContexts  = 5000
	graphDepth     = 24
)

// callContext is a function, called from another context.
type callContext struct {
	function, depth int
	sp              uint64
	callees         []int
}

// contexts makes the tree of calls that the threads walk on.
func contexts() []callContext {
	random := rand.New(rand.NewPCG(1, 2))
	all := []callContext{{sp: 0xfff0}}
	for len(all) < graphContexts {
		// The newer ones more often: the tree becomes deep.
		parent := max(random.IntN(len(all)), random.IntN(len(all)))
		p := &all[parent]
		if p.depth == graphDepth || len(p.callees) == 6 {
			continue
		}
		p.callees = append(p.callees, len(all))
		all = append(all, callContext{
			function: random.IntN(graphFunctions), depth: p.depth + 1, sp: p.sp - uint64(p.function%7+2)*16,
		})
	}
	return all
}

// walker makes the events of one thread: it walks up and down the tree of calls.
type walker struct {
	random *rand.Rand
	tree   []callContext
	stack  []int
	ticks  uint64
}

// next returns the code position, stack pointer and time of the next event.
func (w *walker) next() (index uint32, sp, ticks uint64) {
	w.ticks += 3 + w.random.Uint64N(8)
	at := 0
	if n := len(w.stack); n > 0 {
		at = w.stack[n-1]
		if c := &w.tree[at]; len(c.callees) == 0 || w.random.Uint32N(5) < 2 {
			w.stack = w.stack[:n-1]
			return uint32(firstIndex + (graphFunctions+c.function)*functionSize/4 + 2), c.sp, w.ticks
		}
	}
	callees := w.tree[at].callees
	// The first callees are the usual ones.
	n := uint32(len(callees))
	to := callees[min(w.random.Uint32N(n), w.random.Uint32N(n))]
	w.stack = append(w.stack, to)
	c := &w.tree[to]
	return uint32(firstIndex + c.function*functionSize/4 + 2), c.sp, w.ticks
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
	tree := contexts()
	var walkers [threads]*walker
	for i := range walkers {
		walkers[i] = &walker{random: rand.New(rand.NewPCG(uint64(i), 3)), tree: tree, ticks: 1 << 30}
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
			// A drainer has time between two looks: no chunk is written as it is for want of it.
			if err := errors.Join(w.WriteChunk(chunk), w.Sync()); err != nil {
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
