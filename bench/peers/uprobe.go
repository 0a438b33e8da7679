package main

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// uprobePeers count calls in the kernel and record nothing, which is the least that a probe can do.
func uprobePeers() []peer {
	single := func(name, what, variant string, slow int, kinds ...string) peer {
		return peer{
			name: name, what: what, variant: variant, slow: slow, noStep: "works in the kernel",
			tooMany: "bpftrace had not attached to all functions after three minutes",
			setup: func(_ context.Context, j job) error {
				return os.WriteFile(j.path("script.bt"), []byte(bpfScript(j.argv[0], probed(j), kinds)), 0o644)
			},
			command: func(j job) (argv, env []string) {
				return []string{"bpftrace", j.path("script.bt"), "-c", quoted(j.argv)}, nil
			},
			result: func(context.Context, job) (recorded, error) { return recorded{note: "counts"}, nil },
		}
	}
	return []peer{
		single("uprobe", "bpftrace, same binary (GCC's one-byte NOPs, emulated); entries counted", "nops", 10, "uprobe"),
		single("uprobe + uretprobe", "bpftrace, same binary; entries and exits counted", "nops", 10, "uprobe", "uretprobe"),
		single("uprobe (5-byte NOP)", "bpftrace, clang's five-byte NOPs, which newer kernels can make a call; entries counted", "nop5", 10, "uprobe"),
		single("uprobe + uretprobe (5-byte NOP)", "bpftrace, clang's five-byte NOPs; entries and exits counted", "nop5", 10, "uprobe", "uretprobe"),
		single("uprobe (no NOP)", "bpftrace, compiled without anything: single-stepped where not emulated; entries counted", "plain", 100, "uprobe"),
	}
}

// probed returns the function of a small workload that is called.
func probed(j job) string {
	if j.workload == "fib" {
		return "fib"
	}
	return "empty"
}

// bpfScript counts at the function.
func bpfScript(program, function string, kinds []string) string {
	var script strings.Builder
	for i, kind := range kinds {
		fmt.Fprintf(&script, "%s:%s:%s { @%c = count(); }\n", kind, program, function, 'a'+i)
	}
	return script.String()
}

// quoted writes a command line as bpftrace splits it: at spaces.
func quoted(argv []string) string { return strings.Join(argv, " ") }
