package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nopal/internal/analyze"
	"nopal/internal/ftrace"
)

type graphFlags struct {
	input   string
	sel     selectFlags
	least   leastFlag
	noPager bool
	format  string
}

func newGraph(a *app) *cobra.Command {
	f := &graphFlags{}
	c := &cobra.Command{
		Use:   "graph [FUNCTION] [-i FILE] [FLAGS]",
		Short: "Show what calls what, merged over all calls",
		Long: `graph shows the calls of a recording as one tree: each function below the one that calls it, with the number of calls, the time
between entry and exit, the time without the calls that it made, and its share of the whole. All threads are merged unless --tid names one.

With FUNCTION, a name or a glob as in -F, it shows first where that function is called from, each way with its calls and time, and
then the tree of what the function calls, merged over all callers.

-D shows only so many levels, and -t leaves out what took less than a time (-t 1ms) or less than a share of the whole (-t 5%). -F and
-N count only, or leave out, the functions that match and all that they call; -r counts the calls that begin in a range of time.

A recording of entries alone has no times; the levels are those of its stack pointers. In JSON all times are nanoseconds.`,
		Example: `  nopal graph
  nopal graph -t 1% -D 6
  nopal graph 'parse_*'                     who calls the parser, and what it does
  nopal graph --format=json | jq .total`,
		RunE: func(c *cobra.Command, args []string) error { return a.graph(c, f, args) },
	}
	addInput(c, &f.input)
	f.sel.add(c, "count")
	c.Flags().IntVarP(&f.sel.depth, "depth", "D", 0, "show only so many `levels` of calls")
	c.Flags().VarP(&f.least, "time-filter", "t", "leave out what took less than this time, or share: 5%")
	f.sel.addRange(c)
	c.Flags().BoolVar(&f.noPager, "no-pager", false, "write to the terminal directly")
	addFormat(c, &f.format, "text", "json")
	return c
}

// leastFlag is a time or a share of the whole.
type leastFlag struct {
	time  durationFlag
	share float64
}

func (f *leastFlag) String() string { return "" }

func (f *leastFlag) Type() string { return "time" }

func (f *leastFlag) Set(s string) error {
	number, ok := strings.CutSuffix(s, "%")
	if !ok {
		return f.time.Set(s)
	}
	share, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !(share >= 0 && share <= 100) {
		return fmt.Errorf("a share is from 0%% to 100%%")
	}
	f.share = share / 100
	return nil
}

func (a *app) graph(c *cobra.Command, f *graphFlags, args []string) (err error) {
	if len(args) > 1 {
		return usageErrorf(c, "unexpected argument %q: one function or glob is enough", args[1])
	}
	sel, err := f.sel.compile(c)
	if err != nil {
		return err
	}
	o := analyze.GraphOptions{Selection: sel.Selection, MinShare: f.least.share}
	o.MinTime = int64(time.Duration(f.least.time))
	var function *ftrace.Filter
	if len(args) > 0 {
		if function, err = (&filterFlags{only: args}).compile(c); err != nil {
			return err
		}
		o.Function = function
	}
	if o.First, err = a.firstEvent(c, f.input, sel); err != nil {
		return err
	}
	in, err := openInput(f.input)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	g, err := analyze.NewCallGraph(in, o)
	if g == nil {
		return inputError(f.input, err)
	}
	damage := err
	if damage == nil {
		if err := sel.check(g.Recording); err != nil {
			return err
		}
		if function != nil {
			if err := checkRecorded(function, g.Recording); err != nil {
				var none *ftrace.NoMatchError
				if errors.As(err, &none) {
					none.Flag = "function"
				}
				return err
			}
		}
	}
	if g.Profile {
		return fmt.Errorf("%s: a profile does not know who called what: `nopal report` shows what it has", f.input)
	}
	write := g.WriteText
	if f.format == "json" {
		write = g.WriteJSON
	}
	out := a.startPager(f.noPager)
	err = write(out)
	if perr := out.Close(); err == nil {
		err = perr
	}
	if err != nil {
		return err
	}
	if damage != nil {
		return inputError(f.input, damage)
	}
	a.warnTruncated(f.input, g.Truncated)
	switch {
	case g.Events == 0:
		a.warn("%s has no events", f.input)
	case g.Calls == 0:
		a.warn("%s, none of them selected", plural(g.Events, "call"))
	case function != nil && g.Found == 0:
		a.warn("%s was not called", args[0])
	}
	return nil
}
