package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"nopal/internal/analyze"
)

type replayFlags struct {
	input   string
	sel     selectFlags
	flat    bool
	noPager bool
	format  string
}

func newReplay(a *app) *cobra.Command {
	f := &replayFlags{}
	c := &cobra.Command{
		Use:   "replay [-i FILE] [FLAGS]",
		Short: "Show the events of a recording",
		Long: `replay shows the calls of a recording in the order of time over all threads. Where calls were lost because the buffer was
full, a line says how many. A recording whose end is missing is shown as far as it goes.

A recording of entries and exits (record --graph) is shown as a tree of calls with their durations, as the kernel's function graph
tracer does: f() { ... } with the duration at its end, and f(); for a call that made no other. A separator shows where the events of
another thread begin. Durations above 10 us are marked with +, above 100 us with !, above 1 ms with #, above 10 ms with *, above
100 ms with @, and above 1 s with $. An exit that was not recorded and follows from a later event says so: /* f, inferred */.
Where a program switches stacks (coroutines), a call may be taken for over and end later: /* f, not over before */.
--flat writes a line for each event instead. A recording of entries alone is shown as a line for each call, indented by depth.

Filters: -F shows the functions that match and all that they call, -N leaves out those that match and all that they call, -D counts
levels from the functions of -F, or from the outermost calls. With entries alone, -F and -N are about the functions only. -t hides
calls that are shorter, but not the longer calls around them. -r takes the times as they are printed (-r 1234.5~1234.75), or with a
unit the time since the first event (-r 10ms~1.5s); either side may be missing.

On a terminal the output goes through $PAGER, or less.

With --format=jsonl each event is a JSON object on a line of its own:
  {"type":"entry","time":ns,"pid":n,"tid":n,"name":"f","object":"path","addr":"0x…","depth":n}
  {"type":"exit", as above ,"duration":ns}
  {"type":"lost","count":n,"tid":n}
  {"type":"mark","text":"…"}
with "inferred":true in an exit that was not recorded, "resumed":true in one whose call had an inferred exit before, and "regs" and
"stack" in an entry where they were recorded. FORMAT.md describes them.`,
		Example: `  nopal replay
  nopal replay -t 1ms                           what takes longer than 1 ms, and who called it
  nopal replay -F 'http_*' -D 3 --tid 1234      requests of one thread, three levels deep
  nopal replay -r 2s~2.5s --flat                half a second, an event a line
  nopal replay --format=jsonl | jq -r 'select(.type=="entry").name' | sort | uniq -c | sort -rn | head`,
		Args: inputOnly,
		RunE: func(c *cobra.Command, _ []string) error { return a.replay(c, f) },
	}
	addInput(c, &f.input)
	f.sel.add(c, "show")
	f.sel.addDepth(c)
	f.sel.addRange(c)
	c.Flags().BoolVar(&f.flat, "flat", false, "write a line for each event, not a tree of calls")
	c.Flags().BoolVar(&f.noPager, "no-pager", false, "write to the terminal directly")
	addFormat(c, &f.format, "text", "jsonl")
	return c
}

func addInput(c *cobra.Command, input *string) {
	c.Flags().StringVarP(input, "input", "i", defaultOutput, "read the recording `file`; - is the standard input")
}

func inputOnly(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageErrorf(c, "unexpected argument %q: name a recording with -i %s", args[0], args[0])
	}
	return nil
}

// openInput opens a recording; why it cannot is all that most users will want to know.
func openInput(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(os.Stdin), nil
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && path == defaultOutput:
		return nil, fmt.Errorf("open recording: there is no %s here: make one with `nopal record`, or name one with -i FILE", path)
	case err != nil:
		return nil, fmt.Errorf("open recording: %w", err)
	}
	return f, nil
}

func (a *app) replay(c *cobra.Command, f *replayFlags) (err error) {
	sel, err := f.sel.compile(c)
	if err != nil {
		return err
	}
	in, err := openInput(f.input)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	o := analyze.Options{Selection: sel.Selection, Format: analyze.Format(f.format), Flat: f.flat, Color: a.useColor()}
	out := a.startPager(f.noPager)
	sum, err := analyze.Replay(in, out, o)
	// The pager has the terminal until it ends.
	if perr := out.Close(); err == nil {
		err = perr
	}
	if err != nil {
		return inputError(f.input, err)
	}
	a.warnTruncated(f.input, sum.Truncated)
	a.warnLost(sum.Lost)
	if err := sel.check(sum.Recording); err != nil {
		return err
	}
	switch {
	case sum.Events == 0 && len(sum.Recording.Profiles()) > 0:
		a.warn("%s is a profile and has no events: `nopal report` shows it", f.input)
	case sum.Events == 0:
		a.warn("%s has no events", f.input)
	case sum.Shown == 0:
		a.warn("%s, none of them selected", plural(sum.Events, "event"))
	case !sum.Recording.HasExits() && sel.MinTime > 0:
		a.warn("-t selects nothing here: without exits (`nopal record --graph`) no duration is known")
	}
	return nil
}

// inputError names the file that a recording's error is about.
func inputError(path string, err error) error {
	var w *analyze.WriteError
	if errors.As(err, &w) {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

func (a *app) warn(format string, args ...any) {
	fmt.Fprintf(a.stderr, "nopal: "+format+"\n", args...)
}

func (a *app) warnTruncated(path string, truncated bool) {
	if truncated {
		a.warn("%s has no end (nopal was killed, or the disk was full): this is what it has", path)
	}
}

func (a *app) warnLost(lost uint64) {
	if lost > 0 {
		a.warn("%s lost while recording: a larger --buffer, or a filter, helps", plural(lost, "event"))
	}
}
