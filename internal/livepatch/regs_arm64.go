package livepatch

import (
	"nopal/internal/tracee"
	"nopal/internal/unwind"
)

func unwindRegs(r *tracee.Regs) unwind.Regs { return unwind.Regs{X: r.X, SP: r.Sp, PC: r.Pc} }

// syscallOf is the number of the system call that a thread is in.
func syscallOf(r *tracee.Regs) uint64 { return r.X[8] }
