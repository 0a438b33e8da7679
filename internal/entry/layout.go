package entry

// PageSize is the size in bytes of a ring page. It is nopal's own unit and
// independent of the kernel's page size: small, so that thousands of threads
// each get one from a bounded buffer; large enough that changing pages (about a
// hundred instructions) is lost among the 508 events in between.
const PageSize = 4096

// PageWords is a ring page in 8-byte words, PageHeaderWords of which are its header.
const (
	PageWords       = PageSize / 8
	PageHeaderWords = 4
)

// PageBit is the bit of a word's index in the ring that is set in the pages that are
// used and not behind them: only pages with odd numbers are, so one TBZ tells whether
// there is room. The others are never touched, and take no memory where the kernel's
// pages are not larger than ours.
const PageBit = 9

// SlotCount is the number of thread slots in the table, a power of two.
// SlotShift is the log2 of a slot's size and SlotProbes bounds the search for a
// thread that is not at its home slot, so that a full table costs a bounded time.
const (
	SlotBits   = 13
	SlotCount  = 1 << SlotBits
	SlotShift  = 6
	SlotProbes = 64
)

// TimeBits is the number of counter bits in an event word; the rest comes from
// TIME words (see FORMAT.md).
const TimeBits = 25

// TidShift is where the thread id stands in Slot.TidTime; below it is
// counter >> TimeBits, which has 39 bits.
const TidShift = 64 - TimeBits

// TidOffsetNone in Control.TidOffset says that the thread block's thread id
// was not found: events count as the main thread's. Real offsets are multiples of 4.
const TidOffsetNone = 1

// Keys in Slot.Key that are no thread pointer.
const (
	KeyFree      = 0 // never used: ends a search
	KeyTombstone = 2 // used once and freed by nopal: a search goes on behind it
)

// Values of RingHeader.Live: nobody answers, nopal answers, nopal is writing into an
// object that was loaded, which must not run before it is done.
const (
	LiveNobody  = 0
	LiveServing = 1
	LiveWriting = 2
	// LiveWaits is how many more times the hook waits for a nopal that is writing.
	LiveWaits = 4
)

// AckAll in RingHeader.Ack answers all tickets: nopal is leaving.
const AckAll = 1 << 62

// Action bits of a site's larger record.
const (
	ActionRegs  = 1 << 0
	ActionStack = 1 << 1
)

// ActionBits is how many low bits of an action word are in use.
const ActionBits = 2

// Control words of the ring (FORMAT.md, "Event words").
const (
	WordIndexShift = 37
	WordSPShift    = 25
	WordTime       = 1
	WordPad        = 2
	WordReserved   = 3
	WordRecord     = 4
	// RecordRegs and RecordStack are flags in a RECORD word.
	RecordRegs  = 1 << 16
	RecordStack = 1 << 17
	// FirstIndex is the first index of a plain event word.
	FirstIndex = 64
)

// StackMax is the largest number of return addresses in a stack record.
const StackMax = 62

// Control is the head of the private control block, in front of the slots. The
// block is MADV_WIPEONFORK: a forked child finds zeros, and a zero Ring means
// "not recorded". TidOffset and Ring are its last words because the fast path
// reads both with one LDP below the slot table.
type Control struct {
	Magic     uint64 // ControlMagic
	Owner     uint64 // process id
	WaitTicks uint64 // how long the loader's thread waits for nopal, counter ticks
	StackLow  uint64 // the main thread's stack, and its end
	StackHigh uint64
	TidReal   uint64 // TidOffset when triggers let it be
	// NoSyscalls is not 0 where the code may not make a system call to read memory: the
	// program has a filter that may kill it for one.
	NoSyscalls uint64
	FSBase     uint64 // amd64: not 0 where RDFSBASE may be executed (AT_HWCAP2)
	_          [ControlResults - 8*8]byte
	Results    [ResultCount]Result
	_          [ControlSize - ControlResults - ResultCount*16 - 7*8]byte
	// What shadow stacks and profiles need (shadow_arm64.s, profile_arm64.s).
	MaxDepth  uint64 // how deep calls are recorded, counted from the thread's first function
	Depth     uint64 // and counted from where recording begins
	Stacks    uint64 // the threads' shadow stacks
	Base      uint64 // state of a thread that is in no traced function
	Threshold uint64 // ticks: shorter calls are not recorded
	TidOffset uint64 // of the thread id, from the thread pointer; or TidOffsetNone
	Ring      uint64 // address of the shared ring; 0: not recorded
}

// Result is where a call that has begun puts its result, of which the caller says by x8
// where it shall be (AAPCS64 6.9) and nobody has to say it again at the end. A call is
// known by its stack pointer. Entries are changed by LDXP/STXP, and where two calls have
// the same, one result is not seen.
type Result struct {
	SP uint64 // 0: none
	X8 uint64
}

// ResultCount is how many there are, a power of two: of a call it is the one with the
// number sp * ResultHash >> (64 - ResultBits), since stacks of threads lie at regular
// distances (Knuth, The Art of Computer Programming 6.4, multiplicative hashing).
const (
	ResultBits     = 7
	ResultCount    = 1 << ResultBits
	ResultHash     = 0x9e3779b97f4a7c15
	ControlResults = 1024 // offset of Control.Results
)

// ControlSize is the offset of the slots from the control block.
const ControlSize = 4096

// ControlLead is how far before the control block its mapping begins: the slots behind
// it are aligned to what they take, and the mapping to the largest pages of a kernel.
const ControlLead = 64<<10 - ControlSize

// ControlMagic is "nopalctl".
const ControlMagic = 0x6c74636c61706f6e

// Slot is one thread's state. Cur and TidTime are changed together, by one LDXP/STXP
// pair (an exception return clears the monitor, Arm ARM B2.9.4) or one CMPXCHG16B: a
// signal handler that records in between makes it fail, so a position in a page is
// handed out once and in the order of the time stamps.
type Slot struct {
	Cur     uint64 // page sequence << 32 | word index from the ring's start; index%PageWords == 0: no page
	TidTime uint64 // tid << TidShift | counter >> TimeBits of the last event
	Key     uint64 // thread pointer | 1; KeyFree, KeyTombstone
	Stream  uint32 // number of this thread's stream
	Tid     uint32
	// The thread's stack, found by nopal when it first hears of it: what stack
	// records may read.
	StackLow, StackHigh uint64
	Top                 uint64 // where to look for a free GraphFrame; 0: nowhere yet
	_                   [8]byte
}

// SlotStat is a slot's part in shared memory: what nopal must still be able to
// read when the target is gone.
type SlotStat struct {
	Stream uint32
	Tid    uint32
	Lost   uint64 // events lost in this stream, cumulative
}

// Page flags in PageHeader.Flags.
const (
	PageVoid = 1 // never became a thread's page: to be freed unread
)

// PageHeader starts every page.
type PageHeader struct {
	Stream uint32
	Seq    uint32 // 1, 2, 3, ... in the stream
	Tid    uint32
	Flags  uint32
	Lost   uint64 // SlotStat.Lost when the page was begun
	Start  uint64 // counter when the page was begun
}

// RingHeader is the start of the shared memory. Words that different
// threads write stand in cache lines of their own.
type RingHeader struct {
	Magic       uint64 // RingMagic
	Version     uint64
	Control     uint64 // address of the control block in the target
	Size        uint64 // bytes of the whole mapping
	NextOff     uint64 // offset of the page links: uint32 per page
	StatOff     uint64 // offset of the slots' stats
	JournalOff  uint64 // offset of the journal
	JournalCap  uint64 // entries the journal has room for
	PoolFirst   uint64 // index of the first page of the pool
	PoolPages   uint64
	ControlSize uint64 // bytes of the control block's mapping, from ControlLead before it
	Session     uint64 // pid of the nopal that records; 0: none
	TraceOff    uint64 // not 0: nothing is recorded until a trigger says otherwise
	TriggerLen  uint64 // of Triggers
	_           [128 - 14*8]byte
	FreeHead    uint64 // tag << 32 | page index; index 0: empty
	_           [56]byte
	StartedHead uint64 // pages begun since nopal looked
	_           [56]byte
	NextStream  uint64
	_           [56]byte
	LostNoSlot  uint64 // events lost because the slot table was full
	_           [56]byte
	// The mailbox of the loader's hook.
	Live     uint64 // Live*
	Request  uint64 // tickets drawn
	Ack      uint64 // tickets answered
	Command  uint64 // ticket for which a system call is to be made
	Done     uint64 // ticket whose system call is made
	Result   uint64
	Number   uint64 // system call number
	Args     [6]uint64
	_        [56 - 5*8]byte
	Wishes   uint64 // Wish* bits of triggers, for nopal to take
	_        [56]byte
	Triggers [TriggerCount]TriggerEntry
	// The journal's state (see journal.go).
	JournalLen  uint64
	IslandCount uint64
	Islands     [512]IslandEntry
}

// TriggerCount is how many functions of a process can have triggers.
const TriggerCount = 256

// TriggerEntry is what happens when a function is called.
type TriggerEntry struct {
	IP     uint64 // address behind slot 2
	Action uint64 // Trigger*
	Wish   uint64 // Wish* bits to set
	Count  uint64 // how often it still happens; TriggerAlways: without end
	Next   uint64 // trampoline that goes on while it happens
	Then   uint64 // and when it does not, or not any more
}

// TriggerAlways in TriggerEntry.Count is counted down too, to no effect.
const TriggerAlways = 1 << 62

// Values of TriggerEntry.Action.
const (
	TriggerNone     = 0
	TriggerTraceOn  = 1
	TriggerTraceOff = 2
)

// Bits of RingHeader.Wishes.
const (
	WishSnapshot = 1 << 0
	WishDump     = 1 << 1
	WishStop     = 1 << 2
	WishSwitched = 1 << 3 // TraceOff has changed
)

// IslandEntry is one mapping of ours in the target's address space, for whoever
// has to remove it.
type IslandEntry struct {
	Addr uint64
	Size uint64
}

// RingMagic is "nopalrng".
const RingMagic = 0x676e726c61706f6e

// RingVersion changes whenever a layout in this file does.
const RingVersion = 3

// Literals is the data at the end of an island's code, filled in when the code
// is copied.
type Literals struct {
	Table  uint64 // address of slot 0
	Index  uint64 // index << WordIndexShift of address 0: event index word = Index + (x30 << 35)
	Action uint64 // Action* bits of ftrace_regs_caller
	RDebug uint64 // address of r_debug, for the loader's hook
	// The first word of a record with registers only, before and when it is committed.
	Reserved uint64
	Record   uint64
	Reserve  uint64 // address of reserve, for other blocks
	Stacks   uint64 // the threads' shadow stacks
}

// SizeofLiterals is their size in bytes.
const SizeofLiterals = 8 * 8

// RegsRecord is such a record's length in words: the word, the event, pt_regs.
const RegsRecord = 2 + RegsWords
