package tracee

import (
	"encoding/binary"

	"nopal/internal/sys"
)

// svc0 is `svc #0`.
const svc0 = 0xd4000001

// lostInSyscalls are the register sets that a system call may destroy: the kernel keeps
// of the scalable vectors only what NEON sees, and leaves streaming mode
// (Documentation/arch/arm64/sve.rst and sme.rst, "System call behaviour").
var lostInSyscalls = []int{sys.RegSetArmSVE, sys.RegSetArmSSVE, sys.RegSetArmZA}

const (
	ret      = 0xd65f03c0 // ret
	autiasp  = 0xd50323bf // authenticates the link register; a NOP without PAC
	movX8139 = 0xd2801168 // mov x8, #139, rt_sigreturn
)

// indexGate finds `svc #0` in code, preferably with nothing but a return behind it.
func indexGate(code []byte, pid int) (off, size int, returns bool) {
	insn := func(i int) uint32 {
		if i+4 > len(code) {
			return 0
		}
		return binary.LittleEndian.Uint32(code[i:])
	}
	off = -1
	pac := true
	if v, err := Auxv(pid); err == nil {
		const hwcapPACA = 1 << 30
		pac = v[AtHwcap]&hwcapPACA != 0
	}
	for i := 0; i+4 <= len(code); i += 4 {
		if insn(i) != svc0 {
			continue
		}
		switch {
		case insn(i+4) == ret:
			return i, 8, true
		case insn(i+4) == autiasp && insn(i+8) == ret && !pac:
			return i, 12, true
		case off < 0:
			off = i
		}
	}
	return off, min(4, len(code)), false
}

// sigreturnInVDSO says that the kernel gives every process an rt_sigreturn.
const sigreturnInVDSO = true

// indexSigreturn finds the vDSO's __kernel_rt_sigreturn.
func indexSigreturn(code []byte) int {
	for i := 0; i+8 <= len(code); i += 4 {
		if binary.LittleEndian.Uint32(code[i:]) == movX8139 && binary.LittleEndian.Uint32(code[i+4:]) == svc0 {
			return i
		}
	}
	return -1
}

// returnTo makes a call that returns return to addr with the given stack.
func (r *Regs) returnTo(addr, sp uint64) {
	r.X[30] = addr
	r.Sp = sp
}

// returnsFromSignal reports whether a thread is at the entry of the system call of the
// rt_sigreturn at addr.
func (r *Regs) returnsFromSignal(addr uint64) bool {
	const sigreturn = 139 // behind the two instructions of movX8139
	return r.X[8] == sigreturn && r.Pc == addr+8
}

// signalFrame builds a struct rt_sigframe (arch/arm64/kernel/signal.c) that brings the
// thread's state back. Of the scalable vectors it holds what NEON sees.
func signalFrame(tid int, s savedState, _ gate) []byte {
	const (
		siginfoSize  = 128
		ucStackFlags = siginfoSize + 24 // uc_flags, uc_link, ss_sp
		ucSigmask    = siginfoSize + 40
		mcontext     = siginfoSize + 176 // aligned to 16 bytes behind 128 of signals
		mcRegs       = mcontext + 8      // behind fault_address
		reserved     = mcontext + 288    // aligned to 16 bytes
		fpsimdMagic  = 0x46508001
		fpsimdSize   = 528
		end          = 16 // the record that ends the list is all zeros
		vregs        = 512
	)
	fp := make([]byte, vregs+16)
	if n, err := sys.PtraceGetRegSet(tid, sys.RegSetFloat, fp); err != nil || n < vregs+8 {
		return nil
	}
	le := binary.LittleEndian
	b := make([]byte, reserved+fpsimdSize+end)
	// The kernel takes the alternate stack from the frame, too, and ignores it if it is
	// wrong: it cannot be known from outside.
	le.PutUint32(b[ucStackFlags:], 0x7fff)
	le.PutUint64(b[ucSigmask:], s.mask)
	if _, err := binary.Encode(b[mcRegs:], le, &s.interrupted); err != nil {
		return nil
	}
	f := b[reserved:]
	le.PutUint32(f, fpsimdMagic)
	le.PutUint32(f[4:], fpsimdSize)
	copy(f[8:], fp[vregs:vregs+8]) // fpsr, fpcr: behind the vectors there, before them here
	copy(f[16:], fp[:vregs])
	return b
}

// placeFrame has nothing to do: the frame has no addresses in it.
func placeFrame([]byte, uint64) {}

// inSyscall reports whether the stop has interrupted a system call that is going to be
// started again: the kernel has already moved pc back to the instruction
// (arch/arm64/kernel/signal.c, do_signal).
func inSyscall(tid int, r *Regs) bool {
	word, err := sys.PtracePeek(tid, r.Pc&^7)
	if err != nil {
		return false
	}
	return uint32(word>>(8*(r.Pc&4))) == svc0
}

// prepareCall makes the registers those of a system call.
func (r *Regs) prepareCall(svc, nr uint64, args []uint64) {
	copy(r.X[:6], args)
	r.X[8] = nr
	r.SetPC(svc)
}

// setArgs passes numbers to a function (AAPCS64 6.8.2).
func (r *Regs) setArgs(args []uint64) { copy(r.X[:6], args) }

func (r *Regs) result() uint64 { return r.X[0] }

// returned is what a function has returned, at the entry of rt_sigreturn.
func (r *Regs) returned() uint64 { return r.X[0] }

// fixRestart sees to it that an interrupted wait with a relative time is continued and
// not begun again. The kernel does so by putting restart_syscall into x8 when it
// resumes, unless pc has been changed meanwhile, as by a remote call it has: then it is
// left to us. It does not show which calls want it; these do (-ERESTART_RESTARTBLOCK).
func (r *Regs) fixRestart(th *Thread) {
	if wantsRestart(r) && inSyscall(th.tid, r) {
		r.X[8] = sys.NrRestartSyscall
	}
}

func wantsRestart(r *Regs) bool {
	const (
		timerAbstime    = 1
		futexCmdMask    = 0x7f
		futexWait       = 0
		futexWaitBitset = 9
	)
	switch r.X[8] {
	case sys.NrNanosleep:
		return true
	case sys.NrClockNanosleep:
		return r.X[1]&timerAbstime == 0
	case sys.NrFutex:
		cmd := r.X[1] & futexCmdMask
		return (cmd == futexWait || cmd == futexWaitBitset) && r.X[3] != 0
	}
	return false
}
