package main

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"nopal/internal/inject"
	"nopal/internal/session"
)

// noOutput is the name of a file that stands for no recording.
const noOutput = "none"

type injectFlags struct {
	subjectFlags
	callFlags
	rules  []string
	files  []string
	seed   string
	output string
	buffer sizeFlag
	quiet  bool
}

func newInject(a *app) *cobra.Command {
	f := &injectFlags{}
	c := &cobra.Command{
		Use:   "inject -r RULE [FLAGS] [--] CMD [ARGS]\n  nopal inject -r RULE [FLAGS] -p PID",
		Short: "Make functions of a program fail, wait, or be called with other arguments",
		Long: `inject runs a command, or attaches to a process, and does to the calls of its functions what rules say:

  FUNCTIONS: return VALUE [errno E]    the function is not called; its caller gets the value
  FUNCTIONS: delay TIME                the call waits first: 10us, 5ms, 2s
  FUNCTIONS: set ARG=VALUE             the function is called with another argument: arg1, fparg1 or a parameter's name

FUNCTIONS is a glob as for nopal record -F, [object:]name. VALUE is a number (-1, 0x10, 2.5), NULL, true, false, or zero:
all of the result, whatever its type is. A function that returns a structure in memory needs zero. A function without
a result needs only "return". E is the name of an error, as ENOMEM, or its number. delay goes with the others.

Behind that a rule says which calls it acts on:

  every N          each N-th
  after N          not the first N
  count N          N times at most
  prob P           with this probability: 0.01 or 1%. The choice depends on --seed and the number of the call alone
  if CONDITION     on the arguments: arg1==2 && arg3>4096, or with debug information by their names
  caller GLOB      called from a function that the glob matches

CONDITION and caller are asked first; every, after, count and prob count the calls that they let through, in all threads and
children together. In a file of rules (--rules) each line is one; # begins a comment. Several rules at one function act one
after the other, until one returns.

Conditions compare argN (integers, pointers) and fpargN (floating point) with numbers and 'c'haracters by == != < <= > >=, and
join that with && || ! and parentheses; arg1 & 4 masks. arg1/u32 gives a type where there is no debug information.

All of that is decided in the program itself, by code that is made for each function: a rule that does not fire costs some
tens of instructions. With debug information rules are checked against the functions' types; what makes no sense is refused.
A delay is a system call; in a process that filters them (seccomp) the thread looks at the clock instead.

Each time that a rule fires is written to the recording (nopal replay, nopal replay --format=jsonl). -F and --graph record calls,
too, and -A, -R and -a their arguments and results, as for nopal record. With -o none nothing is written. At the end nopal says how often each rule was asked and fired.

The exit status is the command's; see nopal record. With -p the rules are taken back at the end. If nopal is killed (kill -9) they
go on in the program until ` + "`nopal detach -p`" + ` takes them away.`,
		Example: `  nopal inject -r 'malloc_wrapper: return NULL errno ENOMEM every 100' -- ./server
  nopal inject -r 'db_write: return -1 errno EIO prob 1% if len > 4096' --seed 7 -- ./app
  nopal inject -r 'send_reply: delay 200ms caller handle_*' -p $(pidof server) --duration 30s
  nopal inject --rules faults.txt --graph -F 'handle_*' -- ./server`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error { return a.inject(c, f, args) },
	}
	flags := c.Flags()
	flags.SetInterspersed(false)
	flags.SortFlags = false
	f.buffer = session.DefaultBuffer
	flags.StringArrayVarP(&f.rules, "rule", "r", nil, "a `rule`; may be repeated")
	flags.StringArrayVar(&f.files, "rules", nil, "a `file` of rules, one a line; may be repeated")
	flags.StringVar(&f.seed, "seed", "", "the `number` that prob chooses by: the same calls with the same number (any)")
	flags.StringVarP(&f.output, "output", "o", defaultOutput, "write the recording to `file`; none: write none")
	flags.VarP(&f.pid, "pid", "p", "inject into this running process")
	f.filter.add(c, "record")
	flags.BoolVar(&f.graph, "graph", false, "record calls with where functions are left, as nopal record --graph does")
	flags.StringArrayVarP(&f.args, "args", "A", nil, "record arguments of the calls that are recorded, too: `glob@arg1/i32,...`; see nopal record")
	flags.StringArrayVarP(&f.results, "retval", "R", nil, "with --graph: record what functions return: `glob@ret/i32`")
	flags.BoolVarP(&f.autoArgs, "auto-args", "a", false, "record what debug information tells about")
	flags.Var(&f.buffer, "buffer", "memory for events that are not written yet, with k, m or g")
	flags.Var(&f.duration, "duration", "with -p: end after this time")
	flags.BoolVar(&f.noFollow, "no-follow", false, "with CMD: leave its children alone, and it untraced by ptrace")
	flags.BoolVar(&f.followForks, "follow-forks", false, "with -p: inject into the children of the process, too")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no summary")
	return c
}

func (f *injectFlags) check(c *cobra.Command, args []string) error {
	if len(f.rules)+len(f.files) == 0 {
		return usageErrorf(c, "nothing to inject: give a rule with -r, or a file of rules with --rules")
	}
	if err := f.subjectFlags.check(c, args, "inject into", "runs"); err != nil {
		return err
	}
	switch {
	case f.output == "":
		return usageErrorf(c, "-o needs the name of a file, or none")
	case f.output == noOutput && (f.graph || f.values() || len(f.filter.only)+len(f.filter.not) > 0):
		return usageErrorf(c, "-o none records nothing: --graph, -F, -N, -A, -R and -a are about what is recorded")
	case !f.graph && len(f.filter.only) == 0 && f.values():
		return usageErrorf(c, "-A, -R and -a are about calls that are recorded: choose some with -F, or all with --graph")
	case !f.graph && len(f.results) > 0:
		return usageErrorf(c, resultsNeedGraph)
	}
	return nil
}

// plan reads the rules.
func (f *injectFlags) plan(c *cobra.Command) (*session.Injection, error) {
	plan := &session.Injection{Record: f.output != noOutput}
	for _, text := range f.rules {
		rule, err := inject.ParseRule(text)
		if err != nil {
			return nil, &usageError{c.CommandPath(), err}
		}
		plan.Rules = append(plan.Rules, rule)
	}
	for _, name := range f.files {
		rules, err := readRules(name)
		if err != nil {
			return nil, &usageError{c.CommandPath(), err}
		}
		plan.Rules = append(plan.Rules, rules...)
	}
	switch {
	case len(plan.Rules) == 0:
		return nil, usageErrorf(c, "nothing to inject: there is no rule in %s", f.files[0])
	case len(plan.Rules) > session.MaxRules:
		return nil, usageErrorf(c, "%d rules: there may be %d", len(plan.Rules), session.MaxRules)
	}
	if f.seed == "" {
		var b [4]byte
		if _, err := rand.Read(b[:]); err != nil {
			return nil, fmt.Errorf("choose a seed: %w", err)
		}
		plan.Seed = uint64(binary.LittleEndian.Uint32(b[:]))
		return plan, nil
	}
	seed, err := strconv.ParseUint(f.seed, 0, 64)
	if err != nil {
		return nil, usageErrorf(c, "--seed %s: not a number", f.seed)
	}
	plan.Seed = seed
	return plan, nil
}

func readRules(name string) (rules []*inject.Rule, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return inject.ReadRules(file, name)
}

func (a *app) inject(c *cobra.Command, f *injectFlags, args []string) error {
	if err := f.check(c, args); err != nil {
		return err
	}
	plan, err := f.plan(c)
	if err != nil {
		return err
	}
	filter, set, err := f.callFlags.compile(c, false)
	if err != nil {
		return err
	}
	o := session.Options{
		Filter:      filter,
		Args:        set,
		Inject:      plan,
		Graph:       f.graph,
		Buffer:      int64(f.buffer),
		Output:      f.output,
		Duration:    time.Duration(f.duration),
		Log:         a.stderr,
		CommandLine: os.Args,
		Version:     versionNumber(),
		Owner:       callerOfSudo(),
	}
	if !plan.Record {
		o.Output, o.Owner = os.DevNull, nil
	}
	output := lookAtOutput(o.Output)
	result, err := f.run(o, args)
	seen := result.Events
	for _, r := range result.Rules {
		seen += r.Calls
	}
	if err != nil && seen == 0 {
		output.restore()
	} else if !f.quiet {
		f.summarize(a.stderr, plan, result)
	}
	return recordStatus(result, err)
}

// summarize says what has become of each rule, and of the recording.
func (f *injectFlags) summarize(w io.Writer, plan *session.Injection, result session.Result) {
	chance, fired := false, uint64(0)
	for _, r := range result.Rules {
		fmt.Fprintf(w, "nopal: %s: %s, fired %s\n", r.Rule.Text, plural(r.Calls, "call"), times(r.Fired))
		chance = chance || r.Rule.Chance()
		fired += r.Fired
	}
	if chance {
		fmt.Fprintf(w, "nopal: chosen with --seed %d\n", plan.Seed)
	}
	switch {
	case !plan.Record:
	case result.Events == 0 && result.Lost == 0:
		fmt.Fprintf(w, "nopal: %s; %s in %s\n", plural(fired, "injection"), byteSize(result.Bytes), result.Output)
	default:
		summarize(w, result, false)
	}
}

func times(n uint64) string {
	switch n {
	case 0:
		return "never"
	case 1:
		return "once"
	}
	return grouped(n) + " times"
}
