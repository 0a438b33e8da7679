package livepatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"nopal/internal/arch/arm64"
	"nopal/internal/entry"
	"nopal/internal/sys"
	"nopal/internal/tracee"
)

// Options say how a patch is applied or reverted.
type Options struct {
	// Timeout is how long threads may take to go over; then the transition goes
	// backwards. 0: as long as it takes.
	Timeout time.Duration
	// Force lets the threads that have not gone over by then go over wherever they are.
	Force bool
	// Log is told what happens, if it is not nil.
	Log func(format string, args ...any)
}

func (o *Options) log(format string, args ...any) {
	if o.Log != nil {
		o.Log(format, args...)
	}
}

// Result is what has come of a transition.
type Result struct {
	Name      string // of the patch
	Functions int
	Threads   int           // how many went over
	Took      time.Duration // until all had
	Longest   time.Duration // for which a thread stood still, as nopal sees it
}

// Apply applies a patch to a process.
func Apply(ctx context.Context, pid int, patch *Patch, o Options) (*Result, error) {
	fail := func(err error) (*Result, error) {
		return nil, fmt.Errorf("apply patch %s to process %d: %w", patch.Name, pid, err)
	}
	p, err := openProcess(pid)
	if err != nil {
		return fail(err)
	}
	defer p.close()
	if err := p.ready(ctx, patch.Name, o); err != nil {
		return fail(err)
	}
	res, err := p.applyPatch(ctx, patch, o)
	if err != nil {
		return fail(err)
	}
	return res, nil
}

func (p *process) applyPatch(ctx context.Context, patch *Patch, o Options) (*Result, error) {
	im, err := patch.Link(p)
	if err != nil {
		return nil, err
	}
	return p.apply(ctx, patch.Name, patch.Replace, patch.Functions(), im, o)
}

// ready finishes what was left in the process and looks whether a patch of a name can come.
func (p *process) ready(ctx context.Context, name string, o Options) error {
	if p.state == nil {
		return nil
	}
	if err := p.recover(ctx, o); err != nil {
		return err
	}
	q := p.state.doc.patch(name)
	switch {
	case q == nil || q.over():
		return nil
	case q.State != statePending:
		return fmt.Errorf("it is %s already", q.State)
	case p.state.doc.watched(p.pid):
		return fmt.Errorf("nopal %d waits for its object already", p.state.doc.Loader.Watcher)
	}
	return nil
}

// apply maps an image and makes a transition to it.
func (p *process) apply(ctx context.Context, name string, replace bool, funcs []Func, im *Image, o Options) (*Result, error) {
	if err := p.makeState(ctx); err != nil {
		return nil, err
	}
	q, err := p.plan(name, funcs, im)
	if err != nil {
		return nil, err
	}
	q.Replace = replace
	if replace {
		p.addOriginals(q)
	}
	if err := p.arrange(q, im); err != nil {
		return nil, err
	}
	if err := p.load(ctx, q, im); err != nil {
		return nil, err
	}
	p.unwind = nil // it is to know the new code
	ret, err := p.callback(ctx, "nopal_pre_patch", q.Calls.PrePatch)
	if err == nil && ret != 0 {
		err = fmt.Errorf("the patch does not want to be applied: its nopal_pre_patch returned %d", ret)
	}
	if err != nil {
		q.State = stateReverted
		return nil, errors.Join(err, p.state.save())
	}
	p.state.doc.Transition = &transitionState{Patch: q.Name, ToNew: true}
	if err := p.state.save(); err != nil {
		return nil, err
	}
	return p.goOver(ctx, o)
}

// plan decides where everything is to be, and changes nothing.
func (p *process) plan(name string, funcs []Func, im *Image) (*patchState, error) {
	q := &patchState{Name: name, State: stateLoading, Object: im.Target.Image.Path, BuildID: im.Target.Image.BuildID,
		Bias: im.Target.Bias, Frames: im.EHFrame, Calls: im.Callbacks}
	bias := im.Target.Bias
	for _, fn := range funcs {
		f := funcState{Name: fn.Name, Site: fn.SiteVA + bias, Old: []Range{{fn.OldVA + bias, fn.OldSize}}}
		for _, e := range fn.Extra {
			f.Old = append(f.Old, Range{e[0] + bias, e[1] - e[0]})
		}
		new, ok := im.New[fn.Name]
		if !ok {
			return nil, fmt.Errorf("no new %s in the patch", fn.Name)
		}
		f.New = []Range{new}
		for _, part := range im.Funcs {
			if strings.HasPrefix(part.Name, fn.Name+".") {
				f.New = append(f.New, part.Range)
			}
		}
		if err := p.place(&f, im.Target); err != nil {
			return nil, err
		}
		if err := p.unchanged(im, &fn, &f); err != nil {
			return nil, err
		}
		q.Funcs = append(q.Funcs, f)
	}
	if len(q.Funcs) == 0 {
		return nil, errors.New("it replaces no function")
	}
	for _, fn := range im.Funcs {
		q.Known = q.Known || strings.HasSuffix(fn.Name, gated)
	}
	for _, s := range im.Segments {
		q.Memory = append(q.Memory, Range{s.Addr, s.Size})
	}
	return q, nil
}

// arrange decides where the island of a patch is to be, and its stubs.
func (p *process) arrange(q *patchState, im *Image) error {
	blob, err := entry.LoadPatch()
	if err != nil {
		return err
	}
	lo, hi := ^uint64(0), uint64(0)
	size := uint64(len(blob.Code))
	for i := range q.Funcs {
		f := &q.Funcs[i]
		lo, hi = min(lo, f.Site), max(hi, f.Site+bodyOffset+4)
		f.Stub = size
		size += f.stubs() * entry.PatchStubSize
	}
	size = (size + placeAlign - 1) &^ (placeAlign - 1)
	// What the patch is going to have is not mapped yet.
	maps, err := tracee.Maps(p.pid)
	if err != nil {
		return err
	}
	at, err := findPlace(taken(maps, im.Range), size, lo, hi)
	if err != nil {
		return err
	}
	q.Island = Range{at, size}
	for i := range q.Funcs {
		q.Funcs[i].Stub += at
	}
	return nil
}

// taken adds a range to a memory map.
func taken(maps []tracee.Mapping, r Range) []tracee.Mapping {
	list := make([]tracee.Mapping, 0, len(maps)+1)
	done := false
	for _, m := range maps {
		if !done && m.Start >= r.Addr+r.Size {
			list = append(list, tracee.Mapping{Start: r.Addr, End: r.Addr + r.Size})
			done = true
		}
		list = append(list, m)
	}
	if !done {
		list = append(list, tracee.Mapping{Start: r.Addr, End: r.Addr + r.Size})
	}
	return list
}

// unchanged compares a function in memory with its file. Other patches' redirects and a
// tracer's calls and stubs may be there; anything else is not what the patch was
// made for.
func (p *process) unchanged(im *Image, fn *Func, f *funcState) error {
	want := make([]byte, fn.OldSize)
	if _, err := im.Target.Image.ReadVA(want, fn.OldVA); err != nil {
		return fmt.Errorf("compare %s with its file: %w", fn.Name, err)
	}
	have := make([]byte, fn.OldSize)
	if _, err := p.mem.ReadAt(have, int64(f.Old[0].Addr)); err != nil {
		return fmt.Errorf("compare %s with its file: %w", fn.Name, err)
	}
	for off := uint64(0); off+4 <= fn.OldSize; off += 4 {
		a, b := le.Uint32(want[off:]), le.Uint32(have[off:])
		addr := f.Old[0].Addr + off
		if a == b || addr >= f.Site && addr < f.Site+bodyOffset || arm64.Classify(b) == arm64.KindB && leaves(a) || addr == f.redirect() {
			continue
		}
		return fmt.Errorf("%s at %#x is %08x in memory and %08x in %s: it has been changed", fn.Name, addr, b, a, im.Target.Image.Path)
	}
	return nil
}

// leaves reports whether an instruction may be a function's exit, which a tracer replaces.
func leaves(insn uint32) bool {
	switch arm64.Classify(insn) {
	case arm64.KindRET, arm64.KindRETAA, arm64.KindRETAB, arm64.KindB, arm64.KindBR, arm64.KindBRA:
		return true
	}
	return false
}

// load maps and writes a patch, to which nothing leads yet.
func (p *process) load(ctx context.Context, q *patchState, im *Image) error {
	// One of the same name that has been reverted is not named any more; its memory stays,
	// as the program may hold pointers into it.
	doc := &p.state.doc
	for i, old := range doc.Patches {
		if old.Name == q.Name && (old.over() || old.State == statePending) {
			doc.Patches = append(doc.Patches[:i:i], doc.Patches[i+1:]...)
			break
		}
	}
	doc.Patches = append(doc.Patches, q)
	if err := p.state.save(); err != nil {
		return err
	}
	err := p.remotely(ctx, func() error {
		for _, s := range im.Segments {
			if err := p.mapAt(ctx, s.Addr, s.Size, protOf(s.Prot), -1); err != nil {
				return err
			}
		}
		return p.mapAt(ctx, q.Island.Addr, q.Island.Size, sys.ProtRead|sys.ProtExec, -1)
	})
	if err != nil {
		return err
	}
	for _, s := range im.Segments {
		if _, err := p.mem.WriteAt(s.Data, int64(s.Addr)); err != nil {
			return fmt.Errorf("write patch: %w", err)
		}
	}
	return p.writeIsland(q)
}

func protOf(prot Prot) int {
	n := 0
	for _, b := range []struct {
		have Prot
		bit  int
	}{{ProtRead, sys.ProtRead}, {ProtWrite, sys.ProtWrite}, {ProtExec, sys.ProtExec}} {
		if prot&b.have != 0 {
			n |= b.bit
		}
	}
	return n
}

// writeIsland writes the code that the functions are going to lead to.
func (p *process) writeIsland(q *patchState) error {
	blob, err := entry.LoadPatch()
	if err != nil {
		return err
	}
	code := append([]byte(nil), blob.Code...)
	for i := range q.Funcs {
		f := &q.Funcs[i]
		old, err := p.oldWay(q, f)
		if err != nil {
			return fmt.Errorf("patch %s: %w", f.Name, err)
		}
		decide, target := q.Island.Addr+blob.Decide, f.New[0].Addr
		if f.Original {
			target = f.original() + entry.PatchStubOld
		}
		b, err := stub(f.Stub, decide, p.state.control(), target, old)
		if err != nil {
			return fmt.Errorf("patch %s: %w", f.Name, err)
		}
		code = append(code, b...)
		if !f.Original {
			continue
		}
		if old, err = oldWay(f.original(), f.redirect(), f.Word); err != nil {
			return fmt.Errorf("patch %s: %w", f.Name, err)
		}
		if b, err = stub(f.original(), decide, p.state.control(), target, old); err != nil {
			return fmt.Errorf("patch %s: %w", f.Name, err)
		}
		code = append(code, b...)
	}
	if _, err := p.mem.WriteAt(code, int64(q.Island.Addr)); err != nil {
		return fmt.Errorf("write stubs: %w", err)
	}
	return nil
}

// oldWay are the instructions of a stub's old way: to the stub of the patch below, or to the
// function itself.
func (p *process) oldWay(q *patchState, f *funcState) ([]uint32, error) {
	for _, below := range p.state.doc.active() {
		if g := below.function(f.Site); g != nil && below != q {
			return leadTo(f.Stub, g.Stub)
		}
	}
	return oldWay(f.Stub, f.redirect(), f.Word)
}

// goOver makes the transition that the state names, from wherever it is.
func (p *process) goOver(ctx context.Context, o Options) (*Result, error) {
	t, err := p.newTransition()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	timed, cancel := ctx, context.CancelFunc(func() {})
	if o.Timeout > 0 {
		timed, cancel = context.WithTimeoutCause(ctx, o.Timeout, errTimeout)
	}
	defer cancel()
	err = t.advance(timed)
	// Before all are gathered not all functions may lead to the patch.
	if err != nil && o.Force && errors.Is(err, errTimeout) && t.tables.joined && t.tables.base != t.to {
		o.log("forced: %s", describe(t.pending()))
		err = t.force()
		if err == nil {
			err = t.settle(ctx)
		}
	}
	if err != nil {
		return nil, t.giveUp(ctx, o, err)
	}
	name, fn := "nopal_post_patch", t.patch.Calls.PostPatch
	if t.to == oldFunctions {
		name, fn = "nopal_post_unpatch", t.patch.Calls.PostUnpatch
	}
	if _, err := p.callback(ctx, name, fn); err != nil {
		o.log("%v", err) // what it was to follow is done
	}
	return &Result{Name: t.patch.Name, Functions: len(t.patch.Funcs), Threads: len(t.threads), Took: time.Since(start), Longest: t.longest}, nil
}

var errTimeout = errors.New("timeout")

// advance does what is left of a transition.
func (t *transition) advance(ctx context.Context) error {
	if !t.state.doc.Transition.Running {
		if err := t.begin(ctx); err != nil {
			return err
		}
	} else if t.tables.threads == nil {
		if err := t.tables.read(); err != nil {
			return err
		}
	}
	back, err := t.untouched()
	if err != nil {
		return err
	}
	if back {
		return t.settle(ctx)
	}
	// First of all: as long as one is missing nobody may go over.
	if err := t.redirectAll(ctx); err != nil {
		return err
	}
	if t.keep != nil && t.to == newFunctions {
		// Nobody has run any of the functions: all threads may take the new ones, which
		// this one word says.
		if err := t.tables.setMode(t.tables.base, true); err != nil {
			return err
		}
		return t.settle(ctx)
	}
	if err := t.turn(ctx); err != nil {
		return err
	}
	if !t.tables.joined {
		if err := t.gather(ctx); err != nil {
			return err
		}
	}
	if err := t.converge(ctx); err != nil {
		return err
	}
	return t.settle(ctx)
}

// untouched reports whether threads are to go where all of them still are.
func (t *transition) untouched() (bool, error) {
	if t.tables.joined || t.tables.base != t.to {
		return false, nil
	}
	words, err := t.tables.words(threadsOff, threadSize)
	if err != nil {
		return false, err
	}
	for _, w := range words {
		if w != 0 && way(w&^entry.PatchKeyBits) != t.to {
			return false, nil
		}
	}
	return true, nil
}

// force lets all threads go over.
func (t *transition) force() error {
	for _, n := range t.sorted() {
		if n.way == t.to {
			continue
		}
		if err := t.tables.set(n.key, t.to); err != nil {
			return err
		}
		n.way = t.to
	}
	return nil
}

// backPatience is how long a transition that goes backwards may take. What it is about
// has failed already: threads that do not go back are left on their way.
const backPatience = 30 * time.Second

// giveUp takes a transition back that cannot be finished.
func (t *transition) giveUp(ctx context.Context, o Options, why error) error {
	if errors.Is(why, errTimeout) {
		why = errTimeout // wherever it happened to be then
	}
	stuck := t.pending()
	if len(stuck) > 0 {
		why = fmt.Errorf("%w: %s", why, describe(stuck))
	}
	if !t.alive() || errors.Is(why, tracee.ErrExec) {
		return why
	}
	if gone, err := t.unloaded(o); gone || err != nil {
		return errors.Join(fmt.Errorf("%w: %w", errUnloaded, why), err)
	}
	if t.to == oldFunctions {
		return fmt.Errorf("%w; it goes on: `nopal patch status` shows what it waits for, `nopal patch revert` waits again", why)
	}
	o.log("%v; going back", why)
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), backPatience)
	defer cancel()
	err := t.back(back)
	if err == nil {
		_, err = t.callback(back, "nopal_post_unpatch", t.patch.Calls.PostUnpatch)
	}
	if err != nil {
		return fmt.Errorf("%w; to revert it was not possible either: %w", why, err)
	}
	return fmt.Errorf("%w; nothing is changed", why)
}

// back reverts what has been done of a transition to the new functions.
func (t *transition) back(ctx context.Context) error {
	s := t.state.doc.Transition
	if !s.Running {
		// Nothing leads to the patch.
		t.state.doc.Transition = nil
		t.patch.State = stateReverted
		return t.state.save()
	}
	if err := t.goOn(); err != nil {
		return err
	}
	s.ToNew, s.Pending = false, nil
	if err := t.state.save(); err != nil {
		return err
	}
	t.direct(false)
	return t.advance(ctx)
}

// recover finishes or undoes what a nopal has left that was killed.
func (p *process) recover(ctx context.Context, o Options) error {
	if p.state == nil {
		return nil
	}
	if err := p.noteUnloaded(o); err != nil {
		return err
	}
	if err := p.unhookLeft(); err != nil {
		return err
	}
	tr := p.state.doc.Transition
	if tr == nil {
		changed := false
		for _, q := range p.state.doc.Patches {
			if q.State == stateLoading {
				o.log("patch %s was left while it was being loaded: nothing leads to it, it is given up", q.Name)
				q.giveUp()
				changed = true
			}
		}
		if changed {
			return p.state.save()
		}
		return nil
	}
	o.log("patch %s was left in a transition to the %s functions: going on", tr.Patch, map[bool]string{true: "new", false: "old"}[tr.ToNew])
	_, err := p.goOver(ctx, o)
	return err
}

// describe says which threads do not go over.
func describe(pending []pendingThread) string {
	const most = 3
	var list []string
	for i, n := range pending {
		if i == most {
			list = append(list, fmt.Sprintf("and %d more", len(pending)-most))
			break
		}
		if n.Where == "" {
			n.Where = "has not been looked at"
		}
		list = append(list, fmt.Sprintf("thread %d %s", n.TID, n.Where))
	}
	return strings.Join(list, "; ")
}
