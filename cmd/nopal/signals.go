package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"nopal/internal/session"
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
	started := make(chan int, 1)
	o.Started = func(pid int) { started <- pid }
	go func() {
		var command int
		for {
			select {
			case <-ctx.Done():
				return
			case command = <-started:
			case s := <-forwarded:
				if command == 0 {
					cancel() // there is no command yet
				} else {
					// An error says that it has ended, which the session sees too.
					_ = syscall.Kill(command, s.(syscall.Signal))
				}
			}
		}
	}()
	return session.RecordCommand(ctx, o, argv)
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
	snapshot := make(chan os.Signal, 1)
	catch(snapshot, syscall.SIGUSR2)
	defer signal.Stop(snapshot)
	snapshots := make(chan struct{}, 1)
	o.Snapshots = snapshots
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-end:
				cancel()
			case <-snapshot:
				select {
				case snapshots <- struct{}{}:
				default: // one is asked for already
				}
			}
		}
	}()
	return session.RecordPID(ctx, o, pid)
}
