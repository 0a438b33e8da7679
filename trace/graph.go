package trace

import (
	"cmp"
	"maps"
	"slices"
)

// graph delivers the next event of the first stream of the heap, one of a
// recording with exits. What the event proves to be over comes first, by one
// exit a time.
func (e *Events) graph(s *stream, site *siteEntry) {
	sp := uint16(s.cursor.SP)
	ev := &e.event
	if site.exit {
		id := int32(site.site.ID)
		if e.before(s, id, sp) {
			return
		}
		s.looked = false
		e.rec.exited(id)
		if s.found >= 0 {
			e.exitOf(s.calls.top(), s.calls.len()-1)
			s.calls.pop()
		} else {
			ev.Kind, ev.Count = FuncExit, 0
			ev.Site, ev.Addr, ev.IP = site.site, site.addr, 0
			ev.Depth = s.calls.depthOf(sp)
			ev.Duration, ev.Leaf, ev.Resumed = -1, false, false
		}
		ev.Inferred = false
		if e.special(s) {
			e.extras(s, true)
		}
		e.step(s)
		return
	}
	if s.calls.over(sp) {
		if !s.looked {
			s.looked, s.low = true, s.calls.len()
			for s.low > 0 && leaves(s.calls.frames[s.low-1].sp, sp) {
				s.low--
			}
			s.other = s.calls.ends(s.low, sp, true)
		}
		if e.unwind(s) {
			return
		}
	}
	s.looked = false
	ev.Kind, ev.Count = Entry, 0
	ev.Site, ev.Addr, ev.IP = site.site, site.addr, site.ip
	ev.Depth = s.calls.len()
	ev.Duration, ev.Leaf, ev.Inferred, ev.Resumed = 0, false, false, false
	if e.special(s) {
		e.extras(s, false)
	}
	s.calls.push(frame{start: ev.Ticks, addr: site.addr, site: int32(site.site.ID), sp: sp})
	e.step(s)
	if s.live {
		e.leaf(s)
	}
}

// before looks for the call that an exit ends, and delivers the exits that come
// before it. It reports whether there was one. At the end the call is the
// innermost one, or s.found is negative.
func (e *Events) before(s *stream, site int32, sp uint16) bool {
	c := &s.calls
	if !s.looked {
		s.looked, s.found = true, c.find(site, sp)
		s.low, s.other = s.found+1, 0
		if s.found < 0 {
			s.low = c.len()
			for c.suspect > 0 && s.low > 0 && leaves(c.frames[s.low-1].sp, sp) {
				s.low--
			}
		}
		s.other = c.ends(s.low, sp, false)
	}
	for s.found < 0 {
		i := c.findLeft(site, sp)
		if i < 0 {
			break
		}
		list, depth := c.chain(i)
		if c.len() <= depth {
			c.revive(list)
			s.found = c.len() - 1
			s.low = c.len()
			break
		}
		// All above are on another stack.
		s.low, s.other = depth, depth
		if e.unwind(s) {
			return true
		}
	}
	return e.unwind(s)
}

// unwind ends the calls above s.low without exits. It reports whether it has
// delivered one: those from s.other on may go on, on their stack.
func (e *Events) unwind(s *stream) bool {
	for n := s.calls.len(); n > s.low; n-- {
		if n > s.other && n > s.calls.suspect && e.rec.hasExits(s.calls.top().site) {
			s.calls.leave(e.rec, s.ticks)
			if l := s.calls.left; s.calls.keeping {
				c := &l.calls[len(l.calls)-1]
				c.silent = c.flags&frameResumed == 0
			}
		} else if e.infer(s) {
			return true
		}
	}
	return false
}

// infer ends the innermost call without an exit. It reports whether it has
// delivered one: those of calls that had been taken for over have been.
func (e *Events) infer(s *stream) bool {
	f := s.calls.top()
	delivered := f.flags&frameResumed == 0
	if delivered {
		e.exitOf(f, s.calls.len()-1)
		ev := &e.event
		ev.Inferred, ev.Regs, ev.Stack, ev.Args, ev.Ret = true, nil, nil, nil, nil
	}
	s.calls.leave(e.rec, s.ticks)
	return delivered
}

// exitOf makes the event the exit of a call.
func (e *Events) exitOf(f *frame, depth int) {
	ev := &e.event
	ev.Kind, ev.Count = FuncExit, 0
	ev.Site, ev.Addr, ev.IP = e.rec.SiteByID(f.site), f.addr, 0
	ev.Depth = depth
	ev.Duration = e.rec.NanosecondsOf(ev.Ticks - min(f.start, ev.Ticks))
	ev.Leaf, ev.Resumed = f.flags&frameLeaf != 0, f.flags&frameResumed != 0
}

// leaf looks whether the event that s has come to is the exit of the call
// that was delivered last, or proves it.
func (e *Events) leaf(s *stream) {
	if s.cur.lost != 0 || s.passed || s.cursor.injected() {
		return
	}
	f, inferred := s.calls.top(), true
	if !s.cur.end {
		site, err := s.cur.layout.find(e.rec, s.cursor.Index)
		if err != nil {
			return // it is met again
		}
		id, sp, n := int32(site.site.ID), uint16(s.cursor.SP), s.calls.len()
		switch {
		case site.exit && f.site == id && f.sp == sp:
			inferred = false
		case site.exit:
			if k := s.calls.find(id, sp); k < 0 || s.calls.ends(k+1, sp, false) < n {
				return
			}
		case !leaves(f.sp, sp) || n > 1 && leaves(s.calls.frames[n-2].sp, sp) || s.calls.ends(n-1, sp, true) < n:
			// Where more calls are over, it is seen later whether they are.
			return
		}
	}
	f.flags |= frameLeaf
	ev := &e.event
	ev.Leaf, ev.Inferred = true, inferred
	ev.Duration = e.rec.NanosecondsOf(s.ticks - min(f.start, s.ticks))
	if !inferred && e.special(s) {
		e.result(s)
	}
}

// closing delivers the exits of the calls that are open when a thread ends,
// then those of calls on other stacks.
func (e *Events) closing(s *stream) {
	if s.calls.dropResumed() > 0 {
		e.infer(s)
	} else {
		c := s.calls.lastSilent()
		c.silent = false
		e.exitOf(&c.frame, c.depth)
		ev := &e.event
		ev.Inferred, ev.Regs, ev.Stack, ev.Args, ev.Ret = true, nil, nil, nil, nil
		ev.Duration = e.rec.NanosecondsOf(c.ticks - min(c.start, c.ticks))
	}
	if !s.calls.unfinished() {
		e.advance(s)
	}
}

// close ends the open calls of a stream, after the chunks that wait.
func (e *Events) close(s *stream, ticks uint64) {
	if !e.rec.exits {
		return
	}
	task := s.cur.task
	if n := len(s.queue); n > 0 {
		task = s.queue[n-1].task
	}
	e.pending += segmentCost
	e.queue(s, segment{cost: segmentCost, task: task, base: min(ticks, maxTicks), end: true})
}

// closeAll ends all calls that are open at the end of the recording. They
// last as long as it does.
func (e *Events) closeAll() {
	for _, proc := range slices.Sorted(maps.Keys(e.rec.procs)) {
		for _, s := range inOrder(e.rec.procs[proc].streams) {
			e.close(s, max(e.latest, e.round))
		}
	}
}

func inOrder(streams map[uint32]*stream) []*stream {
	return slices.SortedFunc(maps.Values(streams), func(a, b *stream) int { return cmp.Compare(a.order, b.order) })
}

func (e *Events) markBlock(b *Mark) error {
	p, err := e.rec.Program(b.Proc)
	if err != nil {
		return err
	}
	task, err := e.rec.taskOf(p, b.TID)
	if err != nil {
		return err
	}
	if p.marks == nil {
		p.marks = e.newStream()
	}
	cost := segmentCost + len(b.Text)
	e.pending += cost
	e.queue(p.marks, segment{cost: cost, task: task, base: min(b.Ticks, maxTicks), mark: b})
	return nil
}

// mark delivers a mark.
func (e *Events) mark(s *stream) {
	e.bare(MarkText)
	e.event.Text = s.cur.mark.Text
	e.advance(s)
}
