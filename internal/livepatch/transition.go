package livepatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"nopal/internal/arch/arm64"
	"nopal/internal/tracee"
)

// transition moves the threads of a process from one way to the other; see the package
// comment.
type transition struct {
	*process
	patch   *patchState
	to      way
	tables  tables
	threads map[int]*thread
	late    []*tracee.Thread // that have not been met
	ended   map[int]bool     // that were found to have ended
	born    bool             // some were met last time
	seen    []tracee.Regs    // of threads, for warmUp
	warmed  int
	// occupied is the code that a thread must not be in when it goes over.
	occupied []occupied
	longest  time.Duration // for which a thread stood
	saved    time.Time     // when pending was last written
}

// occupied is a function, or a part of one.
type occupied struct {
	Range
	name string
	tail bool // it may end by going on in another one of those that are being replaced
}

func (t *transition) stood(d time.Duration) { t.longest = max(t.longest, d) }

// newTransition makes the one that the state says is to be done.
func (p *process) newTransition() (*transition, error) {
	s := p.state.doc.Transition
	t := &transition{process: p, patch: p.state.doc.patch(s.Patch), threads: map[int]*thread{}, ended: map[int]bool{}}
	if t.patch == nil {
		return nil, fmt.Errorf("state of patches at %#x is damaged: no patch %q", p.state.addr, s.Patch)
	}
	t.tables.s = p.state
	t.direct(s.ToNew)
	// All are to be met, also those that a transition before this one has met.
	if _, err := p.p.Fresh(); err != nil {
		return nil, err
	}
	t.late = p.p.Threads()
	return t, nil
}

// direct says which way threads are to go from here on.
func (t *transition) direct(toNew bool) {
	t.to, t.occupied = oldFunctions, nil
	if toNew {
		t.to = newFunctions
	}
	for i := range t.patch.Funcs {
		f := &t.patch.Funcs[i]
		if !toNew {
			for _, r := range f.New {
				t.occupied = append(t.occupied, occupied{r, f.Name, t.tailCalls(f.New)})
			}
			continue
		}
		for _, r := range f.Old {
			t.occupied = append(t.occupied, occupied{r, f.Name, t.tailCalls(f.Old)})
		}
		for _, below := range t.state.doc.active() {
			g := below.function(f.Site)
			if below == t.patch || g == nil {
				continue
			}
			for _, r := range g.New {
				t.occupied = append(t.occupied, occupied{r, f.Name + " of " + below.Name, t.tailCalls(g.New)})
			}
		}
	}
	if !toNew {
		// What came along may have been entered by a tail call.
		for _, r := range t.patch.Memory {
			t.occupied = append(t.occupied, occupied{r, "code of the patch", true})
		}
	}
}

// tailCalls reports whether a function may end by a branch into a function that is being
// replaced. It is about its own code only: what it branches to is a function that
// may do so in its turn, but then is no call of the one that is replaced any more.
func (p *process) tailCalls(parts []Range) bool {
	inside := func(pc uint64) bool {
		return slices.ContainsFunc(parts, func(r Range) bool { return r.contains(pc) })
	}
	for _, r := range parts {
		code := make([]byte, r.Size&^3)
		if _, err := p.mem.ReadAt(code, int64(r.Addr)); err != nil {
			return true
		}
		for off := uint64(0); off+4 <= uint64(len(code)); off += 4 {
			insn := le.Uint32(code[off:])
			switch k := arm64.Classify(insn); k {
			case arm64.KindBR, arm64.KindBRA:
				return true
			case arm64.KindBL:
			default:
				if to, ok := arm64.BranchTarget(r.Addr+off, insn); ok && !inside(to) && !p.elsewhere(to) {
					return true
				}
			}
		}
	}
	return false
}

// elsewhere reports whether an address is known to be of a function that is not replaced.
func (p *process) elsewhere(addr uint64) bool {
	for _, o := range p.objects {
		if addr < o.start || addr >= o.end {
			continue
		}
		i, ok := o.Image.FuncAt(addr - o.Bias)
		if !ok {
			return false
		}
		f := o.Image.Funcs()[i]
		if f.Addr+o.Bias != addr {
			return false
		}
		for _, q := range p.state.doc.Patches {
			for _, g := range q.Funcs {
				if g.Old[0].Addr == addr {
					return false
				}
			}
		}
		return true
	}
	return false
}

// begin empties the tables and makes the stubs ask.
func (t *transition) begin(ctx context.Context) error {
	if t.state.doc.Stale {
		if err := t.drain(ctx); err != nil {
			return err
		}
		if err := errors.Join(t.remember(), t.text().confirm()); err != nil {
			return err
		}
	}
	if err := t.state.put(headWish, wishNothing); err != nil {
		return err
	}
	tasks, err := tracee.Tasks(t.pid)
	if err != nil {
		return err
	}
	if err := t.tables.reset(len(tasks), t.to.other()); err != nil {
		return err
	}
	t.state.doc.Stale = true
	t.state.doc.Transition.Running = true
	t.patch.State = stateTransition
	return t.state.save()
}

// drain waits until no thread is in the stubs' code since a former transition: it might
// read the tables of this one in the middle.
func (t *transition) drain(ctx context.Context) error {
	done := map[int]bool{}
	return t.until(ctx, done, "are still where a former patch has led them", func(th *tracee.Thread) error {
		regs, err := th.Regs()
		if err == nil {
			done[th.Tid()] = !t.mayReturnToIsland(&regs)
		}
		return err
	})
}

// until calls f with each thread, stopped, again and again, until all are done.
func (t *transition) until(ctx context.Context, done map[int]bool, what string, f func(*tracee.Thread) error) error {
	for pause := pauseFirst; ; pause = min(2*pause, pauseMost) {
		fresh, err := t.p.Fresh()
		if err != nil {
			return err
		}
		t.late = append(t.late, fresh...)
		var list []*tracee.Thread
		for _, th := range t.p.Threads() {
			if !done[th.Tid()] && !t.ended[th.Tid()] {
				list = append(list, th)
			}
		}
		if _, err := t.each(ctx, list, f); err != nil {
			return err
		}
		left := 0
		for _, th := range t.p.Threads() {
			if !done[th.Tid()] && !t.ended[th.Tid()] {
				left++
			}
		}
		if left == 0 {
			return nil
		}
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("%d threads %s: %w", left, what, err)
		}
	}
}

// mayReturnToIsland reports whether a stopped thread is in the stubs' code, or may be
// below a signal handler.
func (p *process) mayReturnToIsland(regs *tracee.Regs) bool {
	if p.inIsland(regs.PC()) {
		return true
	}
	frames, err := p.stackOf(regs)
	for _, f := range frames {
		if p.inIsland(f.PC) {
			return true
		}
	}
	return err != nil && p.interrupted(regs.SP())
}

// redirectAll makes all functions lead to the patch's stubs, which ask. Done again it
// changes nothing.
func (t *transition) redirectAll(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, t.goOn()) }()
	for i := range t.patch.Funcs {
		f := &t.patch.Funcs[i]
		if err := t.setCourse(f.Stub, decide); err != nil {
			return err
		}
	}
	for i := range t.patch.Funcs {
		if err := t.lead(ctx, &t.patch.Funcs[i], t.patch); err != nil {
			return err
		}
	}
	return t.text().confirm()
}

// gather meets all threads, so that each is in the table.
func (t *transition) gather(ctx context.Context) error {
	for pause := pauseFirst; ; pause = min(2*pause, pauseMost) {
		late, err := t.meet(ctx)
		if err != nil {
			return err
		}
		if late == 0 {
			full, err := t.tables.overflowed()
			if err != nil {
				return err
			}
			if full {
				return errors.New("more threads came by at once than nopal can tell apart: try again")
			}
			// Each has been stopped since the redirects were written.
			if err := t.text().confirm(); err != nil {
				return err
			}
			return t.tables.setMode(t.tables.base, true)
		}
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("%d threads do not stop: %w", late, err)
		}
	}
}

// Pauses between two looks at the threads that have not gone over.
const (
	pauseFirst = 200 * time.Microsecond
	pauseMost  = 50 * time.Millisecond
)

// converge moves threads until all have gone over.
func (t *transition) converge(ctx context.Context) error {
	for pause := pauseFirst; ; pause = min(2*pause, pauseMost) {
		late, err := t.meet(ctx)
		if err != nil {
			return err
		}
		t.forgetEnded()
		left, err := t.movePending(ctx)
		if err != nil {
			return err
		}
		if left+late == 0 {
			// Those who came while the others were looked at?
			fresh, err := t.meetNone(ctx)
			if err != nil {
				return err
			}
			if !fresh {
				return nil
			}
			continue
		}
		if err := t.notePending(); err != nil {
			return err
		}
		if t.born { // those that come next stand until they are met
			pause = pauseFirst
		}
		if wish, err := t.state.get(headWish); err != nil || wish == wishRevert && t.to == newFunctions {
			return errors.Join(err, errReversed)
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

var errReversed = errors.New("nopal patch revert was called")

// meetNone meets those who have come, and reports whether one of them has to go over.
func (t *transition) meetNone(ctx context.Context) (bool, error) {
	late, err := t.meet(ctx)
	if err != nil || late > 0 {
		return true, err
	}
	for _, n := range t.threads {
		if n.way != t.to {
			return true, nil
		}
	}
	return false, nil
}

// movePending looks once at each thread that has not gone over.
func (t *transition) movePending(ctx context.Context) (left int, err error) {
	seen := map[uint64]bool{}
	var single []*tracee.Thread
	for _, n := range t.sorted() {
		if n.way == t.to || seen[n.key] {
			continue
		}
		seen[n.key] = true
		group := t.group(n.key)
		now, _, err := t.tables.wayOf(n.key)
		if err != nil {
			return 0, err
		}
		for _, m := range group {
			m.way = now
		}
		switch {
		case now == t.to: // by itself
		case len(group) == 1:
			single = append(single, n.th)
		default:
			if err := t.moveAll(ctx, group); err != nil && !(errors.Is(err, tracee.ErrExited) && t.alive()) {
				return 0, err
			}
		}
	}
	late, err := t.each(ctx, single, func(th *tracee.Thread) error {
		n := t.threads[th.Tid()]
		if now, _, err := t.tables.wayOf(n.key); err != nil || now == t.to {
			n.way = now
			return err
		}
		return t.move([]*thread{n})
	})
	if err != nil {
		return 0, err
	}
	for _, th := range late {
		t.threads[th.Tid()].why = doesNotStop
	}
	for _, n := range t.threads {
		if n.way != t.to {
			left++
		}
	}
	return left, nil
}

func (t *transition) sorted() []*thread {
	list := make([]*thread, 0, len(t.threads))
	for _, n := range t.threads {
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b *thread) int { return a.th.Tid() - b.th.Tid() })
	return list
}

// pendingEvery bounds how often the state says who has not gone over.
const pendingEvery = 200 * time.Millisecond

// notePending writes who has not gone over, for status.
func (t *transition) notePending() error {
	if time.Since(t.saved) < pendingEvery {
		return nil
	}
	t.saved = time.Now()
	t.state.doc.Transition.Pending = t.pending()
	return t.state.save()
}

func (t *transition) pending() []pendingThread {
	var list []pendingThread
	for _, n := range t.sorted() {
		if n.way != t.to {
			list = append(list, pendingThread{n.th.Tid(), n.why})
		}
	}
	for _, th := range t.late {
		list = append(list, pendingThread{th.Tid(), doesNotStop})
	}
	return list
}

// settle makes the stubs lead the way that all threads take.
func (t *transition) settle(ctx context.Context) error {
	if t.to == newFunctions {
		for i := range t.patch.Funcs {
			if err := t.setCourse(t.patch.Funcs[i].Stub, toNew); err != nil {
				return err
			}
		}
		t.patch.State = stateApplied
	} else {
		for i := range t.patch.Funcs {
			if err := t.setCourse(t.patch.Funcs[i].Stub, toOld); err != nil {
				return err
			}
		}
		if err := t.unlead(ctx, t.patch); err != nil {
			return err
		}
		t.patch.State = stateReverted
	}
	if t.patch.Replace && t.to == newFunctions {
		if err := t.supersede(t.patch); err != nil {
			return err
		}
	}
	if err := t.text().confirm(); err != nil {
		return err
	}
	t.state.doc.Transition = nil
	return t.state.save()
}

// turn makes the mode what the direction needs. Every thread is in the first table, or in
// none and takes the way that is the base from now on; so the second one can be
// emptied.
func (t *transition) turn(ctx context.Context) error {
	if t.tables.base == t.to.other() {
		return nil
	}
	for pause := pauseFirst; ; pause = min(2*pause, pauseMost) {
		late, err := t.meet(ctx)
		if err != nil {
			return err
		}
		if late == 0 {
			break
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
	if !t.tables.joined {
		if err := t.gather(ctx); err != nil {
			return err
		}
	}
	if err := t.holdBack(ctx); err != nil {
		return err
	}
	if err := t.tables.emptyBase(); err != nil {
		return err
	}
	if err := t.tables.setMode(t.to.other(), false); err != nil {
		return err
	}
	for _, n := range t.sorted() {
		if _, listed, err := t.tables.wayOf(n.key); err != nil || listed {
			if err != nil {
				return err
			}
			continue
		}
		if err := t.tables.set(n.key, n.way); err != nil {
			return err
		}
	}
	return nil
}

// holdBack makes that no thread goes over by itself any more, and finds out who has.
func (t *transition) holdBack(ctx context.Context) error {
	done := map[int]bool{}
	return t.until(ctx, done, "do not stop", func(th *tracee.Thread) error {
		n := t.threads[th.Tid()]
		if n == nil { // a new one, which knows nothing of going over
			done[th.Tid()] = true
			return nil
		}
		err := t.tables.setLeave(n.key, 0)
		if err == nil {
			n.way, _, err = t.tables.wayOf(n.key)
		}
		done[th.Tid()] = err == nil
		return err
	})
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
