package tracee

import (
	"encoding/binary"

	"nopal/internal/sys"
)

// abortRseq does for a thread that was interrupted inside a restartable sequence what the
// kernel does when such a thread goes on (kernel/rseq.c, rseq_ip_fixup): it is sent to the
// sequence's abort handler. When the thread goes on to a remote call instead, the kernel
// finds it outside and forgets the sequence, which would then be finished as if nothing
// had come between.
func (th *Thread) abortRseq(r *Regs) {
	c, err := sys.PtraceGetRseq(th.tid)
	if err != nil || c.Pointer == 0 { // kernels before 5.13 do not tell
		return
	}
	const offCS = 8 // of rseq_cs in struct rseq
	at, err := th.p.mem.ReadUint64(c.Pointer + offCS)
	if err != nil || at == 0 {
		return
	}
	var cs [32]byte // struct rseq_cs: version, flags, start_ip, post_commit_offset, abort_ip
	if _, err := th.p.mem.ReadAt(cs[:], int64(at)); err != nil {
		return
	}
	if pc, ok := rseqAbort(cs, r.PC()); ok {
		r.SetPC(pc)
	}
}

// rseqAbort returns where a sequence is aborted to if pc is inside it.
func rseqAbort(cs [32]byte, pc uint64) (uint64, bool) {
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(cs[i:]) }
	start, length, abort := word(8), word(16), word(24)
	return abort, pc-start < length
}
