package tracee

// syscallNumber is the number of the system call that a thread is about to make, at its
// entry.
func (r *Regs) syscallNumber() uint64 { return r.OrigRax }
