// Package entry is the code that runs inside the target and the memory layout
// it shares with nopal.
//
// The code is Go assembly (entry_*.s for functions' entries, exit_arm64.s for
// their exits, others for what can be done at both), copied from nopal's own text
// into an island near each traced object. Layouts are Go structs whose offsets the
// assembly takes from go_asm.h, so the two cannot drift apart.
package entry

import "errors"

// ErrNotSupported is returned on architectures without entry code.
var ErrNotSupported = errors.New("recording is not supported on this architecture")

// ErrCounterVaries says that time stamps may be wrong.
var ErrCounterVaries = errors.New("the processor does not promise a time stamp counter of one rate (no constant_tsc, nonstop_tsc): times may be wrong")

// Blob is the entry code: position-independent blocks that share one pool of
// literals, and the offsets of their parts in bytes.
type Blob struct {
	Code           []byte
	Caller         uint64 // ftrace_caller
	CallerUnknown  uint64 // the same while the tid's offset is unknown
	RegsCaller     uint64 // ftrace_regs_caller
	StackCaller    uint64 // the same with a stack record only
	Reserve        uint64 // the code that both share: a place for a record
	DLHook         uint64 // what the loader's debugger hook is sent to
	Exit           Exits
	ExitUnknown    Exits  // while the tid's offset is unknown
	ExitEnd        uint64 // the block with these ends here
	Shadow         Shadow
	ShadowUnknown  Shadow // while the tid's offset is unknown
	Profile        Profile
	ProfileUnknown Profile // while the tid's offset is unknown
	Trigger        uint64  // for functions with a trigger
	Probe          Probe
	Graph          Graph  // functions whose bodies are called
	Nothing        uint64 // returns at once
	Literals       uint64 // Literals begins here
	Core           uint64 // the block with the trampolines above begins here
}

// Exits are what the stubs of a function's exits branch to. All take the event's
// code position in x16.
type Exits struct {
	Ret    uint64 // for a plain RET, which it executes
	Gen    uint64 // goes on at x17
	Pushed uint64 // the same, with 16 bytes on the stack
}

// Shadow is what entries and exits call that keep a stack of open calls.
type Shadow struct {
	Caller uint64
	Root   uint64 // recording begins here
	Not    uint64 // and ends here
	Pend   uint64 // its exit tells whether it is recorded
	Exit   Exits
	Drop   Exits // of a call with Pend that is not
	// amd64: for functions whose exits are not known, and where thunks lead when a body
	// has returned.
	Count, Thunk uint64
}

// Profile is what entries and exits call that keep statistics.
type Profile struct {
	Caller uint64
	Count  uint64 // for functions whose exits are not known
	Exit   Exits
	Thunk  uint64 // amd64: where thunks lead when a body has returned
}
