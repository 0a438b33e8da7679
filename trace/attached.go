package trace

import (
	"encoding/binary"
	"fmt"
	"math"
)

// attached holds the records of a stream that belong to events which have not
// come yet. Most come at once. With a filter by duration an entry is written
// when its call has lasted long enough, and none is written of the others: so
// these are a stack like that of the thread, from which a record is dropped
// when a call begins or ends that shows its own to be over.
type attached struct {
	probes probeTable
	list   []attachedRecord
	buf    []byte // their payloads
	credit int    // how much may be searched in vain
	strict bool   // nothing is kept, but checked
}

type attachedRecord struct {
	index uint32 // 0: taken
	probe uint32
	sp    uint16
	ticks uint64
	off   int // in buf
}

// What does not fit is not kept.
const (
	maxAttached      = 4096
	maxAttachedBytes = 1 << 20

	// attachedSearch is how many records are searched at least.
	attachedSearch = 64
)

// add takes in the record with the event word w.
func (a *attached) add(number uint32, w, high uint64, payload []byte) {
	p := a.probes[number]
	if p == nil {
		return
	}
	r := attachedRecord{index: uint32(w >> indexShift), probe: number, sp: uint16(w>>TimeBits) & spMask, ticks: high | w&timeMask}
	for n := len(a.list) - 1; n >= 0; n-- {
		t := &a.list[n]
		if t.index != 0 && (!leaves(t.sp, r.sp) || t.sp == r.sp && p.Kind&ProbeExit != 0 && t.index != r.index) {
			break
		}
		a.buf, a.list = a.buf[:t.off], a.list[:n]
	}
	if len(a.list) >= maxAttached || len(a.buf)+len(payload) > maxAttachedBytes {
		return
	}
	r.off = len(a.buf)
	a.list, a.buf = append(a.list, r), append(a.buf, payload...)
	a.credit = min(a.credit+attachedSearch, maxAttached)
}

// find returns the place of the latest record of an event, or -1.
func (a *attached) find(c *Cursor) int {
	last := max(0, len(a.list)-max(attachedSearch, a.credit))
	for i := len(a.list) - 1; i >= last; i-- {
		if r := &a.list[i]; r.index == c.Index && uint32(r.sp) == c.SP && r.ticks <= c.Ticks {
			return i
		}
	}
	a.credit = max(0, a.credit-(len(a.list)-last))
	return -1
}

// get returns what the record at a place holds.
func (a *attached) get(i int) (number uint32, payload []byte) {
	end := len(a.buf)
	if i+1 < len(a.list) {
		end = a.list[i+1].off
	}
	return a.list[i].probe, a.buf[a.list[i].off:end]
}

// drop forgets the record at a place. Its payload stays until those above go.
func (a *attached) drop(i int) {
	a.list[i].index = 0
	n := len(a.list)
	for n > 0 && a.list[n-1].index == 0 {
		n--
		a.buf = a.buf[:a.list[n].off]
	}
	a.list = a.list[:n]
}

// inherit takes over what an earlier stream of the thread has left.
func (a *attached) inherit(from *attached) {
	for _, r := range a.list {
		r.off += len(from.buf)
		from.list = append(from.list, r)
	}
	from.buf = append(from.buf, a.buf...)
	a.list, a.buf, a.credit = from.list, from.buf, from.credit
	*from = attached{}
}

// clear forgets all records.
func (a *attached) clear() { a.list, a.buf = a.list[:0], a.buf[:0] }

// side takes in a record that is no event, of the probe with this number. It
// reports whether it is to be delivered even so.
func (c *Cursor) side(number uint32, w uint64) bool {
	if number >= InjectedNumber {
		c.Injections++
	}
	if c.attached == nil {
		return false
	}
	if c.attached.strict {
		c.err = c.attached.probes.fits(c)
		return false
	}
	if number < InjectedNumber {
		c.attached.add(number, w, c.high, c.payload())
		return false
	}
	// Calls around it may be written later, with earlier times.
	c.Index = uint32(w >> indexShift)
	c.SP = uint32(w>>TimeBits) & spMask
	c.Ticks = max(c.high|w&timeMask, c.last)
	return true
}

// injected reports that the event is the record of an injection.
func (c *Cursor) injected() bool { return c.args != 0 && c.probe >= InjectedNumber }

// probeOf is the number of the probe in a control word of a record.
func probeOf(w uint64) uint32 {
	if w&RecordArgs == 0 {
		return 0
	}
	return uint32(w & payloadMask >> probeShift)
}

// isSide reports that a record is no event.
func isSide(w uint64) bool { return probeOf(w) >= AttachedNumber }

// probeTable has the probes of a process by number.
type probeTable map[uint32]*Probe

func (rec *Recording) addProbe(b *Probe) error {
	if err := b.check(); err != nil {
		return err
	}
	p, err := rec.Program(b.Proc)
	if err != nil {
		return err
	}
	if p.probes == nil {
		p.probes = probeTable{}
	}
	p.probes[b.Number] = b
	return rec.spend(b.size())
}

// fits checks that a record holds what its probe says, neither more nor less.
func (t probeTable) fits(c *Cursor) error {
	p := t[c.probe]
	if p == nil {
		return fmt.Errorf("a record of probe %d, which has not been introduced", c.probe)
	}
	rest := c.payload()
	for i := range p.Fields {
		v := Value{types: p.Types, typ: p.Fields[i].Type, mem: p.Fields[i].Mem}
		if rest = v.decode(rest); v.state == valueDamaged {
			return fmt.Errorf("a record of probe %d ends before its field %q", c.probe, p.Fields[i].Name)
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("a record of probe %d is %d bytes longer than its fields", c.probe, len(rest))
	}
	return nil
}

// size is about the memory of a probe.
func (p *Probe) size() int {
	n := 256 + 32*len(p.Fields) + 96*len(p.Types) + len(p.Text)
	for i := range p.Fields {
		n += len(p.Fields[i].Name)
	}
	for i := range p.Types {
		t := &p.Types[i]
		n += len(t.Name) + 40*len(t.Members) + 24*len(t.Enums)
		for j := range t.Members {
			n += len(t.Members[j].Name)
		}
		for j := range t.Enums {
			n += len(t.Enums[j].Name)
		}
	}
	return n
}

// special reports that the next event of s has what only some have, or that
// the event before had.
func (e *Events) special(s *stream) bool {
	return s.cursor.extra() || len(s.attached.list) != 0 || e.extra
}

// extras fills in what only some events have.
func (e *Events) extras(s *stream, exit bool) {
	c, ev := &s.cursor, &e.event
	ev.Regs, ev.Stack, ev.Args, ev.Ret, e.extra = nil, nil, nil, nil, false
	if c.HasRegs() {
		ev.Regs, e.extra = c.AppendRegs(e.regs[:0]), true
	}
	if c.HasStack() {
		if e.stack == nil {
			e.stack = make([]uint64, 0, 64)
		}
		e.stack = c.AppendStack(e.stack[:0])
		ev.Stack, e.extra = e.stack, true
	}
	number, payload := c.probe, c.payload()
	if c.args == 0 {
		i := s.attached.find(c)
		if i < 0 {
			return
		}
		number, payload = s.attached.get(i)
		s.attached.drop(i)
	}
	if p := s.attached.probes[number]; p != nil && p.Kind&ProbeExit != 0 == exit {
		e.payload, e.args = e.payload[:0], e.args[:0]
		e.arguments(p, payload)
		ev.Args = e.args
	}
}

// result gives an entry with Leaf what its exit, the next event of s, has of
// the result.
func (e *Events) result(s *stream) {
	number, payload := s.cursor.probe, s.cursor.payload()
	if s.cursor.args == 0 {
		i := s.attached.find(&s.cursor)
		if i < 0 {
			return
		}
		number, payload = s.attached.get(i)
	}
	if p := s.attached.probes[number]; p != nil && p.Kind&ProbeExit != 0 {
		if e.event.Args == nil {
			e.payload, e.args = e.payload[:0], e.args[:0]
		}
		n := len(e.args)
		e.arguments(p, payload)
		e.args = e.args[:n]
	}
}

// payload is what a probe recorded with the event.
func (c *Cursor) payload() []byte {
	if c.args == 0 {
		return nil
	}
	return c.words[c.args : c.args+c.nargs]
}

// arguments makes what a record holds the event's. It is copied: the chunk may
// be gone before the event is looked at.
func (e *Events) arguments(p *Probe, payload []byte) {
	n := len(e.payload)
	e.payload, e.extra = append(e.payload, payload...), true
	ev, rest := &e.event, e.payload[n:]
	for i := range p.Fields {
		f := &p.Fields[i]
		v := Value{types: p.Types, typ: f.Type, mem: f.Mem}
		if rest = v.decode(rest); p.Kind&ProbeExit != 0 && p.Types[f.Type].Kind == KindVoid {
			continue
		}
		if p.Kind&ProbeExit != 0 && f.Name == retField {
			e.ret = v
			ev.Ret = &e.ret
			continue
		}
		e.args = append(e.args, Arg{f.Name, v})
	}
}

// injection delivers the record of an injection.
func (e *Events) injection(s *stream, site *siteEntry) {
	e.bare(Injection)
	c, ev := &s.cursor, &e.event
	ev.Site, ev.Addr = site.site, site.addr
	if e.rec.exits {
		ev.Depth = s.calls.depthOf(uint16(c.SP))
	} else {
		ev.Depth = s.depth.at(c.SP)
	}
	if p := s.attached.probes[c.probe]; p != nil {
		e.payload, e.args = e.payload[:0], e.args[:0]
		e.arguments(p, c.payload())
		ev.Text, ev.Args = p.Text, e.args
	}
	e.step(s)
}

// retField is the name of the field that has a function's result.
const retField = "ret"

// Header of a memory field, behind the address.
const (
	memLength    = 1<<16 - 1
	memFault     = 1 << 16
	memTruncated = 1 << 17
	memUnread    = 1 << 18
)

// decode takes the value from the front of a payload and returns the rest.
func (v *Value) decode(b []byte) []byte {
	n := int64(v.types[v.typ].Size)
	if v.mem {
		if len(b) < 16 {
			v.state = valueDamaged
			return nil
		}
		v.addr = binary.LittleEndian.Uint64(b)
		h := binary.LittleEndian.Uint64(b[8:])
		b = b[16:]
		n = int64(h & memLength)
		switch {
		case h&memFault != 0, h&memUnread != 0 && v.addr == 0:
			v.state = valueFault // nothing is at 0, looked at or not
		case h&memUnread != 0 && v.addr == math.MaxUint64:
			v.state = valueUnknown
		case h&memUnread != 0:
			v.state = valueUnread
		case h&memTruncated != 0:
			v.state = valueTruncated
		}
	}
	if n > int64(len(b)) {
		v.state = valueDamaged
		return nil
	}
	v.data = b[:n]
	return b[min((n+7)&^7, int64(len(b))):]
}
