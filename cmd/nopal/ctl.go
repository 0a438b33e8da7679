package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"nopal/internal/ftrace"
	"nopal/internal/session"
)

// ctlFlags are those of all of ctl's subcommands.
type ctlFlags struct{ pid pidFlag }

func newCtl(a *app) *cobra.Command {
	f := &ctlFlags{}
	c := &cobra.Command{
		Use:   "ctl -p PID COMMAND",
		Short: "Control a recording while it runs",
		Long: `ctl steers a recording that another nopal is making of a process: it is switched off and on, functions are armed and
disarmed, filters changed, and snapshots taken, without restarting the recording. What was done, and when, is noted in the recording.

No thread of the process is stopped for it, with two exceptions, for which it stands still once, for a moment: functions are armed that the
recording left out from the start (unless it was begun with --prepare-all), and the first filter or limit is set for a --graph that was begun
with none.

Only the user who started the recording, and root, may control it. It listens on a socket in that user's runtime
directory ($XDG_RUNTIME_DIR/nopal or /run/user/UID/nopal; root's is /run/nopal), never on the network.`,
		Example: `  nopal ctl -p 1234 status
  nopal ctl -p 1234 off
  nopal ctl -p 1234 arm 'http_*' 'libssl*:SSL_read'
  nopal ctl -p 1234 filter -t 1ms
  nopal ctl -p 1234 snapshot -o /tmp/slow.data`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageErrorf(c, "unknown command %q%s", args[0], suggestCommands(c, args[0]))
			}
			return usageErrorf(c, "what shall the recording do? status, on, off, arm, disarm, filter, snapshot or stop")
		},
	}
	c.PersistentFlags().VarP(&f.pid, "pid", "p", "the process that is recorded")
	c.AddCommand(
		newCtlStatus(a, f),
		newCtlPlain(a, f, session.ActionOn, "Go on recording"),
		newCtlPlain(a, f, session.ActionOff, "Record nothing until it is switched on again"),
		newCtlArm(a, f, session.ActionArm, "Record the functions that a glob matches, too"),
		newCtlArm(a, f, session.ActionDisarm, "Record the functions that a glob matches no more"),
		newCtlFilter(a, f),
		newCtlSnapshot(a, f),
		newCtlPlain(a, f, session.ActionStop, "End the recording as Ctrl-C does, and wait until its file is complete"),
	)
	for _, sub := range c.Commands() {
		sub.DisableFlagsInUseLine = true
	}
	return c
}

// ask sends one request, for as long as the user likes to wait.
func (f *ctlFlags) ask(c *cobra.Command, r session.ControlRequest) (session.ControlReply, error) {
	if f.pid == 0 {
		return session.ControlReply{}, usageErrorf(c, "the recording of which process? give it with -p PID")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return session.Control(ctx, int(f.pid), r)
}

// do sends a request and prints what the recording says.
func (f *ctlFlags) do(a *app, c *cobra.Command, r session.ControlRequest) error {
	reply, err := f.ask(c, r)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.stdout, printable(reply.Message))
	return err
}

// printable keeps what another process says from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

func newCtlPlain(a *app, f *ctlFlags, action session.Action, short string) *cobra.Command {
	return &cobra.Command{
		Use:     string(action) + " -p PID",
		Short:   short,
		Example: "  nopal ctl -p 1234 " + string(action),
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.do(a, c, session.ControlRequest{Action: action})
		},
	}
}

func newCtlArm(a *app, f *ctlFlags, action session.Action, short string) *cobra.Command {
	return &cobra.Command{
		Use:   string(action) + " -p PID GLOB...",
		Short: short,
		Long: short + `: [object:]name, as -F of record has them. No thread is stopped for it. But functions that
the recording left out from the start have to be prepared, for which the process stands still once, for a moment: with --prepare-all
` + "`nopal record`" + ` has done that for all.`,
		Example: "  nopal ctl -p 1234 " + string(action) + " 'lua_*'",
		Args:    cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, globs []string) error {
			if len(globs) == 0 {
				return usageErrorf(c, "which functions? give at least one glob")
			}
			if _, err := ftrace.NewFilter(globs, nil); err != nil {
				return &usageError{c.CommandPath(), err}
			}
			return f.do(a, c, session.ControlRequest{Action: action, Globs: globs})
		},
	}
}

func newCtlFilter(a *app, f *ctlFlags) *cobra.Command {
	var filter filterFlags
	var minTime string
	var depth int
	c := &cobra.Command{
		Use:   "filter -p PID [-F GLOB] [-N GLOB] [-t TIME] [-D N]",
		Short: "Change the filters of a recording",
		Long: `filter replaces the filters that the recording began with. With -F or -N the functions are chosen anew by all of those that are
given now; -F '*' chooses all. What was armed and disarmed by name is forgotten. -t and -D, of a --graph, change only what they name; 0 takes
the limit away. The first filter or limit of a --graph that was begun with none makes the process stand still once, for a moment.`,
		Example: `  nopal ctl -p 1234 filter -F 'http_*' -N 'http_log*'
  nopal ctl -p 1234 filter -t 500us
  nopal ctl -p 1234 filter -t 0 -D 0`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r := session.ControlRequest{Action: session.ActionFilter, Only: filter.only, Not: filter.not}
			if _, err := filter.compile(c); err != nil {
				return err
			}
			if c.Flags().Changed("time") {
				d, err := parseLimit(minTime)
				if err != nil {
					return usageErrorf(c, "-t %s: %v", minTime, err)
				}
				r.MinTime = &d
			}
			if c.Flags().Changed("depth") {
				if depth < 0 {
					return usageErrorf(c, "-D %d: a depth is 0 or more", depth)
				}
				r.Depth = &depth
			}
			if len(r.Only) == 0 && len(r.Not) == 0 && r.MinTime == nil && r.Depth == nil {
				return usageErrorf(c, "which filter? give -F, -N, -t or -D")
			}
			return f.do(a, c, r)
		},
	}
	filter.add(c, "record")
	c.Flags().StringVarP(&minTime, "time", "t", "", "record only calls that take at least this `time`")
	c.Flags().IntVarP(&depth, "depth", "D", 0, "record only `n` levels of calls")
	return c
}

// parseLimit is a duration in nanoseconds, 0 included; a bare number is seconds.
func parseLimit(s string) (int64, error) {
	if s == "0" {
		return 0, nil
	}
	var f durationFlag
	if err := f.Set(s); err != nil {
		return 0, err
	}
	return int64(f), nil
}

func newCtlSnapshot(a *app, f *ctlFlags) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "snapshot -p PID [-o FILE]",
		Short: "Write what a recording holds now to a file of its own",
		Long: `snapshot writes a complete recording of what has been recorded up to now, and of what is still in the buffer, and does
not disturb the recording that goes on. With record --overwrite these are the last events (flight recorder).

The file is written by the nopal that records, with its rights. SIGUSR2 to a nopal that records with -p takes a snapshot, too.`,
		Example: "  nopal ctl -p 1234 snapshot -o /tmp/slow.data",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("output") && output == "" {
				return usageErrorf(c, "-o needs the name of a file")
			}
			if output != "" {
				// The other nopal may run in another directory.
				path, err := filepath.Abs(output)
				if err != nil {
					return fmt.Errorf("find %s: %w", output, err)
				}
				output = path
			}
			return f.do(a, c, session.ControlRequest{Action: session.ActionSnapshot, Output: output})
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "write the snapshot to `file` (else beside the recording, as OUTPUT.snapshot-N)")
	return c
}

func newCtlStatus(a *app, f *ctlFlags) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:     "status -p PID",
		Short:   "Show the state of a recording",
		Example: "  nopal ctl -p 1234 status --format=json",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			reply, err := f.ask(c, session.ControlRequest{Action: session.ActionStatus})
			if err != nil {
				return err
			}
			if reply.Status == nil {
				return fmt.Errorf("ask for status: the recording gave none")
			}
			if format == "json" {
				e := json.NewEncoder(a.stdout)
				e.SetIndent("", "  ")
				return e.Encode(reply.Status)
			}
			return writeStatus(a.stdout, reply.Status, time.Now())
		},
	}
	addFormat(c, &format, "text", "json")
	return c
}

// writeStatus is the report of ctl status.
func writeStatus(w io.Writer, s *session.RecordingStatus, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	tracing := "on"
	if !s.Tracing {
		tracing = "off"
	}
	line("tracing", "%s", tracing)
	line("recorded by", "nopal %d for %s, since %s", s.Nopal, now.Sub(s.Started).Round(time.Second), s.Started.Local().Format("2006-01-02 15:04:05"))
	line("file", "%s, %s", s.Output, byteSize(s.Bytes))
	line("events", "%s, %s lost", grouped(s.Events), grouped(s.Lost))
	if len(s.Modes) > 0 {
		line("modes", "%s", strings.Join(s.Modes, ", "))
	}
	if len(s.Filters) > 0 {
		line("filters", "%s", strings.Join(s.Filters, ", "))
	}
	if s.MinTime > 0 {
		line("time", "calls of at least %s", time.Duration(s.MinTime))
	}
	if s.Depth > 0 {
		line("depth", "%d levels", s.Depth)
	}
	for _, p := range s.Processes {
		share := uint64(0)
		if p.Pages > 0 {
			share = 100 * p.PagesUsed / p.Pages
		}
		line("process", "%d (%s): %s, %s prepared, %s armed; buffer %d%% of %s", p.PID, p.Command,
			plural(uint64(p.Sites), "function"), grouped(uint64(p.Prepared)), grouped(uint64(p.Armed)),
			share, byteSize(int64(p.Pages)*int64(p.PageBytes)))
	}
	return t.Flush()
}
