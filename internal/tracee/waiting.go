package tracee

// Waiting reports whether the thread is suspended until the child of its vfork, which
// runs in the same memory, has executed a program or ended.
func (th *Thread) Waiting() bool {
	waiting := false
	_ = th.p.t.do(func() { waiting = th.vfork && th.state != threadHeld })
	return waiting
}
