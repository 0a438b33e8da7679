package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"nopal/internal/entry"
	"nopal/internal/ftrace"
	"nopal/internal/ring"
	"nopal/internal/tracee"
)

// remover takes out of a target what a state says is in it. Its steps are each
// harmless alone, in this order, so being killed between two of them leaves a
// target that runs and a state to go on from.
type remover struct {
	pid      int
	machine  machine
	mem      *tracee.Memory
	text     ftrace.Memory // as target.text; nil: mem
	state    ring.State
	batch    *ftrace.BatchText // what restore writes, once it is planned
	changed  []string          // instructions that are neither ours nor the original ones
	restored int
	returned int // return addresses
}

// liveLook is a [ftrace.Text] that reads pages once and writes at once.
type liveLook struct {
	ftrace.LiveText
	batch ftrace.BatchText
}

func newLiveLook(mem ftrace.Memory) *liveLook {
	return &liveLook{ftrace.LiveText{Memory: mem}, ftrace.BatchText{Memory: mem}}
}

func (t *liveLook) Load(addr uint64) (uint32, error) { return t.batch.Load(addr) }

func (t *liveLook) LoadBytes(addr uint64, size int) (uint64, error) {
	return t.batch.LoadBytes(addr, size)
}

func (r *remover) code() ftrace.Memory {
	if r.text != nil {
		return r.text
	}
	return r.mem
}

func newRemover(pid int, mem *tracee.Memory, state ring.State) *remover {
	return &remover{pid: pid, machine: native(), mem: mem, state: state}
}

// islands are what sites lead to that are ours.
func (r *remover) islands() ftrace.Islands {
	return ftrace.Islands{List: r.state.Islands, Text: &ftrace.BatchText{Memory: r.mem}}
}

// disarm makes sites call nothing, stopping nobody, where that has to come first.
func (r *remover) disarm() error {
	text, islands := newLiveLook(r.code()), r.islands()
	for _, e := range r.state.Journal {
		if e.Addr == 0 {
			continue
		}
		err := r.machine.Disarm(text, islands, e)
		if err != nil && (notThere(err) || ftrace.IsWriteError(err)) {
			return err
		}
		// Any other: unmapped since.
	}
	return nil
}

// plan works out how the other instructions are put back, after disarm. Threads may run.
func (r *remover) plan() error {
	text := &ftrace.BatchText{Memory: r.code()}
	islands := r.islands()
	r.restored, r.changed = 0, nil
	for _, e := range r.state.Journal {
		if e.Addr == 0 {
			continue
		}
		restored, foreign, err := r.machine.Restore(text, islands, e)
		if err != nil && (notThere(err) || ftrace.IsWriteError(err)) {
			return err
		}
		if foreign != "" {
			r.changed = append(r.changed, foreign)
		}
		if !restored {
			continue // also where nothing is mapped any more
		}
		r.restored++
	}
	text.Order()
	r.batch = text
	return nil
}

// restore puts them back. All threads are stopped.
func (r *remover) restore() error {
	r.batch.Memory = r.code()
	err := r.batch.Flush()
	if errors.Is(err, syscall.EFAULT) {
		// Something was unmapped between planning and now. What is there still is looked at again.
		before := r.restored
		if err := r.plan(); err != nil {
			return err
		}
		r.restored = max(r.restored, before)
		err = r.batch.Flush()
	}
	var mismatch *ftrace.MismatchError
	if errors.As(err, &mismatch) {
		r.changed = append(r.changed, err.Error())
		return nil
	}
	return err
}

// quiet reports whether no thread is in our code or will return to it, or is in an
// unwinder that knows of it. All threads are stopped.
func (r *remover) quiet(threads []*tracee.Thread) (bool, error) {
	maps, err := tracee.Maps(r.pid)
	if err != nil {
		return false, err
	}
	unwinders := r.unwinders(maps)
	for _, th := range threads {
		regs, err := th.Regs()
		if err != nil {
			if th.Waiting() {
				return false, nil // its vfork child runs in the same memory
			}
			continue // gone
		}
		if isOurs(r.state.Islands, regs.PC()) {
			return false, nil
		}
		frames := r.machine.stackFrames(r.mem, maps, regs.SP())
		for _, f := range frames {
			if isOurs(r.state.Islands, f.pc) {
				return false, nil
			}
		}
		if r.unwinds(unwinders, maps, regs, frames) {
			return false, nil
		}
	}
	return true, nil
}

// How often and how long to wait for threads to leave our code: it is a few dozen
// instructions, but a signal handler may sit on top of it.
const (
	quietTries = 60
	quietFirst = 200 * time.Microsecond
	quietMost  = 50 * time.Millisecond
)

// finish restores, waits until no thread is in our code, and unmaps it. p is
// attached and stopped, and stays so. It reports whether all is gone: where a
// thread does not leave our code, that stays mapped and does no harm.
func (r *remover) finish(ctx context.Context, p *tracee.Process) (gone bool, err error) {
	r.text = p
	if r.batch == nil {
		if err := r.disarm(); err != nil {
			return false, err
		}
		if err := r.plan(); err != nil {
			return false, err
		}
	}
	if err := r.restore(); err != nil {
		return false, err
	}
	wait := quietFirst
	for try := 0; ; try++ {
		ok, err := r.quiet(p.Threads())
		if err != nil {
			return false, err
		}
		if ok {
			break
		}
		if try == quietTries {
			return false, nil
		}
		if err := p.Resume(); err != nil {
			return false, err
		}
		time.Sleep(wait)
		wait = min(2*wait, quietMost)
		if err := p.Stop(ctx); err != nil {
			return false, err
		}
	}
	if err := r.giveBack(); err != nil {
		return false, err
	}
	return true, r.unmap(ctx, p)
}

// unmap takes our memory out of the target, the ring with the state last.
func (r *remover) unmap(ctx context.Context, p *tracee.Process) error {
	if r.state.Size == 0 {
		return nil // nothing was mapped yet
	}
	maps, err := tracee.Maps(r.pid)
	if err != nil {
		return err
	}
	if m, ok := mappingAt(maps, r.state.Addr); !ok || !isRing(m) || m.Start != r.state.Addr {
		return nil // it has executed another program
	}
	for _, i := range r.state.Islands {
		if r.ourIsland(maps, i) {
			if err := p.Munmap(ctx, i.Addr, i.Size); err != nil {
				return err
			}
		}
	}
	if m, ok := mappingAt(maps, r.state.Control); ok && m.Path == "" && r.state.Control-entry.ControlLead+r.state.ControlSize <= m.End && r.isControl() {
		if err := p.Munmap(ctx, r.state.Control-entry.ControlLead, r.state.ControlSize); err != nil {
			return err
		}
	}
	return p.Munmap(ctx, r.state.Addr, r.state.Size)
}

// ourIsland makes sure that what is mapped there is what we put there: the state
// is noted before the mapping is made.
func (r *remover) ourIsland(maps []tracee.Mapping, i entry.IslandEntry) bool {
	m, ok := mappingAt(maps, i.Addr)
	if ok && isThunks(m) {
		return i.Size == entry.GraphRegion
	}
	if ok && (isProfile(m) || isRules(m)) {
		return i.Addr+i.Size <= m.End
	}
	return ok && m.Path == "" && i.Addr+i.Size <= m.End && (m.Perms == "r-xp" || r.isShadow(m, i) || r.isFrames(m, i))
}

// isControl recognises the control block: by its magic or, in a forked child, where
// it was wiped, by being all zero.
func (r *remover) isControl() bool {
	var b [8]byte
	if _, err := r.mem.ReadAt(b[:], int64(r.state.Control)); err != nil {
		return false
	}
	magic := binary.LittleEndian.Uint64(b[:])
	return magic == entry.ControlMagic || magic == 0
}

// findState looks for what a nopal has left in a process.
func findState(pid int, mem *tracee.Memory) (ring.State, bool, error) {
	maps, err := tracee.Maps(pid)
	if err != nil {
		return ring.State{}, false, err
	}
	for i := 0; i < len(maps); i++ {
		m := maps[i]
		if m.Offset != 0 || !isRing(m) {
			continue
		}
		s, err := ring.ReadState(mem, m.Start, m.End-m.Start)
		if err != nil {
			return ring.State{}, false, fmt.Errorf("read what is left of nopal in process %d at %#x: %w", pid, m.Start, err)
		}
		return s, true, nil
	}
	return ring.State{}, false, nil
}

func isRing(m tracee.Mapping) bool {
	return strings.HasPrefix(m.Path, memfdPrefix) && !isProfile(m) && !isRules(m) && !isThunks(m) && !strings.HasPrefix(m.Path, patchPrefix)
}

func isProfile(m tracee.Mapping) bool { return strings.HasPrefix(m.Path, profilePrefix) }
