package session

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"nopal/internal/args"
	"nopal/internal/entry"
	"nopal/internal/ftrace"
	"nopal/internal/image"
	"nopal/internal/probe"
	"nopal/trace"
)

// Functions of which arguments, results or conditions are wanted have code of their own
// in the island, behind the stubs. It is there twice for each end of the function: *fused*,
// whose record is the event, and *attached*, which writes a record and goes on to the
// trampoline of a mode in which something else decides whether there is an event.
// Which of them is used changes with the filters, while the program runs.

// ownCode is the code made for one function.
type ownCode struct {
	record  int // in the object's records
	wanted  *args.Wanted
	number  uint32
	parts   [4]ownPart
	written bool
}

// Indexes of ownCode.parts.
const (
	entryFused = iota
	entryAttached
	exitFused
	exitAttached
)

// The numbers of a function's records are its own and these added, below those of
// injections.
const (
	exitNumbers = 1 << 16
	maxOwn      = trace.InjectedNumber - trace.AttachedNumber - exitNumbers
)

// ownPart is one piece of it.
type ownPart struct {
	at    uint32 // offset in the object's own code
	size  uint32 // 0: there is none
	words []uint32

	next, other uint64 // where it goes on
}

const ownAlign = 16

// ownOffset is where the own code of o's functions begins in its island.
func (t *target) ownOffset(o *object) uint64 {
	return (t.stubsOffset() + o.stubs + ownAlign - 1) &^ (ownAlign - 1)
}

// planOwn finds out for which functions of o that are wanted now there is something to
// be made, and how much room it takes. Others are recorded without, should they be armed later.
func (t *target) planOwn(o *object) {
	set := t.rec.o.Args
	if set == nil || o.own != nil {
		return
	}
	if o.wanted > 0 && set.Auto() {
		if err := o.im.NoDWARF(); err != nil {
			t.rec.warn("%v: compile with -g to see arguments", err)
		}
	}
	for i := range o.traced.Records {
		r := &o.traced.Records[i]
		if !o.traced.Wants(r) {
			continue
		}
		site := o.im.Sites()[r.Site]
		raw, demangled := o.SiteNames(r.Site)
		w, err := set.For(trace.NativeMachine(), raw, demangled, o.path, func() (*image.Signature, error) { return o.im.Signature(site) })
		if err != nil {
			err = fmt.Errorf("%s in %s: %w", demangled, o.path, err)
			if t.rec.begun {
				t.rec.warn("recorded without arguments: %v", err)
			} else {
				t.rec.refused = errors.Join(t.rec.refused, err)
			}
			continue
		}
		if w == nil {
			continue
		}
		c := &ownCode{record: i, wanted: w}
		if w.Exit != nil && (!t.rec.o.Graph || len(r.Exits()) == 0) {
			t.noResult(o, demangled, w)
			w.Exit = nil
			// Where a result is going to be is of no use then.
			if e := w.Entry; e != nil && e.SaveX8 {
				e.SaveX8 = false
				if len(e.Fields) == 0 && e.Cond == nil {
					w.Entry = nil
				}
			}
		}
		if w.Entry == nil && w.Exit == nil {
			continue
		}
		if t.probes+1 >= maxOwn {
			t.rec.warn("%s in %s: recorded without arguments: more than %d functions have some", demangled, o.path, maxOwn-1)
			continue
		}
		t.probes++
		c.number = t.probes
		for part := range c.parts {
			if p := c.program(part); p != nil {
				c.parts[part] = ownPart{at: o.ownSize, size: uint32(p.Size())}
				o.ownSize = (o.ownSize + uint32(p.Size()) + ownAlign - 1) &^ (ownAlign - 1)
			}
		}
		t.reads = t.reads || readsMemory(w.Entry) || readsMemory(w.Exit)
		o.own = append(o.own, c)
	}
}

// noResult says that what a function returns is not seen.
func (t *target) noResult(o *object, name string, w *args.Wanted) {
	if !t.rec.o.Graph || t.rec.o.Args.Auto() && w.Exit.Cond == nil {
		return // asked for with what is wanted of all
	}
	what := "its result is"
	if w.Exit.Cond != nil {
		what = "all calls are recorded, since its result is"
	}
	t.rec.warn("%s in %s: %s not seen: nopal sites %s says why", name, o.path, what, o.path)
}

func readsMemory(p *probe.Program) bool {
	if p == nil {
		return false
	}
	for _, f := range p.Fields {
		if f.Mem != nil {
			return true
		}
		for _, part := range f.Parts {
			if len(part.From.Deref) > 0 {
				return true
			}
		}
	}
	return p.Cond != nil && probe.Loads(p.Cond)
}

// program is what a part runs, with the number of its records; nil if there is none.
func (c *ownCode) program(part int) *probe.Program {
	p, kind := c.wanted.Entry, uint32(0)
	if part >= exitFused {
		p = c.wanted.Exit
		kind = exitNumbers
	}
	switch {
	case p == nil && part == entryAttached && c.undecided():
		p = &probe.Program{} // goes to what makes its exit tell
	case p == nil:
		return nil
	}
	copied := *p
	copied.Number = c.number + kind
	if part == entryAttached || part == exitAttached {
		copied.Number += trace.AttachedNumber
	}
	return &copied
}

// attachedMode reports whether something else decides which calls are recorded.
func (t *target) attachedMode() bool { return t.filters() || t.rec.o.Regs || t.rec.o.Stack }

// setOwn says which of their own code the functions of o run.
func (t *target) setOwn(o *object) {
	for _, c := range o.own {
		if !c.written {
			continue
		}
		at := func(part int) uint64 {
			if c.parts[part].size == 0 {
				return 0
			}
			return o.island + t.ownOffset(o) + uint64(c.parts[part].at)
		}
		own := ftrace.Own{Entry: at(entryFused), ExitRet: at(exitFused)}
		if t.attachedMode() {
			own = ftrace.Own{Entry: at(entryAttached), ExitRet: at(exitAttached)}
			if c.undecided() && t.filters() {
				// What a tail call returns is not seen.
				drop := t.shadowCode().Drop
				own.ExitGen, own.ExitPushed = o.island+drop.Gen, o.island+drop.Pushed
			}
		}
		o.traced.Records[c.record].SetOwn(own)
	}
}

// undecided reports whether the function's result decides about its calls.
func (c *ownCode) undecided() bool { return c.wanted.Exit != nil && c.wanted.Exit.Cond != nil }

func (t *target) shadowCode() entry.Shadow {
	if t.tidOffset == entry.TidOffsetNone {
		return t.blob.ShadowUnknown
	}
	return t.blob.Shadow
}

// goesOn says where a part is, and where it goes on as things are now.
func (t *target) goesOn(o *object, c *ownCode, part int) probe.Target {
	target := probe.Target{At: o.island + t.ownOffset(o) + uint64(c.parts[part].at), Shared: t.sharedProbe(o)}
	r := &o.traced.Records[c.record]
	filters := t.filters()
	switch part {
	case entryFused:
		if len(c.wanted.Entry.Fields) == 0 {
			target.Next = o.traced.Caller // an event without more
		}
	case entryAttached:
		target.Next = cmp.Or(t.table.Common(o.traced, r, ftrace.FlagTrigger|ftrace.FlagIPModify), o.traced.Caller)
		if filters {
			if c.wanted.Entry != nil && c.wanted.Entry.Cond != nil {
				target.Else = o.traced.Caller
			}
			if c.undecided() {
				target.Next = o.island + t.shadowCode().Pend
			}
		}
	case exitAttached:
		target.Next = cmp.Or(o.traced.ExitRet, o.island+t.blob.Exit.Ret)
		if filters && c.wanted.Exit.Cond != nil {
			target.Else = o.island + t.shadowCode().Drop.Ret
		}
	}
	return target
}

// compile makes a part.
func (c *ownCode) compile(part int, target probe.Target) ([]uint32, error) {
	p := c.program(part)
	if part >= exitFused {
		return p.Exit(target)
	}
	return p.Entry(target)
}

// sharedProbe is where the code that probes share is in the island of o.
func (t *target) sharedProbe(o *object) probe.Shared {
	b := &t.blob.Probe
	return probe.Shared{
		Place: o.island + b.Place, Record: o.island + b.Record, Load: o.island + b.Load, Read: o.island + b.Read,
		Literals: o.island + t.blob.Literals,
	}
}

// writeOwn puts the own code of functions of o that are to be prepared into its island.
// Nothing leads there yet.
func (t *target) writeOwn(o *object) error {
	if o.island == 0 {
		return nil
	}
	for _, c := range o.own {
		r := &o.traced.Records[c.record]
		if c.written || !o.traced.Wants(r) {
			continue
		}
		ok := true
		for part := range c.parts {
			if c.parts[part].size == 0 {
				continue
			}
			target := t.goesOn(o, c, part)
			words, err := c.compile(part, target)
			if err != nil {
				t.rec.warn("%s in %s: recorded without arguments: %v", o.traced.Name(r), o.path, err)
				ok = false
				break
			}
			c.parts[part].words, c.parts[part].next, c.parts[part].other = words, target.Next, target.Else
			if err := t.writeWords(target.At, words); err != nil {
				return err
			}
		}
		if c.written = ok; ok {
			t.know(o, c)
		}
	}
	t.setOwn(o)
	if t.reads {
		return t.forbidSyscalls()
	}
	return nil
}

// linkOwn makes the code of functions of o go on to what there is now. Only branches
// change, and others may be running them.
func (t *target) linkOwn(o *object) error {
	text := &ftrace.LiveBatch{Memory: t.text()}
	for _, c := range o.own {
		if !c.written {
			continue
		}
		for part := range c.parts {
			if c.parts[part].size == 0 {
				continue
			}
			if err := t.linkPart(text, o, c, part); err != nil {
				return err
			}
		}
	}
	return text.Flush(nil)
}

func (t *target) linkPart(text *ftrace.LiveBatch, o *object, c *ownCode, part int) error {
	p, target := &c.parts[part], t.goesOn(o, c, part)
	if p.next == target.Next && p.other == target.Else {
		return nil
	}
	words, err := c.compile(part, target)
	if err != nil {
		return err
	}
	if err := exchange(text, target.At, p.words, words); err != nil {
		return fmt.Errorf("link code of %s: %w", o.traced.Name(&o.traced.Records[c.record]), err)
	}
	p.words, p.next, p.other = words, target.Next, target.Else
	return nil
}

// exchange makes code that others may be running what it is to be; where it differs
// instructions have to be ones that may be exchanged.
func exchange(text *ftrace.LiveBatch, at uint64, old, words []uint32) error {
	if len(words) != len(old) {
		return errors.New("it has another length")
	}
	for i, w := range words {
		if w == old[i] {
			continue
		}
		if err := text.Store(at+4*uint64(i), w); err != nil {
			return err
		}
	}
	return nil
}

// inheritOwn gives the objects of a forked child what is its own about their code.
func inheritOwn(own []*ownCode) []*ownCode {
	list := make([]*ownCode, len(own))
	for i, c := range own {
		copied := *c
		list[i] = &copied
	}
	return list
}

// inheritedOwn makes the records of a forked child's functions known.
func (t *target) inheritedOwn() error {
	for _, o := range t.objects {
		for _, c := range o.own {
			if c.written {
				t.know(o, c)
			}
		}
	}
	if t.reads {
		return t.forbidSyscalls()
	}
	return nil
}

// untold is a probe number whose PROBE block is not in the recording yet.
type untold struct {
	o    *object
	c    *ownCode
	part int
}

// know notes which numbers the records of a function have.
func (t *target) know(o *object, c *ownCode) {
	if t.untold == nil {
		t.untold = map[uint32]untold{}
	}
	for part := range c.parts {
		if p := c.program(part); p != nil && len(p.Fields) > 0 {
			t.untold[p.Number] = untold{o, c, part}
		}
	}
}

// tellSeen writes what the records among words hold that are the first of their number: of
// most functions of a large program there is never one.
func (t *target) tellSeen(words []uint64) error {
	for i := 0; i < len(words) && len(t.untold) > 0; {
		w := words[i]
		i++
		switch w >> entry.WordIndexShift {
		case entry.WordRecord:
			if w&entry.RecordArgs != 0 {
				if err := t.tell(uint32(w>>entry.RecordNumberShift) & trace.MaxProbeNumber); err != nil {
					return err
				}
			}
			fallthrough
		case entry.WordPad, entry.WordReserved:
			i += max(int(w&0xffff), 1) - 1
		}
	}
	return nil
}

// tellAll writes what all records hold, for a file that goes on by itself.
func (t *target) tellAll() error {
	for _, number := range slices.Sorted(maps.Keys(t.untold)) {
		if err := t.tell(number); err != nil {
			return err
		}
	}
	return nil
}

func (t *target) tell(number uint32) error {
	u, ok := t.untold[number]
	if !ok {
		return nil
	}
	delete(t.untold, number)
	layout, kind := u.c.wanted.EntryLayout, uint32(trace.ProbeEntry)
	if u.part >= exitFused {
		layout, kind = u.c.wanted.ExitLayout, trace.ProbeExit
	}
	if u.part == entryAttached || u.part == exitAttached {
		kind |= trace.ProbeAttached
	}
	said := *layout
	said.Proc, said.Number, said.Image, said.Kind = t.proc, number, t.rec.images[u.o.im], kind
	said.VA = u.o.traced.Records[u.c.record].Addr - u.o.bias
	return t.rec.w.WriteProbe(said)
}
