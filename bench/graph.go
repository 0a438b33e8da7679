package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"nopal/internal/vmtest"
	"nopal/trace"
)

// measureGraph counts the instructions of a call whose entry and exit are traced.
func measureGraph(ctx context.Context) ([]figure, error) {
	files := []string{"build/fixtures/bench:bench"}
	const uftrace = "build/bench/uftrace"
	fetch := exec.CommandContext(ctx, "bench/uftrace.sh")
	fetch.Stderr = os.Stderr
	if err := fetch.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: no uftrace to compare with: %v\n", err)
	} else {
		files = append(files, uftrace)
	}
	lines, err := guest(ctx, vmtest.VM{SMP: 1, ICount: true}, "graph.sh", files...)
	if err != nil {
		return nil, err
	}
	type cost struct{ best, mean, size float64 }
	costs := make(map[string]cost)
	for _, f := range lines {
		if len(f) != 4 {
			return nil, fmt.Errorf("unexpected output %q", f)
		}
		n, err := numbers(f[1:])
		if err != nil {
			return nil, err
		}
		costs[f[0]] = cost{n[0] / 1000, n[1] / 1000, n[2]}
	}
	more := func(name string) string {
		c, ok := costs[name]
		if !ok {
			return "not measured"
		}
		base := costs["unarmed"]
		return fmt.Sprintf("%.2f, with page faults and ticks %.2f; file %.0f KB", c.best-base.best, c.mean-base.mean, c.size/1000)
	}
	return []figure{
		{"guest instructions, entry + exit, --graph", "<= 50", more("graph")},
		{"guest instructions, filtered out by -t", "<= 70, no bytes", more("threshold")},
		{"guest instructions, --profile", "<= 70, no bytes", more("profile")},
		{"guest instructions, switched off, exits prepared", "<= 4", more("off")},
		{"guest instructions, --graph, two integer arguments and the result", "<= 90", more("args")},
		{"guest instructions, two integer arguments, entry only", "", more("entryargs")},
		{"guest instructions, --graph -D, two integer arguments and the result", "", more("argsfiltered")},
		{"guest instructions, -F with a condition that does not hold", "<= 60", more("condition")},
		{"guest instructions, --graph -F with a result that is not wanted", "", more("result")},
		{"guest instructions, uftrace (200,000 calls)", "", more("uftrace")},
	}, nil
}

func numbers(fields []string) ([]float64, error) {
	var all []float64
	for _, f := range fields {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

// measureScaling finds whether threads get in each other's way: by the instructions of a call, which
// retries would make more, and by its time on two processors, which shared cache lines would make longer.
func measureScaling(ctx context.Context) ([]figure, error) {
	counted, err := scaling(ctx, vmtest.VM{SMP: 1, ICount: true}, 1)
	if err != nil {
		return nil, err
	}
	timed, err := scaling(ctx, vmtest.VM{SMP: 2}, 5)
	if err != nil {
		return nil, err
	}
	var figures []figure
	for i, threads := range []int{1, 2, 4, 8} {
		figures = append(figures, figure{
			fmt.Sprintf("%d threads: instructions of a traced call", threads), "as 1 thread",
			fmt.Sprintf("%.2f with page faults and ticks; on 2 processors %.2f of one thread's events a second and processor",
				counted[i]/1000, timed[0]/timed[i]),
		})
	}
	return figures, nil
}

// scaling returns what a traced call costs more than an untraced one with 1, 2, 4 and 8 threads.
func scaling(ctx context.Context, vm vmtest.VM, tries int) ([]float64, error) {
	lines, err := guest(ctx, vm, fmt.Sprintf("scaling.sh %d", tries), "build/fixtures/bench:bench")
	if err != nil {
		return nil, err
	}
	var costs []float64
	for _, f := range lines {
		n, err := numbers(f)
		if err != nil || len(n) != 3 {
			return nil, fmt.Errorf("unexpected output %q", f)
		}
		costs = append(costs, n[2]-n[1])
	}
	if len(costs) != 4 {
		return nil, fmt.Errorf("unexpected output %q", lines)
	}
	return costs, nil
}

// measureDisk relates the size of recordings of Lua and SQLite to their events.
func measureDisk(ctx context.Context) ([]figure, error) {
	share, err := filepath.Abs("build/bench")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"lua", "sqlite3"} {
		if _, err := os.Stat("build/demo/" + name); err != nil {
			return nil, fmt.Errorf("%w (`make demo` builds it)", err)
		}
	}
	_, err = guest(ctx, vmtest.VM{SMP: 2, Share: share, Memory: 3072}, "disk.sh",
		"build/demo/lua", "build/demo/sqlite3", "demo/workload.lua", "demo/workload.sql")
	if err != nil {
		return nil, err
	}
	var figures []figure
	for _, name := range []string{"lua", "sqlite"} {
		path := filepath.Join(share, name+".data")
		end, err := lastBlock(path)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		figures = append(figures, figure{
			"bytes per event on disk, " + name, "<= 3",
			fmt.Sprintf("%.2f (%d events, %d lost)", float64(info.Size())/float64(end.Events), end.Events, end.Lost),
		})
	}
	return figures, nil
}

// lastBlock returns the END block of a complete recording.
func lastBlock(name string) (*trace.End, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := trace.NewReader(f)
	if err != nil {
		return nil, err
	}
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it has no end")
		}
		if err != nil {
			return nil, err
		}
		if end, ok := b.(*trace.End); ok {
			return end, nil
		}
	}
}
