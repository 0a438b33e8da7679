package trace

import (
	"runtime"
	"strconv"
)

// Machine is the machine that was traced, by the number that ELF's e_machine has
// for it.
type Machine uint16

// The machines whose recordings are read.
const (
	MachineARM64 Machine = 183
	MachineAMD64 Machine = 62
)

// MaxRegs is how many registers the machine with the most of them has.
const MaxRegs = 34

// machineSpec is what recordings of a machine have of their own.
type machineSpec struct {
	name string
	regs []string // of a record, in its order

	// site is how far the address of an entry event is behind that which the
	// function's site is known by.
	site uint64
	// inside are distances from there to what surely is in the function, tried in
	// turn.
	inside []int64
	// reach is how far behind a function's address the address of its event may be; 0:
	// that is not known.
	reach uint64
	// call is how far before a return address its call surely is.
	call uint64
}

var machines = map[Machine]*machineSpec{
	MachineARM64: {
		name: "arm64",
		regs: append(numbered("x", 31), "sp", "pc", "pstate"),
		// The site is its first slot. Looked up by the second one: where NOPs
		// precede the entry, the first may be outside of the function.
		site: 2 * positionSize, inside: []int64{positionSize},
		call: 4,
	},
	MachineAMD64: {
		name: "x86-64",
		regs: []string{
			"r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
			"orig_rax", "rip", "cs", "eflags", "rsp", "ss",
		},
		// Rounded down, the address behind a patch area is still two bytes behind the
		// entry, and may be where the next function begins. Of a patch area with but
		// two bytes in the function it may be one byte before the entry.
		inside: []int64{-1, 0, 2},
		// A landing pad, and a NOP of 15 bytes behind four of one. What is further away is
		// of a function whose size is not known.
		reach: 4 + 4 + 15,
		call:  1,
	},
}

func numbered(prefix string, n int) []string {
	var names []string
	for i := range n {
		names = append(names, prefix+strconv.Itoa(i))
	}
	return names
}

func (m Machine) spec() *machineSpec {
	if s := machines[m]; s != nil {
		return s
	}
	return machines[MachineARM64] // of a zero value
}

func (m Machine) String() string { return m.spec().name }

// Registers gives the names of the registers of a record, in its order.
func (m Machine) Registers() []string { return m.spec().regs }

// SiteVA gives the address that PROFILE blocks name a site by whose function goes on at
// body.
func (m Machine) SiteVA(body uint64) uint64 { return body&^(positionSize-1) - m.spec().site }

// NativeMachine is the machine that this program runs on, or arm64 if it is none
// that is traced.
func NativeMachine() Machine {
	if runtime.GOARCH == "amd64" {
		return MachineAMD64
	}
	return MachineARM64
}
