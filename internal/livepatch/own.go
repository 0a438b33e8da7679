package livepatch

import (
	"slices"
	"strings"

	"nopal/internal/ring"
	"nopal/internal/tracee"
)

// ringPath is the name of the memory in which a recording says where its code is, and
// otherRings are those of memory that is none.
const ringPath = "/memfd:nopal"

var otherRings = []string{memfdPath, ringPath + "-profile", ringPath + "-rules"}

// findTracer finds the code of a recording in the process.
func (p *process) findTracer(maps []tracee.Mapping) {
	p.tracers = nil
	for _, m := range maps {
		if !strings.HasPrefix(m.Path, ringPath) || slices.ContainsFunc(otherRings, func(s string) bool { return strings.HasPrefix(m.Path, s) }) {
			continue
		}
		s, err := ring.ReadState(p.mem, m.Start, m.End-m.Start)
		if err != nil {
			continue
		}
		for _, i := range s.Islands {
			p.tracers = append(p.tracers, Range{i.Addr, i.Size})
		}
	}
}

// own reports whether an address is in code of nopal's.
func (p *process) own(pc uint64) bool {
	return p.inIsland(pc) || slices.ContainsFunc(p.tracers, func(r Range) bool { return r.contains(pc) })
}

// inIsland reports whether an address is in code of ours that leads threads.
func (p *process) inIsland(addr uint64) bool {
	if p.state == nil {
		return false
	}
	for _, q := range p.state.doc.Patches {
		if q.Island.contains(addr) {
			return true
		}
	}
	return false
}

// ownStack reports whether an address is on the stack that a thread was made with: the C
// library keeps the thread's block, which the thread pointer points to, at its upper end. A
// thread that is elsewhere runs a coroutine, and what it does on its own stack is
// not seen.
func (p *process) ownStack(tid int, tp, sp uint64) bool {
	for try := 0; try < 2; try++ {
		for _, m := range p.maps {
			if sp < m.Start || sp > m.End {
				continue
			}
			// The first thread of a child of fork may be on either.
			if tid == p.pid && m.Path == "[stack]" || tp >= sp && tp < m.End {
				return true
			}
		}
		var err error
		if p.maps, err = tracee.Maps(p.pid); err != nil {
			return false
		}
	}
	return false
}

// A signal frame is found by the record that the kernel puts first behind the general
// registers (arch/arm64/include/uapi/asm/sigcontext.h, struct fpsimd_context): sp and pc
// stand before it.
const (
	fpsimdWord = 0x210<<32 | 0x46508001
	frameSP    = 32
	framePC    = 24
	scanMost   = 8 << 20
)

// interrupted reports whether a signal frame above sp, or on a stack that was left for
// one of these, returns to the stubs' code. It finds too many rather than too few.
func (p *process) interrupted(sp uint64) bool {
	maps, err := tracee.Maps(p.pid)
	if err != nil {
		return true
	}
	seen := map[uint64]bool{}
	for todo := []uint64{sp &^ 15}; len(todo) > 0; todo = todo[1:] {
		at := todo[0]
		if seen[at] || len(seen) > 64 {
			continue
		}
		seen[at] = true
		for _, m := range maps {
			if at < m.Start || at >= m.End {
				continue
			}
			b := make([]byte, min(m.End-at, scanMost))
			n, _ := p.mem.ReadAt(b, int64(at))
			for i := frameSP &^ 15; i+8 <= n; i += 16 {
				if le.Uint64(b[i:]) != fpsimdWord || i < frameSP {
					continue
				}
				if p.inIsland(le.Uint64(b[i-framePC:])) {
					return true
				}
				todo = append(todo, le.Uint64(b[i-frameSP:])&^15)
			}
		}
	}
	return false
}
