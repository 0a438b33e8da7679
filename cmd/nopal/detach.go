package main

import (
	"context"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"nopal/internal/session"
)

func newDetach(a *app) *cobra.Command {
	var pid pidFlag
	c := &cobra.Command{
		Use:   "detach -p PID",
		Short: "Remove what a killed nopal left in a process",
		Long: `detach puts back every instruction that a nopal which was killed has changed in a process, and takes nopal's memory out of
it. The process is correct without that, too; its calls only cost what they cost while they were recorded.

When there is nothing to remove, detach says so and exits with 0.`,
		Example: "  sudo nopal detach -p 1234",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if pid == 0 {
				return usageErrorf(c, "which process? give it with -p PID")
			}
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			report, err := session.Detach(ctx, int(pid))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, report.Message)
			return err
		},
	}
	c.Flags().VarP(&pid, "pid", "p", "the process")
	return c
}
