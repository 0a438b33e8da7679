package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
)

// nopalPeers are the modes of nopal. One that the program refuses is shown with what it says. The buffer is large enough for all events
// of a run, as those of the others are.
func nopalPeers(program string) []peer {
	const file = "nopal.data"
	record := func(flags ...string) func(job) (argv, env []string) {
		return func(j job) (argv, env []string) {
			argv = append([]string{program, "record", "-q", "--buffer", "256m", "-o", j.path(file)}, flags...)
			if j.step {
				// Only one can trace by ptrace: this time it is us.
				argv = append(argv, "--no-follow")
			}
			return append(append(argv, "--"), j.argv...), nil
		}
	}
	result := func(ctx context.Context, j job) (recorded, error) {
		out, err := exec.CommandContext(ctx, program, "info", "-i", j.path(file)).Output()
		if err != nil {
			return recorded{}, fmt.Errorf("read the recording: %w", err)
		}
		r, err := parseInfo(string(out))
		if err != nil {
			return recorded{}, err
		}
		info, err := os.Stat(j.path(file))
		if err != nil {
			return recorded{}, err
		}
		r.bytes = info.Size()
		return r, nil
	}
	return []peer{
		{name: "never attached", what: "nopal's binary: GCC's five one-byte NOPs at each entry", variant: "nops", command: bare, floor: true},
		{name: "nopal disarmed", what: "all functions prepared, main armed", variant: "nops", nopal: true,
			command: record("--prepare-all", "-F", "main"), result: result},
		{name: "nopal", what: "entries", variant: "nops", nopal: true, events: 1, command: record(), result: result},
		{name: "nopal --graph", what: "entries and exits", variant: "nops", nopal: true, events: 2, command: record("--graph"), result: result},
		{name: "nopal --populate", what: "entries; the whole buffer in memory before the program starts", variant: "nops", nopal: true, events: 1,
			command: record("--populate"), result: result},
		{name: "nopal --graph --populate", what: "entries and exits; the whole buffer in memory before", variant: "nops", nopal: true, events: 2,
			command: record("--graph", "--populate"), result: result},
		{name: "nopal --graph (clang)", what: "entries and exits, clang's five-byte NOPs", variant: "nop5", nopal: true, events: 2,
			command: record("--graph"), result: result},
		{name: "nopal --graph --clock=none", what: "entries and exits in their order, without time stamps", variant: "nops", nopal: true, events: 2,
			command: record("--graph", "--clock=none"), result: result},
		{name: "nopal --graph -t 1ms", what: "only calls of 1 ms and more", variant: "nops", nopal: true,
			command: record("--graph", "-t", "1ms"), result: result},
		{name: "nopal --profile", what: "calls, times and histograms, kept in memory", variant: "nops", nopal: true,
			command: record("--profile"), result: result},
	}
}

var (
	infoEvents = regexp.MustCompile(`(?m)^events\s+(\d+)`)
	infoLost   = regexp.MustCompile(`(?m)^lost\s+(\d+)`)
)

// parseInfo reads what nopal info says of a recording. A profile has no events.
func parseInfo(out string) (recorded, error) {
	var r recorded
	for _, field := range []struct {
		pattern *regexp.Regexp
		to      *uint64
	}{{infoEvents, &r.events}, {infoLost, &r.lost}} {
		m := field.pattern.FindStringSubmatch(out)
		if m == nil {
			continue
		}
		n, err := strconv.ParseUint(m[1], 10, 64)
		if err != nil {
			return recorded{}, fmt.Errorf("read nopal info: %w", err)
		}
		*field.to = n
	}
	return r, nil
}
