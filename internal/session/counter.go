package session

import (
	"errors"

	"nopal/internal/tracee"
)

// errNoCounter says why a process cannot be recorded.
var errNoCounter = errors.New("it runs in seccomp's strict mode, in which the time stamp counter is switched off")

// counterRuns makes sure that the threads of a process may read what events are stamped
// with. On x86-64 strict mode takes that from them: RDTSC is a fault then
// (disable_TSC in kernel/seccomp.c; prctl(2), PR_SET_TSC).
func (mc machine) counterRuns(pid int) error {
	if !mc.strictStopsCounter {
		return nil
	}
	tids, err := tracee.Tasks(pid)
	if err != nil {
		return err
	}
	for _, tid := range tids {
		const strict = 1
		if s, err := tracee.Status(tid); err == nil && s.Seccomp == strict {
			return errNoCounter
		}
	}
	return nil
}
