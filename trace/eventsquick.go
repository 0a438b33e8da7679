package trace

import "encoding/binary"

// Most events are entries and exits with nothing special about them: quick
// delivers these. What it does not know it leaves to the others, and what it
// does is what they would do. Leaves are joined only where nothing comes
// between, so that the order of events is the same.

// JoinLeaves lets an entry with Leaf stand for its exit as well, where that is
// recorded: the exit is not delivered as an event of its own. The entry then
// has Joined set. Not all leaves are joined.
func (e *Events) JoinLeaves() { e.join = true }

// settle says whether quick may go on with s.
func (e *Events) settle(s *stream) {
	s.quick = s.live && !s.looked && !s.passed && s.cur.words != nil && s.cur.lost == 0 &&
		!s.cursor.extra() && len(s.attached.list) == 0
}

// quick delivers the next event of s, the first stream of the heap. It reports
// whether it has.
func (e *Events) quick(s *stream) bool {
	c, calls, ev := &s.cursor, &s.calls, &e.event
	site := s.site
	if site == nil || site.index != c.Index {
		if site = s.cur.layout.sites.lookup(c.Index); site == nil {
			return false
		}
	}
	sp, n, ticks := uint16(c.SP), len(calls.frames), s.ticks
	if site.exit {
		if n == 0 {
			return false
		}
		f := &calls.frames[n-1]
		if f.sp != sp || f.site != site.id {
			return false
		}
		if !site.seen {
			e.rec.exited(site.id)
			site.seen = true
		}
		ev.Kind = FuncExit
		ev.Addr, ev.IP = f.addr, 0
		ev.Depth = n - 1
		ev.Duration = e.rec.conv.scale(ticks - min(f.start, ticks))
		ev.Leaf, ev.Resumed = f.flags&frameLeaf != 0, f.flags&frameResumed != 0
		ev.Inferred, ev.Joined = false, false
		calls.pop()
	} else if e.rec.exits {
		if n > 0 && leaves(calls.frames[n-1].sp, sp) {
			return false
		}
		ev.Kind = Entry
		ev.Addr, ev.IP = site.addr, site.ip
		ev.Depth = n
		ev.Duration, ev.Leaf, ev.Inferred, ev.Resumed, ev.Joined = 0, false, false, false, false
	} else {
		ev.Kind = Entry
		ev.Addr, ev.IP = site.addr, site.ip
		ev.Depth = s.depth.enter(c.SP)
	}
	ev.Site = site.site
	ev.Ticks = ticks
	ev.Time = e.rec.conv.ns(ticks)
	e.latest = max(e.latest, ticks)
	if task := s.cur.task; ev.Task != task {
		ev.Program, ev.Task = task.Program, task
	}
	if site.exit || !e.rec.exits {
		if !s.plainWord() {
			e.step(s)
			e.settle(s)
		}
		return true
	}
	if !s.plainWord() {
		calls.push(frame{start: ticks, addr: site.addr, site: site.id, sp: sp})
		if e.step(s); s.live {
			e.leaf(s)
		}
		e.settle(s)
		return true
	}
	next := s.cur.layout.sites.lookup(c.Index)
	s.site = next
	if next != nil && next.exit && next.id == site.id && uint16(c.SP) == sp {
		ev.Leaf = true
		ev.Duration = e.rec.conv.scale(s.ticks - min(ticks, s.ticks))
		if e.join && s.ticks < e.limit {
			ev.Joined = true
			if !next.seen {
				e.rec.exited(next.id)
				next.seen = true
			}
			calls.pass()
			e.latest = max(e.latest, s.ticks)
			if !s.plainWord() {
				e.step(s)
				e.settle(s)
			}
			return true
		}
		calls.push(frame{start: ticks, addr: site.addr, site: site.id, sp: sp, flags: frameLeaf})
		return true
	}
	calls.push(frame{start: ticks, addr: site.addr, site: site.id, sp: sp})
	if next == nil || next.exit || leaves(sp, uint16(c.SP)) {
		e.leaf(s)
	}
	return true
}

// plainWord goes on to the next event of s if that is the next word.
func (s *stream) plainWord() bool {
	c := &s.cursor
	if c.off+8 > len(c.words) {
		return false
	}
	w := binary.LittleEndian.Uint64(c.words[c.off:])
	if w < MinIndex<<indexShift {
		return false
	}
	c.off += 8
	c.event(w)
	s.ticks = c.Ticks
	return true
}
