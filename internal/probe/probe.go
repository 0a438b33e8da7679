// Package probe makes the code that records arguments and return values in the
// target: for each function that has any, instructions of its own.
//
// It exists so that a function pays for what is asked of it and no more: what
// is to be recorded, and under which condition, is known when the code is made, so
// nothing is interpreted at a call. The package knows registers, memory and
// records; which argument stands where is known to who fills in a [Program].
package probe

// OperandKind says where an [Operand] is found.
type OperandKind uint8

// The kinds of operands.
const (
	RegX     OperandKind = iota // xN; 31 is sp at the call. Not x9 to x17, which nothing keeps
	RegV                        // the low 8 bytes of vN
	RegVHigh                    // its high 8 bytes
	Stack                       // 8 bytes at Off from sp at the call
	Const                       // Off itself
	SavedX8                     // x8 at the entry, in the fields of an exit, if that has saved it
)

// Operand is a value at a function's entry or exit.
type Operand struct {
	Kind OperandKind
	N    int
	Off  int64
}

// Expr is a value computed from an operand: v is Base, for each offset in Deref
// v becomes the 8 bytes at v + offset, and then Add is added. What cannot be loaded makes
// a memory field a fault, a part of an inline field zero, and a comparison false.
type Expr struct {
	Base  Operand
	Deref []int64
	Add   int64
}

// Part is a piece of an inline field: the Size low bytes of a value, at Off in the
// field. It must not cross a multiple of 8 bytes.
type Part struct {
	From      Expr
	Off, Size int
}

// Field is one field of the payload. An inline field has Size bytes, filled by Parts
// and with zeros where there are none; a memory field has Mem.
type Field struct {
	Size  int
	Parts []Part
	Mem   *Mem
}

// Mem is memory of the target.
type Mem struct {
	Addr    Expr
	Len     *Expr // how many bytes; nil: Max
	CString bool  // only up to the first byte that is 0, which is not recorded
	Max     int   // limit in bytes, at most MemMax
}

// MemMax is the limit of Mem.Max, and PayloadLimit that of Program.PayloadMax.
const (
	MemMax       = 1024
	PayloadLimit = 1024
)

// Program is what a function's entry or exit does.
type Program struct {
	Fields []Field
	Cond   Cond   // nil: always
	Number uint32 // the probe's number in the recording, 18 bits
	// PayloadMax is the limit of the payload in bytes; 0: PayloadLimit. Memory fields that
	// would exceed it are cut off.
	PayloadMax int
	SaveX8     bool // at an entry: its exit has operands SavedX8
}

// Shared has the addresses, in the same island, of the code that probes share and of
// the island's literals.
type Shared struct {
	Place    uint64 // a place in the ring, where the fast path has found none
	Record   uint64 // a record from a buffer
	Load     uint64 // 8 bytes of memory, without faulting
	Read     uint64 // a memory field
	Literals uint64 // entry.Literals
}

// Target says where code is going to be, and where it goes on.
type Target struct {
	At     uint64
	Shared Shared
	// Next is where to go with all registers as they came, after a record of the probe's own
	// has been written. 0: the record is the event, and the probe goes on for the function.
	Next uint64
	// Else is where to go likewise if the condition does not hold; 0: as for the function.
	Else uint64
}
