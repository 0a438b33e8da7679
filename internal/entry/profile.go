package entry

// A profile counts calls and their durations in the target, per thread and function.
// The counters are in a file of their own that nopal has too (ProfileHeader, the
// lookup table, areas); whose area is whose stands in the slots, which a fork wipes.

// ProfileHeader is the start of that file. The words that threads write stand in cache
// lines of their own.
type ProfileHeader struct {
	Areas       uint64 // how many there are
	AreaSize    uint64
	AreasOff    uint64 // offset of the first; they are numbered from 1
	LinksOff    uint64 // offset of the free list's links: uint32 per area
	LookupOff   uint64 // offset of the lookup table
	LookupShift uint64 // 32 - log2 of its length
	Since       uint64 // when functions were last armed: ends before that may not have been seen
	_           [128 - 7*8]byte
	FreeHead    uint64 // tag << 32 | area, of those given back; area 0: none
	_           [56]byte
	Given       uint64 // areas given out for the first time
	_           [56]byte
	Uncounted   uint64 // calls by threads that got no slot or no area
	_           [56]byte
}

// What else ProfileSlot.Owner may be: 0 in a slot that was never used, ProfileTombstone in one whose
// thread has ended.
const (
	ProfileClaimedBit = 32
	ProfileTombstone  = 1 << 33
)

// ProfileFrame is an open call. Child and SP are exchanged together, by LDXP/STXP or
// CMPXCHG16B, so a signal handler cannot come between.
type ProfileFrame struct {
	Child uint64 // ticks spent in calls from it
	SP    uint64 // below the frame records of its entry; ProfileHalf, ProfileDead
	Ticks uint64 // when it began. In an area's first frame: thread id
	Site  uint64 // address behind its site
}

// Frame states in ProfileFrame.SP, which no stack pointer has.
const (
	ProfileHalf = 0       // free; below Top: being made or ended
	ProfileDead = 1       // ended before the calls that stand above it
	ProfileBase = 1 << 62 // the first frame of an area, which is no call
)

// ProfileFrameBytes are the frames at the start of an area. Areas are aligned so that
// the bit ProfileFullBit of an address is clear in them and set behind them.
const (
	ProfileFullBit    = 15
	ProfileFrameBytes = 1 << ProfileFullBit
	ProfileAreaAlign  = 2 * ProfileFrameBytes
	ProfileFrameSize  = 32
)

// ProfileNear is how far below the stack pointer a frame certainly is on the same
// stack, and so over: no stack is smaller (MINSIGSTKSZ is 5120).
const ProfileNear = 4096

// ProfileFunc is what is counted of one function. Code is given the address of Total.
// Bucket i of Hist counts durations of i significant bits.
type ProfileFunc struct {
	Hist [64]uint64
	ProfileTotals
}

// ProfileTotals is the rest of ProfileFunc.
type ProfileTotals struct {
	Total, Self uint64
	Least       uint64 // 1<<63 - the shortest duration; 0: none yet
	Most        uint64
	Untimed     uint64 // calls whose duration is not known
	Inferred    uint64 // of those in Hist, calls whose end was not seen
	_           [2]uint64
}

// Sizes of the above.
const (
	ProfileHistSize = 64 * 8
	ProfileFuncSize = ProfileHistSize + 8*8
)

// ProfileLookup is an entry of the lookup table: the counters of the function whose
// site ends at an address. It begins at ProfileHash of that, and at most ProfileProbes
// entries are looked at.
type ProfileLookup struct {
	Site     uint64
	Counters uint64 // from the area's start to the function's Total
}

// Search in the lookup table.
const (
	ProfileProbes   = 64
	profileHashLow  = 0x79b1
	profileHashHigh = 0x9e37
)

// ProfileHash is the first place of an address in a lookup table.
func ProfileHash(site, shift uint64) uint32 {
	return uint32(site>>2) * (profileHashHigh<<16 | profileHashLow) >> shift
}
