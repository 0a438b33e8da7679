package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"nopal/internal/analyze"
	"nopal/internal/ftrace"
	"nopal/trace"
)

type replayFlags struct {
	input  string
	filter filterFlags
	tid    tidFlag
	format string
}

func newReplay(a *app) *cobra.Command {
	f := &replayFlags{}
	c := &cobra.Command{
		Use:   "replay [-i FILE] [FLAGS]",
		Short: "Show the events of a recording",
		Long: `replay shows the calls of a recording in the order of time over all threads, indented by depth. Where calls were lost
because the buffer was full, a line says how many. A recording whose end is missing is shown as far as it goes.

With --format=jsonl each event is a JSON object on a line of its own:
  {"type":"entry","time":ns,"pid":n,"tid":n,"name":"f","object":"path","addr":"0x…","depth":n}
  {"type":"lost","count":n,"tid":n}
with "regs" and "stack" in an entry where they were recorded. FORMAT.md describes them.`,
		Example: `  nopal replay | less
  nopal replay -i server.data -F 'http_*' --tid 1234
  nopal replay --format=jsonl | jq -r .name | sort | uniq -c | sort -rn | head`,
		Args: inputOnly,
		RunE: func(c *cobra.Command, _ []string) error { return a.replay(c, f) },
	}
	addInput(c, &f.input)
	f.filter.add(c, "show")
	c.Flags().Var(&f.tid, "tid", "show only the thread with this id")
	addFormat(c, &f.format, "text", "jsonl")
	return c
}

// tidFlag is the id of a thread, or of none.
type tidFlag uint32

func (f *tidFlag) String() string {
	if *f == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(*f), 10)
}

func (f *tidFlag) Type() string { return "tid" }

func (f *tidFlag) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 {
		return fmt.Errorf("a thread id is a number above 0 (`nopal info` lists them)")
	}
	*f = tidFlag(n)
	return nil
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
	filter, err := f.filter.compile(c)
	if err != nil {
		return err
	}
	in, err := openInput(f.input)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	o := analyze.Options{TID: uint32(f.tid), Format: analyze.Format(f.format), Color: a.useColor()}
	if filter != nil {
		o.Filter = filter
	}
	sum, err := analyze.Replay(in, a.stdout, o)
	if err != nil {
		return inputError(f.input, err)
	}
	a.warnTruncated(f.input, sum.Truncated)
	if sum.Lost > 0 {
		a.warn("%s lost while recording: a larger --buffer, or a filter, helps", plural(sum.Lost, "event"))
	}
	if err := checkRecorded(filter, sum.Recording); err != nil {
		return err
	}
	switch {
	case sum.Events == 0:
		a.warn("%s has no events", f.input)
	case sum.Shown == 0:
		a.warn("%s, none of them selected", plural(sum.Events, "event"))
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

// checkRecorded finds patterns that fit no function of the recording. One that fits a function which was never called is no mistake.
func checkRecorded(filter *ftrace.Filter, rec *trace.Recording) error {
	if len(filter.Unmatched()) == 0 {
		return nil
	}
	for f := range analyze.Functions(rec) {
		filter.Match(f.Raw, f.Demangled, f.Object)
	}
	return filter.Check(func(yield func(ftrace.Candidate) bool) {
		for f := range analyze.Functions(rec) {
			if !yield(ftrace.Candidate(f)) {
				return
			}
		}
	})
}
