package trace

import "fmt"

// Version is the format's version. A reader refuses a newer one. Within one
// version blocks may gain fields at their end and new types of blocks may
// appear: a reader ignores what it does not know of either.
const Version = 1

const (
	// HeaderSize is the size of the file's header.
	HeaderSize = 32

	blockHeader = 16

	// blockAlign keeps the words of a chunk aligned in the file, so that a
	// reader which maps the file can use them in place.
	blockAlign = 8

	// MaxPayload bounds what a reader has to hold of a block, whatever the
	// block says about itself.
	MaxPayload = 1 << 20
)

// The first byte has its top bit set and the last two are a line end, so that
// a transfer that strips bits or translates line ends is noticed (PNG does the
// same, RFC 2083 section 12.11).
const magic = "\x89nopal\r\n"

// Type says what a block holds.
type Type uint32

// The types of blocks.
const (
	TypeMeta Type = 1 + iota
	TypeClock
	TypeProcess
	TypeThread
	TypeImage
	TypeFuncs
	TypeRange
	TypeChunk
	TypeRound
	TypeLost
	TypeExit
	TypeEnd
	TypeProfile
	TypeMark
	TypeProbe
	maxType
)

func (t Type) String() string {
	if t.known() {
		return specs[t].Name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// SpecOf describes a type of block. It has no name for an unknown type.
func SpecOf(t Type) Spec {
	if !t.known() {
		return Spec{}
	}
	return specs[t]
}

func (t Type) known() bool { return t > 0 && t < maxType }

// Kind is the encoding of a field.
type Kind uint8

// The kinds of fields. Numbers are little-endian and stand without padding.
const (
	U32    Kind = iota // 4 bytes
	U64                // 8 bytes
	I64                // 8 bytes, two's complement
	String             // u32 length, bytes
	List               // u32 count, then the fields of Of, count times
	Words              // the rest of the payload: event words of 8 bytes, or encoded ones
)

func (k Kind) String() string {
	return [...]string{"u32", "u64", "i64", "string", "list", "words"}[k]
}

// size is the least number of bytes that a field of this kind takes.
func (k Kind) size() int { return [...]int{4, 8, 8, 4, 4, 0}[k] }

// Field is one field of a block.
type Field struct {
	Name string
	Kind Kind
	Of   []Field // of a List's elements
	Doc  string

	// Later marks a number at the end of a block that older recordings do
	// not have. It is 0 there.
	Later bool
}

// Spec describes a type of block.
type Spec struct {
	Name   string
	Doc    string
	Fields []Field
}

// specs describes every type of block, by Type. The Go structs in blocks.go
// have the same fields in the same order.
var specs = [maxType]Spec{
	TypeMeta: {"META", "How, where and with what the recording was made. The first block.", []Field{
		{Name: "version", Kind: String, Doc: "version of nopal"},
		{Name: "command", Kind: List, Doc: "command line of nopal", Of: []Field{{Name: "arg", Kind: String}}},
		{Name: "host", Kind: String, Doc: "host name"},
		{Name: "system", Kind: String, Doc: "kernel's name and release"},
		{Name: "machine", Kind: String, Doc: "machine's name, as in uname -m"},
		{Name: "cpus", Kind: U32, Doc: "number of processors online"},
		{Name: "page_size", Kind: U32, Doc: "bytes of a page"},
		{Name: "started", Kind: I64, Doc: "wall clock at the start, ns since 1970 UTC"},
		{Name: "options", Kind: List, Doc: "options that shape what is recorded", Of: []Field{
			{Name: "name", Kind: String}, {Name: "value", Kind: String}}},
	}},
	TypeClock: {"CLOCK", "The clock of all ticks in the file. Before the first CHUNK.", []Field{
		{Name: "source", Kind: String, Doc: `"cntvct" (arm64), "tsc" (x86-64), or what was used instead`},
		{Name: "frequency", Kind: U64, Doc: "ticks per second"},
		{Name: "ticks", Kind: U64, Doc: "the counter when the clocks below were read"},
		{Name: "mono", Kind: I64, Doc: "CLOCK_MONOTONIC at ticks, ns"},
		{Name: "real", Kind: I64, Doc: "CLOCK_REALTIME at ticks, ns since 1970 UTC"},
	}},
	TypeProcess: {"PROCESS", "A process appears, or is another program after exec.", []Field{
		{Name: "proc", Kind: U32, Doc: "number of this program in the recording; never used again"},
		{Name: "pid", Kind: U32, Doc: "process id"},
		{Name: "ppid", Kind: U32, Doc: "parent's process id"},
		{Name: "ticks", Kind: U64, Doc: "when recording of it began"},
		{Name: "command", Kind: List, Doc: "its command line", Of: []Field{{Name: "arg", Kind: String}}},
	}},
	TypeThread: {"THREAD", "A thread's name. Repeated when the name changes.", []Field{
		{Name: "proc", Kind: U32, Doc: "process"},
		{Name: "tid", Kind: U32, Doc: "thread id"},
		{Name: "name", Kind: String, Doc: "the kernel's name of it (comm)"},
	}},
	TypeImage: {"IMAGE", "An object: executable or shared library.", []Field{
		{Name: "image", Kind: U32, Doc: "number of the object in the recording"},
		{Name: "path", Kind: String, Doc: "its file"},
		{Name: "build_id", Kind: String, Doc: "build-id in hexadecimal, or empty"},
	}},
	TypeFuncs: {"FUNCS", "Functions of an object. Sorted by address within a block; large objects have several.", []Field{
		{Name: "image", Kind: U32, Doc: "object"},
		{Name: "funcs", Kind: List, Doc: "functions", Of: []Field{
			{Name: "va", Kind: U64, Doc: "link-time address"},
			{Name: "size", Kind: U64, Doc: "bytes, 0 if not known"},
			{Name: "name", Kind: String, Doc: "symbol, not demangled"}}},
	}},
	TypeRange: {"RANGE", "An executable segment of an object in a process, and the code positions it has there.", []Field{
		{Name: "proc", Kind: U32, Doc: "process"},
		{Name: "image", Kind: U32, Doc: "object"},
		{Name: "index", Kind: U32, Doc: "code position of its first four bytes, at least 64"},
		{Name: "count", Kind: U32, Doc: "number of code positions"},
		{Name: "addr", Kind: U64, Doc: "address of the first instruction in the process"},
		{Name: "va", Kind: U64, Doc: "the same at link time"},
		{Name: "kind", Kind: U32, Doc: "0: entries of functions, 1: their exits", Later: true},
	}},
	TypeChunk: {"CHUNK", "Events of one thread, as the thread wrote them.", []Field{
		{Name: "proc", Kind: U32, Doc: "process"},
		{Name: "stream", Kind: U32, Doc: "a number within the process; chunks of one are in order. A thread may have several, one after the other"},
		{Name: "tid", Kind: U32, Doc: "thread id"},
		{Name: "flags", Kind: U32, Doc: "bit 0: the words are encoded"},
		{Name: "base", Kind: U64, Doc: "ticks; the bits above 25 hold for the first word"},
		{Name: "lost", Kind: U64, Doc: "events of this stream that were lost immediately before"},
		{Name: "words", Kind: Words, Doc: "event words, or the encoding of them"},
	}},
	TypeRound: {"ROUND", "Every event before `ticks` is in a block before this one, save those that were just being written.", []Field{
		{Name: "ticks", Kind: U64, Doc: "the watermark"},
	}},
	TypeLost: {"LOST", "Events lost that no chunk accounts for.", []Field{
		{Name: "proc", Kind: U32, Doc: "process"},
		{Name: "tid", Kind: U32, Doc: "thread id, 0 if not known"},
		{Name: "count", Kind: U64, Doc: "number of events"},
		{Name: "ticks", Kind: U64, Doc: "when, 0 if not known"},
	}},
	TypeExit: {"EXIT", "A thread or a process has ended; nothing of it follows.", []Field{
		{Name: "proc", Kind: U32, Doc: "process"},
		{Name: "tid", Kind: U32, Doc: "thread id, 0 for the whole process"},
		{Name: "status", Kind: U32, Doc: "wait status of a process, 0 if not known"},
		{Name: "ticks", Kind: U64, Doc: "when, 0 if not known"},
	}},
	TypeEnd: {"END", "The recording ended in order. The last block.", []Field{
		{Name: "events", Kind: U64, Doc: "events in all chunks"},
		{Name: "lost", Kind: U64, Doc: "events lost, in chunks and LOST blocks"},
		{Name: "chunks", Kind: U64, Doc: "number of CHUNK blocks"},
		{Name: "duration", Kind: I64, Doc: "length of the recording, ns"},
		{Name: "reason", Kind: String, Doc: "why it ended"},
	}},
	TypeProfile: {"PROFILE", "What is known of a thread's calls. Cumulative: the last one for a function replaces those before.", []Field{
		{Name: "proc", Kind: U32, Doc: "process"},
		{Name: "tid", Kind: U32, Doc: "thread id"},
		{Name: "ticks", Kind: U64, Doc: "when it was read"},
		{Name: "funcs", Kind: List, Doc: "functions; those of one reading may stand in several blocks", Of: []Field{
			{Name: "image", Kind: U32, Doc: "object"},
			{Name: "va", Kind: U64, Doc: "link-time address of the site: on arm64 the first of the two instructions that make it traceable, on x86-64 the address of its entry events"},
			{Name: "calls", Kind: U64, Doc: "completed calls"},
			{Name: "total", Kind: U64, Doc: "ticks in them"},
			{Name: "self", Kind: U64, Doc: "ticks in them without the traced functions that they called"},
			{Name: "min", Kind: U64, Doc: "ticks of the shortest"},
			{Name: "max", Kind: U64, Doc: "ticks of the longest"},
			{Name: "hist", Kind: List, Doc: "how many took how long", Of: []Field{
				{Name: "bucket", Kind: U32, Doc: "number of significant bits of the duration in ticks, at most 63"},
				{Name: "count", Kind: U64, Doc: "calls"}}}}},
	}},
	TypeMark: {"MARK", "Something that happened in the course of the recording.", []Field{
		{Name: "proc", Kind: U32, Doc: "process, 0 for none in particular"},
		{Name: "tid", Kind: U32, Doc: "thread id, 0 for none in particular"},
		{Name: "ticks", Kind: U64, Doc: "when"},
		{Name: "text", Kind: String, Doc: "what"},
	}},
	TypeProbe: {"PROBE", "What the records of a probe number hold.", []Field{
		{Name: "proc", Kind: U32, Doc: "process"},
		{Name: "number", Kind: U32, Doc: "number of the probe in the process; never used again"},
		{Name: "image", Kind: U32, Doc: "object"},
		{Name: "va", Kind: U64, Doc: "link-time address of the first of the two instructions that make the function traceable; 0 if the probe is in several"},
		{Name: "kind", Kind: U32, Doc: "0: at entries, 1: at exits; plus 2: attached to an event that follows; plus 4: something was injected"},
		{Name: "text", Kind: String, Doc: "what was injected, as its rule says it"},
		{Name: "fields", Kind: List, Doc: "payload of a record", Of: []Field{
			{Name: "name", Kind: String, Doc: "name of the argument; `ret` for the result"},
			{Name: "type", Kind: U32, Doc: "index in `types`"},
			{Name: "mem", Kind: U32, Doc: "0: the value itself, 1: an address, a header, and what was read from there"}}},
		{Name: "types", Kind: List, Doc: "types", Of: []Field{
			{Name: "kind", Kind: U32, Doc: "see [Values](#values)"},
			{Name: "size", Kind: U32, Doc: "bytes"},
			{Name: "name", Kind: String, Doc: "as in the source, or empty"},
			{Name: "elem", Kind: U32, Doc: "of an array, or behind a pointer: index in `types`"},
			{Name: "count", Kind: U32, Doc: "of an array: elements"},
			{Name: "members", Kind: List, Doc: "of a struct", Of: []Field{
				{Name: "name", Kind: String},
				{Name: "type", Kind: U32, Doc: "index in `types`"},
				{Name: "off", Kind: U32, Doc: "bytes from the struct's beginning"},
				{Name: "bit_off", Kind: U32, Doc: "of a bit field: bits from there to its lowest one"},
				{Name: "bit_size", Kind: U32, Doc: "of a bit field: its bits; 0 for other members"}}},
			{Name: "enums", Kind: List, Doc: "of an enumeration", Of: []Field{
				{Name: "name", Kind: String},
				{Name: "value", Kind: I64}}}}},
	}},
}
