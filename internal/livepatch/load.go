package livepatch

import (
	"errors"

	"nopal/internal/image"
)

// Mapped is an object as a process has it.
type Mapped struct {
	Image *image.Image // its file, which stays open as long as Link runs
	Bias  uint64       // what is added to its link-time addresses
}

// World is what Link needs to know of a process.
type World interface {
	// Objects gives the objects of the process in the order in which the dynamic
	// linker searches them: the program first.
	Objects() []Mapped
	// Place gives the address of a free range of size bytes, at the beginning of a
	// page, from which direct branches reach all of [lo, hi) if there is one.
	Place(size, lo, hi uint64) (uint64, error)
	// Read reads the memory of the process.
	Read(addr uint64, p []byte) error
}

// Prot says what a process may do with memory.
type Prot uint8

// Memory of a patch is never both writable and executable.
const (
	ProtRead  Prot = 1 << iota // PROT_READ
	ProtWrite      // PROT_WRITE
	ProtExec       // PROT_EXEC
)

// Segment is a piece of memory to be mapped for a patch. Pages begin and end at
// multiples of 64 KiB, so that it can be mapped whatever the page size is.
type Segment struct {
	Addr, Size uint64
	Data       []byte // what it begins with; the rest is zero
	Prot       Prot
}

// Range is a piece of a process's memory.
type Range struct{ Addr, Size uint64 }

// Callbacks are the addresses of the functions by which a patch has a say; 0
// where it has none.
type Callbacks struct {
	PrePatch, PostPatch, PreUnpatch, PostUnpatch uint64
}

// Image is a patch laid out and relocated for one process.
type Image struct {
	Range                     // all of it, one free range of addresses
	Segments []Segment        // in the order of their addresses
	Target   Mapped           // the object that is patched
	New      map[string]Range // the new functions, by Func.Name
	Funcs    map[string]Range // all functions in Segments by name, those that merely came along included
	Callbacks
	EHFrame Range // the call frame information of the new functions; empty if there is none
}

// Link lays the patch out for a process and resolves its references. It only
// reads: nothing in the process is changed.
func (p *Patch) Link(w World) (*Image, error) {
	return nil, errors.New("link patch " + p.Name + ": no code in it")
}
