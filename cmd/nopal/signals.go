package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"nopal/internal/session"
	"nopal/internal/tracee"
)

// catch is signal.Notify for those of the signals that nopal was not started with ignored: under nohup, or as a job of a script, a
// signal is to stay ignored, by us and by the command, which inherits it.
func catch(to chan<- os.Signal, signals ...os.Signal) {
	for _, s := range signals {
		if !signal.Ignored(s) {
			signal.Notify(to, s)
		}
	}
}

// recordCommand records a command. The terminal sends its signals to the command as well, which is in the same process group; nopal
// only has to survive them. What may have been sent to nopal alone is handed on. The signals are caught, not ignored: ignoring is
// inherited by exec, catching is not.
func recordCommand(o session.Options, argv []string) (session.Result, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 16)
	catch(signals, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPIPE)
	forwarded := make(chan os.Signal, 16)
	catch(forwarded, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	defer signal.Stop(forwarded)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-forwarded:
				if !forward(s.(syscall.Signal)) {
					cancel() // there is no command yet
				}
			}
		}
	}()
	return session.RecordCommand(ctx, o, argv)
}

// forward hands a signal on to the command, nopal's only child. It reports whether there was one.
func forward(s syscall.Signal) bool {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return false
	}
	found := false
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		// Whoever cannot be looked at has ended meanwhile, and was not ours: ours stays until we have waited for it.
		if status, err := tracee.Status(pid); err == nil && status.PPid == os.Getpid() {
			found = syscall.Kill(pid, s) == nil || found
		}
	}
	return found
}

// recordPID records a running process until a signal asks to end.
func recordPID(o session.Options, pid int) (session.Result, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	end := make(chan os.Signal, 1)
	catch(end, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(end)
	// A message that nobody reads must not kill nopal while its code is in another process.
	pipe := make(chan os.Signal, 1)
	catch(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)
	go func() {
		select {
		case <-ctx.Done():
		case <-end:
			cancel()
		}
	}()
	return session.RecordPID(ctx, o, pid)
}
