package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// pager is where a long report goes: a program that shows it by the page, or the standard output itself.
type pager struct {
	*os.File
	command *exec.Cmd // nil: there is none
	signals chan os.Signal
}

// startPager starts what the user pages with, if the report goes to a terminal. A pager that cannot be started is none.
func (a *app) startPager(off bool) *pager {
	direct := &pager{File: a.stdout}
	if off || !term.IsTerminal(int(a.stdout.Fd())) {
		return direct
	}
	words := pagerCommand()
	if words == nil {
		return direct
	}
	p := &pager{command: exec.Command(words[0], words[1:]...), signals: make(chan os.Signal, 1)}
	r, w, err := os.Pipe()
	if err != nil {
		return direct
	}
	defer r.Close()
	p.command.Stdin, p.command.Stdout, p.command.Stderr = r, a.stdout, a.stderr
	p.command.Env = os.Environ()
	if os.Getenv("LESS") == "" {
		// Quit if all fits on a screen, show colours, leave the text there: git's choice.
		p.command.Env = append(p.command.Env, "LESS=FRX")
	}
	// The pager decides about ^C: nopal must not leave the terminal to it and to the shell at once. A signal that is caught,
	// unlike one that is ignored, is not so for the pager.
	catch(p.signals, syscall.SIGINT, syscall.SIGQUIT)
	if err := p.command.Start(); err != nil {
		signal.Stop(p.signals)
		w.Close()
		return direct
	}
	p.File = w
	return p
}

// pagerCommand is $PAGER, which may have arguments, or less; nil for none.
func pagerCommand() []string {
	if words, ok := os.LookupEnv("PAGER"); ok {
		if words == "" || words == "cat" {
			return nil
		}
		return []string{"/bin/sh", "-c", words}
	}
	less, err := exec.LookPath("less")
	if err != nil {
		return nil
	}
	return []string{less}
}

// Close waits until the user has seen enough.
func (p *pager) Close() error {
	if p.command == nil {
		return nil
	}
	defer signal.Stop(p.signals)
	err := p.File.Close()
	var exit *exec.ExitError
	if werr := p.command.Wait(); werr != nil && !errors.As(werr, &exit) {
		err = errors.Join(err, werr)
	}
	return err
}
