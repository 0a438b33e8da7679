package main

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"nopal/internal/livepatch"
)

func newPatchBuild(a *app) *cobra.Command {
	var o livepatch.BuildOptions
	var output string
	c := &cobra.Command{
		Use:   "build [FLAGS] -o FILE.npz --target OLD NEW.o...",
		Short: "Make a patch of new object files",
		Long: `build makes a patch: it compares the functions of object files with those of the program or library OLD, and puts what has
changed into FILE.npz, with all that the new code needs. It tells what will be replaced and what comes along.

The object files are what the compiler makes of the changed sources with -c, with the flags that OLD was compiled with; flags of
its own are not needed, but -fdata-sections where build asks for it. OLD has to be the very file that runs (its build-id says
so), or the same before it was stripped: static functions and variables are found by its symbol table.

A function is replaced if OLD has one of that name with other code, and a site (two NOPs at its entry). main is left out unless
it is asked for, since it never ends. Functions that OLD does not have come along. References of the new code are to
  functions of OLD, the replaced ones included   at their old place, so pointers to them stay equal
  variables of OLD, static ones included         to OLD's own: a patch has no second copy, and sets no new initial value
  constants, strings, new variables              to the patch's
  all else                                       to what the objects of the process export, when the patch is applied

What cannot be patched is refused with the reason: a variable whose size has changed, a new thread-local variable, constructors,
indirect functions (ifunc), functions without a site. What build cannot see: functions that were inlined into callers that are not
among the objects keep the old code there, and data whose meaning has changed but not its size.

A patch can have a say, by functions with these names: int nopal_pre_patch(void) (not 0: the patch is not applied),
void nopal_post_patch(void), int nopal_pre_unpatch(void), void nopal_post_unpatch(void).`,
		Example: `  gcc -O2 -fpatchable-function-entry=2 -c server.c
  nopal patch build -o fix.npz --target /usr/bin/server server.o
  nopal patch build -o fix.npz --target ./libx.so --function parse --function emit x.o`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case o.Target == "":
				return usageErrorf(c, "what is to be patched? give the program or library with --target")
			case output == "":
				return usageErrorf(c, "where to? give the patch a file name with -o")
			case len(args) == 0:
				return usageErrorf(c, "with what? give object files with the new code")
			}
			o.Objects = args
			if o.Name == "" {
				o.Name = strings.TrimSuffix(filepath.Base(output), ".npz")
			}
			if err := livepatch.CheckName(o.Name); err != nil {
				return usageErrorf(c, "%w (--name gives it one)", err)
			}
			return a.buildPatch(o, output)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "write the patch to this `file`")
	c.Flags().StringVar(&o.Target, "target", "", "the program or library to be patched, a `file`")
	c.Flags().StringVar(&o.Name, "name", "", "the `name` of the patch (default: that of its file)")
	c.Flags().StringArrayVarP(&o.Functions, "function", "F", nil, "replace only the function of this `name`; may be given several times")
	c.Flags().StringVar(&o.Source, "source", "", "the objects stand for this source `file` of the target, which several static functions or variables of one name are told apart by")
	c.Flags().BoolVar(&o.Replace, "replace", false, "the patch supersedes all patches of its target that are applied")
	return c
}

func (a *app) buildPatch(o livepatch.BuildOptions, output string) error {
	p, report, err := livepatch.Build(o)
	if err != nil {
		return err
	}
	data, err := p.Encode()
	if err != nil {
		return err
	}
	// What was built is what will be read.
	if _, err := livepatch.Decode(data); err != nil {
		return fmt.Errorf("check patch: %w", err)
	}
	if err := writeWhole(output, data); err != nil {
		return fmt.Errorf("write patch: %w", err)
	}
	for _, note := range report.Notes {
		fmt.Fprintf(a.stderr, "nopal: note: %s\n", note)
	}
	w := bufio.NewWriter(a.stdout)
	printPatch(w, p, report)
	return w.Flush()
}

func printPatch(w io.Writer, p *livepatch.Patch, r *livepatch.Report) {
	fmt.Fprintf(w, "patch %s for %s (build-id %s)\n", p.Name, p.Target.Path, p.Target.BuildID)
	if p.Replace {
		fmt.Fprintln(w, "supersedes all patches that are applied")
	}
	for _, list := range []struct {
		title string
		names []string
	}{
		{"replaced", r.Replaced},
		{"new functions", r.Along},
		{"new variables", r.Data},
		{"looked for in other objects", r.Imports},
	} {
		if len(list.names) == 0 {
			continue
		}
		fmt.Fprintf(w, "%s:\n", list.title)
		for _, name := range list.names {
			fmt.Fprintf(w, "  %s\n", name)
		}
	}
	if r.Unchanged > 0 {
		fmt.Fprintf(w, "unchanged: %d\n", r.Unchanged)
	}
}

// writeWhole makes a file of what is in memory.
func writeWhole(path string, data []byte) error {
	return writeFile(path, nil, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}
