package livepatch

import (
	"encoding/binary"
	"fmt"

	"nopal/internal/arch/arm64"
	"nopal/internal/entry"
	"nopal/internal/tracee"
)

// MoveBehind makes room for a tracer: where a patched function is redirected in a slot of
// its site, the redirect goes to the first instruction of the body, and the slots are
// NOPs. All threads of the process are stopped. wanted tells by the address of slot 1 which
// sites the tracer wants. It returns why others stay as they are.
func MoveBehind(pid int, mem *tracee.Memory, wanted func(site uint64) bool) (kept map[uint64]error, err error) {
	s, err := findState(pid, mem)
	if err != nil || s == nil {
		return nil, err
	}
	p := &process{pid: pid, mem: mem, state: s}
	kept = map[uint64]error{}
	tops := map[uint64]*funcState{}
	for _, q := range s.doc.active() { // the newest first
		for i := range q.Funcs {
			if f := &q.Funcs[i]; tops[f.Site] == nil && !f.Body && wanted(f.Site) {
				tops[f.Site] = f
			}
		}
	}
	for site, top := range tops {
		slot, err := arm64.EncodeB(site+slot2Offset, top.Stub)
		if err != nil {
			return kept, err
		}
		if found, err := p.text().Load(site + slot2Offset); err != nil || found != slot {
			delete(tops, site) // the object is gone, or not redirected yet
			continue
		}
		if err := p.prepareBody(site); err != nil {
			kept[site] = fmt.Errorf("%s, which is patched: %w", top.Name, err)
			delete(tops, site)
		}
	}
	if len(tops) == 0 {
		return kept, nil
	}
	// What is written next does no harm alone: both redirects lead to the same stub.
	if err := s.save(); err != nil {
		return kept, err
	}
	for _, top := range tops {
		insn, err := arm64.EncodeB(top.redirect(), top.Stub)
		if err != nil {
			return kept, err
		}
		if err := p.text().Store(top.redirect(), insn); err != nil {
			return kept, err
		}
		if err := p.text().Store(top.Site+slot2Offset, arm64.Nop); err != nil {
			return kept, err
		}
	}
	return kept, nil
}

// prepareBody makes the old way that leads to a function itself one that executes the
// first instruction of its body, and notes that.
func (p *process) prepareBody(site uint64) error {
	active := p.state.doc.active()
	var bottom *funcState
	for _, q := range active {
		if f := q.function(site); f != nil {
			bottom = f
		}
	}
	word, err := p.text().Load(site + bodyOffset)
	if err != nil {
		return err
	}
	moved := *bottom
	moved.Body, moved.Word = true, word
	if err := p.movable(&moved); err != nil {
		return err
	}
	if err := p.rewriteOldWay(bottom.Stub, &moved); err != nil {
		return err
	}
	for _, q := range active {
		f := q.function(site)
		if f == nil {
			continue
		}
		if f.Original {
			if err := p.rewriteOldWay(f.original(), &moved); err != nil {
				return err
			}
		}
		f.Body, f.Word = true, word
	}
	return nil
}

// rewriteOldWay makes the old way of the stub at addr lead behind a redirect in the body.
// Nobody is behind its first instruction: there was only one.
func (p *process) rewriteOldWay(addr uint64, f *funcState) error {
	list, err := oldWay(addr, f.redirect(), f.Word)
	if err != nil {
		return err
	}
	if len(list) > (entry.PatchStubControl-entry.PatchStubOld)/arm64.InsnSize {
		return fmt.Errorf("its first instruction becomes %d", len(list))
	}
	b := make([]byte, 0, 16)
	for _, insn := range list {
		b = binary.LittleEndian.AppendUint32(b, insn)
	}
	if _, err := p.mem.WriteAt(b, int64(addr+entry.PatchStubOld)); err != nil {
		return fmt.Errorf("write stub: %w", err)
	}
	return nil
}
