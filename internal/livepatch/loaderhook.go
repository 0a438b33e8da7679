package livepatch

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"strings"
	"time"

	"nopal/internal/arch/arm64"
	"nopal/internal/entry"
	"nopal/internal/sys"
	"nopal/internal/tracee"
)

// The dynamic linker calls an empty function for debuggers, _dl_debug_state, when it has
// mapped an object and when it has unmapped one. While nopal waits for an object, these
// calls are led to code that waits for nopal (internal/entry/loaded_arm64.s). A BL may be
// exchanged for another while threads run it (Arm ARM B2.2.5), so nobody is stopped. The
// function itself is not touched: a recording has its own use for that.

// loaderState is how the dynamic linker is watched. What is mapped stays, for the next time.
type loaderState struct {
	Process int        `json:"process"` // a child of fork has a copy of this, and is not watched
	Watcher int        `json:"watcher"` // the nopal that waits, or has waited
	Started uint64     `json:"started"` // when that was started: others may have its number later
	Code    Range      `json:"code"`
	Data    Range      `json:"data"`
	Hook    uint64     `json:"hook"`
	Calls   []hookCall `json:"calls"`
	In      bool       `json:"in"` // calls may lead to the code
}

// hookCall is a call of the loader's hook.
type hookCall struct {
	At  uint64 `json:"at"`
	Old uint32 `json:"old"`
}

// hookPatience is how long a thread that loads an object waits for nopal.
const hookPatience = 4 * time.Second

const ackAll = 1<<63 - 1

// watched reports whether a nopal waits for objects of a process.
func (d *document) watched(pid int) bool {
	l := d.Loader
	return l != nil && l.Watcher != 0 && l.Process == pid && startOf(l.Watcher) == l.Started
}

// startOf tells when a process was started, 0 if there is none.
func startOf(pid int) uint64 {
	const field = 22 - 3 // the third is the first behind the name (man 5 proc)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) <= field {
		return 0
	}
	var n uint64
	_, _ = fmt.Sscan(fields[field], &n)
	return n
}

// findHook finds the calls of the loader's hook. A static program has none.
func (p *process) findHook() (hook uint64, calls []hookCall, err error) {
	const name = "_dl_debug_state"
	for _, o := range p.objects {
		if !o.Image.Shared {
			continue
		}
		e, err := readExports(o.Image)
		if err != nil {
			continue
		}
		found, err := e.find(map[string]bool{name: true})
		if err != nil || found[name].va == 0 || found[name].typ != elf.STT_FUNC {
			continue
		}
		hook = found[name].va + o.Bias
		code := make([]byte, (o.end-o.start)&^3)
		if _, err := p.mem.ReadAt(code, int64(o.start)); err != nil {
			return 0, nil, fmt.Errorf("read the loader's code: %w", err)
		}
		for off := uint64(0); off < uint64(len(code)); off += arm64.InsnSize {
			insn := le.Uint32(code[off:])
			if arm64.Classify(insn) != arm64.KindBL {
				continue
			}
			if to, ok := arm64.BranchTarget(o.start+off, insn); ok && to == hook {
				calls = append(calls, hookCall{o.start + off, insn})
			}
		}
		return hook, calls, nil
	}
	return 0, nil, nil
}

// hookLoader leads the calls of the loader's hook to us. It reports whether there are any.
func (p *process) hookLoader(ctx context.Context) (bool, error) {
	fail := func(err error) (bool, error) { return false, fmt.Errorf("watch the loader: %w", err) }
	l := p.state.doc.Loader
	if l == nil {
		l = &loaderState{}
		p.state.doc.Loader = l
	}
	l.Process, l.Watcher = p.pid, os.Getpid()
	l.Started = startOf(l.Watcher)
	if l.Code.Size == 0 {
		var err error
		if l.Hook, l.Calls, err = p.findHook(); err != nil {
			return fail(err)
		}
		if len(l.Calls) > 0 {
			if err := p.mapHook(ctx, l); err != nil {
				return fail(err)
			}
		}
	}
	if len(l.Calls) == 0 {
		return false, p.state.save()
	}
	for _, w := range [][2]uint64{
		{entry.PatchLoaderAck, ackAll},
		{entry.PatchLoaderWaitTicks, uint64(hookPatience.Seconds() * float64(entry.CounterFrequency()))},
	} {
		if err := p.put(l.Data.Addr+w[0], w[1]); err != nil {
			return fail(err)
		}
	}
	l.In = true
	if err := p.state.save(); err != nil {
		return fail(err)
	}
	for _, c := range l.Calls {
		insn, err := arm64.EncodeBL(c.At, l.Code.Addr)
		if err != nil {
			return fail(err)
		}
		if found, err := p.text().Load(c.At); err != nil || found == insn {
			continue
		}
		if err := arm64.Replace(p.text(), "lead the call of the loader's hook", c.At, c.At, c.Old, insn); err != nil {
			return fail(err)
		}
	}
	if err := p.text().confirm(); err != nil {
		return fail(err)
	}
	return true, nil
}

func (p *process) put(addr, word uint64) error {
	var b [8]byte
	le.PutUint64(b[:], word)
	_, err := p.mem.WriteAt(b[:], int64(addr))
	return err
}

// mapHook maps the code that the calls are led to.
func (p *process) mapHook(ctx context.Context, l *loaderState) error {
	blob, err := entry.LoadLoaded()
	if err != nil {
		return err
	}
	lo, hi := l.Hook, l.Hook+arm64.InsnSize
	for _, c := range l.Calls {
		lo, hi = min(lo, c.At), max(hi, c.At+arm64.InsnSize)
	}
	at, err := p.Place(2*placeAlign, lo, hi)
	if err != nil {
		return err
	}
	l.Code, l.Data = Range{at, placeAlign}, Range{at + placeAlign, placeAlign}
	insn, err := arm64.EncodeB(at+blob.On, l.Hook)
	if err != nil {
		return err
	}
	le.PutUint32(blob.Code[blob.On:], insn)
	le.PutUint64(blob.Code[blob.Loader:], l.Data.Addr)
	err = p.remotely(ctx, func() error {
		if err := p.mapAt(ctx, l.Code.Addr, l.Code.Size, sys.ProtRead|sys.ProtExec, -1); err != nil {
			return err
		}
		if err := p.mapAt(ctx, l.Data.Addr, l.Data.Size, sys.ProtRead|sys.ProtWrite, -1); err != nil {
			return err
		}
		return p.p.Madvise(ctx, l.Data.Addr, l.Data.Size, sys.AdviseWipeOnFork)
	})
	if err != nil {
		return err
	}
	if _, err := p.mem.WriteAt(blob.Code, int64(at)); err != nil {
		return fmt.Errorf("write code: %w", err)
	}
	return p.state.save()
}

// unhook lets the loader call its hook as it did. Nobody waits any more.
func (p *process) unhook() error {
	l := p.state.doc.Loader
	if l == nil {
		return nil
	}
	if l.In {
		if err := p.put(l.Data.Addr+entry.PatchLoaderLive, 0); err != nil {
			return err
		}
		if err := p.put(l.Data.Addr+entry.PatchLoaderAck, ackAll); err != nil {
			return err
		}
		for _, c := range l.Calls {
			insn, err := arm64.EncodeBL(c.At, l.Code.Addr)
			if err != nil {
				return err
			}
			if found, err := p.text().Load(c.At); err != nil || found != insn { // somebody else's
				continue
			}
			if err := p.text().Store(c.At, c.Old); err != nil {
				return err
			}
		}
		if err := p.text().confirm(); err != nil {
			return err
		}
	}
	l.In, l.Watcher = false, 0
	return p.state.save()
}

// unhookLeft undoes what a nopal has left that was killed while it waited.
func (p *process) unhookLeft() error {
	l := p.state.doc.Loader
	if l == nil || !l.In || p.state.doc.watched(p.pid) {
		return nil
	}
	return p.unhook()
}

// loading gives the thread that waits in the code that the loader's hook is led to, stopped.
func (p *process) loading(ctx context.Context) *tracee.Thread {
	code := p.state.doc.Loader.Code
	for _, th := range p.p.Threads() {
		if err := th.Hold(ctx, holdPatience); err != nil {
			continue
		}
		if regs, err := th.Regs(); err == nil && code.contains(regs.PC()) {
			return th
		}
		th.Release()
	}
	return nil
}

// behindHook gives the registers of a thread as they are when it has left the code that the
// loader's hook is led to, or as they are if it is elsewhere.
func (p *process) behindHook(regs *tracee.Regs) *tracee.Regs {
	if p.state == nil || p.state.doc.Loader == nil || !p.state.doc.Loader.Code.contains(regs.PC()) {
		return regs
	}
	blob, err := entry.LoadLoaded()
	if err != nil {
		return regs
	}
	// The first instruction pushes, the last but one drops.
	if off := regs.PC() - p.state.doc.Loader.Code.Addr; off == 0 || off >= blob.On {
		return returned(*regs, 0)
	}
	return returned(*regs, entry.LoadedStack)
}
