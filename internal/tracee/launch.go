package tracee

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"nopal/internal/sys"
)

// undoTimeout bounds what is done to leave a process as it was when something failed.
const undoTimeout = 5 * time.Second

// LaunchOptions say what to run.
type LaunchOptions struct {
	Path  string   // looked for in PATH unless it has a slash
	Argv  []string // with argv[0]
	Env   []string // nil: nopal's own
	Dir   string   // "": nopal's own
	Files []*os.File
	// Files are the descriptors 0, 1, ... of the program; nil: nopal's own 0, 1 and 2.

	Options
}

// Launch starts a program and returns when it is stopped before its first instruction.
//
// It is our child as it would be a shell's: same process group and terminal, signal mask
// and dispositions as nopal got them itself. The program survives nopal. An error for
// which errors.Is(err, fs.ErrNotExist) is true means that there is no such program (status
// 127 to a shell); all others that it cannot be run (126).
func (t *Tracer) Launch(ctx context.Context, o LaunchOptions) (*Process, error) {
	if o.Env == nil {
		o.Env = os.Environ()
	}
	if o.Files == nil {
		o.Files = []*os.File{os.Stdin, os.Stdout, os.Stderr}
	}
	path, err := lookPath(o.Path, o.Env)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", o.Path, err)
	}
	var p *Process
	if doErr := t.do(func() { p, err = t.launch(path, o) }); doErr != nil {
		return nil, doErr
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", o.Path, err)
	}
	if err := p.Stop(ctx); err != nil {
		return nil, fmt.Errorf("run %s: %w", o.Path, err)
	}
	// From here on it survives us.
	if _, err := p.Syscall(ctx, sys.NrPrctl, syscall.PR_SET_PDEATHSIG, 0); err != nil {
		return nil, fmt.Errorf("run %s: %w", o.Path, errors.Join(err, p.Kill(syscall.SIGKILL)))
	}
	return p, nil
}

// launch starts the program by PTRACE_TRACEME, the one way in which os and syscall can
// stop a child at its execve, and then changes over to PTRACE_SEIZE, since only a seized
// process can be left in a group stop: detached with SIGSTOP it stops before its first
// instruction, can be seized there, and is woken again by SIGCONT, of which, like of
// SIGSTOP, it sees nothing.
//
// If nopal is killed before it is in control the child ends, of which nothing has run: one
// that asks to be traced by a parent that is gone would stand still for ever, traced by init.
func (t *Tracer) launch(path string, o LaunchOptions) (*Process, error) {
	attr := &syscall.ProcAttr{
		Dir: o.Dir,
		Env: o.Env,
		Sys: &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL},
	}
	for _, f := range o.Files {
		attr.Files = append(attr.Files, f.Fd())
	}
	pid, err := syscall.ForkExec(path, o.Argv, attr)
	if errors.Is(err, syscall.ENOEXEC) {
		if err := checkFile(path); err != nil {
			return nil, err
		}
		// A script without an interpreter line is run by the shell (execvp, POSIX).
		pid, err = syscall.ForkExec("/bin/sh", append([]string{"sh", path}, o.Argv[min(1, len(o.Argv)):]...), attr)
	}
	if err != nil {
		return nil, err
	}
	if err := seizeStopped(pid); err != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		for {
			if ws, waitErr := sys.WaitStopped(pid); waitErr != nil || !ws.Stopped() {
				break
			}
		}
		return nil, fmt.Errorf("take control of process %d: %w", pid, err)
	}
	p := t.newProcess(pid)
	p.launched, p.attached, p.follow, p.wantStop = true, true, o.Follow, true
	th := t.addThread(p, pid)
	if err := sys.PtraceSetOptions(pid, p.options()); err != nil {
		return nil, fmt.Errorf("set trace options of process %d: %w", pid, err)
	}
	th.state, th.stopSig = threadHeld, syscall.SIGTRAP
	return p, nil
}

// seizeStopped leads a child from the stop at its execve under PTRACE_TRACEME to
// PTRACE_EVENT_STOP under PTRACE_SEIZE.
func seizeStopped(pid int) error {
	expect := func(what string, ok func(syscall.WaitStatus) bool) error {
		ws, err := sys.WaitStopped(pid)
		switch {
		case err != nil:
			return err
		case !ws.Stopped():
			return &ExitError{Pid: pid, Status: exitStatus(ws)}
		case !ok(ws):
			return fmt.Errorf("%s expected, got wait status %#x", what, uint32(ws))
		}
		return nil
	}
	signal := func(sig syscall.Signal) func(syscall.WaitStatus) bool {
		return func(ws syscall.WaitStatus) bool { return ws.StopSignal() == sig && int(ws)>>16 == 0 }
	}
	if err := expect("stop at execve", signal(syscall.SIGTRAP)); err != nil {
		return err
	}
	// Nothing but what we send is to be delivered in here.
	mask, err := sys.PtraceGetSigMask(pid)
	if err != nil {
		return err
	}
	const blockAllButCont = ^uint64(1 << (syscall.SIGCONT - 1))
	if err := sys.PtraceSetSigMask(pid, blockAllButCont); err != nil {
		return err
	}
	if err := sys.PtraceDetach(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	if err := expect("group stop", signal(syscall.SIGSTOP)); err != nil {
		return err
	}
	if err := sys.PtraceSeize(pid, 0); err != nil {
		return permission(err)
	}
	if err := expect("stop of the seized", isEventStop); err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		return err
	}
	// The end of the group stop is reported first, then the signal, which is dropped.
	for {
		if err := sys.PtraceCont(pid, 0); err != nil {
			return err
		}
		cont := false
		if err := expect("SIGCONT", func(ws syscall.WaitStatus) bool {
			cont = signal(syscall.SIGCONT)(ws)
			return cont || isEventStop(ws)
		}); err != nil {
			return err
		}
		if cont {
			break
		}
	}
	if err := sys.PtraceInterrupt(pid); err != nil {
		return err
	}
	if err := sys.PtraceCont(pid, 0); err != nil {
		return err
	}
	if err := expect("stop before the first instruction", isEventStop); err != nil {
		return err
	}
	return sys.PtraceSetSigMask(pid, mask)
}

// lookPath finds a program as execvp does: the first file of the name that can be
// executed; where there are only others, permission is denied.
func lookPath(name string, env []string) (string, error) {
	if name == "" {
		return "", syscall.ENOENT
	}
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := "/usr/local/bin:/usr/bin:/bin"
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	err := error(syscall.ENOENT)
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			dir = "."
		}
		file := dir + "/" + name
		info, statErr := os.Stat(file)
		switch {
		case errors.Is(statErr, os.ErrPermission):
			err = syscall.EACCES
		case statErr != nil:
		case info.IsDir() || info.Mode()&0o111 == 0:
			err = syscall.EACCES
		default:
			return file, nil
		}
	}
	return "", err
}
