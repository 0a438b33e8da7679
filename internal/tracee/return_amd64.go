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
