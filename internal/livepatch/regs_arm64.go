package livepatch

import (
	"nopal/internal/tracee"
	"nopal/internal/unwind"
)

func unwindRegs(r *tracee.Regs) unwind.Regs { return unwind.Regs{X: r.X, SP: r.Sp, PC: r.Pc} }

// syscallOf is the number of the system call that a thread is in.
func syscallOf(r *tracee.Regs) uint64 { return r.X[8] }

// returned gives the registers of a thread when it returns from code that has pushed
// some bytes and keeps x30.
func returned(r tracee.Regs, pushed uint64) *tracee.Regs {
	r.Pc = r.X[30]
	r.Sp += pushed
	return &r
}

// argumentsOf are the arguments of the system call that a thread begins.
func argumentsOf(r *tracee.Regs) [3]uint64 { return [3]uint64(r.X[:3]) }
