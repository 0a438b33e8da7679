package probe

import "nopal/internal/arch/arm64"

// A buffered payload, from x29 down: x16 and x0-x8 as they came, at an exit x8 of the entry
// and why it is not known, then the buffer at sp, with what read needs behind it.
const (
	savedSize = 80 + 16
	savedAt   = -80 // of x0 from x29
	resultAt  = -savedSize
	slack     = 8
	memHead   = 16 // address and header of a memory field
)

// What read is told in x2.
const (
	readString  = 0
	readCounted = 1
)

// fixed is how many bytes of payload some fields take without what is in memory.
func fixed(fields []Field) int {
	n := 0
	for _, f := range fields {
		if f.Mem != nil {
			n += memHead
		} else {
			n += 8 * wordsOf(f.Size)
		}
	}
	return n
}

// payloadMax is how long the payload can become.
func (p *Program) payloadMax() int {
	n := fixed(p.Fields)
	for _, f := range p.Fields {
		if f.Mem != nil {
			n += 8 * wordsOf(f.Mem.Max)
		}
	}
	limit := PayloadLimit
	if p.PayloadMax != 0 {
		limit = p.PayloadMax &^ 7
	}
	return min(n, limit)
}

// buffered puts the payload together on the stack. x6 is where its next word goes.
func (c *compiler) buffered() {
	c.frame()
	size := int64(c.p.payloadMax())
	c.AddImm(arm64.SP, arm64.SP, -(savedSize+size+slack)&^15)
	for r := arm64.X0; r < arm64.X8; r += 2 {
		c.Stp(r, r+1, arm64.X29, savedAt+8*int64(r))
	}
	c.Stp(arm64.X8, arm64.X16, arm64.X29, savedAt+8*8)
	c.saved = true
	if c.p.usesSavedX8() {
		c.takeX8()
	}
	c.MovSP(arm64.X6, arm64.SP)
	for i := range c.p.Fields {
		f := &c.p.Fields[i]
		if f.Mem != nil {
			c.memory(f.Mem, size-int64(fixed(c.p.Fields[i+1:])))
		} else {
			c.inline(f)
		}
	}

	event, sp := arm64.X16, arm64.X29
	if c.exit {
		sp = arm64.X10
		c.entrySP(sp, -recordsSize)
		c.Ldr(8, event, arm64.X29, -8)
	} else {
		c.LdrFar(event, c.t.Shared.Literals+literalsIndex)
		c.Ldr(8, arm64.X30, arm64.X29, 8)
		c.Add(event, event, arm64.X30, indexShift-2)
	}
	c.Bfi(event, sp, spShift-4, 16)
	c.LdrLiteral(arm64.X17, c.p.recordWord())
	c.call(c.t.Shared.Record)

	for r := arm64.X0; r < arm64.X8; r += 2 {
		c.Ldp(r, r+1, arm64.X29, savedAt+8*int64(r))
	}
	c.Ldp(arm64.X8, arm64.X16, arm64.X29, savedAt+8*8)
	c.MovSP(arm64.SP, arm64.X29)
	c.saved = false
	c.goOn(c.t.Next)
}

// inline stores the words of an inline field.
func (c *compiler) inline(f *Field) {
	for w := range wordsOf(f.Size) {
		at := int64(8 * w)
		c.Str(8, arm64.XZR, arm64.X6, at)
		for _, part := range f.Parts {
			if part.Off/8 != w {
				continue
			}
			fault := c.Label()
			r := c.eval(part.From, fault)
			if part.Size < 8 {
				c.Ldr(8, arm64.X12, arm64.X6, at)
				c.Bfi(arm64.X12, r, part.Off%8*8, part.Size*8)
				r = arm64.X12
			}
			c.Str(8, r, arm64.X6, at)
			c.Bind(fault)
		}
	}
	c.AddImm(arm64.X6, arm64.X6, int64(8*wordsOf(f.Size)))
}

// memory reads a memory field that has to end before the offset end of the payload.
func (c *compiler) memory(m *Mem, end int64) {
	fault, done := c.Label(), c.Label()
	if r := c.eval(m.Addr, fault); r != arm64.X0 {
		c.Mov(arm64.X0, r)
	}
	switch {
	case m.Len != nil:
		if r := c.eval(*m.Len, fault); r != arm64.X1 {
			c.Mov(arm64.X1, r)
		}
	case m.CString:
		c.MovImm(arm64.X1, uint64(m.Max)+1) // who knows how long: the limit cuts it off
	default:
		c.MovImm(arm64.X1, uint64(m.Max))
	}
	mode := uint64(readCounted)
	if m.CString {
		mode = readString
	}
	c.MovImm(arm64.X2, mode)
	c.MovImm(arm64.X4, uint64(m.Max))
	c.AddImm(arm64.X5, arm64.SP, end)
	c.call(c.t.Shared.Read)
	c.B(done)
	c.Bind(fault)
	c.Stp(arm64.X10, arm64.X11, arm64.X6, 0)
	c.AddImm(arm64.X6, arm64.X6, memHead)
	c.Bind(done)
}
