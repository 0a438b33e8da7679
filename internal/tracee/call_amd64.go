package tracee

import "bytes"

// lostInSyscalls are the register sets that a system call may destroy: none here.
var lostInSyscalls []int

func indexSyscall(text []byte) int { return bytes.Index(text, []byte{0x0f, 0x05}) }

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
