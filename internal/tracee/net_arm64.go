package tracee

import (
	"encoding/binary"

	"nopal/internal/sys"
)

// A remote call holds a thread in registers that are not its own. Should nopal be
// killed then, the kernel lets the thread run on in them: so behind the system call
// instruction there has to be a way back. Where we can, the call is made at an
// `svc #0; ret` (the C library has one in every wrapper of a call that cannot fail)
// with x30 at the vDSO's `mov x8, #__NR_rt_sigreturn; svc #0` and sp at a signal
// frame below the thread's stack that holds its true state, signal mask included.
// A thread left alone returns from a signal that it never got.

const (
	retX30       = 0xd65f03c0 // ret
	movSigreturn = 0xd2801168 // mov x8, #139
)

// Layout of struct rt_sigframe (arch/arm64/kernel/signal.c,
// include/uapi/asm/{ucontext,sigcontext}.h): siginfo of 128 bytes, then ucontext.
const (
	frameContext  = 128
	frameStack    = frameContext + 16  // uc_stack: sp, flags, size
	frameSigmask  = frameContext + 40  // uc_sigmask
	frameMachine  = frameContext + 176 // uc_mcontext, 16-aligned: fault address, regs
	frameRegs     = frameMachine + 8
	frameReserved = frameMachine + 288
	frameSize     = frameReserved + 4096
	fpsimdMagic   = 0x46508001
	fpsimdSize    = 528
	// belowStack keeps clear of what a remote call's caller puts below sp.
	belowStack = 1024
	// noAltStack are flags that sigaltstack refuses, which a return from a signal
	// ignores: the alternate stack stays what it is.
	noAltStack = 0x7f
)

// findWayBack looks in code for a system call instruction that is followed by RET,
// and in the vDSO for the return from signals.
func findWayBack(code []byte, vdso bool) (svcRet, sigreturn int) {
	svcRet, sigreturn = -1, -1
	for i := 0; i+8 <= len(code); i += 4 {
		first, second := binary.LittleEndian.Uint32(code[i:]), binary.LittleEndian.Uint32(code[i+4:])
		switch {
		case first == svc0 && second == retX30 && svcRet < 0:
			svcRet = i
		case vdso && first == movSigreturn && second == svc0:
			sigreturn = i
		}
	}
	return svcRet, sigreturn
}

// spreadNet writes the frame and makes r return through it. It does nothing where
// there is no way back or no room on the stack.
func (th *Thread) spreadNet(r *Regs, s savedState) {
	p := th.p
	if p.sigreturn == 0 {
		return
	}
	var fp [512 + 16]byte // vregs, fpsr, fpcr
	if _, err := sys.PtraceGetRegSet(th.tid, sys.RegSetFloat, fp[:]); err != nil {
		return
	}
	frame := make([]byte, frameSize)
	put := binary.LittleEndian.PutUint64
	put(frame[frameStack+8:], noAltStack)
	put(frame[frameSigmask:], s.mask)
	for i, x := range s.interrupted.X {
		put(frame[frameRegs+8*i:], x)
	}
	put(frame[frameRegs+8*31:], s.interrupted.Sp)
	put(frame[frameRegs+8*32:], s.interrupted.Pc)
	put(frame[frameRegs+8*33:], s.interrupted.Pstate)
	put(frame[frameReserved:], fpsimdSize<<32|fpsimdMagic)
	copy(frame[frameReserved+8:], fp[512:520]) // fpsr, fpcr
	copy(frame[frameReserved+16:], fp[:512])
	at := (s.regs.Sp - belowStack - frameSize) &^ 15
	if _, err := p.mem.WriteAt(frame, int64(at)); err != nil {
		return
	}
	r.Sp = at
	r.X[30] = p.sigreturn
}
