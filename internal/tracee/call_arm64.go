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

func indexSyscall(text []byte) int {
	for i := 0; i+4 <= len(text); i += 4 {
		if binary.LittleEndian.Uint32(text[i:]) == svc0 {
			return i
		}
	}
	return -1
}

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

func (r *Regs) result() uint64 { return r.X[0] }

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
