// Package entry is the code that runs inside the target and the memory layout
// it shares with nopal.
//
// The code is Go assembly (entry_arm64.s), copied from nopal's own text into an
// island near each traced object. Layouts are Go structs whose offsets the
// assembly takes from go_asm.h, so the two cannot drift apart.
package entry

import "errors"

// ErrNotSupported is returned on architectures without entry code.
var ErrNotSupported = errors.New("recording is not supported on this architecture yet (arm64 only)")

// Blob is the entry code: one position-independent block and the offsets of its
// parts in bytes.
type Blob struct {
	Code         []byte
	Caller       uint64 // ftrace_caller
	CallerSwitch uint64 // the NOP that becomes B callerSlow while the tid's offset is unknown
	CallerSlow   uint64
	CallerExit   uint64 // from here the frame is being taken down
	RegsCaller   uint64 // ftrace_regs_caller
	Reserve      uint64 // the code that both share: a place for a record
	DLHook       uint64 // what the loader's debugger hook is sent to
	Literals     uint64 // Literals begins here
}
