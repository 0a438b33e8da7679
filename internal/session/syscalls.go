package session

import (
	"encoding/binary"
	"fmt"
	"time"

	"nopal/internal/tracee"
)

// noSyscallsAt is the offset of entry.Control.NoSyscalls.
const noSyscallsAt = 48

// syscallsPause is how often a process is asked whether it has a filter by now.
const syscallsPause = 5 * time.Millisecond

// forbidSyscalls makes code in the target read memory without system calls where one
// of its threads filters them: what a filter does not expect may kill the process.
func (t *target) forbidSyscalls() error {
	t.readsAt = time.Now().Add(syscallsPause)
	why := t.unguarded
	tids, err := tracee.Tasks(t.pid)
	if err != nil {
		return nil // it has ended
	}
	for _, tid := range tids {
		if s, err := tracee.Status(tid); err == nil && s.Seccomp != 0 {
			why = tracee.ErrSeccomp
		}
	}
	if why == nil {
		return nil
	}
	var one [8]byte
	binary.LittleEndian.PutUint64(one[:], 1)
	if _, err := t.mem.WriteAt(one[:], int64(t.control+noSyscallsAt)); err != nil {
		return fmt.Errorf("write control block: %w", err)
	}
	t.reads, t.forbidden = false, true // there is no way back
	if !t.rec.o.Args.Empty() {
		t.rec.warn("process %d: of what arguments point to, only what is on a thread's own stack is read: %v", t.pid, why)
	}
	if t.rec.delays() {
		t.rec.warn("process %d: threads that are delayed do not sleep: %v", t.pid, why)
	}
	return nil
}

// forbids reports whether there are no system calls in t, also because a guard said so.
func (t *target) forbids() bool {
	word, err := t.mem.ReadUint64(t.control + noSyscallsAt)
	return t.forbidden || err != nil || word != 0
}

// watchSyscalls looks whether the process has got a filter since.
func (t *target) watchSyscalls() {
	if !t.reads || !t.installed || time.Now().Before(t.readsAt) {
		return
	}
	if err := t.forbidSyscalls(); err != nil && !notThere(err) {
		t.rec.warn("%v", err)
	}
}
