package ftrace

import (
	"cmp"
	"encoding/binary"
	"fmt"

	"nopal/internal/arch/arm64"
)

// Exit is an instruction by which a function is left, in the target.
type Exit struct {
	Addr   uint64
	Insn   uint32
	Kind   arm64.ExitKind
	Target uint64 // of a direct tail call
	Reg    uint8  // of an indirect one
	stub   uint32 // offset of its stub from Object.Stubs
}

// A stub is what an exit instruction is replaced by a branch to, since it has to be
// told apart from others and to be switched on and off without stopping anyone (RET
// and B may not replace one another while others run them, NOP and B may):
//
//	ret                     general                   br x9-x17
//	ldr  x16, literal       ldr  x16, literal         str  xN, [sp, #-16]!
//	nop | b ExitRet         adr  x17, next            ldr  x16, literal
//	ret                     nop | b ExitGen           adr  x17, next
//	                  next: the instruction           nop | b ExitPushed
//	                                            next: ldr  xN, [sp], #16
//	                                                  br   xN
//	literal                 literal                   literal
//
// All the plain RETs of a function share one. x16 and x17 are dead at a return and
// at a call (AAPCS64 6.1.1), but the register of an indirect tail call may be one of
// those that the exit code uses.
const (
	stubSize       = 24
	stubSizePushed = 32
	// Offsets of the instruction that switches, and of the literal.
	retSwitch, genSwitch, pushedSwitch = 4, 8, 12
	literalAt, literalAtPushed         = 16, 24

	ldrX16Literal16 = 0x58000090 // ldr x16, . + 16
	ldrX16Literal20 = 0x580000b0 // ldr x16, . + 20
	adrX17Next      = 0x10000051 // adr x17, . + 8
	pushX0          = 0xf81f0fe0 // str x0, [sp, #-16]!
	popX0           = 0xf84107e0 // ldr x0, [sp], #16
	retX30          = 0xd65f03c0
	brX0            = 0xd61f0000
)

// pushed reports whether the exit is of the third kind.
func (e *Exit) pushed() bool {
	return e.Kind == arm64.ExitTailBR && e.Reg >= 9 && e.Reg <= 17
}

// stubSwitch is the offset in its stub of the instruction that is a NOP or a branch.
func (e *Exit) stubSwitch() uint32 {
	switch {
	case e.Kind == arm64.ExitRet:
		return retSwitch
	case e.pushed():
		return pushedSwitch
	}
	return genSwitch
}

// exitTo is what the stub of an exit of r goes to.
func (o *Object) exitTo(r *Record, e *Exit) uint64 {
	switch {
	case e.Kind == arm64.ExitRet:
		return cmp.Or(r.own.ExitRet, o.ExitRet)
	case e.pushed():
		return cmp.Or(r.own.ExitPushed, o.ExitPushed)
	}
	return cmp.Or(r.own.ExitGen, o.ExitGen)
}

// exitsGo is what tells where the stubs of r go from where they went.
func (o *Object) exitsGo(r *Record) uint64 { return cmp.Or(r.own.ExitRet, o.ExitRet) }

// SetExits says which instructions a record's function is left by. Without any, or
// before it is called, none is changed.
func (r *Record) SetExits(exits []Exit) { r.exits = exits }

// Exits returns them.
func (r *Record) Exits() []Exit { return r.exits }

// layoutStubs gives each exit of the records a place for its stub.
func (ARM64) layoutStubs(o *Object) uint64 {
	at := uint32(0)
	for i := range o.Records {
		r := &o.Records[i]
		ret := ^uint32(0)
		for j := range r.exits {
			e := &r.exits[j]
			switch {
			case e.Kind == arm64.ExitRet && ret != ^uint32(0):
				e.stub = ret
				continue
			case e.Kind == arm64.ExitRet:
				ret = at
			}
			e.stub = at
			if e.pushed() {
				at += stubSizePushed
			} else {
				at += stubSize
			}
		}
		r.stubs = len(r.exits) > 0
	}
	return uint64(at)
}

// stubsOf makes the stubs of a record's exits.
func (ARM64) stubsOf(t *Table, o *Object, r *Record, code []byte, literals func(r *Record) (entry, exit uint64), wrote func(off, size uint32)) error {
	if !r.stubs {
		return nil
	}
	_, word := literals(r)
	on := t.target(o, r, true) != 0
	for j := range r.exits {
		e := &r.exits[j]
		if err := o.stub(code, r, e, word, on); err != nil {
			r.exits, r.stubs = nil, false // entry-only from then on
			break
		}
		wrote(e.stub, stubSize)
		if e.pushed() {
			wrote(e.stub+stubSize, stubSizePushed-stubSize)
		}
	}
	r.exitsTo = 0
	if on && r.stubs {
		r.exitsTo = o.exitsGo(r)
	}
	return nil
}

// stub writes one.
func (o *Object) stub(code []byte, r *Record, e *Exit, literal uint64, on bool) error {
	at := o.StubsAt + uint64(e.stub)
	branch := arm64.Nop
	if on {
		b, err := arm64.EncodeB(at+uint64(e.stubSwitch()), o.exitTo(r, e))
		if err != nil {
			return err
		}
		branch = b
	}
	if _, err := arm64.EncodeB(e.Addr, at); err != nil {
		return err
	}
	var insns []uint32
	lit := uint32(literalAt)
	switch {
	case e.Kind == arm64.ExitRet:
		insns = []uint32{ldrX16Literal16, branch, retX30}
	case e.pushed():
		n := uint32(e.Reg)
		insns = []uint32{pushX0 | n, ldrX16Literal20, adrX17Next, branch, popX0 | n, brX0 | n<<5}
		lit = literalAtPushed
	default:
		insn := e.Insn
		if e.Kind == arm64.ExitTailB {
			b, err := arm64.EncodeB(at+genSwitch+4, e.Target)
			if err != nil {
				return err
			}
			insn = b
		}
		insns = []uint32{ldrX16Literal16, adrX17Next, branch, insn}
	}
	c := code[e.stub:]
	for i, insn := range insns {
		binary.LittleEndian.PutUint32(c[4*i:], insn)
	}
	binary.LittleEndian.PutUint64(c[lit:], literal)
	return nil
}

// originalExit returns the instruction at addr that the stub which addr branches to stands
// for, as the stub executes it. ok is false if it is no stub. Where several objects were
// at addr one after the other, it is that of the one that is there.
func originalExit(text Text, addr, stub uint64) (insn uint32, ok bool, err error) {
	var head [4]uint32
	for i := range head {
		if head[i], err = text.Load(stub + uint64(i)*arm64.InsnSize); err != nil {
			return 0, false, err
		}
	}
	const regs = 31
	switch {
	case head[0]&^regs == pushX0 && head[1] == ldrX16Literal20 && head[2] == adrX17Next:
		return brX0 | head[0]&regs<<5, true, nil
	case head[0] != ldrX16Literal16:
		return 0, false, nil
	case head[1] != adrX17Next:
		return retX30, head[2] == retX30, nil
	}
	insn = head[3]
	if to, ok := arm64.BranchTarget(stub+genSwitch+arm64.InsnSize, insn); ok {
		insn, err = arm64.EncodeB(addr, to)
	}
	return insn, err == nil, err
}

// prepareExits turns the exits of a record into branches to their stubs. All threads
// have to be stopped: RET is not among the instructions that may be replaced while
// others run them.
func (o *Object) prepareExits(text arm64.Text, r *Record) error {
	for i := range r.exits {
		e := &r.exits[i]
		b, err := arm64.EncodeB(e.Addr, o.StubsAt+uint64(e.stub))
		if err == nil {
			err = arm64.Replace(text, "prepare exit", r.Addr, e.Addr, e.Insn, b)
		}
		if err == nil {
			continue
		}
		for j := range i { // all of them or none
			u := &r.exits[j]
			b, _ := arm64.EncodeB(u.Addr, o.StubsAt+uint64(u.stub))
			if e := arm64.Replace(text, "undo exit", r.Addr, u.Addr, b, u.Insn); e != nil {
				return e
			}
		}
		return err
	}
	return nil
}

// switchExits sends the exits of a record to the trampolines of the object, or past
// them, stopping nobody.
func (o *Object) switchExits(text arm64.Text, r *Record, on bool) error {
	want := uint64(0)
	if on {
		want = o.exitsGo(r)
	}
	if !r.stubs || r.exitsTo == want {
		return nil
	}
	last := ^uint32(0)
	for i := range r.exits {
		e := &r.exits[i]
		if e.stub == last {
			continue
		}
		last = e.stub
		at := o.StubsAt + uint64(e.stub) + uint64(e.stubSwitch())
		insn := arm64.Nop
		if on {
			var err error
			if insn, err = arm64.EncodeB(at, o.exitTo(r, e)); err != nil {
				return err
			}
		}
		if err := text.Store(at, insn); err != nil {
			return fmt.Errorf("switch exit %#x: %w", e.Addr, err)
		}
	}
	r.exitsTo = want
	return nil
}
