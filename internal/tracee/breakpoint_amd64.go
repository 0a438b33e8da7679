package tracee

import "errors"

// breakpointInsn is `int3`; the program counter is behind it when it traps.
var breakpointInsn = []byte{0xcc}

const breakpointPCOffset = 1

// setHardwareBreakpoint is for arm64; programs are not launched for recording here yet.
func setHardwareBreakpoint(int, uint64) error { return errors.ErrUnsupported }
