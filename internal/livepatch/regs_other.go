//go:build !arm64

package livepatch

import (
	"nopal/internal/tracee"
	"nopal/internal/unwind"
)

// unwindRegs gives nothing that could be unwound: patches are for arm64.
func unwindRegs(r *tracee.Regs) unwind.Regs { return unwind.Regs{SP: r.SP(), PC: r.PC()} }

func syscallOf(*tracee.Regs) uint64 { return 0 }

func returned(r tracee.Regs, _ uint64) *tracee.Regs { return &r }

func argumentsOf(*tracee.Regs) [3]uint64 { return [3]uint64{} }
