package probe

import (
	"fmt"

	"nopal/internal/arch/arm64"
)

// What a probe does, in the order of its code:
//
//	entry                                 exit
//	the two frame records
//	the condition: go on, or to Else      the condition: go on, or to Else
//	a place in the ring: the fast path    likewise
//	of entry_arm64.s, or place
//	RESERVED, event, payload, RECORD      likewise
//	drop the frame records, go on         RET, or go on
//
// Payloads of registers are stored where they belong (direct.go). One for which memory has
// to be read is put together on the stack first, and copied (buffered.go).
//
// The rules of internal/entry/entry_arm64.s hold. Registers: x9 = address of a TIME word
// that is still to be written, or 0; x14 = the record; x15 = time; x16 = the event word, at
// an exit from the beginning; x17 = NZCV while there is a condition.

// The layouts of internal/entry that the code is made for (TestLayout).
const (
	slotShift         = 6
	slotBits          = 13
	timeBits          = 25
	tidShift          = 64 - timeBits
	indexShift        = 37
	spShift           = 25
	pageWords         = 512
	wordTime          = 1
	wordReserved      = 3
	wordRecord        = 4
	recordArgs        = 1 << 18
	recordNumberShift = 19
	literalsTable     = 0
	literalsIndex     = 8
	controlSize       = 4096
	controlResults    = 1024
	resultBits        = 7
	resultHash        = 0x9e3779b97f4a7c15
	memUnseen         = 1 << 18
)

const (
	recordsSize = 32 // the two frame records of an entry
	pageShift   = 12 // of the smallest pages there are
)

type compiler struct {
	*arm64.Assembler
	p      *Program
	t      Target
	exit   bool
	framed bool // x29 is at our innermost frame record
	saved  bool // x0-x8 and x16 are where buffered puts them
	called bool // x30 is only in the frame record
}

// Entry makes the code that slot 2 of a site calls, for t.At.
func (p *Program) Entry(t Target) ([]uint32, error) { return p.compile(t, false) }

// Exit makes the code that the stub of a RET goes to, for t.At. x16 has the position of
// the event, sp is as at the entry.
func (p *Program) Exit(t Target) ([]uint32, error) { return p.compile(t, true) }

// Size is how many bytes of code Entry and Exit make at most, wherever it is.
func (p *Program) Size() int {
	size := 0
	const at = 1 << 32
	for _, next := range []uint64{0, at} {
		for _, exit := range []bool{false, true} {
			t := Target{At: at, Shared: Shared{at, at, at, at, at}, Next: next, Else: at}
			if !exit {
				t.Else = 0 // RET x9 takes an instruction more
			}
			if code, err := p.compile(t, exit); err == nil {
				size = max(size, len(code)*arm64.InsnSize)
			}
		}
	}
	return size
}

func (p *Program) compile(t Target, exit bool) ([]uint32, error) {
	what := "entry"
	if exit {
		what = "exit"
	}
	err := p.check(exit)
	if err == nil {
		c := &compiler{Assembler: arm64.NewAssembler(t.At), p: p, t: t, exit: exit}
		c.probe()
		var code []uint32
		if code, err = c.Finish(); err == nil {
			return code, nil
		}
	}
	return nil, fmt.Errorf("make probe %d of a function's %s: %w", p.Number, what, err)
}

func (c *compiler) probe() {
	if !c.exit {
		c.StpPre(arm64.X29, arm64.X9, arm64.SP, -16) // record of the caller
		c.MovSP(arm64.X29, arm64.SP)
		c.StpPre(arm64.X29, arm64.X30, arm64.SP, -16) // record of the traced function
		c.MovSP(arm64.X29, arm64.SP)
		c.framed = true
	}
	if c.p.SaveX8 {
		c.saveX8()
	}
	if c.p.Cond != nil {
		c.condition()
	}
	switch {
	case len(c.p.Fields) == 0 && c.t.Next != 0: // nothing but a condition
		c.goOn(c.t.Next)
	case c.p.direct(c.exit):
		c.direct()
	default:
		c.buffered()
	}
}

// frame pushes a record at an exit, so that something can be called.
func (c *compiler) frame() {
	if !c.framed {
		c.StpPre(arm64.X29, arm64.X30, arm64.SP, -16)
		c.MovSP(arm64.X29, arm64.SP)
		c.framed = true
	}
}

// unframe drops it.
func (c *compiler) unframe() {
	if c.exit && c.framed {
		c.LdpPost(arm64.X29, arm64.X30, arm64.SP, 16)
		c.framed = false
	}
}

// goOn leaves the probe, for the function or to an address. It ends the code here:
// what is framed or not behind it, is so independently.
func (c *compiler) goOn(to uint64) {
	framed := c.framed
	if c.exit {
		c.unframe()
		c.framed = framed
		if to == 0 {
			c.Ret(arm64.X30)
		} else {
			c.BTo(to)
		}
		return
	}
	if to == 0 {
		c.Ldr(8, arm64.X9, arm64.X29, 8)
		c.Ldp(arm64.X29, arm64.X30, arm64.SP, 16)
		c.AddImm(arm64.SP, arm64.SP, recordsSize)
		c.Ret(arm64.X9)
		return
	}
	if c.called {
		c.Ldr(8, arm64.X30, arm64.X29, 8)
	}
	c.Ldp(arm64.X29, arm64.X9, arm64.SP, 16)
	c.AddImm(arm64.SP, arm64.SP, recordsSize)
	c.BTo(to)
}

// call calls code that the probes of an island share.
func (c *compiler) call(addr uint64) {
	c.BlTo(addr)
	c.called = true
}

// entrySP makes d = sp at the call + add.
func (c *compiler) entrySP(d arm64.Reg, add int64) {
	switch {
	case !c.exit:
		c.AddImm(d, arm64.X29, recordsSize+add)
	case c.framed:
		c.AddImm(d, arm64.X29, 16+add)
	default:
		c.AddImm(d, arm64.SP, add)
	}
}

// operand gives the register that has an operand, d if it has to be fetched. One on the
// stack has to be where it can be read.
func (c *compiler) operand(o Operand, d arm64.Reg) arm64.Reg {
	n := arm64.Reg(o.N)
	switch o.Kind {
	case RegV:
		c.FmovX(d, n)
		return d
	case RegVHigh:
		c.FmovHigh(d, n)
		return d
	case Const:
		c.MovImm(d, uint64(o.Off))
		return d
	}
	caller := int64(16) // where the caller's frame record is from x29
	if c.exit {
		caller = 0
	}
	switch {
	case o.Kind == Stack:
		c.entrySP(d, o.Off)
		c.Ldr(8, d, d, 0)
		return d
	case n == 31:
		c.entrySP(d, 0)
		return d
	case n == 29 && c.framed:
		c.Ldr(8, d, arm64.X29, caller)
		return d
	case n == 30 && c.framed:
		c.Ldr(8, d, arm64.X29, caller+8)
		return d
	case n <= 8 && c.saved:
		c.Ldr(8, d, arm64.X29, savedAt+8*int64(n))
		return d
	}
	return n
}

// add adds any constant to d. May clobber tmp.
func (c *compiler) add(d arm64.Reg, v int64, tmp arm64.Reg) {
	switch {
	case v == 0:
	case v > -1<<24 && v < 1<<24:
		c.AddImm(d, d, v)
	default:
		c.MovImm(tmp, uint64(v))
		c.Add(d, d, tmp, 0)
	}
}

// eval gives the register that has a value, x10 unless it is one that stays. Where
// something cannot be loaded it goes to fault, with the address in x10 and the header of a
// memory field in x11. Clobbers x9-x15 where something is loaded.
func (c *compiler) eval(e Expr, fault arm64.Label) arm64.Reg {
	r := arm64.X10
	switch e.Base.Kind {
	case Stack:
		c.entrySP(r, 0)
		c.add(r, e.Base.Off, arm64.X11)
		c.load(fault)
	case SavedX8:
		c.Ldp(r, arm64.X11, arm64.X29, resultAt)
		c.Cbnz(arm64.X11, fault)
	default:
		r = c.operand(e.Base, r)
	}
	for _, off := range e.Deref {
		c.toX10(r)
		r = arm64.X10
		c.add(r, off, arm64.X11)
		c.load(fault)
	}
	if e.Add != 0 {
		c.toX10(r)
		r = arm64.X10
		c.add(r, e.Add, arm64.X11)
	}
	return r
}

func (c *compiler) toX10(r arm64.Reg) {
	if r != arm64.X10 {
		c.Mov(arm64.X10, r)
	}
}

// load loads x10 = [x10].
func (c *compiler) load(fault arm64.Label) {
	c.call(c.t.Shared.Load)
	c.Cbnz(arm64.X11, fault)
}
