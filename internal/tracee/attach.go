package tracee

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"nopal/internal/sys"
)

// Options are how a process is to be attached.
type Options struct {
	// Follow its children and its execve: see the package comment.
	Follow bool
}

// Attach takes control of a running process. When it returns, all of the process's
// threads are stopped.
func (t *Tracer) Attach(ctx context.Context, pid int, o Options) (*Process, error) {
	p, err := t.attach(ctx, pid, o)
	if err != nil {
		return nil, fmt.Errorf("attach to process %d: %w", pid, err)
	}
	return p, nil
}

// Check returns the error that Attach would return for what can be seen from outside:
// no such process, not ours to trace, traced already, of another architecture.
func Check(pid int) error {
	if err := attachable(pid); err != nil {
		return fmt.Errorf("attach to process %d: %w", pid, err)
	}
	return nil
}

func (t *Tracer) attach(ctx context.Context, pid int, o Options) (*Process, error) {
	if err := attachable(pid); err != nil {
		if errors.Is(err, ErrTraced) && t.lettingGo(pid) {
			err = ErrExited
		}
		return nil, err
	}
	var p *Process
	var err error
	if doErr := t.do(func() {
		if old := t.procs[pid]; old != nil {
			if old.attached {
				err = fmt.Errorf("%w by this nopal", ErrTraced)
				return
			}
			p = old // our own child, let go before
		} else {
			p = t.newProcess(pid)
		}
		p.attached, p.follow, p.wantStop = true, o.Follow, true
	}); doErr != nil {
		return nil, doErr
	}
	if err != nil {
		return nil, err
	}
	// Threads are born while others are being seized; the children of those that are
	// seized already come by themselves. A look with all stopped that finds nobody new
	// is the last.
	for {
		var found int
		if doErr := t.do(func() { found, err = t.seizeAll(p) }); doErr != nil {
			return nil, doErr
		}
		if err != nil {
			break
		}
		if found == 0 {
			return p, nil
		}
		if err = p.Stop(ctx); err != nil {
			break
		}
	}
	if _, gone := err.(*ExitError); gone {
		return nil, err
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	_ = p.Detach(undo)
	_ = t.do(func() { t.forget(p) })
	return nil, err
}

// lettingGo reports whether it is this tracer that still traces a process, although it has
// detached it: what has been killed cannot be detached, but only reaped.
func (t *Tracer) lettingGo(pid int) bool {
	s, err := Status(pid)
	if err != nil {
		return true
	}
	yes := false
	_ = t.do(func() { yes = s.TracerPid == t.tid && (t.procs[pid] == nil || !t.procs[pid].attached) })
	return yes
}

// forget drops a process that could not be attached.
func (t *Tracer) forget(p *Process) {
	p.attached, p.wantStop, p.follow = false, false, false
	for tid := range p.threads {
		delete(t.threads, tid)
	}
	clear(p.threads)
	if !p.launched && t.procs[p.pid] == p {
		delete(t.procs, p.pid)
		p.mem.Close()
	}
}

// seizeAll seizes and interrupts the threads of p that are not yet in the table, and
// returns how many these are.
func (t *Tracer) seizeAll(p *Process) (int, error) {
	if err := p.exited(); err != nil {
		return 0, err
	}
	found := 0
	// Until a pass finds nobody: the fewer threads run free, the fewer can be born.
	for pass := 0; pass < 100; pass++ {
		tids, err := Tasks(p.pid)
		if err != nil {
			if errors.Is(err, ErrNoProcess) {
				err = ErrExited
			}
			return found, err
		}
		n := 0
		for _, tid := range tids {
			if p.threads[tid] != nil {
				continue
			}
			switch err := sys.PtraceSeize(tid, p.options()); {
			case err == nil:
				t.addThread(p, tid)
				if !p.single {
					_ = sys.PtraceInterrupt(tid) // ESRCH: it has just ended
				}
				n++
			case errors.Is(err, syscall.ESRCH):
			default:
				// EPERM is the answer for a thread that has ended, that the kernel
				// has attached for us at birth, that another one traces, and that
				// we may not trace.
				s, statErr := Status(tid)
				switch {
				case statErr != nil || s.State == 'Z' || s.State == 'X':
				case s.TracerPid == t.tid:
					n++
				case s.TracerPid != 0:
					return found, tracedBy(s.TracerPid)
				default:
					if _, exeErr := Exe(p.pid); exeErr != nil {
						return found, ErrExited // one without memory may not be traced
					}
					return found, permission(err)
				}
			}
		}
		found += n
		if n == 0 {
			break
		}
		p.collect()
	}
	return found, nil
}

// attachable says why a process cannot be attached, if that can be known beforehand.
func attachable(pid int) error {
	if pid <= 0 {
		return ErrNoProcess
	}
	if pid == os.Getpid() {
		return errors.New("a process cannot trace itself")
	}
	s, err := Status(pid)
	if err != nil {
		return err
	}
	switch {
	case s.State == 'Z' || s.State == 'X':
		// The first thread may have ended before the others, which is a way to live.
		if s.Threads <= 1 {
			return ErrZombie
		}
	case s.Tgid != pid:
		return fmt.Errorf("%w: it is a thread of process %d", ErrNoProcess, s.Tgid)
	}
	if s.TracerPid != 0 {
		return tracedBy(s.TracerPid)
	}
	if kernelThread(pid) {
		return fmt.Errorf("%w, %s", ErrKernelThread, s.Name)
	}
	return checkArchitecture(pid)
}

func tracedBy(tracer int) error {
	comm, err := Comm(tracer)
	if err != nil {
		comm = "?"
	}
	return fmt.Errorf("%w by %s (process %d)", ErrTraced, comm, tracer)
}

// permission says what can be done about EPERM.
func permission(err error) error {
	if !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.EACCES) {
		return err
	}
	why := "run nopal as root, or as the process's user"
	if b, readErr := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope"); readErr == nil {
		if scope, _ := strconv.Atoi(strings.TrimSpace(string(b))); scope > 0 && os.Geteuid() != 0 {
			why = fmt.Sprintf("run nopal as root, or let users trace their processes "+
				"(/proc/sys/kernel/yama/ptrace_scope is %d and not 0)", scope)
		} else if scope == 3 {
			why = "/proc/sys/kernel/yama/ptrace_scope is 3: nobody may trace until the next boot"
		}
	} else if os.Geteuid() == 0 {
		why = "root needs CAP_SYS_PTRACE (is this a container?)"
	}
	return fmt.Errorf("%w: %s", ErrPermission, why)
}

// checkArchitecture compares the program with what this nopal can control: registers
// and system calls are those of the machine that it was built for.
func checkArchitecture(pid int) error {
	f, err := os.Open(procPath(withMemory(pid), "exe"))
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return permission(syscall.EACCES)
		}
		return notThere(err)
	}
	defer f.Close()
	return checkProgram(f)
}

// checkFile is checkArchitecture for a file that is to be run.
func checkFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil // which running it says, too
	}
	defer f.Close()
	return checkProgram(f)
}

func checkProgram(f *os.File) error {
	var ident [20]byte
	if _, err := f.ReadAt(ident[:], 0); err != nil {
		return nil // no ELF file: whatever runs it (binfmt_misc), ptrace will tell
	}
	return checkMachine(ident)
}

func checkMachine(ident [20]byte) error {
	if string(ident[:4]) != elf.ELFMAG {
		return nil
	}
	want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
	machine := elf.Machine(uint16(ident[18]) | uint16(ident[19])<<8)
	if ident[elf.EI_DATA] == byte(elf.ELFDATA2MSB) {
		machine = elf.Machine(uint16(ident[19]) | uint16(ident[18])<<8)
	}
	class := elf.Class(ident[elf.EI_CLASS])
	data := elf.Data(ident[elf.EI_DATA])
	if machine != want || class != elf.ELFCLASS64 || data != elf.ELFDATA2LSB {
		return fmt.Errorf("%w: the program is for %s (%v, %v), this nopal for %s: use one built for %[2]s",
			ErrArchitecture, machineName(machine), class, data, machineName(want))
	}
	return nil
}

func machineName(m elf.Machine) string {
	switch m {
	case elf.EM_X86_64:
		return "x86-64"
	case elf.EM_AARCH64:
		return "arm64"
	}
	return strings.TrimPrefix(m.String(), "EM_")
}
