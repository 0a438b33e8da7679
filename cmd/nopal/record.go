package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nopal/internal/ftrace"
	"nopal/internal/session"
)

const defaultOutput = "nopal.data"

type recordFlags struct {
	subjectFlags
	callFlags
	output     string
	profile    bool
	depth      countFlag
	maxDepth   countFlag
	threshold  thresholdFlag
	populate   bool
	prepareAll bool
	triggers   []string
	trace      string
	regs       bool
	stack      bool
	overwrite  bool
	buffer     sizeFlag
	quiet      bool
}

func newRecord(a *app) *cobra.Command {
	f := &recordFlags{}
	c := &cobra.Command{
		Use:   "record [FLAGS] [--] CMD [ARGS]\n  nopal record [FLAGS] -p PID",
		Short: "Record the function calls of a command or of a running process",
		Long: `record runs a command, or attaches to a process, and writes every call of its functions to a file.

With CMD, the command's input, output and signals are its own, and nopal ends as it ends: with its exit status, or by
the signal that killed it. Its children are recorded too, unless --no-follow is given. Ctrl-C goes to the command;
nopal records until the command has ended. SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 that nopal gets are handed on to it.

With -p, all threads of the process are recorded until Ctrl-C, SIGTERM, the end of --duration or the end of the
process. Then every byte of the program is put back and nopal exits with 0. SIGUSR2 writes a snapshot of what is recorded so far to
OUTPUT.snapshot-N.

While it runs, ` + "`nopal ctl`" + ` switches a recording off and on, arms and disarms functions, changes filters and takes snapshots.

--graph records where functions are left, too, and so how long each call took. It leaves return addresses and the stack
alone: the exit instructions lead to us. A function whose exits cannot be told from its code (nopal sites shows which,
and why) has its entry recorded, and its end is inferred from what follows. In a graph -F records what the chosen
functions call, too, and -N leaves out what the named ones call; these and -D, --max-depth and -t are decided in the
program itself, so what is left out costs little and takes no space.

--profile keeps calls, times and a histogram for each function in the program's memory instead of writing events: the
cheapest mode, for days. nopal report shows it; nopal live shows it while it runs.

-A records arguments and, with --graph, -R results: -A 'open@arg1/s,arg2/x32' -R 'open@ret/i32'. arg1 to arg8 are integers and pointers,
fparg1 to fparg8 floating-point numbers, as they are passed; from arg9 on they are taken from the stack. The format is i, u or x
with 8, 16, 32 or 64 bits, f32, f64, c for a character, p for a pointer, s for a string (s[200]: up to 200 bytes). Debug
information tells names, types and places: with it -A 'open' is enough, and -a takes the arguments and results of all functions that
it knows. What a pointer leads to is read without harm if it leads nowhere, by a system call; where the program filters these, only
what is on the thread's own stack is read.

A condition behind a pattern of -F chooses calls: -F 'write@arg1==2 && arg3>4096', and with --graph also by the result:
-F 'open@ret<0' records the calls that failed, each with its entry, but not what they called. There are == != < <= > >= && || ! ( )
and & for bits; values are signed numbers of 64 bits unless debug information or a format (arg1/u32) says otherwise.

-T makes something happen when a function is called: traceon and traceoff switch the recording of all threads,
stacktrace records who called, snapshot writes what the recording holds to a file of its own, dump writes out the
buffer, stop ends the recording. With a count it happens that many times: -T 'handle_error:snapshot:3'.

nopal ctl controls a recording from another terminal.

Exit codes of nopal's own: 2 for a mistake in the command line, 125 when recording failed, 126 when CMD cannot be
executed, 127 when there is no such CMD.

An existing file is kept as FILE.old. Under sudo the files belong to the user who called it. A call that found the
buffer full is counted, and the summary and ` + "`nopal replay`" + ` show where events were lost: a larger --buffer, or a
filter that leaves out the busiest functions, helps.`,
		Example: `  nopal record -- ./server --port 80
  nopal record -F 'lua_*' -N 'lua_newstate' lua script.lua
  nopal record -F 'libsqlite3*:*' --stack -- ./app
  nopal record --graph -t 1ms -- ./server
  nopal record --graph -F handle_request -D 4 -- ./server
  nopal record --graph -a -- ./server
  nopal record -A 'parse_line@arg1/s,arg2/i32' -F 'parse_*' -- ./server
  nopal record --graph -F 'db_open@ret/i32<0' -- ./server
  nopal record --graph --overwrite -T 'abort_transaction:snapshot' -- ./server
  sudo nopal record -p $(pidof server) --duration 10s -o /tmp/server.data`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error { return a.record(c, f, args) },
	}
	flags := c.Flags()
	// The flags of the command are not ours.
	flags.SetInterspersed(false)
	flags.SortFlags = false
	f.buffer = session.DefaultBuffer
	flags.StringVarP(&f.output, "output", "o", defaultOutput, "write the recording to `file`")
	flags.VarP(&f.pid, "pid", "p", "record this running process")
	f.filter.add(c, "record")
	flags.BoolVar(&f.graph, "graph", false, "record where functions are left, too: the call graph with durations")
	flags.VarP(&f.depth, "depth", "D", "with --graph: this many levels of calls, below the functions of -F if there are any")
	flags.Var(&f.maxDepth, "max-depth", "with --graph: this many levels of calls below a thread's outermost function")
	flags.VarP(&f.threshold, "threshold", "t", "with --graph: only calls that take this `time` or longer, as 10us or 2ms, and those around them")
	flags.StringArrayVarP(&f.args, "args", "A", nil, "record arguments: `glob@arg1/i32,arg2/s,fparg1/f64`; without @ by debug information; may be repeated")
	flags.StringArrayVarP(&f.results, "retval", "R", nil, "with --graph: record what functions return: `glob@ret/i32`; may be repeated")
	flags.BoolVarP(&f.autoArgs, "auto-args", "a", false, "record the arguments, and with --graph the results, of all functions that debug information tells about")
	flags.BoolVar(&f.profile, "profile", false, "record no events but statistics: calls, times and a histogram for each function")
	flags.BoolVar(&f.prepareAll, "prepare-all", false, "prepare all functions, so that nopal ctl arm need not stop the process for those that -F leaves out")
	flags.StringArrayVarP(&f.triggers, "trigger", "T", nil, "do something when a function is called: `glob:action[:count]` with action traceon, traceoff, stacktrace, snapshot, dump or stop; may be repeated")
	f.trace = traceChoices[0]
	flags.Var(&enumFlag{value: &f.trace, values: traceChoices, name: "when"}, "trace", "record from the start (on), or only from a trigger or nopal ctl on (off)")
	completeEnum(c, "trace", traceChoices)
	flags.BoolVar(&f.regs, "regs", false, "record the registers at each call")
	flags.BoolVar(&f.stack, "stack", false, "record the call stack at each call (needs frame pointers)")
	flags.Var(&f.buffer, "buffer", "memory for events that are not written yet, with k, m or g")
	flags.BoolVar(&f.populate, "populate", false, "have the whole buffer in the program's memory before the first event: no page faults, but twice its size in memory, and a later start")
	flags.BoolVar(&f.overwrite, "overwrite", false, "when the buffer is full lose the oldest events, not the newest (flight recorder)")
	flags.Var(&f.duration, "duration", "with -p: end after this time")
	flags.BoolVar(&f.noFollow, "no-follow", false, "with CMD: do not record its children, and leave it untraced by ptrace")
	flags.BoolVar(&f.followForks, "follow-forks", false, "with -p: record the children of the process, too")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no summary")
	return c
}

func (f *recordFlags) check(c *cobra.Command, args []string) error {
	if err := f.subjectFlags.check(c, args, "record", "is recorded"); err != nil {
		return err
	}
	switch {
	case f.profile && (f.graph || f.regs || f.stack || f.overwrite):
		return usageErrorf(c, "--profile records no events: --graph, --regs, --stack and --overwrite are about events")
	case f.profile && (len(f.triggers) > 0 || f.trace != "on"):
		return usageErrorf(c, "--profile does not go with -T and --trace=off: they switch the recording of events")
	case !f.graph && (f.depth != 0 || f.maxDepth != 0 || f.threshold != 0):
		return usageErrorf(c, "-D, --max-depth and -t choose among calls by what is around them and how long they take: add --graph")
	case f.inTarget() && (f.regs || f.stack):
		return usageErrorf(c, "--regs and --stack do not go with -F, -N, -D, --max-depth or -t in a graph: whether a call is recorded is known too late")
	case f.profile && f.values():
		return usageErrorf(c, "--profile records no events: -A, -R and -a are about events")
	case !f.graph && len(f.results) > 0:
		return usageErrorf(c, resultsNeedGraph)
	case f.output == "":
		return usageErrorf(c, "-o needs the name of a file")
	}
	return nil
}

var traceChoices = []string{"on", "off"}

func (f *recordFlags) parseTriggers(c *cobra.Command) ([]*ftrace.Trigger, error) {
	var list []*ftrace.Trigger
	for _, text := range f.triggers {
		t, err := ftrace.ParseTrigger(text)
		if err != nil {
			return nil, &usageError{c.CommandPath(), err}
		}
		list = append(list, t)
	}
	return list, nil
}

// inTarget reports whether the target decides which calls are recorded.
func (f *recordFlags) inTarget() bool {
	return f.graph && (len(f.filter.only)+len(f.filter.not) > 0 || f.depth != 0 || f.maxDepth != 0 || f.threshold != 0)
}

func (a *app) record(c *cobra.Command, f *recordFlags, args []string) error {
	if err := f.check(c, args); err != nil {
		return err
	}
	filter, set, err := f.callFlags.compile(c, f.profile)
	if err != nil {
		return err
	}
	triggers, err := f.parseTriggers(c)
	if err != nil {
		return err
	}
	output := lookAtOutput(f.output)
	o := session.Options{
		Filter:      filter,
		Triggers:    triggers,
		Args:        set,
		StartOff:    f.trace == "off",
		Graph:       f.graph,
		Profile:     f.profile,
		PrepareAll:  f.prepareAll,
		Populate:    f.populate,
		Depth:       int(f.depth),
		MaxDepth:    int(f.maxDepth),
		Threshold:   time.Duration(f.threshold),
		Regs:        f.regs,
		Stack:       f.stack,
		Overwrite:   f.overwrite,
		Buffer:      int64(f.buffer),
		Output:      f.output,
		Duration:    time.Duration(f.duration),
		Log:         a.stderr,
		CommandLine: os.Args,
		Version:     versionNumber(),
		Owner:       callerOfSudo(),
	}
	result, err := f.run(o, args)
	if err != nil && result.Events+result.Calls == 0 {
		output.restore()
	} else if !f.quiet {
		summarize(a.stderr, result, f.profile)
	}
	return recordStatus(result, err)
}

// recordStatus makes nopal end as the command did.
func recordStatus(r session.Result, err error) error {
	exit := &exitError{err: err}
	var exec *session.ExecError
	switch {
	case errors.As(err, &exec) && exec.NotFound:
		exit.code = exitNotFound
	case errors.As(err, &exec):
		exit.code = exitNotExecutable
	case err != nil:
		exit.code = exitRecord
	case r.HasExit:
		exit.code, exit.signal = r.Exit.Code, r.Exit.Signal
	}
	return exit
}

// summarize is the last line: what has come of it.
func summarize(w io.Writer, r session.Result, profile bool) {
	var b strings.Builder
	what, helps := plural(r.Events, "event"), "a larger --buffer or a filter helps"
	if profile {
		what = plural(r.Calls, "call") + " of " + plural(uint64(r.Functions), "function")
		helps = "more threads at a time than are counted"
	}
	fmt.Fprintf(&b, "nopal: %s in %s", what, plural(uint64(r.Threads), "thread"))
	if r.Processes > 1 {
		fmt.Fprintf(&b, " of %s", plural(uint64(r.Processes), "process"))
	}
	if r.Lost > 0 {
		fmt.Fprintf(&b, ", %s LOST (%s)", grouped(r.Lost), helps)
	} else {
		b.WriteString(", none lost")
	}
	fmt.Fprintf(&b, "; %s in %s", byteSize(r.Bytes), r.Output)
	if !r.HasExit && r.Reason != "" {
		fmt.Fprintf(&b, " (%s)", r.Reason)
	}
	fmt.Fprintln(w, b.String())
}
