package livepatch

import (
	"nopal/internal/tracee"
	"nopal/internal/unwind"
)

func unwindRegs(r *tracee.Regs) unwind.Regs { return unwind.Regs{X: r.X, SP: r.Sp, PC: r.Pc} }
