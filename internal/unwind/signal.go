package unwind

// The frame that the kernel makes for a signal: siginfo_t, then ucontext_t
// (arch/arm64/kernel/signal.c, struct rt_sigframe; uapi/asm/{ucontext,sigcontext}.h).
const (
	sigMContext  = 128 + 176         // struct sigcontext
	sigRegs      = sigMContext + 8   // behind fault_address
	sigSP        = sigRegs + 31*8    //
	sigReserved  = sigMContext + 288 // the records, the first of which is that of the FP registers
	sigFrameSize = sigReserved + 8   // as much as is looked at
	fpsimdWord   = 0x210<<32 | 0x46508001
)

const (
	movX8Sigreturn = 0xd2801168 // mov x8, #139
	movX8Exit      = 0xd2800ba8 // mov x8, #93
	svc0           = 0xd4000001
)

// signalFrame reports whether the next instructions of a frame return from a signal
// handler, and where the frame is that the kernel has made for it. Whoever executes
// them, in the vDSO or in a C library, has the stack pointer there.
func (u *Unwinder) signalFrame(s *state) (frame uint64, ok bool) {
	if u.pair(s.pc, movX8Sigreturn, svc0) {
		return s.sp, true
	}
	// A thread that has executed the first of them already.
	return s.sp, s.exact && u.pair(s.pc-insnSize, movX8Sigreturn, svc0)
}

// exitsThread reports whether what is next is the system call by which a thread
// ends: nothing is around that frame. musl's clone has no call frame information
// that says so.
func (u *Unwinder) exitsThread(s *state) bool {
	return !s.exact && u.pair(s.pc, movX8Exit, svc0)
}

func (u *Unwinder) pair(at uint64, first, second uint32) bool {
	a, ok := u.insn(at)
	if !ok || a != first {
		return false
	}
	b, ok := u.insn(at + insnSize)
	return ok && b == second
}

// leaveSignal makes the state that a signal has interrupted.
func (u *Unwinder) leaveSignal(s *state, at *step, frame uint64) *failure {
	n := &at.next
	at.cfa = frame
	magic, ok := u.word(frame + sigReserved)
	if !ok || magic != fpsimdWord {
		return fail("the frame of its signal is not at %#x", frame)
	}
	for i := range uint64(31) {
		v, ok := u.word(frame + sigRegs + 8*i)
		if !ok {
			return fail("the frame of its signal cannot be read")
		}
		n.set(i, v)
	}
	var okSP, okPC, okState bool
	var pstate uint64
	n.sp, okSP = u.word(frame + sigSP)
	n.pc, okPC = u.word(frame + sigSP + 8)
	pstate, okState = u.word(frame + sigSP + 16)
	const mode = 0x1f // of PSTATE: user mode, 64 bits
	if !okSP || !okPC || !okState || pstate&mode != 0 {
		return fail("the frame of its signal is malformed")
	}
	n.exact, n.fromSignal, n.kind = true, true, Signal
	at.restorer = !s.exact
	return nil
}
