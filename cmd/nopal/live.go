package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"nopal/internal/analyze"
	"nopal/internal/session"
	"nopal/trace"
)

type liveFlags struct {
	subjectFlags
	filter   filterFlags
	interval durationFlag
	count    int
	sort     string
	limit    int
}

func newLive(a *app) *cobra.Command {
	f := &liveFlags{interval: durationFlag(time.Second)}
	c := &cobra.Command{
		Use:   "live [FLAGS] [--] CMD [ARGS]\n  nopal live [FLAGS] -p PID",
		Short: "Show what functions take the time, while they run",
		Long: `live shows the table of ` + "`nopal report`" + `, refreshed while the program runs: top for functions. Nothing is written to a
file; the program counts in its own memory, as with record --profile.

On a terminal, letters choose the column to sort by: c calls, t total, s self, a avg, i min, m max, 5 p50, 9 p99, n name; f, h and o show
functions, threads or objects. q ends it: every byte of a process given with -p is put back, a command gets SIGTERM. What the command prints
on the terminal, and what is typed, does not reach it: redirect its input and output to keep them.

When the standard output is not a terminal the table is printed every --interval.`,
		Example: `  nopal live -p $(pidof server)
  nopal live -s self -- ./program arguments > output
  nopal live -p 1234 -n 3 --interval 5s | tee table`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error { return a.live(c, f, args) },
	}
	flags := c.Flags()
	flags.SetInterspersed(false) // the flags of the command are not ours
	flags.SortFlags = false
	flags.VarP(&f.pid, "pid", "p", "watch this running process")
	f.filter.add(c, "count")
	flags.Var(&f.interval, "interval", "refresh the table after this time")
	flags.IntVarP(&f.count, "count", "n", 0, "end after so many tables")
	flags.StringVarP(&f.sort, "sort", "s", string(analyze.KeyTotal), "sort by these `columns`: total, self, calls, avg, min, max, p50, p99, name")
	flags.IntVar(&f.limit, "limit", 0, "show only so many `rows`")
	flags.BoolVar(&f.noFollow, "no-follow", false, "with CMD: do not count its children")
	flags.BoolVar(&f.followForks, "follow-forks", false, "with -p: count the children of the process, too")
	return c
}

func (a *app) live(c *cobra.Command, f *liveFlags, args []string) (err error) {
	keys, err := analyze.ParseKeys(f.sort)
	switch {
	case err != nil:
		return usageErrorf(c, "-s %s: %w", f.sort, err)
	case f.pid == 0 && len(args) == 0:
		return usageErrorf(c, "nothing to watch: give a command, or a running process with -p PID")
	case f.pid != 0 && len(args) > 0:
		return usageErrorf(c, "-p %d and the command %q exclude each other", f.pid, args[0])
	case f.count < 0 || f.limit < 0:
		return usageErrorf(c, "-n and --limit are numbers above 0")
	}
	filter, err := f.filter.compile(c)
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	var readers sync.WaitGroup
	var data liveData
	readers.Go(func() { data.read(r) })
	o := session.Options{
		Filter: filter, Profile: true, Buffer: liveBuffer, Output: fmt.Sprintf("/proc/self/fd/%d", w.Fd()),
		Log: a.stderr, CommandLine: os.Args, Version: versionNumber(), ProfileEvery: time.Duration(f.interval),
	}
	view := &liveView{data: &data, keys: keys, by: analyze.ByFunction, limit: f.limit, name: fmt.Sprintf("process %d", f.pid)}
	if len(args) > 0 {
		view.name = args[0]
	}
	show := &liveShow{view: view, interval: time.Duration(f.interval), count: f.count, out: a.stdout, quit: quitByTerm}
	if term.IsTerminal(int(a.stdout.Fd())) {
		// A terminal that is not ours to control gets the tables one below the other.
		show.screen, _ = openScreen()
	}
	if show.screen != nil {
		// Also when we panic.
		defer show.screen.close()
		o.Log = &show.log
		if o.Files, err = filesBeside(a.stdout); err != nil {
			return err
		}
	}
	show.start()
	result, err := f.run(o, args)
	if errors.Is(err, context.Canceled) {
		err = nil // the user had enough before it had begun
	}
	// The reader sees the end, if it has not read it.
	err = errors.Join(err, w.Close())
	readers.Wait()
	err = errors.Join(err, r.Close(), show.stop())
	if err == nil && show.screen != nil {
		err = view.print(a.stdout)
		_, _ = io.WriteString(a.stderr, show.log.String())
	}
	if err == nil {
		err = data.err
	}
	return recordStatus(result, err)
}

// liveBuffer is the memory for events, of which there are none.
const liveBuffer = 1 << 20

// quitByTerm ends the recording as SIGTERM from outside does: a process is left, a command is told to end.
func quitByTerm() { _ = syscall.Kill(os.Getpid(), syscall.SIGTERM) }

// filesBeside are the input and output of a command beside which the terminal shows the table: what would be that terminal is
// nothing.
func filesBeside(stdout *os.File) ([]*os.File, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open input and output: %w", err)
	}
	files := []*os.File{os.Stdin, stdout, os.Stderr}
	for i, file := range files {
		if term.IsTerminal(int(file.Fd())) {
			files[i] = null
		}
	}
	return files, nil
}

// liveData is what the recording has said so far.
type liveData struct {
	mu    sync.Mutex
	rec   *trace.Recording
	begun time.Time // of the first round: all is installed
	lost  uint64
	err   error
}

// read reads a recording until its end. Whatever happens it takes all that is written, so that nobody waits for it.
func (d *liveData) read(in io.Reader) {
	err := d.blocks(in)
	d.mu.Lock()
	d.err = err
	d.mu.Unlock()
	_, _ = io.Copy(io.Discard, in)
}

func (d *liveData) blocks(in io.Reader) error {
	d.mu.Lock()
	d.rec = trace.NewRecording(trace.NativeMachine())
	d.mu.Unlock()
	r, err := trace.NewReader(in)
	if errors.Is(err, io.EOF) {
		return nil // the session says why there is nothing
	}
	if err != nil {
		return err
	}
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		d.mu.Lock()
		err = d.rec.Apply(b)
		switch b := b.(type) {
		case *trace.Lost:
			d.lost += b.Count
		case *trace.Round:
			if d.begun.IsZero() {
				d.begun = time.Now()
			}
		case *trace.End:
			// Our own end of the pipe is open yet: there is no other end.
			d.mu.Unlock()
			return err
		}
		d.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// started is when recording began, zero if it has not.
func (d *liveData) started() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.begun
}

// table makes a table of what is known.
func (d *liveData) table(by analyze.Grouping) (t analyze.Table, lost uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.rec == nil {
		return analyze.Table{}, 0
	}
	return analyze.ProfileTable(d.rec, by), d.lost
}
