package session

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"nopal/internal/ring"
	"nopal/internal/tracee"
)

// DetachReport says what was found in a process and what has become of it.
type DetachReport struct {
	Found    bool
	Sites    int  // instructions put back
	Unmapped bool // all our memory is gone
	Message  string
}

// Detach takes out of a process what a nopal has left that was killed.
func Detach(ctx context.Context, pid int) (DetachReport, error) {
	mem, err := tracee.OpenMemory(pid)
	if err != nil {
		return DetachReport{}, err
	}
	defer mem.Close()
	s, found, err := findState(pid, mem)
	if err != nil {
		return DetachReport{}, err
	}
	if !found && len(ourFDs(pid)) == 0 {
		return DetachReport{Message: fmt.Sprintf("process %d: nothing of nopal in it", pid)}, nil
	}
	if by := recordedBy(s, mem); by != 0 {
		return DetachReport{Found: true}, &BusyError{PID: pid, By: by}
	}
	r := newRemover(pid, mem, s)
	if r.disarm() != nil || r.plan() != nil {
		r.batch = nil // tried again, and its error told, when the threads are stopped
	}
	tr := tracee.NewTracer()
	defer tr.Close()
	p, err := tr.Attach(ctx, pid, tracee.Options{})
	if err != nil {
		return DetachReport{Found: true}, err
	}
	report, err := r.report(ctx, p)
	if err == nil {
		err = closeFDs(ctx, p)
	}
	if e := p.Detach(ctx); e != nil && err == nil && !notThere(e) {
		err = e
	}
	return report, err
}

// report finishes the removal from a stopped process and says what has come of it.
func (r *remover) report(ctx context.Context, p *tracee.Process) (DetachReport, error) {
	report := DetachReport{Found: true}
	var err error
	report.Unmapped, err = r.finish(ctx, p)
	report.Sites = r.restored
	switch {
	case err != nil && notThere(err):
		report.Message = fmt.Sprintf("process %d has ended meanwhile", p.Pid())
		report.Unmapped = true
		return report, nil
	case err != nil:
		return report, fmt.Errorf("remove nopal from process %d: %w", p.Pid(), err)
	case len(r.changed) > 0:
		report.Message = fmt.Sprintf("process %d: %d instructions put back; left alone, since something else has changed them: %s",
			p.Pid(), r.restored, strings.Join(r.changed, ", "))
	case !report.Unmapped:
		report.Message = fmt.Sprintf("process %d: %d instructions put back; a thread is still in a signal handler on top of nopal's code, or in an exception that passes through it; the code stays mapped (harmless): run nopal detach -p %d again later",
			p.Pid(), r.restored, p.Pid())
	default:
		report.Message = fmt.Sprintf("process %d: %d instructions put back, nothing of nopal is left in it", p.Pid(), r.restored)
	}
	return report, nil
}

// ourFDs are the descriptors of a ring that a process has: one stays behind when nopal
// is killed between making it and closing it there.
func ourFDs(pid int) []int {
	var fds []int
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // gone, which shows elsewhere
	}
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, memfdPrefix) && !strings.HasPrefix(to, patchPrefix) {
			if fd, err := strconv.Atoi(e.Name()); err == nil {
				fds = append(fds, fd)
			}
		}
	}
	return fds
}

func closeFDs(ctx context.Context, p *tracee.Process) error {
	for _, fd := range ourFDs(p.Pid()) {
		if err := p.CloseFD(ctx, fd); err != nil && !notThere(err) {
			return err
		}
	}
	return nil
}

// recordedBy returns the pid of the nopal that records into a state, 0 if it is gone.
func recordedBy(s ring.State, mem *tracee.Memory) int {
	if s.Session == 0 || s.Session == os.Getpid() {
		return 0
	}
	// A forked child that is not followed has its parent's ring, but its control
	// block was wiped.
	if owner, err := mem.ReadUint64(s.Control + 8); err != nil || owner == 0 {
		return 0
	}
	// The pid may be another program's by now. One that records has the ring mapped.
	maps, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.Session), "maps"))
	if err != nil || !strings.Contains(string(maps), memfdPrefix) {
		return 0
	}
	return s.Session
}
