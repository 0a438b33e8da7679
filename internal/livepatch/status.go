package livepatch

import (
	"fmt"

	"nopal/internal/tracee"
)

// Status is what a process's patches are doing.
type Status struct {
	Patches []PatchStatus `json:"patches"`
}

// PatchStatus is one patch, as the process says.
type PatchStatus struct {
	Name    string `json:"name"`
	State   string `json:"state"`   // pending, transition, applied, reverted, replaced, unloaded
	Pending []int  `json:"pending"` // ids of threads that have not gone over
	// Where says for each of them why.
	Where   []PendingThread `json:"where,omitempty"`
	To      string          `json:"to,omitempty"` // of a transition: the new functions or the old ones
	Object  string          `json:"object"`
	BuildID string          `json:"build_id"`
	// Watched says of a pending one that a nopal waits for its object.
	Watched   bool     `json:"watched,omitempty"`
	Functions []string `json:"functions"`
}

// PendingThread is a thread that has not gone over.
type PendingThread struct {
	TID   int    `json:"tid"`
	Where string `json:"where"`
}

// StatusOf reads the state of a process's patches. It stops nothing.
func StatusOf(pid int) (*Status, error) {
	fail := func(err error) (*Status, error) {
		return nil, fmt.Errorf("read patches of process %d: %w", pid, err)
	}
	mem, err := tracee.OpenMemory(pid)
	if err != nil {
		return fail(err)
	}
	defer mem.Close()
	var s *state
	for try := 0; ; try++ {
		// Another nopal may be writing it.
		if s, err = findState(pid, mem); err == nil || try == 10 {
			break
		}
	}
	if err != nil {
		return fail(err)
	}
	st := &Status{Patches: []PatchStatus{}}
	if s == nil {
		return st, nil
	}
	p := &process{pid: pid, mem: mem, state: s}
	if p.objects, err = objectsOf(pid); err != nil {
		return fail(err)
	}
	defer p.closeObjects()
	for _, q := range s.doc.Patches {
		one := PatchStatus{Name: q.Name, State: q.State, Pending: []int{}, Object: q.Object, BuildID: q.BuildID, Functions: []string{}}
		switch {
		case q.State == stateLoading:
			one.State = stateTransition
		case q.State == statePending:
			one.Watched = s.doc.watched(pid)
		case (q.State == stateApplied || q.State == stateTransition) && !p.present(q):
			one.State = stateUnloaded
		}
		for _, f := range q.Funcs {
			if !f.Original {
				one.Functions = append(one.Functions, f.Name)
			}
		}
		if tr := s.doc.Transition; tr != nil && tr.Patch == q.Name && one.State != stateUnloaded && !q.over() {
			one.State, one.To = stateTransition, oldFunctions.String()
			if tr.ToNew {
				one.To = newFunctions.String()
			}
			for _, n := range tr.Pending {
				one.Pending = append(one.Pending, n.TID)
				one.Where = append(one.Where, PendingThread(n))
			}
		}
		st.Patches = append(st.Patches, one)
	}
	return st, nil
}
