package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"nopal/internal/arch/arm64"
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
	mem      *tracee.Memory
	text     ftrace.Memory // as target.text; nil: mem
	state    ring.State
	batch    *ftrace.BatchText // what restore writes, once it is planned
	changed  []string          // instructions that are neither ours nor the original ones
	restored int
}

// liveLook is a [arm64.Text] that reads pages once and writes at once.
type liveLook struct {
	batch ftrace.BatchText
	live  ftrace.LiveText
}

func newLiveLook(mem ftrace.Memory) *liveLook {
	return &liveLook{ftrace.BatchText{Memory: mem}, ftrace.LiveText{Memory: mem}}
}

func (t *liveLook) Load(addr uint64) (uint32, error)     { return t.batch.Load(addr) }
func (t *liveLook) Store(addr uint64, insn uint32) error { return t.live.Store(addr, insn) }

func (r *remover) code() ftrace.Memory {
	if r.text != nil {
		return r.text
	}
	return r.mem
}

// callsUs reports whether insn at pc branches into one of our islands.
func (r *remover) callsUs(pc uint64, insn uint32) bool {
	target, ok := arm64.BranchTarget(pc, insn)
	return ok && isOurs(r.state.Islands, target)
}

// disarm turns every armed slot 2 into a NOP. It stops nobody: NOP and BL may
// replace one another (Arm ARM B2.2.5).
func (r *remover) disarm() error {
	text := newLiveLook(r.code())
	for _, e := range r.state.Journal {
		if e.Addr == 0 || e.Old[1] == 0 {
			continue
		}
		at := e.Addr + arm64.SiteBranchOffset
		insn, err := text.Load(at)
		if err != nil {
			if notThere(err) {
				return err
			}
			continue // unmapped since
		}
		if insn == e.Old[1] || !r.callsUs(at, insn) {
			continue
		}
		if err := text.Store(at, e.Old[1]); err != nil {
			return err
		}
	}
	return nil
}

// plan works out how the other instructions are put back, after disarm. Threads may run.
func (r *remover) plan() error {
	text := &ftrace.BatchText{Memory: r.code()}
	islands := &ftrace.BatchText{Memory: r.mem}
	r.restored, r.changed = 0, nil
	for _, e := range r.state.Journal {
		if e.Addr == 0 {
			continue
		}
		insn, err := text.Load(e.Addr)
		if err != nil {
			if notThere(err) {
				return err
			}
			continue
		}
		// Where the object was unmapped another may be mapped now: a site is ours only
		// with its second slot as it has to be.
		ours := r.callsUs(e.Addr, insn)
		if e.Old[1] != 0 {
			second, err := text.Load(e.Addr + arm64.SiteBranchOffset)
			if err != nil || second != e.Old[1] {
				continue
			}
			ours = insn == arm64.MovX9X30
			if !ours && insn != e.Old[0] {
				r.changed = append(r.changed, fmt.Sprintf("%#x: %08x", e.Addr, insn))
			}
		}
		if !ours {
			continue
		}
		old := e.Old[0]
		if to, ok := arm64.BranchTarget(e.Addr, insn); ok {
			// Another object may have been here before, with another instruction: the
			// stub has the right one. The loader's hook has no stub.
			stubbed, ok, err := ftrace.Original(islands, e.Addr, to)
			switch {
			case err != nil && notThere(err):
				return err
			case err != nil:
				continue // nothing was mapped there
			case ok:
				old = stubbed
			}
		}
		if err := text.Store(e.Addr, old); err != nil {
			return err
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
	var mismatch *arm64.MismatchError
	if errors.As(err, &mismatch) {
		r.changed = append(r.changed, err.Error())
		return nil
	}
	return err
}

// quiet reports whether no thread is in our code or will return to it. All threads
// are stopped.
func (r *remover) quiet(threads []*tracee.Thread) (bool, error) {
	maps, err := tracee.Maps(r.pid)
	if err != nil {
		return false, err
	}
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
		for _, f := range stackFrames(r.mem, maps, regs.SP()) {
			if isOurs(r.state.Islands, f.pc) {
				return false, nil
			}
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
	if ok && (isProfile(m) || isRules(m)) {
		return i.Addr+i.Size <= m.End
	}
	return ok && m.Path == "" && i.Addr+i.Size <= m.End && (m.Perms == "r-xp" || r.isShadow(m, i))
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
	return strings.HasPrefix(m.Path, memfdPrefix) && !isProfile(m) && !isRules(m) && !strings.HasPrefix(m.Path, patchPrefix)
}

func isProfile(m tracee.Mapping) bool { return strings.HasPrefix(m.Path, profilePrefix) }
