package session

import (
	"encoding/binary"
	"slices"

	"nopal/internal/entry"
	"nopal/internal/sys"
	"nopal/internal/tracee"
)

// The thread id lies in the C library's thread block, at a fixed distance from the
// thread pointer; see machine.

// threadID is what is known of a thread.
type threadID struct {
	pointer uint64
	tid     uint32
}

// findTidOffset returns the offset of the thread id from the thread pointer that
// holds for all the threads given. Where several do (a single thread, its id
// standing elsewhere too), the one wins that looks like glibc's or musl's block.
func (mc *machine) findTidOffset(mem *tracee.Memory, threads []threadID) (int64, bool) {
	counts := map[int64]int{}
	n := 0
	likely := map[int64]bool{}
	for _, th := range threads {
		if th.pointer == 0 {
			continue
		}
		block := make([]byte, mc.blockBelow+mc.blockAbove)
		base := th.pointer - mc.blockBelow
		if got, err := mem.ReadAt(block, int64(base)); err != nil || got < len(block) {
			// The block may start close behind the start of its mapping.
			// And it may end close before the end.
			base = th.pointer &^ 0xfff
			block = make([]byte, th.pointer-base+mc.blockAbove)
			got, _ := mem.ReadAt(block, int64(base))
			if uint64(got) <= th.pointer-base {
				continue
			}
			block = block[:got]
		}
		n++
		for i := 0; i+4 <= len(block); i += 4 {
			if binary.LittleEndian.Uint32(block[i:]) != th.tid {
				continue
			}
			off := int64(base) + int64(i) - int64(th.pointer)
			counts[off]++
			if looksLikeBlock(block, i, base, th.pointer) {
				likely[off] = true
			}
		}
	}
	if n == 0 {
		return 0, false
	}
	var all []int64
	for off, c := range counts {
		if c == n {
			all = append(all, off)
		}
	}
	if len(all) == 1 {
		return all[0], true
	}
	pick, found := int64(0), 0
	for _, off := range all {
		if likely[off] {
			pick, found = off, found+1
		}
	}
	return pick, found == 1
}

// looksLikeBlock checks the surroundings of a thread id at block[i]. In glibc a
// list head that points to itself when empty follows it (struct pthread in
// nptl/descr.h: tid, pid_ununsed, robust_prev, robust_head); in musl the block
// begins with a pointer to itself shortly before (struct pthread in
// src/internal/pthread_impl.h).
func looksLikeBlock(block []byte, i int, base, pointer uint64) bool {
	word := func(at int) uint64 {
		if at < 0 || at+8 > len(block) {
			return 0
		}
		return binary.LittleEndian.Uint64(block[at:])
	}
	if i%8 == 0 && word(i+16) == base+uint64(i)+16 {
		return true
	}
	for back := 8; back <= 64; back += 8 {
		at := i&^7 - back
		if self := word(at); at >= 0 && self == base+uint64(at) && self <= pointer {
			return true
		}
	}
	return false
}

// runToThreadBlock runs a static program, installed before its C library has set the
// thread block up, to where that has just been done: behind set_tid_address, which
// gives the id that is put there (glibc csu/libc-tls.c, musl src/env/__init_tls.c). No
// second thread exists then. A program without a C library is left at its first system
// call of another kind.
func (t *target) runToThreadBlock() error {
	done := false
	err := t.p.RunUntilCall(func(nr uint64) bool {
		switch {
		case done:
			return false
		case nr == sys.NrSetTidAddress:
			done = true
			return true
		}
		return slices.Contains(earlyCalls, nr) || slices.Contains(t.machine.earlyCalls, nr)
	})
	if err != nil || !done {
		return err
	}
	if off := t.findTid(); off != entry.TidOffsetNone {
		t.setTidOffset(off)
	}
	return nil
}

// earlyCalls are what a C library calls before set_tid_address on all machines.
var earlyCalls = []uint64{
	sys.NrBrk, sys.NrMmap, sys.NrMprotect, sys.NrPrctl, sys.NrUname, sys.NrReadlinkat, sys.NrGetrandom,
}
