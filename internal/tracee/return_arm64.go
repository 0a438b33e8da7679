package tracee

// ReturnAddress is where the function returns to at whose first instruction the
// stopped thread is.
func (th *Thread) ReturnAddress() (uint64, error) {
	r, err := th.Regs()
	return r.X[30], err
}

// syscallNumber is the number of the system call that a thread is about to make, at its
// entry.
func (r *Regs) syscallNumber() uint64 { return r.X[8] }
