package livepatch

import (
	"context"
	"errors"
	"time"

	"nopal/internal/arch/arm64"
	"nopal/internal/tracee"
)

// mapped reports whether the object of a patch is where it was.
func (p *process) mapped(q *patchState) bool {
	for _, o := range p.objects {
		if o.Bias == q.Bias && o.Image.BuildID == q.BuildID {
			return true
		}
	}
	return false
}

// present reports whether what was patched is still there: the object may have been
// unloaded, and loaded again at the same place.
func (p *process) present(q *patchState) bool {
	if !p.mapped(q) {
		return false
	}
	if tr := p.state.doc.Transition; q.State != stateApplied || tr != nil && tr.Patch == q.Name {
		return true // it may not be redirected yet, or no more
	}
	for i := range q.Funcs {
		f := &q.Funcs[i]
		stub := f.Stub
		if above := p.above(q, f); above != nil {
			stub = above.function(f.Site).Stub
		}
		want, err := arm64.EncodeB(f.redirect(), stub)
		if err != nil {
			return true
		}
		if found, err := p.text().Load(f.redirect()); err == nil && found == want {
			return true
		}
	}
	return false
}

// noteUnloaded notes which patches have gone with their objects.
func (p *process) noteUnloaded(o Options) error {
	doc := &p.state.doc
	var gone []*patchState
	for _, q := range doc.active() {
		if !p.present(q) {
			gone = append(gone, q)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	for _, q := range gone {
		o.log("%s has been unloaded, and patch %s with it", q.Object, q.Name)
		q.State = stateUnloaded
		if doc.Transition != nil && doc.Transition.Patch == q.Name {
			doc.Transition = nil
		}
	}
	return p.state.save()
}

var errUnloaded = errors.New("the object was unloaded meanwhile")

// unloaded looks whether the object of a transition has gone in the middle of it, and notes
// that.
func (t *transition) unloaded(o Options) (bool, error) {
	now, err := objectsOf(t.pid)
	if err != nil {
		return false, err
	}
	t.closeObjects()
	t.objects = now
	if t.mapped(t.patch) {
		return false, nil
	}
	return true, t.noteUnloaded(o)
}

// absent gives the name of the last patch whose object is not there.
func (d *document) absent() (name string) {
	for _, q := range d.Patches {
		if q.State == statePending || q.State == stateUnloaded {
			name = q.Name
		}
	}
	return name
}

// revertAbsent reverts a patch whose object is not there: nothing leads to it.
func (p *process) revertAbsent(ctx context.Context, q *patchState, o Options) error {
	if err := p.discard(ctx); err != nil {
		return err
	}
	o.log("%s is not loaded: there is nothing to take back", q.Object)
	q.State = stateReverted
	return p.state.save()
}

// unmapPatience is how long threads may take to leave the code of a patch whose object is
// gone. There should be none.
const unmapPatience = time.Second

// discard unmaps what is left of patches that have gone with their objects, where
// nobody can run into it any more. It stays where that is not known.
func (p *process) discard(ctx context.Context) error {
	for _, q := range p.state.doc.Patches {
		if q.State != stateUnloaded || len(q.Memory) == 0 || q.Known {
			continue
		}
		ranges := append([]Range{q.Island}, q.Memory...)
		if !p.left(ctx, ranges) {
			continue
		}
		q.Memory, q.Island, q.Funcs, q.Frames = nil, Range{}, nil, Range{}
		if err := p.state.save(); err != nil {
			return err
		}
		p.unwind = nil
		err := p.remotely(ctx, func() error {
			for _, r := range ranges {
				if err := p.p.Munmap(ctx, r.Addr, r.Size); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// left reports whether all threads are known to be outside of some code.
func (p *process) left(ctx context.Context, ranges []Range) bool {
	ctx, cancel := context.WithTimeout(ctx, unmapPatience)
	defer cancel()
	inside := func(pc uint64) bool {
		for _, r := range ranges {
			if r.contains(pc) {
				return true
			}
		}
		return false
	}
	for _, th := range p.p.Threads() {
		if !p.outside(ctx, th, inside) {
			return false
		}
	}
	return true
}

func (p *process) outside(ctx context.Context, th *tracee.Thread, inside func(uint64) bool) bool {
	if err := th.Hold(ctx, holdPatience); err != nil {
		return false
	}
	defer p.release(th)
	regs, err := th.Regs()
	if err != nil || inside(regs.PC()) {
		return false
	}
	frames, err := p.stackOf(&regs)
	if err != nil {
		return false
	}
	for _, f := range frames {
		if inside(f.PC) {
			return false
		}
	}
	return true
}
