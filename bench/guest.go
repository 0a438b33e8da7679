package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"nopal/internal/vmtest"
	"nopal/trace"
)

// guest runs a script of this directory, which may have arguments, in the VM and returns the fields of its lines.
func guest(ctx context.Context, vm vmtest.VM, command string, files ...string) ([][]string, error) {
	script, _, _ := strings.Cut(command, " ")
	var out bytes.Buffer
	vm.Dir, vm.Pages, vm.CPU = "build/vm", "4k", "cortex-a72"
	vm.Memory, vm.Timeout = 2048, 20*time.Minute
	vm.Stdout, vm.Stderr = &out, os.Stderr
	files = append(files, "build/arm64/nopal:nopal", filepath.Join("bench", script)+":"+script)
	status, err := vm.Run(ctx, vmtest.Job{Command: "sh " + command}, files)
	if err != nil {
		return nil, err
	}
	if status != 0 {
		return nil, fmt.Errorf("run %s in the VM: status %d after %q", script, status, out.String())
	}
	var lines [][]string
	for line := range strings.Lines(out.String()) {
		lines = append(lines, strings.Fields(line))
	}
	return lines, nil
}

// measureCalls counts the instructions of a traced call.
func measureCalls(ctx context.Context) ([]figure, error) {
	share, err := filepath.Abs("build/bench")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(share, 0o755); err != nil {
		return nil, err
	}
	lines, err := guest(ctx, vmtest.VM{SMP: 1, ICount: true, Share: share}, "calls.sh", "build/fixtures/bench:bench")
	if err != nil {
		return nil, err
	}
	type cost struct{ best, mean float64 }
	costs := make(map[string]cost)
	for _, f := range lines {
		if len(f) != 3 {
			return nil, fmt.Errorf("unexpected output %q", f)
		}
		best, err1 := strconv.ParseFloat(f[1], 64)
		mean, err2 := strconv.ParseFloat(f[2], 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		costs[f[0]] = cost{best / 1000, mean / 1000}
	}
	minus := func(a, b string) string {
		return fmt.Sprintf("%.2f, with page faults and ticks %.2f", costs[a].best-costs[b].best, costs[a].mean-costs[b].mean)
	}
	perEvent, err := bytesPerEvent(filepath.Join(share, "calls.data"))
	if err != nil {
		return nil, err
	}
	return []figure{
		{"guest instructions, unarmed site", "2", minus("unarmed", "plain")},
		{"guest instructions, traced call, entry", "<= 32", minus("entry", "unarmed")},
		{"guest instructions, traced call, --regs", "<= 120", minus("regs", "unarmed")},
		{"guest instructions, traced call, --stack", "", minus("stack", "unarmed")},
		{"guest instructions, a rule that does not fire: every N", "<= 60", minus("every", "unarmed")},
		{"guest instructions, a rule that does not fire: condition, every 2, by chance", "<= 60", minus("prob", "unarmed")},
		{"bytes of a plain entry", "8", perEvent},
	}, nil
}

// bytesPerEvent relates the words of a recording's chunks to their events.
func bytesPerEvent(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	r, err := trace.NewReader(f)
	if err != nil {
		return "", err
	}
	var events, size, lost uint64
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		if c, ok := b.(*trace.Chunk); ok {
			events += trace.CountEvents(c.Words)
			size += uint64(len(c.Words))
			lost += c.Lost
		}
	}
	if events == 0 {
		return "", fmt.Errorf("read %s: no events", name)
	}
	return fmt.Sprintf("%.3f (%d events, %d lost)", float64(size)/float64(events), events, lost), nil
}

// measureAttach finds for how long a program with many sites stands still.
func measureAttach(ctx context.Context) ([]figure, error) {
	lines, err := guest(ctx, vmtest.VM{SMP: 1, ICount: true}, "attach.sh",
		"build/fixtures/test/many-10000:test/many-10000", "build/fixtures/test/many-100000:test/many-100000")
	if err != nil {
		return nil, err
	}
	var figures []figure
	for _, f := range lines {
		if len(f) != 3 {
			return nil, fmt.Errorf("unexpected output %q", f)
		}
		sites, err1 := strconv.ParseFloat(f[0], 64)
		gap, err2 := strconv.ParseFloat(f[2], 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		what := "stand-still, " + f[0] + " sites, " + map[string]string{
			"idle": "nopal not there", "none": "one armed", "percent": "1 % armed", "all": "all armed",
			"graph": "all armed with their exits",
		}[f[1]]
		figures = append(figures, figure{what, "linear", fmt.Sprintf("%.1f ms, %.0f ns a site", gap/1e6, gap/sites)})
	}
	return figures, nil
}
