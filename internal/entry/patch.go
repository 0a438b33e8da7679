package entry

// PatchControl steers the threads that run patched functions while a patch comes or
// goes. It is nopal's to write, through /proc/PID/mem, but for Overflow.
type PatchControl struct {
	Mode     uint64
	Overflow uint64 // a thread found no room in Base
	// A thread's place in a table of Mask+1 entries begins at key*Factor>>Shift.
	Factor, Shift, Mask uint64
	Threads, Base       uint64 // addresses of the tables, with entries of two words and of one
}

// SizeofPatchControl is the size of a PatchControl.
const SizeofPatchControl = 7 * 8

// Bits of PatchControl.Mode.
const (
	PatchConverging = 1 << 0 // all threads that run the functions are in a table
	PatchBaseNew    = 1 << 1 // threads come from the new way: the patch is being removed
)

// PatchKeyBits are those of a thread pointer that identify a thread in the tables; the
// others hold which way it takes.
const (
	PatchKeyBits = ^uint64(7)
	PatchOld     = 1
	PatchNew     = 2
)

// PatchProbes is how far a thread looks in Base for itself or for room.
const PatchProbes = 32

// A stub is what a patched function's redirect branches to. Its first instruction is
// the only one that ever changes while threads run:
//
//	 0  nop | b 16 | b 32    settled: new; transition; settled: old
//	 4  b new                or ldr x16, 56; br x16
//	16  adr x17, 0
//	20  b decide
//	32  the old way: up to four instructions
//	48  the address of the PatchControl
//	56  the address of the new function
const (
	PatchStubNew     = 4
	PatchStubGlue    = 16
	PatchStubOld     = 32
	PatchStubControl = 48
	PatchStubTarget  = 56
	PatchStubSize    = 64
)

// PatchBlob is the code that the stubs of a patch share.
type PatchBlob struct {
	Code   []byte
	Decide uint64 // its offset
}
