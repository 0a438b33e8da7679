package tracee

import (
	"encoding/binary"
	"fmt"

	"nopal/internal/sys"
)

// Regs are the general registers, in the order of struct user_regs_struct.
type Regs struct {
	R15, R14, R13, R12, Rbp, Rbx, R11, R10 uint64
	R9, R8, Rax, Rcx, Rdx, Rsi, Rdi        uint64
	OrigRax, Rip, Cs, Eflags, Rsp, Ss      uint64
	FsBase, GsBase, Ds, Es, Fs, Gs         uint64
}

const regsSize = 27 * 8

// PC returns the program counter.
func (r *Regs) PC() uint64 { return r.Rip }

// SetPC sets the program counter. A system call that would be started again is not: the
// kernel would move the program counter back to it.
func (r *Regs) SetPC(pc uint64) {
	r.Rip = pc
	r.OrigRax = noSyscall
}

// noSyscall in orig_rax says that the stop is not one of a system call.
const noSyscall = ^uint64(0)

// SP returns the stack pointer.
func (r *Regs) SP() uint64 { return r.Rsp }

// FP returns the frame pointer.
func (r *Regs) FP() uint64 { return r.Rbp }

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
	r, err := getRegs(tid)
	return r.FsBase, err
}
