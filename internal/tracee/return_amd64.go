package tracee

// ReturnAddress is where the function returns to at whose first instruction the
// stopped thread is.
func (th *Thread) ReturnAddress() (uint64, error) {
	r, err := th.Regs()
	if err != nil {
		return 0, err
	}
	return th.p.mem.ReadUint64(r.SP())
}

// syscallNumber is the number of the system call that a thread is about to make, at its
// entry.
func (r *Regs) syscallNumber() uint64 { return r.OrigRax }
