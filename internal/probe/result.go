package probe

import "nopal/internal/arch/arm64"

// Where a call's result in memory goes is told by x8, which it need not keep (AAPCS64
// 6.9). Its entry notes it in entry.Control.Results, and its exit takes it from there.

// result makes slot = the address of the entry that belongs to sp at the call.
func (c *compiler) result(sp, slot, tmp arm64.Reg) {
	c.entrySP(sp, 0)
	c.LdrFar(slot, c.t.Shared.Literals+literalsTable)
	c.AddImm(slot, slot, controlResults-controlSize)
	c.LdrLiteral(tmp, resultHash)
	c.Mul(tmp, tmp, sp)
	c.LsrImm(tmp, tmp, 64-resultBits)
	c.Add(slot, slot, tmp, 4)
}

// saveX8 notes it. Exclusive, so that nobody sees one call's sp and another's x8.
func (c *compiler) saveX8() {
	const sp, slot, status = arm64.X10, arm64.X11, arm64.X15
	c.result(sp, slot, arm64.X12)
	again := c.Here()
	c.Ldxp(arm64.X13, arm64.X14, slot)
	c.Stxp(status, sp, arm64.X8, slot)
	c.Cbnz32(status, again)
}

// takeX8 leaves at resultAt what was noted and 0, or what a memory field has where nobody
// knows. It is taken: a call that begins unnoted must not find it.
func (c *compiler) takeX8() {
	const sp, slot, found, value, status = arm64.X10, arm64.X11, arm64.X13, arm64.X14, arm64.X15
	lost, done := c.Label(), c.Label()
	c.result(sp, slot, arm64.X12)
	again := c.Here()
	c.Ldxp(found, value, slot)
	c.Eor(arm64.X12, found, sp, 0)
	c.Cbnz(arm64.X12, lost)
	c.Stxp(status, arm64.XZR, arm64.XZR, slot)
	c.Cbnz32(status, again)
	c.Stp(value, arm64.XZR, arm64.X29, resultAt)
	c.B(done)
	c.Bind(lost)
	c.MovN(value, 0, 0)
	c.MovImm(arm64.X12, memUnseen)
	c.Stp(value, arm64.X12, arm64.X29, resultAt)
	c.Bind(done)
}
