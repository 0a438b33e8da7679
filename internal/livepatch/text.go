package livepatch

import (
	"fmt"

	"nopal/internal/ftrace"
)

// liveText writes instructions of a process whose threads run, and remembers them for
// confirm.
type liveText struct {
	live    ftrace.LiveText
	written map[uint64]uint32
}

// Load reads the instruction at addr.
func (t *liveText) Load(addr uint64) (uint32, error) { return t.live.Load(addr) }

// Store writes the instruction at addr, by one store.
func (t *liveText) Store(addr uint64, insn uint32) error {
	if err := t.live.Store(addr, insn); err != nil {
		return err
	}
	t.written[addr] = insn
	return nil
}

// confirm writes once more what was written. Processors need no such thing; but QEMU
// before 8.1 may go on with an instruction that was changed while another of its
// threads was translating the page, and forgets that with the next write to the page.
func (t *liveText) confirm() error {
	for addr, insn := range t.written {
		found, err := t.live.Load(addr)
		if err != nil {
			return err
		}
		if found != insn {
			continue
		}
		if err := t.live.Store(addr, insn); err != nil {
			return err
		}
	}
	return nil
}

func (p *process) text() *liveText {
	if p.code == nil {
		p.code = &liveText{ftrace.LiveText{Memory: p.mem}, map[uint64]uint32{}}
	}
	return p.code
}

// remember makes confirm write the stubs, too, that another nopal has settled.
func (p *process) remember() error {
	for _, q := range p.state.doc.Patches {
		for _, f := range q.Funcs {
			insn, err := p.text().Load(f.Stub)
			if err != nil {
				return fmt.Errorf("read stub of %s: %w", f.Name, err)
			}
			p.text().written[f.Stub] = insn
		}
	}
	return nil
}
