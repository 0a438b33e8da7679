package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"

	"nopal/internal/ftrace"
	"nopal/internal/image"
	"nopal/internal/session"
)

// sitesOfProcess lists all objects that a process has mapped, and what is armed in them.
func (a *app) sitesOfProcess(pid int, filter *ftrace.Filter, format string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	status, err := session.Status(ctx, pid)
	if err != nil {
		return err
	}
	if len(status.Objects) == 0 {
		return whyNoObjects(pid)
	}
	list := &siteList{filter: filter}
	for _, o := range status.Objects {
		list.addImage(o.Image, o.Bias, func(site uint64) (string, []string) {
			state := o.Sites[site]
			return state.Flags(), state.Ops
		})
	}
	if status.By != 0 && !status.Alive {
		a.warn("what is armed in process %d was left by nopal %d, which is gone: `nopal detach -p %d` removes it", pid, status.By, pid)
	}
	return a.printSites(list, format, true, fmt.Sprintf("process %d", pid))
}

// whyNoObjects explains a process that nothing of can be read: most likely it is a program for another machine.
func whyNoObjects(pid int) error {
	im, err := image.Open(fmt.Sprintf("/proc/%d/exe", pid), image.Options{})
	if err != nil {
		return err
	}
	return errors.Join(noSites(fmt.Sprintf("process %d", pid)), im.Close())
}
