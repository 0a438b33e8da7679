package livepatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nopal/internal/entry"
	"nopal/internal/tracee"
)

// WatchOptions say how patches are applied to objects that a process has not loaded yet.
type WatchOptions struct {
	Options
	// Stay goes on when all are applied: an object that is unloaded and loaded again is
	// patched again.
	Stay bool
	// Applied is told of each patch that is.
	Applied func(*Result)
}

// Watch applies patches to a process, those for objects that it does not have when it loads
// them. The thread that loads one waits in the loader meanwhile (see loaderhook.go), until
// all its relocations are made: then the patch is linked and put in, before any
// of the object's code has run. So nobody has to go over.
//
// Where that is not possible, because the loader has no such hook or nopal was too late,
// the object is patched like any other as soon as it is found.
//
// Watch returns when all are applied, or with Stay when ctx ends. Patches that are not
// applied by then are forgotten. Between what it does the process is not traced.
func Watch(ctx context.Context, pid int, patches []*Patch, o WatchOptions) error {
	w := &watch{pid: pid, o: o}
	for _, patch := range patches {
		w.patches = append(w.patches, &watched{Patch: patch})
	}
	err := w.begin(ctx)
	if err == nil {
		err = w.run(ctx)
	}
	defer w.close()
	if errors.Is(err, errEnded) {
		if o.Stay {
			o.log("process %d has ended", pid)
			return nil
		}
		return fmt.Errorf("wait for objects of process %d: %w", pid, tracee.ErrExited)
	}
	err = errors.Join(err, w.failed, w.end())
	if err != nil {
		return fmt.Errorf("wait for objects of process %d: %w", pid, err)
	}
	return nil
}

// errEnded says that the program that was watched is no more.
var errEnded = errors.New("it has ended")

// watch is a nopal that waits for objects of a process.
type watch struct {
	pid     int
	o       WatchOptions
	mem     *tracee.Memory
	state   *state // only read, but while the process is seized
	patches []*watched
	hooked  bool
	acked   uint64
	missed  bool // a thread that loads something may have gone on unanswered
	seen    objectCache
	failed  error           // of patches that could not be applied
	before  map[uint64]bool // where objects began when a thread that loads was last answered
}

// watched is a patch that is waited for or looked after.
type watched struct {
	*Patch
	applied bool
	over    bool // it was reverted: it is nothing to us any more
	since   time.Time
}

// seize takes control of the process, which another nopal may have for a moment.
func (w *watch) seize(ctx context.Context, patience time.Duration) (*process, error) {
	for end := time.Now().Add(patience); ; {
		p, err := openProcess(w.pid)
		switch {
		case err == nil && p.state == nil && w.state != nil:
			p.close()
			return nil, errEnded // another program runs
		case err == nil || !errors.Is(err, tracee.ErrTraced) || time.Now().After(end):
			if err != nil && w.ended() {
				err = errEnded
			}
			return p, err
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func (w *watch) ended() bool {
	_, err := tracee.Status(w.pid)
	return err != nil
}

// seizePatience is how long another nopal may have the process.
const seizePatience = time.Minute

// begin applies what can be, and begins to watch for the rest.
func (w *watch) begin(ctx context.Context) error {
	p, err := w.seize(ctx, seizePatience)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.makeState(ctx); err != nil {
		return err
	}
	if err := p.recover(ctx, w.o.Options); err != nil {
		return err
	}
	if p.state.doc.watched(w.pid) {
		return fmt.Errorf("nopal %d waits for objects of it already: end that, and give all patches to one", p.state.doc.Loader.Watcher)
	}
	for _, q := range w.patches {
		if err := p.ready(ctx, q.Name, w.o.Options); err != nil {
			return fmt.Errorf("apply patch %s: %w", q.Name, err)
		}
	}
	if w.hooked, err = p.hookLoader(ctx); err != nil {
		return err
	}
	if w.mem, err = tracee.OpenMemory(w.pid); err != nil {
		return err
	}
	w.state = &state{mem: w.mem, addr: p.state.addr}
	if !w.hooked {
		w.o.log("process %d has no dynamic linker that could be made to wait: what it loads is patched a moment later", w.pid)
	}
	// What was loaded before the loader was watched is seen by this look.
	if err := p.lookAgain(); err != nil {
		return err
	}
	if _, err := w.fresh(); err != nil {
		return err
	}
	for _, q := range w.patches {
		if p.hasObject(q.Patch) {
			if err := w.apply(ctx, p, q); err != nil {
				return err
			}
		}
	}
	if err := w.serve(); err != nil {
		return err
	}
	for _, q := range w.patches {
		if q.applied {
			continue
		}
		w.o.log("%s waits for %s", q.Name, q.Target.Path)
		if err := p.notePending(q.Patch); err != nil {
			return err
		}
	}
	return nil
}

// serve begins to answer threads that load something.
func (w *watch) serve() error {
	if !w.hooked {
		return nil
	}
	data := w.data()
	request, err := w.mem.ReadUint64(data + entry.PatchLoaderRequest)
	if err != nil {
		return err
	}
	w.acked = request
	if err := w.put(entry.PatchLoaderAck, request); err != nil {
		return err
	}
	return w.put(entry.PatchLoaderLive, 1)
}

func (w *watch) data() uint64 {
	if w.state.doc.Loader == nil {
		_, _ = w.state.load()
	}
	return w.state.doc.Loader.Data.Addr
}

func (w *watch) put(off, word uint64) error {
	p := &process{mem: w.mem}
	return p.put(w.data()+off, word)
}

// Pauses between two looks at the loader's tickets, and at everything else.
const (
	ticketEvery = time.Millisecond
	lookEvery   = 100 * time.Millisecond
)

func (w *watch) run(ctx context.Context) error {
	for looked := time.Now(); !w.done(); {
		if err := sleep(ctx, ticketEvery); err != nil {
			return nil // the user's wish
		}
		if w.hooked {
			if err := w.answer(ctx); err != nil {
				return w.unless(err)
			}
		}
		if time.Since(looked) < lookEvery {
			continue
		}
		if err := w.look(ctx); err != nil {
			return w.unless(err)
		}
		looked = time.Now()
	}
	return nil
}

// unless turns an error into one that says that the process has ended, if it has.
func (w *watch) unless(err error) error {
	if w.ended() || errors.Is(err, tracee.ErrExited) || errors.Is(err, tracee.ErrExec) {
		return errEnded
	}
	if _, readErr := w.state.get(headMagic); readErr != nil {
		return errEnded // it has executed another program
	}
	return err
}

func (w *watch) done() bool {
	left := 0
	for _, q := range w.patches {
		if !q.over && (w.o.Stay || !q.applied) {
			left++
		}
	}
	return left == 0
}

// answer looks what a thread that waits has loaded or unloaded.
func (w *watch) answer(ctx context.Context) error {
	data := w.data()
	live, err := w.mem.ReadUint64(data + entry.PatchLoaderLive)
	if err != nil {
		return err
	}
	request, err := w.mem.ReadUint64(data + entry.PatchLoaderRequest)
	if err != nil {
		return err
	}
	if live == 0 { // somebody has waited for too long
		w.missed = true
		w.acked = request
		if err := w.put(entry.PatchLoaderAck, request); err != nil {
			return err
		}
		return w.put(entry.PatchLoaderLive, 1)
	}
	if request == w.acked {
		return nil
	}
	w.acked = request
	return errors.Join(w.loaded(ctx), w.put(entry.PatchLoaderAck, w.acked))
}

// loaded applies patches to what a thread has loaded that waits.
func (w *watch) loaded(ctx context.Context) (err error) {
	fresh, err := w.fresh()
	if err != nil {
		return err
	}
	missed := w.missed
	w.missed = false
	if !fresh || missed {
		return w.look(ctx)
	}
	p, err := w.seize(ctx, hookPatience/2)
	if errors.Is(err, tracee.ErrTraced) {
		return nil // look tries it again
	}
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.recover(ctx, w.o.Options); err != nil {
		return err
	}
	th := p.loading(ctx)
	if th == nil {
		return nil
	}
	p.keep = th
	defer th.Release()
	// It may come to the hook again on its way, but nobody else: the loader has a lock.
	if err := w.put(entry.PatchLoaderAck, ackAll); err != nil {
		return err
	}
	defer func() {
		var readErr error
		w.acked, readErr = w.mem.ReadUint64(w.data() + entry.PatchLoaderRequest)
		err = errors.Join(err, readErr, w.put(entry.PatchLoaderAck, w.acked))
	}()
	for _, q := range w.patches {
		if q.over || q.applied || !p.hasObject(q.Patch) {
			continue
		}
		if err := p.relocated(th, q.Patch); err != nil && w.ended() {
			return err
		} else if err != nil { // it is patched later
			continue
		}
		if err := w.tryApply(ctx, p, q); err != nil {
			return err
		}
	}
	return nil
}

// tryApply is apply for one of several patches: one that fails is given up, and others go on.
func (w *watch) tryApply(ctx context.Context, p *process, q *watched) error {
	err := w.apply(ctx, p, q)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, tracee.ErrExited) || errors.Is(err, tracee.ErrExec) || ctx.Err() != nil:
		return err
	case errors.Is(err, errUnloaded):
		return nil // look waits for it again
	}
	q.over = true
	w.failed = errors.Join(w.failed, err)
	w.o.log("%v", err)
	return p.forgetPending(q.Name)
}

// fresh reports whether there is an object for a patch that was not there when it was last
// asked.
func (w *watch) fresh() (bool, error) {
	objects, err := w.seen.all(w.pid)
	if err != nil {
		return false, err
	}
	fresh, now := false, map[uint64]bool{}
	for _, o := range objects {
		now[o.start] = true
		if w.before[o.start] {
			continue
		}
		for _, q := range w.patches {
			fresh = fresh || !q.over && !q.applied && q.Target.BuildID == o.Image.BuildID
		}
	}
	w.before = now
	return fresh, nil
}

// apply applies a patch whose object is there.
func (w *watch) apply(ctx context.Context, p *process, q *watched) error {
	o := w.o.Options
	if p.keep != nil {
		o.Timeout = hookPatience
	}
	res, err := p.applyPatch(ctx, q.Patch, o)
	if err != nil {
		return fmt.Errorf("apply patch %s: %w", q.Name, err)
	}
	q.applied = true
	if w.o.Applied != nil {
		w.o.Applied(res)
	}
	return nil
}

// settledAfter is how long an object is mapped of which nobody knows when its relocations
// are made, before it is patched.
const settledAfter = time.Second

// look looks what has become of the patches.
func (w *watch) look(ctx context.Context) error {
	if w.ended() {
		return errEnded
	}
	if ok, err := w.state.load(); err != nil || !ok {
		if _, readErr := w.state.get(headMagic); readErr != nil {
			return errEnded
		}
		return nil // it is being written
	}
	objects, err := w.seen.all(w.pid)
	if err != nil {
		return err
	}
	st := &process{pid: w.pid, mem: w.mem, state: w.state, objects: objects}
	var act []*watched
	for _, q := range w.patches {
		if q.over {
			continue
		}
		now := w.state.doc.patch(q.Name)
		switch {
		case now == nil || now.State == stateReverted || now.State == stateReplaced:
			w.o.log("%s was reverted", q.Name)
			q.over = true
		case now.State == stateUnloaded || now.State == stateApplied && !st.present(now):
			act = append(act, q)
		case now.State == statePending && st.hasObject(q.Patch):
			if q.since.IsZero() {
				q.since = time.Now()
			}
			if is, err := st.isRelocated(q.Patch); err == nil && is || time.Since(q.since) > settledAfter {
				act = append(act, q)
			}
		}
	}
	if len(act) == 0 {
		return nil
	}
	p, err := w.seize(ctx, seizePatience)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.recover(ctx, w.o.Options); err != nil {
		return err
	}
	for _, q := range act {
		if p.state.doc.patch(q.Name).State == stateUnloaded {
			if err := p.discard(ctx); err != nil {
				return err
			}
			if q.applied, q.since = false, (time.Time{}); !w.o.Stay {
				q.over = true
				continue
			}
			if err := p.notePending(q.Patch); err != nil {
				return err
			}
			continue
		}
		if !p.hasObject(q.Patch) {
			continue
		}
		if err := w.tryApply(ctx, p, q); err != nil {
			return err
		}
	}
	return nil
}

// end takes back what watching has needed.
func (w *watch) end() error {
	if w.state == nil {
		return nil
	}
	p, err := w.seize(context.Background(), seizePatience)
	if errors.Is(err, errEnded) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.close()
	for _, q := range w.patches {
		if err := p.forgetPending(q.Name); err != nil {
			return err
		}
	}
	return p.unhook()
}

func (w *watch) close() {
	w.seen.close()
	if w.mem != nil {
		w.mem.Close()
	}
}
