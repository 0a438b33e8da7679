package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// subject is a recording that is read.
type subject struct {
	what, path string
	events     float64
	size       int64
}

// measureTools runs nopal itself on large recordings with entries and exits: processor time, and
// memory for that many events and for a tenth of them.
func measureTools(ctx context.Context, events int) ([]figure, error) {
	dir, err := os.MkdirTemp("", "nopal-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	subjects, err := findSubjects(ctx, dir, events)
	if err != nil {
		return nil, err
	}
	var figures []figure
	for _, s := range subjects {
		figures = append(figures, figure{"bytes per event, " + s.what, "", fmt.Sprintf("%.2f", float64(s.size)/s.events)})
	}
	large, small, others := subjects[0], subjects[1], subjects[2:]
	for _, m := range []struct {
		what, reach string
		args        []string
		others      bool // measured with the other recordings, too
	}{
		{"report", ">= 100 M", []string{"report"}, true},
		{"graph", "", []string{"graph"}, false},
		{"replay, text", ">= 20 M", []string{"replay", "--no-pager"}, true},
		{"replay --flat", "", []string{"replay", "--no-pager", "--flat"}, false},
		{"export chrome", ">= 8 M", []string{"export", "--format=chrome", "-o", "/dev/stdout"}, false},
		{"export perfetto", ">= 8 M", []string{"export", "--format=perfetto", "-o", "/dev/stdout"}, false},
		{"export folded", ">= 8 M", []string{"export", "--format=folded", "-o", "/dev/stdout"}, false},
		{"export pprof", ">= 8 M", []string{"export", "--format=pprof", "-o", "/dev/stdout"}, false},
	} {
		largeUse, err := use(ctx, large, m.args)
		if err != nil {
			return nil, err
		}
		smallUse, err := use(ctx, small, m.args)
		if err != nil {
			return nil, err
		}
		figures = append(figures, figure{
			"events a second and core, " + m.what, m.reach,
			fmt.Sprintf("%.0f M (%.0f M of a tenth); %d MB, of a tenth %d MB", large.events/1e6/largeUse.seconds,
				small.events/1e6/smallUse.seconds, largeUse.memory>>20, smallUse.memory>>20),
		})
		for _, s := range others {
			if !m.others {
				break
			}
			u, err := use(ctx, s, m.args)
			if err != nil {
				return nil, err
			}
			figures = append(figures, figure{"  " + m.what + ", " + s.what, m.reach, fmt.Sprintf("%.0f M; %d MB", s.events/1e6/u.seconds, u.memory>>20)})
		}
	}
	return figures, nil
}

// The recordings that are read, of which the first two are one in two sizes.
var generated = []struct {
	what, file string
	part       int // of the number of events
	parallel   bool
}{
	{"generated: calls of a made-up program, 4 threads in turns", "large.data", 1, false},
	{"a tenth of it", "small.data", 10, false},
	{"generated: the 4 threads at the same time", "parallel.data", 2, true},
}

var recorded = []struct{ what, file string }{
	{"recorded: Lua, repeated", "lua.data"},
	{"recorded: SQLite, repeated", "sqlite.data"},
}

// writeSubjects writes the recordings, and prints how many events each has. Those that were recorded are in
// build/bench, if they are there.
func writeSubjects(dir string, events int) error {
	var files []string
	for _, g := range generated {
		if err := writeGraph(filepath.Join(dir, g.file), events/g.part, g.parallel); err != nil {
			return fmt.Errorf("write %s: %w", g.file, err)
		}
		files = append(files, g.file)
	}
	for _, r := range recorded {
		from := filepath.Join("build/bench", r.file)
		if _, err := os.Stat(from); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %v (`-only disk` makes it)\n", err)
			continue
		}
		if err := repeat(from, filepath.Join(dir, r.file), uint64(events/2)); err != nil {
			return err
		}
		files = append(files, r.file)
	}
	for _, name := range files {
		end, err := lastBlock(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		fmt.Println(name, end.Events)
	}
	return nil
}

// findSubjects has the recordings written by another process: what this one has needed at most would count as
// memory of the commands.
func findSubjects(ctx context.Context, dir string, events int) ([]subject, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find bench itself: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "-write", dir, "-events", strconv.Itoa(events))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("write recordings: %w", err)
	}
	what := map[string]string{}
	for _, g := range generated {
		what[g.file] = g.what
	}
	for _, r := range recorded {
		what[r.file] = r.what
	}
	var subjects []subject
	for line := range strings.Lines(string(out)) {
		var s subject
		if _, err := fmt.Sscan(line, &s.path, &s.events); err != nil {
			return nil, fmt.Errorf("read %q: %w", line, err)
		}
		s.what, s.path = what[s.path], filepath.Join(dir, s.path)
		info, err := os.Stat(s.path)
		if err != nil {
			return nil, err
		}
		s.size = info.Size()
		subjects = append(subjects, s)
	}
	return subjects, nil
}

// usage is what a command took.
type usage struct {
	seconds float64 // of processors
	memory  int64   // most that was resident
}

// use runs nopal on a recording. The better of three runs counts: what else the machine does takes time from
// a processor that is shared, too.
func use(ctx context.Context, s subject, args []string) (usage, error) {
	best := usage{seconds: math.Inf(1)}
	for range 3 {
		cmd := exec.CommandContext(ctx, "build/nopal", append(args, "-i", s.path)...)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return usage{}, fmt.Errorf("run nopal %s: %w", args[0], err)
		}
		ru := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		seconds := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
		best = usage{min(best.seconds, seconds), max(best.memory, ru.Maxrss<<10)}
	}
	return best, nil
}
