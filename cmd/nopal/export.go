package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"nopal/internal/export"
)

type exportFlags struct {
	input, output string
	sel           selectFlags
	format        string
	weight        string
}

func newExport(a *app) *cobra.Command {
	f := &exportFlags{}
	c := &cobra.Command{
		Use:   "export --format=FORMAT [-i FILE] [-o FILE] [-F GLOB] [-N GLOB] [--tid TID] [-D N] [-t TIME] [-r FROM~TO]",
		Short: "Convert a recording for other tools",
		Long: `export writes a recording in a format that another tool reads.

  chrome      Chrome's trace events (JSON): chrome://tracing, https://ui.perfetto.dev
  perfetto    Perfetto's own format, a third of the size: https://ui.perfetto.dev, trace_processor
  folded      a line for each stack of functions, with the time in the last of them in nanoseconds: flamegraph.pl, inferno
  pprof       a profile with calls, times and threads: go tool pprof, https://github.com/google/pprof
  speedscope  https://www.speedscope.app: each call at its place in time; when there are more than a million, or the recording is
              not a file, the time of each stack instead

Durations need a recording made with ` + "`record --graph`" + `. Others have entries only: chrome and perfetto then get a mark for each, the
others the number of calls. Recordings made with --profile have sums only, and go to pprof, folded and speedscope.

-F, -N, --tid, -D, -t and -r select calls as they do for replay. A call that is not selected counts as if it had not been traced:
folded, pprof and speedscope give its time to its caller.

The output appears under its name when it is complete. Without -o it goes to the standard output.`,
		Example: `  nopal export --format=perfetto -o trace.pftrace     then open it in https://ui.perfetto.dev
  nopal export --format=pprof -o prof.pb.gz && go tool pprof -http=: prof.pb.gz
  nopal export --format=folded -N 'std::*' | flamegraph.pl --countname=ns >flame.svg
  nopal export --format=speedscope -o trace.speedscope.json && speedscope trace.speedscope.json`,
		Args: inputOnly,
		RunE: func(c *cobra.Command, _ []string) error { return a.export(c, f) },
	}
	addInput(c, &f.input)
	c.Flags().StringVarP(&f.output, "output", "o", "-", "write to this `file`; - is the standard output")
	f.sel.add(c, "export")
	f.sel.addDepth(c)
	f.sel.addRange(c)
	c.Flags().Var(&enumFlag{value: &f.format, values: exportFormats, name: "format"}, "format", "write for this tool: chrome, perfetto, folded, pprof or speedscope")
	completeEnum(c, "format", exportFormats)
	f.weight = exportWeights[0]
	c.Flags().Var(&enumFlag{value: &f.weight, values: exportWeights, name: "weight"}, "weight", "weigh the stacks of folded by time or calls")
	completeEnum(c, "weight", exportWeights)
	return c
}

var (
	exportFormats = []string{string(export.Chrome), string(export.Perfetto), string(export.Folded), string(export.Pprof), string(export.Speedscope)}
	exportWeights = []string{string(export.Time), string(export.Calls)}
)

func (a *app) export(c *cobra.Command, f *exportFlags) (err error) {
	if f.format == "" {
		return usageErrorf(c, "say for which tool: --format=chrome, perfetto, folded, pprof or speedscope")
	}
	if c.Flags().Changed("weight") && f.format != string(export.Folded) {
		return usageErrorf(c, "--weight is for folded: %s has what it can show", f.format)
	}
	sel, err := f.sel.compile(c)
	if err != nil {
		return err
	}
	binary := f.format == string(export.Perfetto) || f.format == string(export.Pprof)
	if f.output == "-" && binary && term.IsTerminal(int(a.stdout.Fd())) {
		return usageErrorf(c, "%s is not for a terminal: name a file with -o", f.format)
	}
	first, err := a.firstEvent(c, f.input, sel)
	if err != nil {
		return err
	}
	in, err := openInput(f.input)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	o := export.Options{Selection: sel.Selection, First: first, Format: export.Format(f.format), Weight: export.Weight(f.weight)}
	var sum export.Summary
	write := func(w io.Writer) error {
		var err error
		if sum, err = export.Write(in, w, o); err != nil {
			return inputError(f.input, err)
		}
		return nil
	}
	if f.output == "-" {
		err = write(a.stdout)
	} else {
		err = writeFile(f.output, in, write)
	}
	if err != nil {
		return err
	}
	a.warnExport(f, &sum)
	return sel.check(sum.Recording)
}

// warnExport says what the output does not show.
func (a *app) warnExport(f *exportFlags, sum *export.Summary) {
	a.warnTruncated(f.input, sum.Truncated)
	a.warnLost(sum.Lost)
	switch {
	case sum.Events == 0:
		a.warn("%s has no events", f.input)
		return
	case sum.Shown == 0:
		a.warn("none of the calls in %s selected", f.input)
		return
	case len(sum.Recording.Profiles()) > 0 && (f.sel.depth > 0 || f.sel.minTime > 0 || f.sel.span != rangeFlag{}):
		a.warn("-D, -t and -r select nothing in a profile, which has no single calls")
	case !sum.Graph && f.sel.minTime > 0:
		a.warn("-t selects nothing here: without exits (`nopal record --graph`) no duration is known")
	case sum.Summed && f.input == "-":
		a.warn("the standard input cannot be read twice, so speedscope gets the time of each stack, not each call")
	case sum.Summed && sum.Graph && len(sum.Recording.Profiles()) == 0:
		a.warn("more calls than speedscope can show: it gets the time of each stack (-F, -N, -t and --tid make them fewer)")
	}
	if !sum.Graph {
		what := "it has the number of calls"
		if f.format == string(export.Chrome) || f.format == string(export.Perfetto) {
			what = "there is a mark for each call"
		}
		a.warn("%s has no durations, as it was made without --graph: %s", f.input, what)
	}
}

// writeFile lets write make a file, which appears under its name when it is complete: neither an interrupt nor a full disk
// leaves half of it, or costs the user the one that was there before. Half a recording makes a whole file.
func writeFile(path string, in io.ReadCloser, write func(io.Writer) error) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return writeDevice(path, write)
	}
	if file, ok := in.(*os.File); ok && err == nil {
		if of, err := file.Stat(); err == nil && os.SameFile(info, of) {
			return fmt.Errorf("write %s: it is the recording itself", path)
		}
	}
	out, err := createPartial(path)
	if err != nil {
		return err
	}
	err = write(out)
	var damaged *export.DamageError
	if err != nil && !errors.As(err, &damaged) {
		out.discard()
		return err
	}
	return errors.Join(err, out.commit())
}

// writeDevice writes to a pipe or a device, which stay what they are.
func writeDevice(path string, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open output: %w", err)
	}
	return errors.Join(write(file), file.Close())
}
