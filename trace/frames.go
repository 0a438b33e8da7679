package trace

// frame is a call that has not ended.
type frame struct {
	start uint64 // ticks
	child uint64 // ticks of the calls that it made and that have ended
	addr  uint64 // of the function
	site  int32
	node  int32 // calling context
	sp    uint16
	flags uint16
}

// frameSize is the memory of a frame.
const frameSize = 40

const (
	frameLeaf      = 1 << iota // it calls nothing
	frameInferred              // of a leaf: its exit will be inferred
	frameRecursive             // an outer frame is of the same site
)

// maxFrames bounds the memory of one stream's stack. Calls that are deeper
// leave no frame.
const maxFrames = 1 << 22

// callStack holds the open calls of a stream and finds the one that an event
// ends. Calls are told apart by their function and stack pointer, which an
// exit has in common with its entry.
type callStack struct {
	frames []frame
	credit int // how much may be searched in vain
}

// minSearch is how many frames are searched for the one that an exit belongs
// to, however often there is none.
const minSearch = 4096

func (s *callStack) len() int { return len(s.frames) }

func (s *callStack) top() *frame { return &s.frames[len(s.frames)-1] }

// leaves reports that a frame at stack pointer f is over when a function is
// entered at sp: it stands at or below it (stacks grow down, AAPCS64 section
// 6.4.6). The difference of the 12-bit numbers is shifted to the top of 16
// bits, so that its sign is the sign of those.
func leaves(f, sp uint16) bool { return int16((sp-f)<<(16-SPBits)) >= 0 }

// over reports that the innermost frame is over when a function is entered at sp.
func (s *callStack) over(sp uint16) bool {
	n := len(s.frames)
	return n > 0 && leaves(s.frames[n-1].sp, sp)
}

// find returns the innermost frame that an exit of site at sp ends, or -1.
func (s *callStack) find(site int32, sp uint16) int {
	limit := max(0, len(s.frames)-max(minSearch, s.credit))
	for i := len(s.frames) - 1; i >= limit; i-- {
		if f := &s.frames[i]; f.sp == sp && f.site == site {
			return i
		}
	}
	s.credit = max(0, s.credit-len(s.frames))
	return -1
}

// push opens a frame and reports whether there was room.
func (s *callStack) push(f frame) bool {
	if len(s.frames) >= maxFrames {
		return false
	}
	s.frames = append(s.frames, f)
	// What is searched in vain is paid for by the frames that were pushed, so
	// that work stays proportional to the events.
	s.credit = min(s.credit+8, maxFrames)
	return true
}

func (s *callStack) pop() { s.frames = s.frames[:len(s.frames)-1] }
