package tracee

// x86-64 targets are not recorded yet; their remote calls go without a way back.

func findWayBack([]byte, bool) (svcRet, sigreturn int) { return -1, -1 }

func (th *Thread) spreadNet(*Regs, savedState) {}
