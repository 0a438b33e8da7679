package probe

import "nopal/internal/arch/arm64"

// directWords is how many words of payload are stored without a buffer.
const directWords = 60

// stackReach is how far from sp, in bytes, an operand on the stack may be that is looked
// for in the page of sp.
const stackReach = 1 << pageShift

// direct reports whether the whole payload comes out of registers, and at an entry
// from arguments on the stack.
func (p *Program) direct(exit bool) bool {
	words := 0
	for _, f := range p.Fields {
		if f.Mem != nil {
			return false
		}
		words += wordsOf(f.Size)
		for _, part := range f.Parts {
			b := part.From.Base
			if len(part.From.Deref) > 0 || b.Kind == SavedX8 || b.Kind == Stack && (exit || b.Off < 0 || b.Off > stackReach-8) {
				return false
			}
		}
	}
	return words <= directWords
}

// lastStack is the highest offset of an operand on the stack, or -1.
func (p *Program) lastStack() int64 {
	last := int64(-1)
	for _, f := range p.Fields {
		for _, part := range f.Parts {
			if part.From.Base.Kind == Stack {
				last = max(last, part.From.Base.Off)
			}
		}
	}
	return last
}

// direct makes the record in its place.
func (c *compiler) direct() {
	const (
		status, tid, slot, cur, tidTime = arm64.X9, arm64.X10, arm64.X11, arm64.X12, arm64.X13
		record, time, event, tmp        = arm64.X14, arm64.X15, arm64.X16, arm64.X17
	)
	words := 2
	for _, f := range c.p.Fields {
		words += wordsOf(f.Size)
	}
	slow, have, timeWord, leave, far := c.Label(), c.Label(), c.Label(), c.Label(), c.Label()
	last := c.p.lastStack()
	if last >= 0 {
		// Arguments on the stack lie in the page of sp, or who knows whether there are any.
		c.entrySP(tid, last+7)
		c.Eor(tid, tid, arm64.X29, 0)
		c.LsrImm(tid, tid, pageShift)
		c.Cbnz(tid, far)
	}

	c.MrsTPIDR(tid)
	if c.exit {
		c.LdrFar(slot, c.t.Shared.Literals+literalsTable)
	} else {
		if c.called {
			c.Ldr(8, arm64.X30, arm64.X29, 8)
		}
		c.AdrpAdd(event, c.t.Shared.Literals+literalsTable)
		c.Ldp(slot, event, event, 0) // table, index
	}
	c.Ldp(tidTime, record, slot, -16) // offset of the tid, ring
	c.Tbnz(tidTime, 0, slow)
	c.LdrReg32(tid, tid, tidTime)
	c.Bfi(slot, tid, slotShift, slotBits) // home slot: the table is aligned
	c.Ldxp(cur, tidTime, slot)
	c.MrsCounter(time)
	c.EorLSR(tmp, tidTime, time, timeBits)
	c.Eor(tmp, tmp, tid, tidShift)
	c.Cbnz(tmp, slow) // other thread, or time's high part moved on
	c.AndImm(tmp, cur, pageWords-1)
	c.Cbz(tmp, slow)
	c.AddImm(tmp, tmp, int64(words-pageWords-1))
	c.Tbz(tmp, 63, slow) // does not fit
	c.AddImm(tmp, cur, int64(words))
	c.Stxp(status, tmp, tidTime, slot)
	c.Cbnz(status, slow)
	c.AddUXTW(record, record, cur, 3)

	c.Bind(have)
	c.LdrLiteral(arm64.X13, wordReserved<<indexShift|uint64(words))
	c.Str(8, arm64.X13, record, 0) // how long it is, should we not come back
	word := event
	sp := arm64.X29
	switch {
	case !c.exit:
		c.Add(event, event, arm64.X30, indexShift-2)
	case c.t.Next != 0:
		word = tmp // event has to stay
		c.Mov(word, event)
	}
	if c.exit {
		sp = arm64.X10
		c.entrySP(sp, -recordsSize)
	}
	c.Bfi(word, sp, spShift-4, 16) // sp bits 15..4
	c.Bfxil(word, time, 0, timeBits)
	c.payload(word, record)
	c.LdrLiteral(arm64.X13, c.p.recordWord()|uint64(words))
	c.Stlr(arm64.X13, record) // commit
	c.Cbnz(status, timeWord)
	c.Bind(leave)
	c.goOn(c.t.Next)

	c.Bind(slow)
	if c.exit {
		c.frame()
	}
	c.MovImm(tmp, uint64(words))
	c.call(c.t.Shared.Place)
	if c.exit {
		c.unframe()
	} else {
		c.Ldr(8, arm64.X30, arm64.X29, 8)
	}
	c.Cbnz(record, have)
	c.B(leave)

	c.Bind(timeWord) // behind it the record stands
	c.MovZ(arm64.X10, wordTime<<(indexShift-32), 32)
	c.LsrImm(arm64.X11, time, timeBits)
	c.Bfi(arm64.X10, arm64.X11, 0, indexShift)
	c.Stlr(arm64.X10, status)
	c.B(leave)

	c.Bind(far)
	if last >= 0 {
		c.buffered()
	}
}

// recordWord is the RECORD word without its length.
func (p *Program) recordWord() uint64 {
	return wordRecord<<indexShift | uint64(p.Number)<<recordNumberShift | recordArgs
}

// payload stores the event word and the fields, two words at a time where it can.
func (c *compiler) payload(event, record arm64.Reg) {
	off := int64(8)
	first := event // what is still to be stored, at off
	pending := true
	for i := range c.p.Fields {
		f := &c.p.Fields[i]
		for w := range wordsOf(f.Size) {
			tmp := arm64.X11
			if pending && first == tmp {
				tmp = arm64.X10
			}
			r := c.word(f, w, tmp)
			if !pending {
				first, pending = r, true
				continue
			}
			c.Stp(first, r, record, off)
			off += 16
			pending = false
		}
	}
	if pending {
		c.Str(8, first, record, off)
	}
}

// word gives the register that has a word of a field, tmp if it has to be made.
// Clobbers x12, x13.
func (c *compiler) word(f *Field, w int, tmp arm64.Reg) arm64.Reg {
	r := arm64.XZR
	for _, part := range f.Parts {
		if part.Off/8 != w {
			continue
		}
		e := part.From
		v := c.operand(e.Base, arm64.X12)
		if e.Add != 0 {
			if v != arm64.X12 {
				c.Mov(arm64.X12, v)
				v = arm64.X12
			}
			c.add(arm64.X12, e.Add, arm64.X13)
		}
		switch low, bits := part.Off%8*8, part.Size*8; {
		case bits == 64 && v != arm64.X12:
			return v
		case bits == 64:
			c.Mov(tmp, v)
			r = tmp
		case r == arm64.XZR:
			c.Ubfiz(tmp, v, low, bits)
			r = tmp
		default:
			c.Bfi(tmp, v, low, bits)
		}
	}
	return r
}
