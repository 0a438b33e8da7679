// Bench measures what nopal promises and prints one table of it.
//
// Instructions are counted in the VM, where with -icount a guest instruction
// takes one nanosecond of guest time: the same on every machine. How long a
// program stands still is measured there too, by a thread of it that polls the
// clock, on a processor that it has to share with nopal: the worst case. Reading
// is measured on the host, by processor time.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
)

// figure is a line of the table.
type figure struct {
	what, reach, measured string
}

func main() {
	events := flag.Int("events", 100_000_000, "`number` of events in the files that are read")
	only := flag.String("only", "calls,graph,patch,scaling,attach,disk,read,tools", "parts to measure")
	write := flag.String("write", "", "only write the recordings that tools reads into this `directory`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	do := func() error { return run(ctx, *only, *events) }
	if *write != "" {
		do = func() error { return writeSubjects(*write, *events) }
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string, events int) error {
	var table []figure
	for _, part := range []struct {
		name    string
		measure func() ([]figure, error)
	}{
		{"calls", func() ([]figure, error) { return measureCalls(ctx) }},
		{"graph", func() ([]figure, error) { return measureGraph(ctx) }},
		{"patch", func() ([]figure, error) { return measurePatch(ctx) }},
		{"scaling", func() ([]figure, error) { return measureScaling(ctx) }},
		{"attach", func() ([]figure, error) { return measureAttach(ctx) }},
		{"disk", func() ([]figure, error) { return measureDisk(ctx) }},
		{"tools", func() ([]figure, error) { return measureTools(ctx, events) }},
		{"read", func() ([]figure, error) { return measureReading(events / 2) }},
	} {
		if !strings.Contains(only, part.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: measuring %s\n", part.name)
		figures, err := part.measure()
		if err != nil {
			return fmt.Errorf("measure %s: %w", part.name, err)
		}
		table = append(table, figures...)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "figure\treach\tmeasured")
	for _, f := range table {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.what, f.reach, f.measured)
	}
	return w.Flush()
}
