package livepatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nopal/internal/entry"
	"nopal/internal/tracee"
)

// ErrNoPatch says that a process has no such patch.
var ErrNoPatch = errors.New("no such patch is applied")

// Revert takes a patch out of a process; the newest, if it has no name. A patch that another
// nopal is applying is reverted by that.
func Revert(ctx context.Context, pid int, name string, o Options) (*Result, error) {
	fail := func(err error) (*Result, error) {
		if name == "" {
			return nil, fmt.Errorf("revert patch of process %d: %w", pid, err)
		}
		return nil, fmt.Errorf("revert patch %s of process %d: %w", name, pid, err)
	}
	p, err := openProcess(pid)
	for errors.Is(err, tracee.ErrTraced) {
		if asked, wishErr := wishFor(ctx, pid, name); asked != "" || wishErr != nil {
			if wishErr != nil {
				return fail(wishErr)
			}
			return &Result{Name: asked}, nil
		}
		// That one has ended, or it is a debugger.
		if st, statErr := tracee.Status(pid); statErr != nil || st.TracerPid != 0 {
			break
		}
		p, err = openProcess(pid)
	}
	if err != nil {
		return fail(err)
	}
	defer p.close()
	if p.state == nil {
		return fail(ErrNoPatch)
	}
	doc := &p.state.doc
	if err := p.noteUnloaded(o); err != nil {
		return fail(err)
	}
	if tr := doc.Transition; tr != nil && (name == "" || tr.Patch == name) {
		// Left by a nopal that was killed: it goes back from where it is.
		name = tr.Patch
		tr.ToNew, tr.Pending = false, nil
		q := doc.patch(name)
		if q != nil && q.State == stateLoading { // nothing leads there
			doc.Transition, q.State = nil, stateReverted
		}
		if err := p.state.save(); err != nil {
			return fail(err)
		}
		if doc.Transition == nil {
			return &Result{Name: name, Functions: len(q.Funcs)}, nil
		}
		res, err := p.goOver(ctx, o)
		if err != nil {
			return fail(err)
		}
		return res, nil
	}
	for _, q := range doc.Patches {
		if q.State == stateLoading && (name == "" || name == q.Name) {
			name = q.Name
			return &Result{Name: name}, p.recover(ctx, o)
		}
	}
	if err := p.recover(ctx, o); err != nil {
		return fail(err)
	}
	if name == "" {
		if active := doc.active(); len(active) > 0 {
			name = active[0].Name
		} else {
			name = doc.absent()
		}
	}
	q := doc.patch(name)
	switch {
	case q == nil || q.State == stateReverted || q.State == stateReplaced:
		return fail(ErrNoPatch)
	case q.State == statePending || q.State == stateUnloaded:
		if err := p.revertAbsent(ctx, q, o); err != nil {
			return fail(err)
		}
		return &Result{Name: name, Functions: len(q.Funcs)}, nil
	}
	for i := range q.Funcs {
		if a := p.above(q, &q.Funcs[i]); a != nil {
			return fail(fmt.Errorf("patch %s, which is newer, replaces %s, too: revert that first", a.Name, q.Funcs[i].Name))
		}
	}
	ret, err := p.callback(ctx, "nopal_pre_unpatch", q.Calls.PreUnpatch)
	if err == nil && ret != 0 {
		err = fmt.Errorf("the patch does not want to be reverted: its nopal_pre_unpatch returned %d", ret)
	}
	if err != nil {
		return fail(err)
	}
	doc.Transition = &transitionState{Patch: q.Name}
	if err := p.state.save(); err != nil {
		return fail(err)
	}
	res, err := p.goOver(ctx, o)
	if err != nil {
		return fail(err)
	}
	return res, nil
}

// wishFor asks the nopal that is applying a patch to revert it, and waits until it has.
// It gives the name of that patch, "" if there is none.
func wishFor(ctx context.Context, pid int, name string) (asked string, err error) {
	mem, err := tracee.OpenMemory(pid)
	if err != nil {
		return "", err
	}
	defer mem.Close()
	s, err := findState(pid, mem)
	if err != nil || s == nil {
		return "", err
	}
	tr := s.doc.Transition
	if tr == nil || name != "" && tr.Patch != name {
		return "", nil
	}
	name = tr.Patch
	if err := s.put(headWish, wishRevert); err != nil {
		return name, err
	}
	for {
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return name, err
		}
		if st, err := tracee.Status(pid); err == nil && st.TracerPid == 0 {
			return "", nil // killed
		}
		if _, err := s.load(); err != nil {
			if _, gone := tracee.Status(pid); gone != nil {
				return name, tracee.ErrExited
			}
			continue // it is being written
		}
		if q := s.doc.patch(name); q != nil && q.State == stateReverted {
			return name, nil
		} else if q != nil && q.State == stateApplied && s.doc.Transition == nil {
			return name, errors.New("it was applied before it could be reverted: revert it again")
		}
	}
}

// addOriginals adds to a patch that supersedes all others of its object the functions that
// those replace and it does not: their new version is the one that was compiled.
func (p *process) addOriginals(q *patchState) {
	for _, other := range p.state.doc.active() {
		if other.BuildID != q.BuildID || other.Bias != q.Bias {
			continue
		}
		for _, f := range other.Funcs {
			if q.function(f.Site) == nil {
				f.Original, f.New = true, f.Old
				q.Funcs = append(q.Funcs, f)
			}
		}
	}
}

// supersede makes a patch, to which all threads have gone over, the only one of its
// object: when it is reverted, the functions are what they were compiled as.
func (p *process) supersede(q *patchState) error {
	for i := range q.Funcs {
		f := &q.Funcs[i]
		// Nobody is on the old way any more.
		old, err := oldWay(f.Stub, f.redirect(), f.Word)
		if err != nil {
			return err
		}
		for i := len(old) - 1; i >= 0; i-- {
			if err := p.text().Store(f.Stub+entry.PatchStubOld+4*uint64(i), old[i]); err != nil {
				return err
			}
		}
	}
	for _, other := range p.state.doc.active() {
		if other != q && other.BuildID == q.BuildID && other.Bias == q.Bias {
			other.State = stateReplaced
		}
	}
	return nil
}
