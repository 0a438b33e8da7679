package tracee

import (
	"bytes"
	"encoding/binary"

	"nopal/internal/sys"
)

// lostInSyscalls are the register sets that a system call may destroy: none here.
var lostInSyscalls []int

var (
	syscallInsn  = []byte{0x0f, 0x05}
	syscallRet   = []byte{0x0f, 0x05, 0xc3}
	restorerInsn = []byte{0x48, 0xc7, 0xc0, nrSigreturn, 0, 0, 0, 0x0f, 0x05} // mov rax, 15; syscall
)

const nrSigreturn = 15

// indexGate finds a `syscall`, preferably with a RET behind it.
func indexGate(code []byte, _ int) (off, size int, returns bool) {
	if i := bytes.Index(code, syscallRet); i >= 0 {
		return i, len(syscallRet), true
	}
	return bytes.Index(code, syscallInsn), len(syscallInsn), false
}

// sigreturnInVDSO says that the kernel gives every process an rt_sigreturn: here the C
// library has one, to which it has signal handlers return (SA_RESTORER).
const sigreturnInVDSO = false

// indexSigreturn finds that.
func indexSigreturn(code []byte) int { return bytes.Index(code, restorerInsn) }

// What is put on an unused stack for a rescue: a mark, a struct rt_sigframe
// (arch/x86/include/asm/sigframe.h; uapi/asm/ucontext.h, sigcontext.h), of which the
// address is 8 less than a multiple of 16 as the kernel makes it, and the extended state
// behind it, aligned to 64 bytes (Intel SDM volume 1, 13.4).
const (
	frameAt    = 72
	frameSize  = 440
	xstateAt   = frameAt + frameSize
	pretcode   = frameAt
	ucFlags    = frameAt + 8
	ucStack    = frameAt + 24 // ss_sp, ss_flags, ss_size
	sigcontext = frameAt + 48
	ucSigmask  = frameAt + 304

	scFPState = sigcontext + 184

	// UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
	ucFlagsAll = 7
	ssWrong    = 0x7fff

	// struct _fpx_sw_bytes in the legacy area, and what ends the whole.
	swReserved = 464
	fxMagic1   = 0x46505853
	fxMagic2   = 0x46505845
	xsaveLeast = 512 + 64
	// Where the state of AMX begins, which processes have by request only: what is saved
	// in a frame of others ends before it (13.5.12 to 13.5.14).
	amxSize     = 8192
	amxFeatures = 3 << 17
)

// returnTo makes a call that returns return to addr, which the frame holds, with the
// given stack.
func (r *Regs) returnTo(_, sp uint64) { r.Rsp = sp + frameAt }

// signalFrame builds what brings the thread's state back.
func signalFrame(tid int, s savedState, g gate) []byte {
	fp, err := sys.PtraceGetRegSetAll(tid, sys.RegSetX86XState)
	if err != nil || len(fp) < xsaveLeast {
		return nil
	}
	le := binary.LittleEndian
	features := le.Uint64(fp[swReserved:])
	if features&amxFeatures != 0 && len(fp) > amxSize {
		fp = fp[:len(fp)-amxSize]
		features &^= amxFeatures
	}
	b := make([]byte, xstateAt+len(fp)+4)
	le.PutUint64(b[pretcode:], g.sigreturn)
	le.PutUint64(b[ucFlags:], ucFlagsAll)
	// The alternate stack cannot be known from outside. One that is wrong is ignored.
	le.PutUint32(b[ucStack+8:], ssWrong)
	r := s.interrupted
	r.restart()
	c := b[sigcontext:]
	for i, v := range []uint64{
		r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15,
		r.Rdi, r.Rsi, r.Rbp, r.Rbx, r.Rdx, r.Rax, r.Rcx, r.Rsp, r.Rip, r.Eflags,
		r.Cs&0xffff | r.Ss<<48,
	} {
		le.PutUint64(c[8*i:], v)
	}
	le.PutUint64(b[ucSigmask:], s.mask)
	x := b[xstateAt:]
	copy(x, fp)
	clear(x[swReserved : swReserved+48])
	le.PutUint32(x[swReserved:], fxMagic1)
	le.PutUint32(x[swReserved+4:], uint32(len(fp)+4))
	le.PutUint64(x[swReserved+8:], features)
	le.PutUint32(x[swReserved+16:], uint32(len(fp)))
	le.PutUint32(x[len(fp):], fxMagic2)
	return b
}

// placeFrame puts the addresses into a frame that depend on its own.
func placeFrame(b []byte, addr uint64) {
	binary.LittleEndian.PutUint64(b[scFPState:], addr+xstateAt)
}

// inSyscall reports whether the stop has interrupted a system call.
func inSyscall(_ int, r *Regs) bool { return r.OrigRax != noSyscall }

// prepareCall makes the registers those of a system call.
func (r *Regs) prepareCall(insn, nr uint64, args []uint64) {
	for i, a := range args {
		*[]*uint64{&r.Rdi, &r.Rsi, &r.Rdx, &r.R10, &r.R8, &r.R9}[i] = a
	}
	r.Rax = nr
	r.SetPC(insn)
}

// setArgs passes numbers to a function (System V ABI, AMD64 supplement, 3.2.3).
func (r *Regs) setArgs(args []uint64) {
	for i, a := range args {
		*[]*uint64{&r.Rdi, &r.Rsi, &r.Rdx, &r.Rcx, &r.R8, &r.R9}[i] = a
	}
	r.Eflags &^= directionFlag
}

// directionFlag is clear at a function's entry (3.2.1).
const directionFlag = 1 << 10

func (r *Regs) result() uint64 { return r.Rax }

// returned is what a function has returned, at the entry of rt_sigreturn: rax has its number.
func (r *Regs) returned() uint64 { return 0 }

// fixRestart has nothing to do: what has to be started again, and how, is in orig_rax and
// rax, which are put back.
func (r *Regs) fixRestart(*Thread) {}

// restart does what the kernel would do about an interrupted system call: it is made
// again (arch/x86/kernel/signal.c, arch_do_signal_or_restart). One that would go on where
// it was (ERESTART_RESTARTBLOCK) begins anew: a return from a signal forgets that.
func (r *Regs) restart() {
	if r.OrigRax == noSyscall {
		return
	}
	const (
		restartSys, restartNoIntr, restartNoHand, restartBlock = 512, 513, 514, 516
	)
	switch -int64(r.Rax) {
	case restartSys, restartNoIntr, restartNoHand, restartBlock:
		r.Rax = r.OrigRax
		r.Rip -= uint64(len(syscallInsn))
	}
}

// returnsFromSignal reports whether a thread is at the entry of the system call of the
// rt_sigreturn at addr.
func (r *Regs) returnsFromSignal(addr uint64) bool {
	return r.OrigRax == nrSigreturn && r.Rip == addr+uint64(len(restorerInsn))
}
