package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// instructions says how many instructions of the processor a pass of the loop around the empty function takes.
type instructions struct {
	Median float64 `json:"median"` // of a usual call
	Mean   float64 `json:"mean"`   // with those that find a buffer full
}

// After warmUp calls, up to stepped of them are single-stepped, fewer where they take longer than patience: a thousand
// instructions for a call, or a busy machine. A page of nopal's has 508 events.
const (
	warmUp   = 30
	stepped  = 1016
	patience = 10 * time.Second
)

// instructions counts them by single steps: in the program itself, under the tool, whatever the tool put into it. System calls count
// as one, and what the kernel does for a breakpoint is not seen.
func (b *bench) instructions(ctx context.Context, p peer) (instructions, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	program, err := filepath.Abs(filepath.Join("build/peers", p.variant, "calls"))
	if err != nil {
		return instructions{}, err
	}
	j, err := b.newJob(nil, "empty")
	if err != nil {
		return instructions{}, err
	}
	defer os.RemoveAll(j.dir)
	j.step = true
	j.argv = []string{program, "step", j.path("addresses")}
	if p.setup != nil {
		if err := p.setup(ctx, j); err != nil {
			return instructions{}, err
		}
	}
	if p.teardown != nil {
		defer p.teardown(context.WithoutCancel(ctx), j)
	}
	cmd, stderr := b.start(ctx, p, j)
	// With a shell between, the program is no child of ours, whose stops os/exec would take for its end.
	cmd.Args = append([]string{"sh", "-c", `"$@"; exit $?`, "sh"}, cmd.Args...)
	if cmd.Path, err = exec.LookPath("sh"); err != nil {
		return instructions{}, err
	}
	if err := cmd.Start(); err != nil {
		return instructions{}, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait()
	}()
	defer func() {
		cancel() // kills the process group
		<-ended
	}()
	t, err := waitTarget(ctx, j.path("addresses"), ended)
	if err != nil {
		return instructions{}, fmt.Errorf("%w: %s", err, telling(stderr.String()))
	}
	defer syscall.Kill(t.pid, syscall.SIGKILL)
	return t.count(ctx)
}

// target is a program that waits to be single-stepped.
type target struct {
	pid           int
	function, run uintptr
}

// waitTarget waits until the program has written where things are.
func waitTarget(ctx context.Context, file string, ended <-chan struct{}) (target, error) {
	for {
		data, err := os.ReadFile(file)
		if err == nil {
			var t target
			if _, err := fmt.Sscanf(string(data), "%d %x %x", &t.pid, &t.function, &t.run); err == nil {
				return t, nil
			}
		}
		select {
		case <-ctx.Done():
			return target{}, ctx.Err()
		case <-ended:
			return target{}, errors.New("the command ended early")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// count steps through the calls and counts the instructions from one arrival at the function to the next.
func (t target) count(ctx context.Context) (instructions, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.PtraceAttach(t.pid); err != nil {
		return instructions{}, fmt.Errorf("attach to process %d: %w", t.pid, err)
	}
	defer syscall.PtraceDetach(t.pid)
	if _, err := t.wait(); err != nil {
		return instructions{}, err
	}
	if _, err := syscall.PtracePokeData(t.pid, t.run, []byte{1, 0, 0, 0}); err != nil {
		return instructions{}, fmt.Errorf("write to process %d: %w", t.pid, err)
	}
	var passes []float64
	began := time.Now()
	for n, seen, deliver := 0, 0, 0; len(passes) < stepped && (time.Since(began) < patience || len(passes) < 10); n++ {
		if err := step(t.pid, deliver); err != nil {
			return instructions{}, fmt.Errorf("step process %d: %w", t.pid, err)
		}
		signal, err := t.wait()
		if err != nil {
			return instructions{}, err
		}
		deliver = 0
		if signal != syscall.SIGTRAP && signal != syscall.SIGSTOP {
			deliver = int(signal)
		}
		var regs syscall.PtraceRegs
		if err := syscall.PtraceGetRegs(t.pid, &regs); err != nil {
			return instructions{}, fmt.Errorf("read the registers of process %d: %w", t.pid, err)
		}
		if regs.PC() == uint64(t.function) {
			if seen++; seen > warmUp {
				passes = append(passes, float64(n))
			}
			n = 0
		}
		if n%4096 == 0 && ctx.Err() != nil {
			return instructions{}, ctx.Err()
		}
	}
	mean := 0.0
	for _, n := range passes {
		mean += n / float64(len(passes))
	}
	slices.Sort(passes)
	return instructions{Median: passes[len(passes)/2], Mean: mean}, nil
}

// wait returns the signal that stopped the process.
func (t target) wait() (syscall.Signal, error) {
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(t.pid, &status, syscall.WALL, nil); err != nil {
		return 0, fmt.Errorf("wait for process %d: %w", t.pid, err)
	}
	if !status.Stopped() {
		return 0, fmt.Errorf("process %d ended", t.pid)
	}
	return status.StopSignal(), nil
}

// step runs one instruction. Unlike syscall.PtraceSingleStep it hands on a signal that the process got.
func step(pid, signal int) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PTRACE, syscall.PTRACE_SINGLESTEP, uintptr(pid), 0, uintptr(signal), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
