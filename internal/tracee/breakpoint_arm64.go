package tracee

// breakpointInsn is `brk #0`; pc stays on it.
var breakpointInsn = []byte{0x00, 0x00, 0x20, 0xd4}

const breakpointPCOffset = 0
