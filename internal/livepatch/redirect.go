package livepatch

import (
	"context"
	"fmt"
	"time"

	"nopal/internal/arch/arm64"
)

// setCourse exchanges the first instruction of a stub.
func (p *process) setCourse(stub uint64, c course) error {
	return p.text().Store(stub, courseWord(stub, c))
}

// below gives the stub that a function of a patch led to before the patch came, 0 if that
// was the function itself.
func (p *process) below(of *patchState, f *funcState) uint64 {
	seen := false
	for _, q := range p.state.doc.active() { // the newest first
		if q == of {
			seen = true
			continue
		}
		if g := q.function(f.Site); seen && g != nil {
			return g.Stub
		}
	}
	return 0
}

// above gives the patch that has taken a function over from this one.
func (p *process) above(of *patchState, f *funcState) *patchState {
	var last *patchState
	for _, q := range p.state.doc.active() {
		if q == of {
			break
		}
		if q.function(f.Site) != nil {
			last = q
		}
	}
	return last
}

// expected is the instruction that stands at a redirect without a patch: the branch to
// the stub of the one below, or what the compiler has put there.
func (p *process) expected(of *patchState, f *funcState) (uint32, error) {
	if lower := p.below(of, f); lower != 0 {
		return arm64.EncodeB(f.redirect(), lower)
	}
	return f.Word, nil
}

// branching is the instruction by which a function leads to its stub or not.
type branching struct {
	at            uint64
	old, redirect uint32 // without a redirect, and with it
	found         uint32 // as it is
}

func (p *process) branchingOf(of *patchState, f *funcState) (w branching, err error) {
	w.at = f.redirect()
	if w.old, err = p.expected(of, f); err != nil {
		return w, err
	}
	if w.redirect, err = arm64.EncodeB(w.at, f.Stub); err != nil {
		return w, err
	}
	w.found, err = p.text().Load(w.at)
	return w, err
}

// standFor stops all threads if an instruction cannot be exchanged for a branch, or a
// branch for it, while others run it.
func (p *process) standFor(ctx context.Context, insn uint32) error {
	if p.keep != nil { // nobody runs it
		return nil
	}
	if k := arm64.Classify(insn); k != arm64.KindNop && k != arm64.KindB {
		return p.stand(ctx)
	}
	return nil
}

// lead makes a function lead to its stub. It stops nobody where the redirect is in a slot
// or another patch's, whose branch is exchanged; else all threads stand until goOn.
func (p *process) lead(ctx context.Context, f *funcState, of *patchState) error {
	w, err := p.branchingOf(of, f)
	if err != nil {
		return err
	}
	if w.found == w.redirect {
		p.text().written[w.at] = w.redirect // by a nopal that was killed, maybe just now
		return nil
	}
	if err := p.standFor(ctx, w.old); err != nil {
		return err
	}
	return arm64.Replace(p.text(), "redirect "+f.Name, f.Site, w.at, w.old, w.redirect)
}

// unlead takes the redirects of a patch away. Done again it changes nothing.
func (p *process) unlead(ctx context.Context, of *patchState) error {
	for i := range of.Funcs {
		f := &of.Funcs[i]
		w, err := p.branchingOf(of, f)
		if err != nil {
			return err
		}
		if f.Body { // moved there from the slot, by a nopal that was killed in the middle
			if err := p.clearSlot(f); err != nil {
				return err
			}
		}
		if w.found != w.redirect { // not led there yet, or somebody else's now, a debugger's maybe
			continue
		}
		if err := p.standFor(ctx, w.old); err != nil {
			return err
		}
		if err := arm64.Replace(p.text(), "take redirect from "+f.Name, f.Site, w.at, w.redirect, w.old); err != nil {
			return err
		}
	}
	return p.goOn()
}

// clearSlot makes slot 2 a NOP if it leads to a function's stub.
func (p *process) clearSlot(f *funcState) error {
	at := f.Site + slot2Offset
	insn, err := arm64.EncodeB(at, f.Stub)
	if err != nil {
		return err
	}
	if found, err := p.text().Load(at); err != nil || found != insn {
		return err
	}
	return p.text().Store(at, arm64.Nop)
}

// place decides where the redirect of a function is: in slot 2 of its site, or, where a
// tracer has prepared that, behind it.
func (p *process) place(f *funcState, target Mapped) error {
	for _, q := range p.state.doc.active() {
		if g := q.function(f.Site); g != nil {
			f.Body, f.Word = g.Body, g.Word
			return nil
		}
	}
	first, err := p.text().Load(f.Site)
	if err != nil {
		return fmt.Errorf("patch %s: %w", f.Name, err)
	}
	second, err := p.text().Load(f.Site + slot2Offset)
	if err != nil {
		return fmt.Errorf("patch %s: %w", f.Name, err)
	}
	switch {
	case first == arm64.Nop && second == arm64.Nop:
		f.Word = arm64.Nop
		return nil
	case first == arm64.MovX9X30 && (second == arm64.Nop || arm64.Classify(second) == arm64.KindBL):
		f.Body = true
	default:
		return fmt.Errorf("patch %s: at its entry %#x stand %08x %08x, which is neither two NOPs nor what nopal has made of them", f.Name, f.Site, first, second)
	}
	if f.Word, err = p.text().Load(f.Site + bodyOffset); err != nil {
		return fmt.Errorf("patch %s: %w", f.Name, err)
	}
	err = p.movable(f)
	if err == nil {
		err = asInFile(f, target)
	}
	if err != nil {
		return fmt.Errorf("patch %s, which is being traced: %w: end the recording, patch, and record again", f.Name, err)
	}
	return nil
}

// movable reports whether the first instruction of a function's body can be a branch:
// nothing else may lead there, and the instruction has to do elsewhere what it does here.
func (p *process) movable(f *funcState) error {
	at := f.Site + bodyOffset
	if _, err := arm64.Relocate(f.Word, at, at); err != nil {
		return err
	}
	for _, r := range f.Old {
		code := make([]byte, r.Size&^3)
		if _, err := p.mem.ReadAt(code, int64(r.Addr)); err != nil {
			return fmt.Errorf("read code: %w", err)
		}
		for off := uint64(0); off+4 <= uint64(len(code)); off += 4 {
			pc := r.Addr + off
			insn := le.Uint32(code[off:])
			if to, ok := arm64.BranchTarget(pc, insn); ok && to == at {
				return fmt.Errorf("the instruction at %#x leads back to its first one", pc)
			}
			if k := arm64.Classify(insn); k == arm64.KindBR || k == arm64.KindBRA {
				return fmt.Errorf("the target of the branch at %#x is not known", pc)
			}
		}
	}
	return nil
}

// asInFile reports whether the first instruction of a body is the one that was compiled,
// and not a branch to the stub of an exit, which goes away with the tracer.
func asInFile(f *funcState, target Mapped) error {
	var file [arm64.InsnSize]byte
	if _, err := target.Image.ReadVA(file[:], f.Site+bodyOffset-target.Bias); err != nil {
		return err
	}
	if insn := le.Uint32(file[:]); insn != f.Word {
		return fmt.Errorf("its first instruction is %08x, and %08x in %s", f.Word, insn, target.Image.Path)
	}
	return nil
}

// standPatience is how long all threads may take to stop.
const standPatience = 5 * time.Second

// stand stops all threads, for what others may not run into; goOn lets them go.
func (p *process) stand(ctx context.Context) error {
	if p.stands {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, standPatience)
	defer cancel()
	if err := p.p.Stop(ctx); err != nil {
		return err
	}
	p.stands = true
	return nil
}

func (p *process) goOn() error {
	if !p.stands {
		return nil
	}
	p.stands = false
	return p.p.Resume()
}
