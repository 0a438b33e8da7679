package trace

// Block is what a recording consists of: one of the pointer types below.
type Block interface{ blockType() Type }

// Meta says how, where and with what the recording was made.
type Meta struct {
	Version  string
	Command  []string
	Host     string
	System   string
	Machine  string
	CPUs     uint32
	PageSize uint32
	Started  int64 // wall clock, ns since 1970 UTC
	Options  []Option
}

// Option is an option that shapes what is recorded.
type Option struct{ Name, Value string }

// Process is a program being traced. Proc is the recording's own number for
// it: after exec the same process has another, and numbers are not reused.
type Process struct {
	Proc    uint32
	PID     uint32
	PPID    uint32
	Ticks   uint64
	Command []string
}

// Thread names a thread.
type Thread struct {
	Proc uint32
	TID  uint32
	Name string
}

// Image is an executable or shared library. In a file its functions stand in
// FUNCS blocks of their own; Reader.Next gives an Image without them.
type Image struct {
	ID      uint32
	Path    string
	BuildID string
}

// Funcs is a part of the functions of an image.
type Funcs struct {
	Image uint32
	Funcs []Func
}

// Func is a function of an image, at its link-time address.
type Func struct {
	VA   uint64
	Size uint64
	Name string
}

// Range places an executable segment of an image in a process, and gives it
// the code positions Index to Index+Count-1, one an instruction.
type Range struct {
	Proc  uint32
	Image uint32
	Index uint32
	Count uint32
	Addr  uint64
	VA    uint64
	Kind  uint32
}

// The kinds of ranges. An exit has the same offset in its range as the entry
// of the same function in the range of entries.
const (
	RangeEntries = 0
	RangeExits   = 1
)

// Chunk is a run of events of one thread. No record is split between chunks.
type Chunk struct {
	Proc   uint32
	Stream uint32
	TID    uint32
	Flags  uint32
	Base   uint64
	Lost   uint64
	Words  []byte
}

// Round promises that every event before Ticks stands before it in the file,
// save those that were just being written.
type Round struct{ Ticks uint64 }

// Lost counts events lost that no chunk accounts for.
type Lost struct {
	Proc  uint32
	TID   uint32
	Count uint64
	Ticks uint64
}

// Exit says that a thread, or with TID 0 a process, has ended and that all its
// chunks stand before.
type Exit struct {
	Proc   uint32
	TID    uint32
	Status uint32
	Ticks  uint64
}

// End is the last block of a recording that was ended in order.
type End struct {
	Events   uint64
	Lost     uint64
	Chunks   uint64
	Duration int64 // ns
	Reason   string
}

// Profile is what the target has counted of one thread's calls.
type Profile struct {
	Proc  uint32
	TID   uint32
	Ticks uint64
	Funcs []ProfileFunc
}

// ProfileFunc is a function in a Profile. Times are in ticks. VA is that of
// the site: of the first of the instructions that make the function traceable.
type ProfileFunc struct {
	Image uint32
	VA    uint64
	Calls uint64
	Total uint64
	Self  uint64
	Min   uint64
	Max   uint64
	Hist  []ProfileBucket
}

// ProfileBucket counts the calls whose duration in ticks has so many
// significant bits.
type ProfileBucket struct {
	Bucket uint32
	Count  uint64
}

// Mark says what happened to the recording itself at some time.
type Mark struct {
	Proc  uint32
	TID   uint32
	Ticks uint64
	Text  string
}

func (*Meta) blockType() Type    { return TypeMeta }
func (*Clock) blockType() Type   { return TypeClock }
func (*Process) blockType() Type { return TypeProcess }
func (*Thread) blockType() Type  { return TypeThread }
func (*Image) blockType() Type   { return TypeImage }
func (*Funcs) blockType() Type   { return TypeFuncs }
func (*Range) blockType() Type   { return TypeRange }
func (*Chunk) blockType() Type   { return TypeChunk }
func (*Round) blockType() Type   { return TypeRound }
func (*Lost) blockType() Type    { return TypeLost }
func (*Exit) blockType() Type    { return TypeExit }
func (*End) blockType() Type     { return TypeEnd }
func (*Profile) blockType() Type { return TypeProfile }
func (*Mark) blockType() Type    { return TypeMark }

// TypeOf returns the type of a block.
func TypeOf(b Block) Type { return b.blockType() }

// newBlock makes the Go form of a type of block.
func newBlock(t Type) Block {
	switch t {
	case TypeMeta:
		return new(Meta)
	case TypeClock:
		return new(Clock)
	case TypeProcess:
		return new(Process)
	case TypeThread:
		return new(Thread)
	case TypeImage:
		return new(Image)
	case TypeFuncs:
		return new(Funcs)
	case TypeRange:
		return new(Range)
	case TypeChunk:
		return new(Chunk)
	case TypeRound:
		return new(Round)
	case TypeLost:
		return new(Lost)
	case TypeExit:
		return new(Exit)
	case TypeEnd:
		return new(End)
	case TypeProfile:
		return new(Profile)
	case TypeMark:
		return new(Mark)
	case TypeProbe:
		return new(Probe)
	}
	return nil
}
