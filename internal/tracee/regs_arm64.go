package tracee

import (
	"encoding/binary"
	"fmt"

	"nopal/internal/sys"
)

// Regs are the general registers, in the order of struct user_pt_regs.
type Regs struct {
	X      [31]uint64
	Sp     uint64
	Pc     uint64
	Pstate uint64
}

const regsSize = 34 * 8

// PC returns the program counter.
func (r *Regs) PC() uint64 { return r.Pc }

// SetPC sets the program counter. The state of branch target identification belongs to
// the branch that led to the old one, and is cleared with it (Arm ARM, PSTATE.BTYPE):
// elsewhere it would fault.
func (r *Regs) SetPC(pc uint64) {
	r.Pc = pc
	r.Pstate &^= pstateBTYPE
}

// pstateBTYPE are bits 11:10 of SPSR_EL1.
const pstateBTYPE = 3 << 10

// SP returns the stack pointer.
func (r *Regs) SP() uint64 { return r.Sp }

// FP returns the frame pointer.
func (r *Regs) FP() uint64 { return r.X[29] }

func getRegs(tid int) (r Regs, err error) {
	var b [regsSize]byte
	n, err := sys.PtraceGetRegSet(tid, sys.RegSetGeneral, b[:])
	if err != nil {
		return r, err
	}
	if n != regsSize {
		return r, fmt.Errorf("register set has %d bytes and not %d: %w", n, regsSize, ErrArchitecture)
	}
	_, err = binary.Decode(b[:], binary.NativeEndian, &r)
	return r, err
}

func setRegs(tid int, r *Regs) error {
	b, err := binary.Append(nil, binary.NativeEndian, r)
	if err != nil {
		return err
	}
	return sys.PtraceSetRegSet(tid, sys.RegSetGeneral, b)
}

func getTLS(tid int) (uint64, error) {
	var b [8]byte // TPIDR_EL0; a second word, TPIDR2, is not asked for
	_, err := sys.PtraceGetRegSet(tid, sys.RegSetArmTLS, b[:])
	return binary.NativeEndian.Uint64(b[:]), err
}
