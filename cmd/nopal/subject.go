package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"nopal/internal/args"
	"nopal/internal/ftrace"
	"nopal/internal/session"
)

// subjectFlags say what is looked at: a running process or a command, and which of its children.
type subjectFlags struct {
	pid         pidFlag
	duration    durationFlag
	noFollow    bool
	followForks bool
}

// check refuses what does not go together. verb is what is done to the subject, lasts how long to a command.
func (f *subjectFlags) check(c *cobra.Command, args []string, verb, lasts string) error {
	switch {
	case f.pid == 0 && len(args) == 0:
		return usageErrorf(c, "nothing to %s: give a command, or a running process with -p PID", verb)
	case f.pid != 0 && len(args) > 0:
		return usageErrorf(c, "-p %d and the command %q exclude each other", f.pid, args[0])
	case f.pid == 0 && f.duration != 0:
		return usageErrorf(c, "--duration is for -p PID: a command %s until it ends", lasts)
	case f.pid == 0 && f.followForks:
		return usageErrorf(c, "--follow-forks is for -p PID: the children of a command are followed unless --no-follow is given")
	case f.pid != 0 && f.noFollow:
		return usageErrorf(c, "--no-follow is for a command: with -p PID children are followed only with --follow-forks")
	}
	return nil
}

// run runs the session to its end.
func (f *subjectFlags) run(o session.Options, args []string) (session.Result, error) {
	if f.pid != 0 {
		o.Follow = f.followForks
		return recordPID(o, int(f.pid))
	}
	o.Follow = !f.noFollow
	return recordCommand(o, args)
}

// callFlags say which calls are recorded, and what of them.
type callFlags struct {
	filter   filterFlags
	graph    bool
	args     []string
	results  []string
	autoArgs bool
}

// values reports whether arguments or results are asked for.
func (f *callFlags) values() bool { return len(f.args)+len(f.results) > 0 || f.autoArgs }

// resultsNeedGraph is what is wrong with -R alone.
const resultsNeedGraph = "-R is about where functions are left: add --graph"

// compile reads the filter, and what is wanted of functions besides that they are called: -A, -R, -a, and the
// conditions behind the patterns of -F, which it takes from there. A profile has no conditions.
func (f *callFlags) compile(c *cobra.Command, profile bool) (*ftrace.Filter, *args.Set, error) {
	wrong := func(err error) (*ftrace.Filter, *args.Set, error) { return nil, nil, &usageError{c.CommandPath(), err} }
	set, err := args.Parse(f.args, f.results, f.autoArgs)
	if err != nil {
		return wrong(err)
	}
	for i, text := range f.filter.only {
		if strings.HasPrefix(text, "!") {
			continue
		}
		var condition *args.Condition
		glob, rest, found := args.Split(text)
		if found {
			condition, err = args.ParseCondition(rest)
		}
		switch {
		case err != nil:
		case found && profile:
			err = fmt.Errorf("-F %s: --profile has no conditions", text)
		case found && condition.UsesResult() && !f.graph:
			err = fmt.Errorf("-F %s: what a function returns is known where it is left: add --graph", text)
		default:
			err = set.Where(glob, condition)
		}
		if err != nil {
			return wrong(err)
		}
		f.filter.only[i] = glob
	}
	if set.Empty() {
		set = nil
	}
	filter, err := f.filter.compile(c)
	return filter, set, err
}
