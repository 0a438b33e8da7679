package session

import (
	"errors"
	"fmt"

	"nopal/internal/arch/arm64"
	"nopal/internal/ftrace"
	"nopal/internal/ring"
	"nopal/internal/tracee"
)

// Code that reads memory for arguments, or delays a call, makes a system call, which a filter (seccomp)
// may kill the process for. A process that has none may install one at any time; the
// functions of the C library by which it does get a look at their arguments, and forbid
// our system calls before the filter is there.

// guard is one changed instruction, by which a function of the C library begins.
type guard struct {
	at          uint64
	old, branch uint32
}

// What a filter is installed with (linux/prctl.h, asm-generic/unistd.h).
const (
	prSetSeccomp = 22
	nrPrctl      = 167
	nrSeccomp    = 277
)

// guarded are the functions, and what in them means that a filter comes.
var guarded = map[string]func(a *arm64.Assembler, found arm64.Label){
	"prctl": func(a *arm64.Assembler, found arm64.Label) {
		ifInt(a, 0, prSetSeccomp)
		a.Cbz(16, found)
	},
	"syscall": func(a *arm64.Assembler, found arm64.Label) {
		other := a.Label()
		ifInt(a, 0, nrSeccomp)
		a.Cbz(16, found)
		ifInt(a, 0, nrPrctl)
		a.Cbnz(16, other)
		ifInt(a, 1, prSetSeccomp)
		a.Cbz(16, found)
		a.Bind(other)
	},
}

// ifInt makes x16 0 if the int in register r is v. Its upper half is not defined (AAPCS64 6.8.2).
func ifInt(a *arm64.Assembler, r arm64.Reg, v int64) {
	a.Ubfx(16, r, 0, 32)
	a.AddImm(16, 16, -v)
}

// guardWait is the log2 of the ticks that a thread waits before it installs a filter, some
// 100 us: others may have seen that system calls are allowed just before.
const guardWait = 12

// mapGuards finds the functions and maps an island with code for each. Where there are
// none no system calls are made. The target is stopped.
func (t *target) mapGuards(mmap remoteMap) error {
	if t.rec.o.Args.Empty() && !t.rec.delays() {
		return nil
	}
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return err
	}
	aux, err := tracee.Auxv(t.pid)
	if err != nil {
		return err
	}
	// A static program has those of them that it uses, if its symbols tell.
	static := aux[tracee.AtBase] == 0
	found := map[string]bool{}
	for _, o := range t.rec.cache.scan(t.pid, maps) {
		if _, ok := o.im.Symbol("main"); ok && static {
			found["prctl"], found["syscall"] = true, true
		}
		for _, f := range o.im.Funcs() {
			look := guarded[f.Name]
			at := f.Addr + o.bias
			if look == nil || at < o.start || at+16 > o.end {
				continue
			}
			if err := t.mapGuard(at, look, mmap); err != nil {
				return fmt.Errorf("%s in %s: %w", f.Name, o.path, err)
			}
			found[f.Name] = true
		}
	}
	if len(found) < len(guarded) {
		return errors.New("the functions are not found by which it may begin to filter its system calls (prctl, syscall)")
	}
	return nil
}

func (t *target) mapGuard(at uint64, look func(*arm64.Assembler, arm64.Label), mmap remoteMap) error {
	for _, g := range t.guards {
		if g.at == at || g.at == at+arm64.InsnSize {
			return nil // two names of one function
		}
	}
	text := ftrace.LiveText{Memory: t.mem}
	old, err := text.Load(at)
	// Behind landing pads, which have to stay what they are, and the NOPs of a function that
	// may be traced.
	for err == nil && (arm64.IsCallPad(old) || old == arm64.Nop) {
		at += arm64.InsnSize
		old, err = text.Load(at)
	}
	if err != nil {
		return err
	}
	if kind := arm64.Classify(old); kind == arm64.KindRET || kind == arm64.KindRETAA || kind == arm64.KindRETAB || kind == arm64.KindB {
		return fmt.Errorf("%v at its beginning", kind) // an exit, which may be changed otherwise
	}
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return err
	}
	island, err := t.noteIsland(maps, t.page, at, at+arm64.InsnSize)
	if err != nil {
		return err
	}
	a := arm64.NewAssembler(island)
	forbid, on := a.Label(), a.Label()
	look(a, forbid)
	a.Bind(on)
	displaced, err := arm64.Relocate(old, at, a.PC())
	if err != nil {
		return err
	}
	for _, insn := range displaced {
		a.Raw(insn)
	}
	a.BTo(at + arm64.InsnSize)
	a.Bind(forbid)
	a.MovImm(16, t.control+noSyscallsAt)
	a.MovImm(17, 1)
	a.Str(8, 17, 16, 0)
	a.MrsCounter(16)
	wait := a.Here()
	a.Yield()
	a.MrsCounter(17)
	a.Sub(17, 17, 16, 0)
	a.LsrImm(17, 17, guardWait)
	a.Cbz(17, wait)
	a.B(on)
	words, err := a.Finish()
	if err != nil {
		return err
	}
	branch, err := arm64.EncodeB(at, island)
	if err != nil {
		return err
	}
	if err := mmap(island, t.page, protReadExec, mapIsland, -1); err != nil {
		return err
	}
	if err := t.writeWords(island, words); err != nil {
		return err
	}
	t.guards = append(t.guards, guard{at, old, branch})
	return nil
}

// putGuards makes the functions lead there, while all threads are stopped. Where one
// cannot, no system calls are made.
func (t *target) putGuards() error {
	for _, g := range t.guards {
		if err := t.ring.AddJournal([]ring.JournalEntry{{Addr: g.at, Old: [2]uint32{g.old, 0}}}); err != nil {
			return err
		}
		if err := arm64.Replace(ftrace.LiveText{Memory: t.text()}, "guard", g.at, g.at, g.old, g.branch); err != nil {
			t.unguarded = err
		}
	}
	if t.unguarded != nil && t.reads {
		return t.forbidSyscalls()
	}
	return nil
}
