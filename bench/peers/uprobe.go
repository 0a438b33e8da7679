package main

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"strings"
)

// uprobePeers count calls in the kernel and record nothing, which is the least that a probe can do.
func uprobePeers() []peer {
	single := func(name, what, variant string, kinds ...string) peer {
		return peer{
			name: name, what: what, variant: variant, slow: 10, noStep: "works in the kernel",
			setup: func(_ context.Context, j job) error {
				functions, err := probed(j)
				if err != nil {
					return err
				}
				return os.WriteFile(j.path("script.bt"), []byte(bpfScript(j.argv[0], functions, kinds)), 0o644)
			},
			command: func(j job) (argv, env []string) {
				return []string{"bpftrace", j.path("script.bt"), "-c", quoted(j.argv)}, []string{"BPFTRACE_MAX_PROBES=20000"}
			},
			result: func(context.Context, job) (recorded, error) { return recorded{note: "counts"}, nil },
		}
	}
	return []peer{
		single("uprobe", "bpftrace, same binary (GCC's one-byte NOPs, emulated); entries counted", "nops", "uprobe"),
		single("uprobe + uretprobe", "bpftrace, same binary; entries and exits counted", "nops", "uprobe", "uretprobe"),
		single("uprobe, 5-byte NOP", "bpftrace, clang's five-byte NOPs, which newer kernels can make a call; entries counted", "nop5", "uprobe"),
		single("uprobe + uretprobe, 5-byte NOP", "bpftrace, clang's five-byte NOPs; entries and exits counted", "nop5", "uprobe", "uretprobe"),
		single("uprobe, no NOP", "bpftrace, compiled without anything: single-stepped where not emulated; entries counted", "plain", "uprobe"),
	}
}

// probed returns the functions that get a probe: of the small workloads the one that is called, of programs all that have a size. What
// the compiler's start-up files bring has none, and bpftrace's wildcard stumbles over it.
func probed(j job) ([]string, error) {
	switch j.workload {
	case "empty", "threads":
		return []string{"empty"}, nil
	case "fib":
		return []string{"fib"}, nil
	}
	file, err := elf.Open(j.argv[0])
	if err != nil {
		return nil, err
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil {
		return nil, fmt.Errorf("read the symbols of %s: %w", j.argv[0], err)
	}
	var names []string
	seen := make(map[uint64]bool)
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Size == 0 || s.Name == "_start" || seen[s.Value] || strings.Contains(s.Name, ".cold") {
			continue
		}
		seen[s.Value] = true
		names = append(names, s.Name)
	}
	return names, nil
}

// bpfScript counts at each of the functions.
func bpfScript(program string, functions, kinds []string) string {
	var script strings.Builder
	for i, kind := range kinds {
		for n, f := range functions {
			if n > 0 {
				script.WriteString(",\n")
			}
			fmt.Fprintf(&script, "%s:%s:\"%s\"", kind, program, f)
		}
		fmt.Fprintf(&script, " { @%c = count(); }\n", 'a'+i)
	}
	return script.String()
}

// quoted writes a command line as bpftrace splits it: at spaces, with no empty words.
func quoted(argv []string) string {
	var words []string
	for _, a := range argv {
		if a == "" {
			a = ".quit"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}
