package entry

// Probe is what the code calls that is made for single functions (internal/probe): what
// it does seldom, or by system calls.
type Probe struct {
	Place  uint64 // a place in the ring, where the fast path has found none
	Record uint64 // a record from a buffer
	Load   uint64 // 8 bytes of memory
	Read   uint64 // a memory field of a record
}

// RecordArgs is a flag in a RECORD word: behind the event stands the payload of the
// probe whose number is at RecordNumberShift.
const (
	RecordArgs        = 1 << 18
	RecordNumberShift = 19
)

// Bits of the second word of a memory field; below them is how many bytes follow.
const (
	MemFault     = 1 << 16 // could not be read
	MemTruncated = 1 << 17 // there was more
	MemUnseen    = 1 << 18 // not looked at: the program may have a filter of system calls
)
