package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"nopal/internal/livepatch"
)

func newPatch(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "patch COMMAND",
		Short: "Replace functions of a running process",
		Long: `patch replaces functions of a running process by new versions, and takes them back again. The process is not restarted and not
stopped: each thread goes over to the new functions for itself, when none of those being replaced is on its stack. So no call sees
old and new functions mixed, and no thread waits for another. The patch stays when nopal ends, and children of fork inherit it.

What can be patched: functions of programs and shared libraries for arm64 that were compiled with
-fpatchable-function-entry=2, dynamic or static, traced at the same time or not.

What cannot, or not as one may think:
  functions that belong   a thread goes over between two calls of replaced functions, also in the middle of a caller that is
  together                not replaced: where that matters replace the caller, too (patch build --function)
  inlined functions       have no code of their own: their callers have to be patched, too
  changed data            a patch can add variables, not change the size or meaning of those that exist
  functions that never    main loops: a thread that is always inside of one never goes over; the patch times out and is
  return                  reverted. Patch what they call
  functions without       cannot be redirected: nopal sites shows them
  the two NOPs
  coroutines              only the stack that a thread is on is looked at, not those of coroutines that are suspended
  unknown stacks          a thread in code without call frame information (of a just-in-time compiler) does not go over
                          until it has left that code
  shared memory           processes that share memory without being threads (clone without CLONE_THREAD) are not looked at

A thread is stopped for a moment when it is looked at. System calls that it waits in are begun again, but epoll_wait and those
that man 7 signal lists with it return EINTR.`,
		Example: `  nopal patch build -o fix.npz --target ./server server.o
  sudo nopal patch apply -p 1234 fix.npz
  sudo nopal patch status -p 1234
  sudo nopal patch revert -p 1234 fix`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageErrorf(c, "unknown command %q%s", args[0], suggestCommands(c, args[0]))
			}
			return c.Help()
		},
	}
	c.AddCommand(newPatchApply(a), newPatchStatus(a), newPatchRevert(a), newPatchList(a), newPatchBuild(a), newPatchSign(a))
	for _, sub := range c.Commands() {
		sub.DisableFlagsInUseLine = true
	}
	return c
}

// patchOptions are the flags of apply and revert.
type patchOptions struct {
	pid     pidFlag
	timeout time.Duration
	force   bool
	quiet   bool
}

func (o *patchOptions) add(c *cobra.Command) {
	c.Flags().VarP(&o.pid, "pid", "p", "the process")
	c.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "say nothing")
}

// patchTimeout is how long threads may take to go over where nothing else is said.
const patchTimeout = time.Minute

// options checks the flags.
func (o *patchOptions) options(a *app, c *cobra.Command) (livepatch.Options, error) {
	if o.pid == 0 {
		return livepatch.Options{}, usageErrorf(c, "which process? give it with -p PID")
	}
	opts := livepatch.Options{Timeout: o.timeout, Force: o.force}
	if !o.quiet {
		opts.Log = func(format string, args ...any) { a.warn(format, args...) }
	}
	return opts, nil
}

// patchContext ends with the first signal: the transition is taken back then.
func patchContext() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
}

func newPatchApply(a *app) *cobra.Command {
	var o patchOptions
	var key string
	var wait, watch bool
	c := &cobra.Command{
		Use:   "apply [FLAGS] -p PID FILE.npz...",
		Short: "Apply a patch to a process",
		Long: `apply loads a patch into a process and lets its threads go over to the new functions, one by one. It returns when all have.

All or nothing: when something does not fit (another build of the program, a function that was changed in memory, a symbol that
is missing) nothing is changed. When threads have not gone over after --timeout, or with Ctrl-C, those that have go back, and
the patch is out again; the error says which threads did not go and in which function they are.

--force lets the threads that are left go over at the timeout wherever they are. They go on in the old function, and what that calls
is new: that is what the check is to prevent. It is right only if the old and the new functions get along with one another.

--wait is for patches of libraries that are not loaded yet: nopal waits until all are, and applies each then. The thread that loads the
library waits in the dynamic linker meanwhile, four seconds at most, so that the patch is there before any of the library's
code has run, constructors included. --watch does the same and then stays, until it is ended with Ctrl-C: a library that is unloaded
and loaded again is patched again. With both several patches may be given, and each is applied or not for itself. Patches that
were applied stay when nopal ends; without a nopal that waits nobody patches what is loaded later. Static programs and libraries
linked with -z norelro are patched a moment after they have loaded something, while their threads run.

What a killed nopal left in the middle is finished first.`,
		Example: `  sudo nopal patch apply -p 1234 fix.npz
  sudo nopal patch apply -p 1234 --timeout 10s --require-signature patch.pub fix.npz
  sudo nopal patch apply -p 1234 --watch plugin.npz`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			opts, err := o.options(a, c)
			if err != nil {
				return err
			}
			if len(args) == 0 || len(args) > 1 && !wait && !watch {
				return usageErrorf(c, "apply what? give one patch")
			}
			var patches []*livepatch.Patch
			for _, path := range args {
				patch, err := livepatch.Open(path)
				if err != nil {
					return err
				}
				if key != "" {
					if err := patch.Verify(key); err != nil {
						return err
					}
				}
				patches = append(patches, patch)
			}
			ctx, stop := patchContext()
			defer stop()
			if wait || watch {
				return livepatch.Watch(ctx, int(o.pid), patches, livepatch.WatchOptions{Options: opts, Stay: watch, Applied: func(res *livepatch.Result) {
					_ = a.printApplied(res, o.quiet)
				}})
			}
			res, err := livepatch.Apply(ctx, int(o.pid), patches[0], opts)
			if errors.Is(err, livepatch.ErrNoTarget) {
				return fmt.Errorf("%w (--wait waits until it is loaded)", err)
			}
			if err != nil {
				return err
			}
			return a.printApplied(res, o.quiet)
		},
	}
	o.add(c)
	c.Flags().DurationVar(&o.timeout, "timeout", patchTimeout, "revert when threads have not gone over by then (0: wait)")
	c.Flags().BoolVar(&wait, "wait", false, "wait until the libraries that the patches are for are loaded")
	c.Flags().BoolVar(&watch, "watch", false, "stay, and apply the patches whenever their libraries are loaded")
	c.Flags().BoolVar(&o.force, "force", false, "at the timeout go on as if all threads had gone over")
	c.Flags().StringVar(&key, "require-signature", "", "refuse a patch that is not signed by this minisign `key` (or its file)")
	return c
}

func (a *app) printApplied(res *livepatch.Result, quiet bool) error {
	if quiet {
		return nil
	}
	if res.Threads == 0 {
		_, err := fmt.Fprintf(a.stdout, "%s is applied: %s, while it was loaded\n", res.Name, count(res.Functions, "function"))
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "%s is applied: %s, %s went over in %v, none stood longer than %v\n", res.Name, count(res.Functions, "function"),
		count(res.Threads, "thread"), res.Took.Round(time.Millisecond), res.Longest.Round(10*time.Microsecond))
	return err
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func newPatchRevert(a *app) *cobra.Command {
	var o patchOptions
	c := &cobra.Command{
		Use:   "revert [FLAGS] -p PID [NAME]",
		Short: "Take a patch out of a process",
		Long: `revert lets the threads go back to the functions as they were before a patch, under the same rule by which they came: when none of the
new functions is on their stacks. Without a name it is the newest patch. It works in any state: a patch that is being applied
goes back from where it is.

The instructions at the functions' entries are what they were. The patch's memory stays mapped, as the program may hold pointers into it.
A patch whose functions a newer one replaces, too, cannot be reverted before that.

When threads have not gone back after --timeout, they are left on their way; revert again waits for them again.`,
		Example: "  sudo nopal patch revert -p 1234 fix",
		Args:    cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			opts, err := o.options(a, c)
			if err != nil {
				return err
			}
			if len(args) > 1 {
				return usageErrorf(c, "unexpected argument %q", args[1])
			}
			name := strings.Join(args, "")
			ctx, stop := patchContext()
			defer stop()
			res, err := livepatch.Revert(ctx, int(o.pid), name, opts)
			if err != nil || o.quiet {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "%s is reverted, %s went back in %v\n", res.Name, count(res.Threads, "thread"), res.Took.Round(time.Millisecond))
			return err
		},
	}
	o.add(c)
	c.Flags().DurationVar(&o.timeout, "timeout", patchTimeout, "give up when threads have not gone back by then (0: wait)")
	c.Flags().BoolVar(&o.force, "force", false, "at the timeout go on as if all threads had gone back")
	return c
}

var patchFormats = []string{"text", "json"}

func newPatchStatus(a *app) *cobra.Command {
	var pid pidFlag
	format := patchFormats[0]
	c := &cobra.Command{
		Use:   "status [FLAGS] -p PID",
		Short: "Show the patches of a process and which threads have not gone over",
		Long: `status shows the patches that a process has or had, and their states:

  pending      the object is not loaded, and a nopal patch apply --wait or --watch waits for it
  transition   threads are going over; those that have not are listed, with the function that they are in
  applied      all threads run the new functions
  reverted     all threads run what was there before
  replaced     a patch that supersedes all others has come
  unloaded     the object has been unloaded, and the patch with it

It is read from the process's memory, which is not stopped for it.`,
		Example: "  sudo nopal patch status -p 1234 --format=json",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			st, err := patchesOf(c, pid)
			if err != nil {
				return err
			}
			if format == "json" {
				text, err := json.Marshal(st)
				if err == nil {
					_, err = fmt.Fprintf(a.stdout, "%s\n", text)
				}
				return err
			}
			return a.printPatches(st, int(pid))
		},
	}
	c.Flags().VarP(&pid, "pid", "p", "the process")
	c.Flags().Var(&enumFlag{value: &format, values: patchFormats, name: "format"}, "format", "text or json")
	completeEnum(c, "format", patchFormats)
	return c
}

// patchesOf looks at the patches of the process that -p gives.
func patchesOf(c *cobra.Command, pid pidFlag) (*livepatch.Status, error) {
	if pid == 0 {
		return nil, usageErrorf(c, "which process? give it with -p PID")
	}
	return livepatch.StatusOf(int(pid))
}

func (a *app) printPatches(st *livepatch.Status, pid int) error {
	if len(st.Patches) == 0 {
		_, err := fmt.Fprintf(a.stdout, "process %d has no patches\n", pid)
		return err
	}
	for _, q := range st.Patches {
		state := q.State
		if q.To != "" {
			state += " to the " + q.To + " functions"
		}
		if q.State == "pending" {
			state = "pending, waits for its object"
			if !q.Watched {
				state = "pending, but no nopal waits for its object"
			}
		}
		if _, err := fmt.Fprintf(a.stdout, "%s: %s, %s in %s\n", q.Name, state, count(len(q.Functions), "function"), q.Object); err != nil {
			return err
		}
		for _, n := range q.Where {
			if _, err := fmt.Fprintf(a.stdout, "  thread %d %s\n", n.TID, n.Where); err != nil {
				return err
			}
		}
	}
	return nil
}

func newPatchList(a *app) *cobra.Command {
	var pid pidFlag
	c := &cobra.Command{
		Use:     "list -p PID",
		Short:   "List the functions that are replaced in a process",
		Long:    `list shows which functions of a process are replaced, and by which patch, the oldest patch first.`,
		Example: "  sudo nopal patch list -p 1234",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			st, err := patchesOf(c, pid)
			if err != nil {
				return err
			}
			for _, q := range st.Patches {
				if q.State != "applied" && q.State != "transition" {
					continue
				}
				for _, f := range q.Functions {
					if _, err := fmt.Fprintf(a.stdout, "%s\t%s\t%s\n", q.Name, f, q.Object); err != nil {
						return err
					}
				}
			}
			return nil
		},
	}
	c.Flags().VarP(&pid, "pid", "p", "the process")
	return c
}
