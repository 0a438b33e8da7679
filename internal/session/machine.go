package session

import (
	"runtime"

	"nopal/internal/ftrace"
	"nopal/internal/tracee"
)

// machine is what a session has to know of the architecture of what it records, which is
// the one that it runs on.
type machine struct {
	ftrace.Method
	// frames finds the signal frames in a piece of a stack.
	frames func(mem *tracee.Memory, from, to uint64) []sigframe
	// How far the thread block reaches below and above the thread pointer.
	blockBelow, blockAbove uint64
	// option is what programs have to be compiled with.
	option string
	// counter names what events are stamped with.
	counter string
	// strictStopsCounter: nobody can read that in seccomp's strict mode.
	strictStopsCounter bool
	// earlyCalls are system calls that a C library makes here before set_tid_address.
	earlyCalls []uint64
}

func machineOf(goarch string) machine {
	m := machine{Method: ftrace.MethodOf(goarch)}
	switch goarch {
	case "amd64":
		// TLS variant 2: the thread pointer points at the block (System V ABI, AMD64
		// supplement; Drepper, ELF Handling For Thread-Local Storage, 3.4.6).
		m.frames, m.blockBelow, m.blockAbove, m.counter = framesOnX86, 0, 2048, "tsc"
		m.strictStopsCounter = true
		m.option = "-fpatchable-function-entry=5"
		const readlink, archPrctl = 89, 158 // the latter sets the thread pointer
		m.earlyCalls = []uint64{readlink, archPrctl}
	default:
		// TLS variant 1: the block is in front of the thread pointer.
		m.frames, m.blockBelow, m.blockAbove, m.counter = framesOnArm, 4096, 512, "cntvct"
		m.option = "-fpatchable-function-entry=2"
	}
	return m
}

func native() machine { return machineOf(runtime.GOARCH) }
