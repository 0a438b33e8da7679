package tracee

import (
	"encoding/binary"
	"errors"

	"nopal/internal/sys"
)

// breakpointInsn is `brk #0`; pc stays on it.
var breakpointInsn = []byte{0x00, 0x00, 0x20, 0xd4}

const breakpointPCOffset = 0

// setHardwareBreakpoint makes the processor trap the thread at addr, with its first
// breakpoint register; addr 0 clears it. The layout is struct user_hwdebug_state
// (arch/arm64/include/uapi/asm/ptrace.h), the control word's that of DBGBCR_EL1 (Arm ARM
// D19.3.2): enabled, EL0, all four bytes of the instruction.
func setHardwareBreakpoint(tid int, addr uint64) error {
	const (
		head    = 8 // dbg_info, pad
		control = 1<<0 | 2<<1 | 0xf<<5
	)
	var state [head + 16*16]byte
	if _, err := sys.PtraceGetRegSet(tid, sys.RegSetArmBreak, state[:]); err != nil {
		return err
	}
	if state[0] == 0 {
		return errors.New("no hardware breakpoints")
	}
	clear(state[:])
	binary.LittleEndian.PutUint64(state[head:], addr)
	if addr != 0 {
		binary.LittleEndian.PutUint32(state[head+8:], control)
	}
	return sys.PtraceSetRegSet(tid, sys.RegSetArmBreak, state[:head+16])
}
