package tracee

// breakpointInsn is `int3`; the program counter is behind it when it traps.
var breakpointInsn = []byte{0xcc}

const breakpointPCOffset = 1
