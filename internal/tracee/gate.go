package tracee

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// gate is code of the process that remote calls go through.
type gate struct {
	call uint64 // a system call instruction
	code []byte // what stands there
	// Where an rt_sigreturn begins, if the instructions at call return to where the registers
	// say without doing anything else; 0 if not.
	sigreturn uint64
	stack     uint64 // an address in the unused part of the first thread's stack
}

// findGate looks for a gate in the process, unless the one that is known is still there.
// The best is one that returns, since it makes the call survive us; see rescue.
func (p *Process) findGate() error {
	if g := p.gate; g.call != 0 {
		now := make([]byte, len(g.code))
		if _, err := p.mem.ReadAt(now, int64(g.call)); err == nil && bytes.Equal(now, g.code) {
			return nil
		}
	}
	p.gate = gate{}
	maps, err := Maps(p.pid)
	if err != nil {
		return err
	}
	const (
		chunk = 1 << 20
		most  = 64 << 20 // of code that is looked through for a better gate than one found
	)
	var sigreturn uint64
	seen, returning := 0, false
	// The vDSO first: on arm64 rt_sigreturn is only looked for there.
	for _, vdso := range []bool{true, false} {
		// From behind: the C library and the loader are behind the program's own code, which
		// may be large.
		for _, m := range slices.Backward(maps) {
			if !m.Executable() || (m.Path == "[vdso]") != vdso || m.Path == "[vsyscall]" {
				continue
			}
			for addr := m.Start; addr < m.End && (seen < most || p.gate.call == 0); addr += chunk {
				code := make([]byte, min(chunk, m.End-addr))
				n, _ := p.mem.ReadAt(code, int64(addr)) // what can be read
				code, seen = code[:n], seen+n
				if off := indexSigreturn(code); (vdso || !sigreturnInVDSO) && off >= 0 {
					sigreturn = addr + uint64(off)
				}
				off, size, returns := indexGate(code, p.pid)
				if off >= 0 && !returning && (returns || p.gate.call == 0) {
					p.gate = gate{call: addr + uint64(off), code: bytes.Clone(code[off : off+size])}
					returning = returns
				}
				if returning {
					p.gate.sigreturn = sigreturn
				}
				if p.gate.call != 0 && (p.gate.sigreturn != 0 || sigreturnInVDSO && (returning || sigreturn == 0)) {
					return nil
				}
			}
		}
	}
	if p.gate.call == 0 {
		if seen == 0 { // it has been killed, and its memory is gone
			return ErrExited
		}
		return errors.New("no system call instruction in its code")
	}
	return nil
}

// rescue is what lets a process survive nopal's death in the middle of a remote call: a
// signal frame that holds the thread's state, in a place that nobody uses. While the call
// is on its way the stack pointer is at the frame, and what the call returns to is an
// rt_sigreturn, so that a thread that is left alone there makes the call, returns, and has
// its registers and signal mask back. The nil rescue does nothing.
type rescue struct {
	p    *Process
	addr uint64
	size int
	ret  uint64
}

// rescueMark begins what is put there, where nobody reads it: what was left behind may be
// overwritten.
var rescueMark = []byte("nopal rescue")

// prepareRescue writes the frame. Where that is not possible the call goes without.
func (th *Thread) prepareRescue(s savedState) *rescue {
	p := th.p
	if p.gate.sigreturn == 0 {
		return nil
	}
	frame := signalFrame(th.tid, s, p.gate)
	addr, err := p.unusedStack(len(frame), p.onTheWayBack)
	if frame == nil || err != nil {
		return nil
	}
	copy(frame, rescueMark)
	placeFrame(frame, addr)
	if _, err := p.mem.write(frame, int64(addr)); err != nil {
		return nil
	}
	return &rescue{p: p, addr: addr, size: len(frame), ret: p.gate.sigreturn}
}

// arm directs the registers of a call to the frame.
func (r *rescue) arm(regs *Regs) {
	if r != nil {
		regs.returnTo(r.ret, r.addr)
	}
}

// clear makes the place what it was.
func (r *rescue) clear() error {
	if r == nil {
		return nil
	}
	_, err := r.p.mem.write(make([]byte, r.size), int64(r.addr))
	if errors.Is(err, ErrExited) {
		return nil
	}
	return err
}

// unusedStack returns the address of size bytes of the first thread's stack which that
// has never reached: the kernel maps 128 KB at once, and what is far below and still zero
// has not been in use. Below the stack pointer of the thread at hand is no place for it:
// stacks may be small where signals have a stack of their own.
//
// What another nopal has left there is taken if nobody goes back by it, which used, if not
// nil, tells; otherwise there is a second place above it.
func (p *Process) unusedStack(size int, used func(at uint64) bool) (uint64, error) {
	if p.gate.stack == 0 {
		maps, err := Maps(p.pid)
		if err != nil {
			return 0, err
		}
		for _, m := range maps {
			if m.Path == "[stack]" && m.End-m.Start >= 3*rescueRoom {
				p.gate.stack = m.Start + rescueRoom
			}
		}
	}
	if p.gate.stack == 0 {
		return 0, fmt.Errorf("no stack of its first thread in process %d", p.pid)
	}
	now := make([]byte, size)
	for _, at := range []uint64{p.gate.stack, p.gate.stack + rescueRoom/2} {
		if _, err := p.mem.ReadAt(now, int64(at)); err != nil {
			return 0, err
		}
		left := bytes.HasPrefix(now, rescueMark) && (used == nil || !used(at))
		if left || len(bytes.Trim(now, "\x00")) == 0 {
			return at, nil
		}
	}
	return 0, fmt.Errorf("the stack at %#x in process %d is in use", p.gate.stack, p.pid)
}

// rescueRoom is what is left free below the place: signals that arrive while a thread is
// left alone there need room.
const rescueRoom = 32 << 10

// onTheWayBack reports whether a thread may be on its way back by the frame at an address,
// since a nopal that has left it was killed just now.
func (p *Process) onTheWayBack(at uint64) bool {
	for _, th := range p.threads {
		if th.state != threadHeld {
			return true
		}
		if r, err := getRegs(th.tid); err != nil || r.SP() > at-rescueRoom && r.SP() < at+rescueRoom/2 {
			return true
		}
	}
	return false
}
