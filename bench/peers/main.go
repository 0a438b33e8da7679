// Peers measures nopal beside the other tracers of functions that this machine has: the same programs, one run of each in turn,
// so that what the machine does meanwhile hits all alike. It prints tables and writes a JSON file, of which it also draws plots.
//
// Compare the ratios. The times are those of one machine and one moment.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// options say what is measured.
type options struct {
	runs      int
	quick     bool
	only      map[string]bool
	workloads map[string]bool
	nopal     string
	json      string
}

func main() {
	runs := flag.Int("runs", 7, "`number` of runs of each peer and workload")
	quick := flag.Bool("quick", false, "one run of a tenth of the calls: shows that all works, not what it costs")
	only := flag.String("only", "", "peers to measure: their `names` with commas, all if empty")
	loads := flag.String("workloads", "", "workloads to measure: their `names` with commas, all if empty")
	nopal := flag.String("nopal", "build/nopal", "the nopal `program` that is measured")
	out := flag.String("json", "build/peers/peers.json", "`file` for the results; with -plots or -show: the file to read")
	plots := flag.String("plots", "", "measure nothing: draw plots of the results into this `directory`")
	show := flag.Bool("show", false, "measure nothing: print the tables of the results")
	list := flag.Bool("list", false, "print the names of the peers and workloads")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	o := options{runs: *runs, quick: *quick, only: set(*only), workloads: set(*loads), json: *out}
	var err error
	switch {
	case *list:
		printNames()
	case *plots != "":
		err = drawPlots(*out, *plots)
	case *show:
		err = showTables(*out)
	default:
		if o.nopal, err = filepath.Abs(*nopal); err == nil {
			err = measure(ctx, o)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// set returns the words of a list with commas, nil for none.
func set(list string) map[string]bool {
	if list == "" {
		return nil
	}
	all := make(map[string]bool)
	for word := range strings.SplitSeq(list, ",") {
		all[word] = true
	}
	return all
}

func printNames() {
	for _, p := range peers("nopal") {
		fmt.Printf("%-32s %s\n", p.name, p.what)
	}
	fmt.Printf("%-32s %s\n", "attach", "nopal attaches to a process of 100,000 functions")
	for _, w := range workloads(false) {
		fmt.Printf("%-32s (workload) %s\n", w.name, w.what)
	}
}

func showTables(file string) error {
	r, err := readResults(file)
	if err != nil {
		return err
	}
	return writeTables(os.Stdout, r)
}

// measure runs everything, prints tables and writes the results.
func measure(ctx context.Context, o options) error {
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.build(ctx); err != nil {
		return err
	}
	b.measureAll(ctx)
	if o.only == nil || o.only["attach"] {
		b.measureAttach(ctx)
	}
	b.results.Machine.LoadAfter = loadAverage()
	if err := b.results.write(o.json); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err // what was measured is in the file
	}
	return writeTables(os.Stdout, b.results)
}

// build compiles the programs in the ways that the chosen peers need.
func (b *bench) build(ctx context.Context) error {
	variants := []string{"plain"}
	for _, p := range b.peers {
		if !slices.Contains(variants, p.variant) {
			variants = append(variants, p.variant)
		}
	}
	cmd := exec.CommandContext(ctx, "bench/peers/build.sh", variants...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the programs: %w", err)
	}
	return nil
}
