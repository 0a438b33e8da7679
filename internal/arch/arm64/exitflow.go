package arm64

import (
	"fmt"
	"slices"
)

// The limits of following control: more steps than that for each word mean code
// that no compiler writes.
const (
	flowSteps    = 24
	flowMinSteps = 1 << 12
)

// follow goes all ways that control takes from the entry and decides about the
// indirect branches. The direct ones that leave the function have to be tail calls.
//
// A branch to a register is a jump within the function (a jump table, a computed
// goto) or a tail call. At a tail call sp has its value at the entry and x30 the
// return address, since the callee returns for the function: where one of them
// has not, it is a jump. Where both have, the function has no frame at this point,
// and it depends on where the branch's target comes from.
func (f *ExitFinder) follow() (reason string) {
	n := len(f.words)
	if cap(f.states) < n {
		f.states = make([]state, n)
	}
	f.states = f.states[:n]
	clear(f.states)
	f.strong, f.weak, f.seeds = f.strong[:0], f.weak[:0], f.seeds[:0]
	f.escape, f.fell = false, -1
	f.steps = max(n*flowSteps, flowMinSteps)

	start, _ := f.index(f.body.Start)
	f.arrive(start, state{reached: true, fp: unknown, saved: unknown})
	for {
		if !f.run() {
			return "its control flow is too tangled"
		}
		if !f.seed() {
			break
		}
	}
	if f.fell >= 0 {
		return fmt.Sprintf("its code runs on into what follows it (at %s)", f.offset(f.fell))
	}
	for _, e := range f.exits {
		i, _ := f.index(e.Addr)
		s := &f.states[i]
		switch {
		case !s.reached && !f.body.Mapped:
			return fmt.Sprintf("cannot tell whether %s is code", f.offset(i))
		case s.reached && e.Kind == ExitTailB && (s.lr == lrCalled || s.sp != 0 && s.sp != unknown):
			// It goes on elsewhere: in an outlined end, or a part that is not known
			// to be its own.
			return fmt.Sprintf("a branch leaves it with its stack frame in place (at %s)", f.offset(i))
		}
	}
	for _, i := range f.hard {
		tail, reason := f.decide(i)
		if reason != "" {
			return reason
		}
		if tail {
			f.exits = append(f.exits, Exit{
				Addr: f.address(i), Insn: f.words[i], Kind: ExitTailBR, Reg: uint8(field(f.words[i], 5, 5)),
			})
		}
	}
	return ""
}

// decide tells a tail call from a jump.
func (f *ExitFinder) decide(i int) (tail bool, reason string) {
	s := &f.states[i]
	reg := bit(f.words[i] >> 5)
	table := s.pcrel&s.small&reg != 0 // pc-relative, plus what a table of offsets says
	doubt := ""
	switch {
	case !s.reached:
		doubt = "in code that control is not seen to reach"
	case s.inner&reg != 0:
		return false, "" // a place within, or an offset from it
	case s.lr == lrCalled, s.sp < 0 && s.sp != unknown:
		return false, "" // with a frame
	case table:
		// The table may as well be one of functions.
		if _, ok := f.jumpTable(i, f.targets[:0]); ok {
			return false, ""
		}
		doubt = "by a table that cannot be read"
	case s.sp != 0 || s.lr != lrEntry:
		doubt = "with an unclear stack frame"
	case s.near&reg != 0, s.made&reg != 0:
		doubt = "to a computed address"
	case f.escape || f.takenInside():
		doubt = "which may be a computed goto"
	default:
		return true, ""
	}
	return false, fmt.Sprintf("an indirect branch %s (at %s)", doubt, f.offset(i))
}

// takenInside reports whether the object's data may hold an address within the
// function, other than those at which it is entered.
func (f *ExitFinder) takenInside() bool {
	if f.body.Taken == nil {
		return true
	}
	first := 0
	for p, end := range f.ends {
		start := f.body.Parts[p].VA
		stop := start + uint64(end-first)*InsnSize
		if p == 0 {
			start = f.body.Start
		}
		if f.body.Taken(start, stop) {
			return true
		}
		first = end
	}
	return false
}

// seed continues at the code that no direct branch leads to: cases of a switch
// and landing pads. They are reached from an indirect jump or from a call that
// threw, so what is true at all of these is true there. It reports whether there
// is anything new. Only for code that mapping symbols prove to be code.
func (f *ExitFinder) seed() bool {
	if !f.body.Mapped {
		return f.seedProven()
	}
	var from state
	for i := range f.words {
		s := &f.states[i]
		if !s.reached {
			continue
		}
		switch f.what[i] {
		case call:
			after := *s
			f.step(&after, i)
			from.merge(&after)
		case indirect:
			if tail, reason := f.decide(i); !tail && reason == "" {
				from.merge(s)
			}
		}
	}
	if !from.reached {
		return false
	}
	f.steps -= len(f.words) / 4
	fresh := false
	for _, i := range f.seeds {
		fresh = f.arrive(i, from) || fresh
	}
	i, _ := f.index(f.body.Start)
	for _, end := range f.ends {
		open := true // control does not fall into word i from before
		for ; i < end; i++ {
			if f.what[i] != data && !f.states[i].reached && open && f.words[i] != Nop {
				f.seeds = append(f.seeds, i)
				fresh = f.arrive(i, from) || fresh
			}
			switch f.what[i] {
			case data, jump, leave, indirect, stop:
				open = true
			default:
				open = open && f.words[i] == Nop
			}
		}
	}
	return fresh
}

// seedProven continues at landing pads and where jump tables lead.
func (f *ExitFinder) seedProven() bool {
	f.steps -= len(f.words) / 4
	fresh := false
	for _, pad := range f.body.Pads {
		if i, ok := f.index(pad); ok && !f.states[i].reached {
			// The unwinder has restored the frame of the call: x30 is not the caller's.
			fresh = f.arrive(i, state{reached: true, sp: unknown, fp: unknown, saved: unknown, lr: lrCalled}) || fresh
		}
	}
	for _, i := range f.hard {
		if tail, reason := f.decide(i); tail || reason != "" {
			continue
		}
		targets, _ := f.jumpTable(i, f.targets[:0])
		for _, to := range targets {
			fresh = f.arrive(to, f.states[i]) || fresh
		}
	}
	return fresh
}

// arrive notes that control comes to word i with state s, and reports whether
// that is news.
func (f *ExitFinder) arrive(i int, s state) bool {
	s.called = false
	if !f.states[i].merge(&s) {
		return false
	}
	f.strong = append(f.strong, i)
	return true
}

// arriveFromCall notes that control comes to word i with state s if the call
// before it returns. Some never do, and what stands behind them may have another
// frame: where control comes another way too, the call does not count.
func (f *ExitFinder) arriveFromCall(i, end int, s state) {
	there := &f.states[i]
	switch {
	case !there.reached:
		if slices.ContainsFunc(f.words[i:min(end, i+maxPadding)], func(insn uint32) bool { return insn != Nop && insn != 0 }) {
			f.weak.push(i)
		}
	case there.called || there.sameFrame(&s):
		s.called = there.called
		if there.merge(&s) {
			f.strong = append(f.strong, i)
		}
	}
}

// maxPadding is how many NOPs may stand behind a function, in instructions.
const maxPadding = 16

// run follows control until nothing is new, or gives up.
func (f *ExitFinder) run() bool {
	for {
		var i int
		switch {
		case len(f.strong) > 0:
			i = f.strong[len(f.strong)-1]
			f.strong = f.strong[:len(f.strong)-1]
		case len(f.weak) > 0:
			i = f.weak.pop()
			if f.states[i].reached {
				continue
			}
			after := f.states[i-1]
			f.step(&after, i-1)
			f.states[i].merge(&after)
			f.states[i].called = true
		default:
			return true
		}
		if !f.walk(i) {
			return false
		}
	}
}

// walk follows control from word i to the next place that is known already.
func (f *ExitFinder) walk(i int) bool {
	end := 0
	for _, e := range f.ends {
		if i < e {
			end = e
			break
		}
	}
	for {
		if f.steps--; f.steps < 0 {
			return false
		}
		s := f.states[i]
		s.called = false
		f.step(&s, i)
		switch f.what[i] {
		case jump, cond:
			if target, ok := BranchTarget(f.address(i), f.words[i]); ok {
				if to, ok := f.index(target); ok {
					f.arrive(to, s)
				}
			}
			if f.what[i] == jump {
				return true
			}
		case leave, indirect, stop, data:
			return true
		case call:
			if i+1 < end {
				f.arriveFromCall(i+1, end, s)
			}
			return true
		}
		if i++; i == end {
			// Behind the end there may be padding only if control cannot come here.
			f.fell = i - 1
			return true
		}
		if !f.states[i].merge(&s) {
			return true
		}
	}
}

// callHeap is a heap of words, the first one on top: code that is seldom run,
// such as calls that never return, stands behind what is run often.
type callHeap []int

func (h *callHeap) push(i int) {
	*h = append(*h, i)
	heap := *h
	for at := len(heap) - 1; at > 0 && heap[at] < heap[(at-1)/2]; at = (at - 1) / 2 {
		heap[at], heap[(at-1)/2] = heap[(at-1)/2], heap[at]
	}
}

func (h *callHeap) pop() int {
	heap := *h
	top := heap[0]
	last := len(heap) - 1
	heap[0] = heap[last]
	heap = heap[:last]
	*h = heap
	for at := 0; ; {
		least := at
		for child := 2*at + 1; child <= 2*at+2 && child < last; child++ {
			if heap[child] < heap[least] {
				least = child
			}
		}
		if least == at {
			return top
		}
		heap[at], heap[least] = heap[least], heap[at]
		at = least
	}
}
