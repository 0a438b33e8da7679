package session

import (
	"encoding/binary"
	"path/filepath"
	"strings"

	"nopal/internal/ftrace"
	"nopal/internal/tracee"
)

// An unwinder that walks a stack with thunks on it holds what it has been told of them: an
// address of theirs, our call frame information. So return addresses are put back, and
// our memory goes, only when no thread is in one. What an exception keeps between a
// cleanup and _Unwind_Resume is a stack pointer, which is right with thunks and without.

// unwinderReach is how far above a stack pointer the frames of an unwinder are looked for:
// its own, those of what it calls (dl_iterate_phdr, personality and stop routines), and
// the cleanup handlers that a stop routine calls.
const unwinderReach = 64 << 10

// unwinderSize is how far from _Unwind_Find_FDE the rest of an unwinder is in a program
// that it was linked into. GCC's is two object files of 20 KiB together, of one archive.
const unwinderSize = 24 << 10

// unwinders are the mappings with the text of unwinders that know of thunks: a library's,
// or a part of the program's.
func (r *remover) unwinders(maps []tracee.Mapping) []tracee.Mapping {
	if len(r.frameRegions(maps)) == 0 {
		return nil
	}
	var texts []tracee.Mapping
	for _, e := range r.state.Journal {
		m, ok := mappingAt(maps, e.Addr)
		if !ok || !ftrace.IsDetour(e) {
			continue
		}
		if !strings.Contains(filepath.Base(m.Path), "libgcc_s") {
			m.Start, m.End = max(m.Start, e.Addr-unwinderSize), min(m.End, e.Addr+unwinderSize)
		}
		texts = append(texts, m)
	}
	return texts
}

// unwinds reports whether a stopped thread is in one of them: its pc is, or what may be a
// return address on its stack, or on one that a signal handler has interrupted. An old
// word that looks like one makes it wait longer than it has to.
func (r *remover) unwinds(texts, maps []tracee.Mapping, regs tracee.Regs, frames []sigframe) bool {
	if len(texts) == 0 {
		return false
	}
	in := func(addr uint64) bool {
		_, ok := mappingAt(texts, addr)
		return ok
	}
	on := func(sp uint64) bool {
		m, ok := mappingAt(maps, sp)
		if !ok {
			return false
		}
		sp &^= 7
		buf := make([]byte, min(unwinderReach, m.End-sp))
		n, _ := r.mem.ReadAt(buf, int64(sp)) // what cannot be read is no stack
		for ; n >= 8; n -= 8 {
			if in(binary.LittleEndian.Uint64(buf[n&^7-8:])) {
				return true
			}
		}
		return false
	}
	if in(regs.PC()) || on(regs.SP()) {
		return true
	}
	for _, f := range frames {
		if in(f.pc) || on(f.sp) {
			return true
		}
	}
	return false
}
