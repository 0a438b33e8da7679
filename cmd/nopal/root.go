package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Exit codes. 125 to 127 are what env(1) uses, so that a script can tell a failure of the tracer from one of the command.
const (
	exitFailure       = 1
	exitUsage         = 2
	exitRecord        = 125
	exitNotExecutable = 126
	exitNotFound      = 127
)

// exitError is an error that decides how nopal ends. With a nil err nothing is printed.
type exitError struct {
	code   int
	signal syscall.Signal // die by this instead
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit with %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageError is a mistake in the command line itself.
type usageError struct {
	command string
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

func usageErrorf(c *cobra.Command, format string, args ...any) error {
	return &usageError{c.CommandPath(), fmt.Errorf(format, args...)}
}

// app is what the subcommands share.
type app struct {
	stdout, stderr *os.File
	color          string
}

// run executes one command line and returns how the process is to end.
func run(args []string, stdout, stderr *os.File) (code int, signal syscall.Signal) {
	defer func() {
		if r := recover(); r != nil {
			reportCrash(stderr, r, debug.Stack())
			code, signal = exitFailure, 0
			if len(args) > 0 && args[0] == "record" {
				code = exitRecord
			}
		}
	}()
	a := &app{stdout: stdout, stderr: stderr}
	root := newRoot(a)
	root.SetArgs(args)
	c, err := root.ExecuteC()
	return a.finish(c, err)
}

// finish prints the error, if there is one, and chooses the exit code.
func (a *app) finish(c *cobra.Command, err error) (int, syscall.Signal) {
	var exit *exitError
	var usage *usageError
	switch {
	case err == nil:
		return 0, 0
	case errors.Is(err, syscall.EPIPE):
		// The reader of our report has gone, `nopal replay | head`: it has what it wanted.
		return 0, 0
	case errors.As(err, &exit):
		if exit.err != nil {
			a.complain(exit.err)
		}
		return exit.code, exit.signal
	case errors.As(err, &usage):
		a.complain(err)
		fmt.Fprintf(a.stderr, "Try '%s --help'.\n", usage.command)
		return exitUsage, 0
	case isCobraUsage(err):
		a.complain(err)
		fmt.Fprintf(a.stderr, "Try '%s --help'.\n", c.CommandPath())
		return exitUsage, 0
	}
	a.complain(err)
	return exitFailure, 0
}

// isCobraUsage recognises the mistakes that cobra finds before any of our code runs and for which it has no type.
func isCobraUsage(err error) bool {
	return strings.HasPrefix(err.Error(), "unknown command ")
}

func (a *app) complain(err error) {
	fmt.Fprintf(a.stderr, "nopal: %v\n", err)
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "nopal",
		Short: "ftrace for user space",
		Long: `nopal traces the functions of a running program and leaves the program as it found it. Nothing is linked into the
program or preloaded; it has to be compiled with -fpatchable-function-entry=2 (for x86-64: =5), which puts NOPs at the
entry of each function. nopal turns them into a call, or a jump, and back.`,
		Example: `  nopal record -- ./program arguments      run a command and record its function calls
  nopal record --graph -- ./program        with durations: what calls what, and for how long
  nopal record -p 1234 --duration 10s      record ten seconds of a running process
  nopal replay -i nopal.data               show them
  nopal sites ./program                    list the functions that can be traced`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageErrorf(c, "unknown command %q%s", args[0], suggestCommands(c, args[0]))
			}
			return c.Help()
		},
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return &usageError{c.CommandPath(), err} })
	root.PersistentFlags().Var(&enumFlag{value: &a.color, values: colorChoices, name: "when"}, "color", "use colour: auto, always or never")
	a.color = colorChoices[0]
	completeEnum(root, "color", colorChoices)
	root.AddCommand(
		newRecord(a),
		newInject(a),
		newReplay(a),
		newReport(a),
		newGraph(a),
		newExport(a),
		newInfo(a),
		newSites(a),
		newLive(a),
		newCtl(a),
		newDetach(a),
		newPatch(a),
		newVersion(a),
		newMan(a),
	)
	for _, c := range root.Commands() {
		c.DisableFlagsInUseLine = true
	}
	return root
}

func suggestCommands(c *cobra.Command, word string) string {
	c.SuggestionsMinimumDistance = 2
	near := c.SuggestionsFor(word)
	if len(near) == 0 {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", strings.Join(near, " or "))
}

var colorChoices = []string{"auto", "always", "never"}

// useColor decides for the report, which goes to stdout.
func (a *app) useColor() bool {
	switch a.color {
	case "always":
		return true
	case "never":
		return false
	}
	// https://no-color.org: present and not empty, whatever its value.
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(a.stdout.Fd()))
}

// noArgs is cobra.NoArgs with an error that says what to do about a word too many.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageErrorf(c, "unexpected argument %q", args[0])
	}
	return nil
}

// reportCrash tells about a bug in nopal. A stack trace helps nobody who is in the middle of an incident, so it goes to a file.
func reportCrash(w io.Writer, reason any, stack []byte) {
	fmt.Fprintf(w, "nopal: internal error: %v\nThis is a bug in nopal. `nopal detach -p PID` removes what may be left in a traced process.\n", reason)
	f, err := os.CreateTemp("", "nopal-crash-*.txt")
	if err == nil {
		_, err = fmt.Fprintf(f, "%s\n%q\n%v\n%s", versionText(), os.Args, reason, stack)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		fmt.Fprintf(w, "Please report it together with this:\n%s\n%s", versionText(), stack)
		return
	}
	fmt.Fprintf(w, "Please report it together with the file %s.\n", f.Name())
}
