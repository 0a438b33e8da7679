package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"nopal/internal/vmtest"
)

// measurePatch counts what a patched function costs, and tells how long it takes to patch a busy program.
func measurePatch(ctx context.Context) ([]figure, error) {
	const patch = "build/bench/patched.npz"
	if err := os.MkdirAll("build/bench", 0o755); err != nil {
		return nil, err
	}
	build := exec.CommandContext(ctx, "build/nopal", "patch", "build", "-o", patch, "--target", "build/fixtures/bench/patched",
		"--function", "tiny", "build/fixtures/bench/patched.o")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build patch: %w: %s", err, out)
	}
	files := []string{"build/fixtures/bench/patched:patched", patch + ":patched.npz"}
	lines, err := guest(ctx, vmtest.VM{SMP: 1, ICount: true}, "patch.sh calls", files...)
	if err != nil {
		return nil, err
	}
	cost := map[string]float64{}
	for _, f := range lines {
		if len(f) != 2 {
			return nil, fmt.Errorf("unexpected output %q", f)
		}
		if cost[f[0]], err = strconv.ParseFloat(f[1], 64); err != nil {
			return nil, err
		}
	}
	figures := []figure{{"guest instructions, redirect of a patched function, settled", "<= 10", fmt.Sprintf("%.2f", (cost["after"]-cost["before"])/1000)}}
	if lines, err = guest(ctx, vmtest.VM{SMP: 2}, "patch.sh busy", files...); err != nil {
		return nil, err
	}
	for _, f := range lines {
		if len(f) != 4 {
			return nil, fmt.Errorf("unexpected output %q", f)
		}
		figures = append(figures,
			figure{"patch a process of 64 busy threads: all have moved", "", f[1]},
			figure{"patch a process of 64 busy threads: longest stand-still of one", "", f[3]})
	}
	return figures, nil
}
