package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"nopal/internal/analyze"
)

type reportFlags struct {
	input  string
	sel    selectFlags
	sort   string
	by     string
	diff   string
	limit  int
	format string
}

func newReport(a *app) *cobra.Command {
	f := &reportFlags{}
	c := &cobra.Command{
		Use:   "report [-i FILE] [FLAGS]",
		Short: "Sum up the calls of each function",
		Long: `report shows for each function how often it was called and how long that took: total is the time between entry and exit, where
a recursion counts once; self is that without the calls that it made; avg, min, max, p50 and p99 are of single calls. The
percentiles come from a histogram with 16 steps for each doubling, so they are right to 4 %; those of a --profile have one step,
which is spread evenly.

A recording of entries alone has the number of calls only. What was lost, and how many ends of calls were not recorded but follow
from later events, is told below the table.

--by thread and --by object sum up threads and objects instead. --diff OTHER compares with another recording: the columns are those of
FILE, the changes are from OTHER to FILE.

-F counts the functions that match and all that they call, -N leaves out those that match and all that they call, -t counts the calls
that take at least so long, and -r those that begin in a range of time: FROM~TO, times as replay prints them or, with a unit, since the
first event. In JSON and CSV all times are nanoseconds.`,
		Example: `  nopal report
  nopal report -s self --limit 20
  nopal report -s p99,calls -F 'http_*'
  nopal report --by thread
  nopal report -i new.data --diff old.data
  nopal report --format=csv > report.csv`,
		Args: inputOnly,
		RunE: func(c *cobra.Command, _ []string) error { return a.report(c, f) },
	}
	addInput(c, &f.input)
	flags := c.Flags()
	flags.StringVarP(&f.sort, "sort", "s", string(analyze.KeyTotal), "sort by these `columns`: total, self, calls, avg, min, max, p50, p99, name")
	f.by = string(analyze.ByFunction)
	groupings := []string{string(analyze.ByFunction), string(analyze.ByThread), string(analyze.ByObject)}
	flags.Var(&enumFlag{value: &f.by, values: groupings, name: "what"}, "by", "what the rows are: function, thread or object")
	completeEnum(c, "by", groupings)
	flags.StringVar(&f.diff, "diff", "", "show what has changed since this recording `file`")
	flags.IntVar(&f.limit, "limit", 0, "show only so many `rows`")
	f.sel.add(c, "count")
	f.sel.addDepth(c)
	f.sel.addRange(c)
	addFormat(c, &f.format, "text", "json", "csv")
	return c
}

func (a *app) report(c *cobra.Command, f *reportFlags) error {
	keys, err := analyze.ParseKeys(f.sort)
	if err != nil {
		return usageErrorf(c, "-s %s: %w", f.sort, err)
	}
	if f.limit < 0 {
		return usageErrorf(c, "--limit %d: it is a number of rows", f.limit)
	}
	sel, err := f.sel.compile(c)
	if err != nil {
		return err
	}
	r, err := a.readReport(c, f, f.input, sel)
	if r == nil {
		return err
	}
	r.Sort(keys)
	var out reportWriter = r
	if f.diff != "" && err == nil {
		var before *analyze.Report
		if before, err = a.readReport(c, f, f.diff, sel); before == nil {
			return err
		}
		out = analyze.NewDiff(before, r, keys)
	}
	write := out.WriteText
	switch f.format {
	case "json":
		write = out.WriteJSON
	case "csv":
		write = out.WriteCSV
	}
	if werr := write(a.stdout, f.limit); werr != nil {
		return werr
	}
	if err != nil {
		return err
	}
	if err := sel.check(r.Recording); err != nil {
		return err
	}
	switch {
	case r.Calls == 0 && !r.Profile && r.Events == 0:
		a.warn("%s has no events", f.input)
	case r.Calls == 0:
		a.warn("%s, none of them selected", plural(max(r.Events, uint64(len(r.Recording.Profiles()))), "call"))
	case r.Profile && (f.sel.depth > 0 || f.sel.minTime > 0 || f.sel.span != rangeFlag{}):
		a.warn("-D, -t and -r select nothing in a profile, which has no single calls")
	case r.CountOnly && f.sel.minTime > 0:
		a.warn("-t selects nothing here: without exits (`nopal record --graph`) no duration is known")
	}
	return nil
}

// reportWriter is a report or a comparison of two.
type reportWriter interface {
	WriteText(w io.Writer, limit int) error
	WriteJSON(w io.Writer, limit int) error
	WriteCSV(w io.Writer, limit int) error
}

// readReport reads a recording. The report may be there although there is an error: it is of what precedes the damage.
func (a *app) readReport(c *cobra.Command, f *reportFlags, path string, sel *selection) (r *analyze.Report, err error) {
	first, err := a.firstEvent(c, path, sel)
	if err != nil {
		return nil, err
	}
	in, err := openInput(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	r, err = analyze.NewReport(in, analyze.ReportOptions{Selection: sel.Selection, By: analyze.Grouping(f.by), First: first})
	if err != nil {
		return r, inputError(path, err)
	}
	a.warnTruncated(path, r.Truncated)
	return r, nil
}

// firstEvent finds when a recording begins, if that is asked for. It is read twice then.
func (a *app) firstEvent(c *cobra.Command, path string, sel *selection) (first int64, err error) {
	if !sel.Range.Elapsed() {
		return 0, nil
	}
	if path == "-" {
		return 0, usageErrorf(c, "-r with times since the first event needs a file, not the standard input")
	}
	in, err := openInput(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if first, err = analyze.FirstEvent(in); err != nil {
		return 0, inputError(path, err)
	}
	return first, nil
}
