package main

import (
	"errors"

	"github.com/spf13/cobra"

	"nopal/internal/analyze"
)

func newInfo(a *app) *cobra.Command {
	var input string
	c := &cobra.Command{
		Use:   "info [-i FILE]",
		Short: "Describe a recording",
		Long: `info says what a recording is of: the command line, machine and clock, the objects with their build-ids, the processes and
threads with the events of each and how many were lost, the functions called most, and what takes how much of the file.

A recording that is cut off or damaged is described as far as it goes; damage makes the exit code 1.`,
		Example: "  nopal info\n  nopal info -i server.data",
		Args:    inputOnly,
		RunE:    func(*cobra.Command, []string) error { return a.info(input) },
	}
	addInput(c, &input)
	return c
}

func (a *app) info(input string) (err error) {
	in, err := openInput(input)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := analyze.Inspect(in)
	if err != nil {
		return inputError(input, err)
	}
	if err := info.WriteText(a.stdout); err != nil {
		return err
	}
	a.warnTruncated(input, info.Truncated && info.Damage == nil)
	if info.Damage != nil {
		return inputError(input, info.Damage)
	}
	return nil
}
