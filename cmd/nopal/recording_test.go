package main

import (
	"encoding/binary"
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"nopal/trace"
)

// writeRecording is `recording [--graph] FILE`: a small recording of two threads, with 5 calls and 3 events lost; with --graph
// it has the exits too.
func writeRecording(ts *testscript.TestScript, neg bool, args []string) {
	graph := len(args) > 0 && args[0] == "--graph"
	if graph {
		args = args[1:]
	}
	if neg || len(args) != 1 {
		ts.Fatalf("usage: recording [--graph] FILE")
	}
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	w, err := trace.NewWriter(f, trace.MachineARM64)
	ts.Check(err)
	const index = 64
	ts.Check(w.WriteMeta(trace.Meta{
		Version: "test", Command: []string{"nopal", "record", "./prog"}, Host: "cactus", Machine: "aarch64", CPUs: 4, PageSize: 4096,
	}))
	ts.Check(w.WriteClock(trace.Clock{Source: "cntvct", Frequency: 1e9}))
	ts.Check(w.WriteProcess(trace.Process{Proc: 1, PID: 100, PPID: 1, Command: []string{"./prog"}}))
	ts.Check(w.WriteThread(trace.Thread{Proc: 1, TID: 100, Name: "prog"}))
	ts.Check(w.WriteThread(trace.Thread{Proc: 1, TID: 101, Name: "worker"}))
	ts.Check(w.WriteImage(trace.Image{ID: 1, Path: "/usr/bin/prog", BuildID: "c0ffee"}, []trace.Func{
		{VA: 0x1000, Size: 64, Name: "main"},
		{VA: 0x1040, Size: 64, Name: "_ZN3foo3barEi"},
		{VA: 0x1080, Size: 64, Name: "work"},
		{VA: 0x10c0, Size: 64, Name: "idle"},
	}))
	ts.Check(w.WriteRange(trace.Range{Proc: 1, Image: 1, Index: index, Count: 64, Addr: 0xaaaaaaaa1000, VA: 0x1000}))
	const exits = index + 64
	if graph {
		ts.Check(w.WriteRange(trace.Range{Proc: 1, Image: 1, Index: exits, Count: 64, Addr: 0xaaaaaaaa1000, VA: 0x1000, Kind: trace.RangeExits}))
	}
	event := func(first, function, level int, ticks uint64) uint64 {
		return trace.EventWord(uint32(first+16*function+2), uint64(0x8000-64*level), ticks)
	}
	entry := func(function, level int, ticks uint64) uint64 { return event(index, function, level, ticks) }
	exit := func(function, level int, ticks uint64) uint64 { return event(exits, function, level, ticks) }
	chunk := func(c trace.Chunk, words ...uint64) {
		c.Proc = 1
		for _, word := range words {
			c.Words = binary.LittleEndian.AppendUint64(c.Words, word)
		}
		ts.Check(w.WriteChunk(c))
	}
	if graph {
		chunk(trace.Chunk{Stream: 1, TID: 100, Base: 1000},
			entry(0, 0, 1000), entry(1, 1, 3000), exit(1, 1, 3500), entry(1, 1, 5000), exit(1, 1, 5800), exit(0, 0, 6000))
		chunk(trace.Chunk{Stream: 2, TID: 101, Base: 2000, Lost: 3},
			entry(2, 0, 2000), entry(1, 1, 4000), exit(1, 1, 4500), exit(2, 0, 5000))
	} else {
		chunk(trace.Chunk{Stream: 1, TID: 100, Base: 1000}, entry(0, 0, 1000), entry(1, 1, 3000), entry(1, 1, 5000))
		chunk(trace.Chunk{Stream: 2, TID: 101, Base: 2000, Lost: 3}, entry(2, 0, 2000), entry(1, 1, 4000))
	}
	ts.Check(w.WriteRound(6000))
	ts.Check(w.Close(5000, "the command ended"))
	ts.Check(f.Close())
}
