package tracee

import "bytes"

// lostInSyscalls are the register sets that a system call may destroy: none here.
var lostInSyscalls []int

// indexGate finds a `syscall`. Where it returns to lies on the stack and not in a
// register, so that there is no rescue.
func indexGate(code []byte, _ int) (off, size int, returns bool) {
	return bytes.Index(code, []byte{0x0f, 0x05}), 2, false
}

func indexSigreturn([]byte) int { return -1 }

func (r *Regs) returnTo(uint64, uint64) {}

func signalFrame(int, savedState) []byte { return nil }

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

func (r *Regs) result() uint64 { return r.Rax }

// fixRestart has nothing to do: what has to be started again, and how, is in orig_rax and
// rax, which are put back.
func (r *Regs) fixRestart(*Thread) {}

// returnsFromSignal is not asked: there is no rescue that would return from one.
func (r *Regs) returnsFromSignal(uint64) bool { return false }
