package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A peer is one way of tracing a program.
type peer struct {
	name    string
	what    string // what it does with a call
	variant string // the build of the programs that it needs, see build.sh
	events  int    // that a call makes: 2, 1, or 0 where none are written
	slow    int    // divides the number of calls, for peers so slow that the figure is clear with fewer
	daemon  bool   // LTTng's has to run
	floor   bool   // a limit to compare with: no tracer
	nopal   bool   // a refusal of nopal is a mode that is not there yet

	// command returns what runs the program, and the environment it needs besides.
	command func(j job) (argv, env []string)
	// result tells what was recorded, after the command has ended. nil: nothing.
	result func(ctx context.Context, j job) (recorded, error)
	// setup and teardown enclose each run.
	setup, teardown func(ctx context.Context, j job) error
	// noStep says why the instructions of a call cannot be counted.
	noStep string
	// tooMany says why all functions of a large program cannot be traced, "" if they can.
	tooMany string
}

// A job is one run.
type job struct {
	argv     []string // the program and its arguments
	dir      string   // an empty directory, the working directory
	workload string
	calls    uint64 // that the program makes, 0 if it does not know
	stderr   string // what the command said, in result
	step     bool   // the program is going to be single-stepped by us
}

func (j job) path(name string) string { return filepath.Join(j.dir, name) }

// recorded is what a peer has to show for a run.
type recorded struct {
	events, lost uint64
	bytes        int64 // on disk
	note         string
}

// bare runs the program with no tracer.
func bare(j job) (argv, env []string) { return j.argv, nil }

// peers returns all, in the order of the tables. nopal is the program of that name.
func peers(nopal string) []peer {
	all := []peer{
		{name: "untraced", what: "compiled by GCC without anything", variant: "plain", floor: true, command: bare},
		{name: "floor 1 rdtsc", what: "one bare time stamp in each function, nothing recorded", variant: "floor1", events: 1, floor: true, command: bare},
		{name: "floor 2 rdtsc", what: "two bare time stamps in each function, nothing recorded", variant: "floor2", events: 2, floor: true, command: bare},
	}
	all = append(all, nopalPeers(nopal)...)
	all = append(all, uftracePeers()...)
	all = append(all, xrayPeers()...)
	all = append(all, lttngPeers()...)
	all = append(all, uprobePeers()...)
	return append(all, profilerPeers()...)
}

// most returns how many runs are made of those asked for: a few of the slow, where a noise of some percent shows nothing.
func (p peer) most(w workload, asked int) int {
	switch {
	case p.slow <= 1:
		return asked
	case w.fixed:
		return min(asked, 1)
	}
	return min(asked, 3)
}

// A workload is a program that is measured.
type workload struct {
	name, what string
	program    string
	args       []string // %d is the number of calls, or what stands for it
	n          int
	fixed      bool // what the program does cannot be made less
}

func workloads(quick bool) []workload {
	programs, err := filepath.Abs("bench/peers/programs")
	if err != nil {
		programs = "bench/peers/programs"
	}
	all := []workload{
		{name: "empty", what: "a loop calls an empty function", program: "calls", args: []string{"empty", "%d"}, n: 4_000_000},
		{name: "fib", what: "fib, recursively", program: "calls", args: []string{"fib", "%d"}, n: 31},
		{name: "threads", what: "two threads, each calls the empty function", program: "calls", args: []string{"threads", "%d"}, n: 4_000_000},
		{name: "sqlite", what: "SQLite's shell, all functions traced", program: "sqlite3", fixed: true,
			args: []string{"-batch", "-init", filepath.Join(programs, "sqlite.sql"), ":memory:", ""}},
		{name: "lua", what: "Lua, all functions traced", program: "lua", fixed: true, args: []string{filepath.Join(programs, "lua.lua")}},
	}
	if quick {
		for i := range all {
			all[i] = all[i].less(10)
		}
	}
	return all
}

// less returns the workload with about by times fewer calls.
func (w workload) less(by int) workload {
	switch {
	case by <= 1 || w.fixed:
	case w.name == "fib":
		// Each step is 1.6 times as many calls.
		for rest := 1.0; rest < float64(by); rest *= 1.618 {
			w.n--
		}
	default:
		w.n /= by
	}
	return w
}

// argv returns the command line of the program in a variant.
func (w workload) argv(variant string) ([]string, error) {
	program, err := filepath.Abs(filepath.Join("build/peers", variant, w.program))
	if err != nil {
		return nil, err
	}
	argv := []string{program}
	for _, a := range w.args {
		argv = append(argv, strings.ReplaceAll(a, "%d", fmt.Sprint(w.n)))
	}
	return argv, nil
}

// has reports whether the variant has the workload: the floors are in the loops only.
func (w workload) has(p peer) bool {
	return w.program == "calls" || !strings.HasPrefix(p.variant, "floor")
}

// size adds up the files that match a pattern below the job's directory.
func (j job) size(pattern string) (int64, error) {
	names, err := filepath.Glob(j.path(pattern))
	if err != nil {
		return 0, err
	}
	var total int64
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return 0, err
		}
		total += info.Size()
	}
	return total, nil
}

// lostOf returns how many of the events that the program's calls make are missing.
func (j job) lostOf(events uint64, each int) uint64 {
	if want := j.calls * uint64(each); want > events {
		return want - events
	}
	return 0
}
