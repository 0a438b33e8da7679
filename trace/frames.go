package trace

// frame is a call that has not ended.
type frame struct {
	start  uint64 // ticks
	child  uint64 // ticks of the calls that it made and that have ended
	addr   uint64 // of the function
	site   int32
	node   int32  // calling context
	serial uint32 // tells apart the frames of a stream
	sp     uint16
	flags  uint16
}

// frameSize is the memory of a frame.
const frameSize = 40

const (
	frameLeaf      = 1 << 0        // it calls nothing
	frameResumed   = 1 << 1        // it had been taken for over
	frameRecursive = CallRecursive // an outer frame is of the same site
)

// maxFrames bounds the memory of one stream's stack: where it is exceeded, the
// outer half is given up.
const maxFrames = 1 << 22

// callStack holds the open calls of a stream and finds the one that an event
// ends. Calls are told apart by their function and stack pointer, which an
// exit has in common with its entry.
//
// Calls that have not got an exit are over when an event shows that the thread
// has left them: by an exception or longjmp, or by an exit that cannot be
// recorded. A thread that goes on on another stack (a coroutine, a signal
// handler with a stack of its own) looks the same. So they are remembered for
// a while, and come back with all their callers when the exit of one of them
// shows that it was not over.
type callStack struct {
	frames  []frame
	serial  uint32
	credit  int  // how much may be searched in vain
	suspect int  // as many of the outermost frames may have ended among lost events
	keeping bool // the event that is looked at has ended a call that was kept
	left    *leftCalls
}

// minSearch is how many frames are searched for the one that an exit belongs
// to, however often there is none.
const minSearch = 4096

func (s *callStack) len() int { return len(s.frames) }

func (s *callStack) top() *frame { return &s.frames[len(s.frames)-1] }

// size is the memory of a stack.
func (s *callStack) size() int {
	n := frameSize * cap(s.frames)
	if s.left != nil {
		n += leftSize * cap(s.left.calls)
	}
	return n
}

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

// push opens a frame.
func (s *callStack) push(f frame) {
	s.serial++
	f.serial = s.serial
	s.frames = append(s.frames, f)
	// What is searched in vain is paid for by the frames that were pushed, so
	// that work stays proportional to the events.
	s.credit = min(s.credit+8, maxFrames)
	s.keeping = false
}

// pop takes away the innermost frame, whose exit was seen.
func (s *callStack) pop() {
	s.frames = s.frames[:len(s.frames)-1]
	s.suspect = min(s.suspect, len(s.frames))
	s.keeping = false
}

// pass is a push and a pop.
func (s *callStack) pass() {
	s.serial++
	s.credit = min(s.credit+8, maxFrames)
	s.keeping = false
}

// lose notes that events were lost. What was open may have ended among them,
// and what was left cannot be told from what was entered among them: both are
// not taken for the entries of exits that come, where there is a choice. Calls
// whose exits have not been delivered stay. It returns what is forgotten.
func (s *callStack) lose() []leftCall {
	s.suspect = len(s.frames)
	if s.left == nil {
		return nil
	}
	l, n := s.left, 0
	l.evicted = l.evicted[:0]
	for i := range l.calls {
		if c := &l.calls[i]; c.silent {
			l.calls[n], l.keys[n] = *c, l.keys[i]
			n++
		} else {
			l.evicted = append(l.evicted, *c)
		}
	}
	l.calls, l.keys = l.calls[:n], l.keys[:n]
	return l.evicted
}

// dropResumed takes away the innermost frames whose exits have been inferred
// before, and returns how many are left.
func (s *callStack) dropResumed() int {
	n := len(s.frames)
	for n > 0 && s.frames[n-1].flags&frameResumed != 0 {
		n--
	}
	s.frames = s.frames[:n]
	return n
}

// lastSilent returns the call that was left last of those whose exit has not
// been delivered, or nil. What was left later is forgotten.
func (s *callStack) lastSilent() *leftCall {
	if s.left == nil {
		return nil
	}
	for n := len(s.left.calls); n > 0; n-- {
		if c := &s.left.calls[n-1]; c.valid && c.silent {
			return c
		}
		s.left.calls, s.left.keys = s.left.calls[:n-1], s.left.keys[:n-1]
	}
	return nil
}

// unfinished reports that there are calls whose exits have to be delivered at
// the end.
func (s *callStack) unfinished() bool { return s.dropResumed() > 0 || s.lastSilent() != nil }

// shed gives up the outer half of a stack that is too deep.
func (s *callStack) shed() {
	if n := len(s.frames); n > maxFrames {
		s.frames = s.frames[:copy(s.frames, s.frames[n/2:])]
		s.suspect = min(s.suspect, len(s.frames))
	}
}

// depthOf is the depth of a call that was not seen to begin, whose stack
// pointer was sp.
func (s *callStack) depthOf(sp uint16) int {
	n := len(s.frames)
	for n > max(0, len(s.frames)-64) && leaves(s.frames[n-1].sp, sp) {
		n--
	}
	return n
}

// maxLeft is how many calls are remembered that are over without an exit.
const maxLeft = 4096

// leftCall is a call that was taken for over.
type leftCall struct {
	frame
	depth  int
	parent uint32 // serial of its caller, 0 if it had none
	caller int32  // site of its caller, or -1
	ticks  uint64 // when it was over
	valid  bool   // it has not come back
	silent bool   // its exit has not been delivered
}

// leftSize is the memory of a call in leftCalls.
const leftSize = 88

// leftCalls are calls that were taken for over, the latest last. A call is
// after those that it made.
type leftCalls struct {
	calls   []leftCall
	keys    []uint64 // site and stack pointer, to look for
	evicted []leftCall
}

func leftKey(site int32, sp uint16) uint64 {
	return uint64(uint32(site))<<16 | uint64(sp&spMask) | 1<<63
}

// room makes room for a call, and returns those that are forgotten for it.
func (l *leftCalls) room() []leftCall {
	l.evicted = l.evicted[:0]
	if len(l.calls) < maxLeft {
		return nil
	}
	valid := 0
	for i := range l.calls {
		if l.calls[i].valid {
			valid++
		}
	}
	n := 0
	for i := range l.calls {
		switch c := &l.calls[i]; {
		case !c.valid:
		case valid > maxLeft*3/4:
			l.evicted = append(l.evicted, *c)
			valid--
		default:
			l.calls[n], l.keys[n] = *c, l.keys[i]
			n++
		}
	}
	l.calls, l.keys = l.calls[:n], l.keys[:n]
	return l.evicted
}

// leave takes away the innermost frame, which is over at ticks without an
// exit. It reports whether the call is remembered, and returns what is
// forgotten for it.
func (s *callStack) leave(rec *Recording, ticks uint64) (kept bool, evicted []leftCall) {
	n := len(s.frames) - 1
	f := &s.frames[n]
	s.frames = s.frames[:n]
	// What has never had an exit, but often been left, has none. It need be
	// remembered only as the caller of something that has.
	if !rec.mayExit(f.site) && !s.keeping {
		return false, nil
	}
	if n < s.suspect {
		s.suspect = n
		return false, nil
	}
	s.keeping = true
	if s.left == nil {
		s.left = new(leftCalls)
	}
	l := s.left
	evicted = l.room()
	c := leftCall{frame: *f, depth: n, ticks: ticks, caller: -1, valid: true}
	if n > 0 {
		c.parent, c.caller = s.frames[n-1].serial, s.frames[n-1].site
	}
	l.calls, l.keys = append(l.calls, c), append(l.keys, leftKey(f.site, f.sp))
	return true, evicted
}

// nearby is how far a callee's stack pointer is below its caller's at most, in
// units of 16 bytes, to look as if both were on the same stack.
const nearby = 4096 / 16

func near(caller, callee uint16) bool { return (caller-callee)&spMask <= nearby }

// ends looks at the frames from low on, which an event at sp ends. It returns
// where those begin that rather belong to another stack, and may go on: they,
// or the event, are not near to what is below them.
func (s *callStack) ends(low int, sp uint16, entry bool) int {
	if low == len(s.frames) {
		return low
	}
	if entry {
		// Where the function was left for that is entered now, nothing is
		// far away: it was called from the frame below, or instead of the
		// outermost one.
		if low > 0 && !near(s.frames[low-1].sp, sp) || low == 0 && !near(sp, s.frames[0].sp) {
			return low
		}
		low++
	}
	for ; low < len(s.frames); low++ {
		if low > 0 && !near(s.frames[low-1].sp, s.frames[low].sp) {
			break
		}
	}
	return low
}

// findLeft returns the place of the call that was left last and that an exit
// of site at sp ends, or -1.
func (s *callStack) findLeft(site int32, sp uint16) int {
	if s.left == nil {
		return -1
	}
	key := leftKey(site, sp)
	for i := len(s.left.keys) - 1; i >= 0; i-- {
		if s.left.keys[i] == key {
			return i
		}
	}
	return -1
}

// chain returns the places of a call that was left and of its callers that
// were, and the depth to which the stack has those above them.
func (s *callStack) chain(i int) ([]int, int) {
	l, list := s.left, []int{i}
	for c := &l.calls[i]; c.parent != 0; c = &l.calls[i] {
		if d := c.depth - 1; d < len(s.frames) && s.frames[d].serial == c.parent {
			return list, d + 1
		}
		for i++; i < len(l.calls); i++ {
			if o := &l.calls[i]; o.valid && o.serial == c.parent && o.depth == c.depth-1 {
				break
			}
		}
		if i == len(l.calls) {
			return list, min(c.depth, len(s.frames))
		}
		list = append(list, i)
	}
	return list, 0
}

// revive puts a chain back. The stack is as deep as it says.
func (s *callStack) revive(list []int) {
	l := s.left
	for k := len(list) - 1; k >= 0; k-- {
		c := &l.calls[list[k]]
		if !c.silent {
			c.flags |= frameResumed
		}
		s.frames = append(s.frames, c.frame)
		c.valid, l.keys[list[k]] = false, 0
	}
	s.keeping = false
}

// oftenLeft is how often a function is left without an exit until it is
// believed to have none.
const oftenLeft = 64

// hasExits reports that a function is known to have an exit, or not yet known
// to have none.
func (rec *Recording) hasExits(site int32) bool {
	return rec.exitSeen(site) || site >= 0 && (int(site) >= len(rec.left) || rec.left[site] < oftenLeft)
}

// exitSeen reports that a function has had an exit.
func (rec *Recording) exitSeen(site int32) bool {
	return site >= 0 && int(site) < len(rec.left) && rec.left[site] == hasExit
}

// mayExit reports that a function which was left may yet have an exit.
func (rec *Recording) mayExit(site int32) bool {
	if site < 0 {
		return false
	}
	for int(site) >= len(rec.left) {
		rec.left = append(rec.left, make([]uint8, max(64, len(rec.sites)-len(rec.left)))...)
	}
	n := rec.left[site]
	if n == hasExit {
		return true
	}
	if n < oftenLeft {
		rec.left[site]++
	}
	return n < oftenLeft
}

const hasExit = 255

// exited notes that a function has an exit.
func (rec *Recording) exited(site int32) {
	if site >= 0 && !rec.exitSeen(site) {
		rec.mayExit(site)
		rec.left[site] = hasExit
	}
}
