package ftrace

import (
	"fmt"
	"slices"

	"nopal/internal/arch/arm64"
)

// Record is one site of the target: dyn_ftrace in the kernel.
type Record struct {
	Addr     uint64 // of slot 1 in the target
	Site     int    // in the image's sites
	Reason   string // why it cannot be traced; "" if it can
	ops      opsSet
	prepared bool   // slot 1 saves the link register, exits go to their stubs
	stubs    bool   // its exits have places for stubs
	override int8   // 1: armed whatever ops want, -1: disarmed
	target   uint64 // what slot 2 calls; 0: nothing
	exits    []Exit
	exitsTo  uint64 // where the stub of its RET goes; 0: switched off
	own      Own
	inject   uint64 // for ops that change the pc; goes on to what there would be without them
}

// Own is code that was made for one function. Its site and the stubs of its exits lead
// there instead of to the common trampolines, which it goes on to where there is more to
// do. 0 is for what there is none of.
type Own struct {
	Entry uint64 // goes on to the common trampoline, where there is one

	ExitRet, ExitGen, ExitPushed uint64
}

// SetOwn says what code a record has of its own. Its site and stubs change with the next
// [Table.Update].
func (r *Record) SetOwn(own Own) { r.own = own }

// SetInject says what a record's site calls where an ops may change the pc: code of its own
// that goes on to what is called without such an ops, see [Table.Beside].
func (r *Record) SetInject(at uint64) { r.inject = at }

// Armed reports whether the site calls anything, and what.
func (r *Record) Armed() (target uint64, ok bool) { return r.target, r.target != 0 }

// Wanted reports whether the site is to call anything.
func (r *Record) Wanted() bool { return (r.ops != 0 || r.override > 0) && r.override >= 0 }

// Prepared reports whether slot 1 is written.
func (r *Record) Prepared() bool { return r.prepared }

// Namer gives the names of an object's sites.
type Namer interface {
	// SiteNames returns the raw and the demangled name of a site's function.
	SiteNames(site int) (raw, demangled string)
}

// Object is a traced object of the target with its sites.
type Object struct {
	Path    string
	Names   Namer
	Records []Record // by address
	// Trampolines are those in the object's island, StubsAt is where the stubs of its
	// exits are in it.
	Trampolines
	StubsAt uint64
	// PrepareAll prepares sites that no ops wants, so that they can be armed later
	// without stopping anyone.
	PrepareAll bool
}

// Clone copies the object with the state of its sites, for a forked process.
func (o *Object) Clone() *Object {
	c := *o
	c.Records = slices.Clone(o.Records)
	return &c
}

// Name is the raw name of a record's function.
func (o *Object) Name(r *Record) string {
	raw, _ := o.Names.SiteNames(r.Site)
	return raw
}

func (o *Object) selected(r *Record, op *Ops) bool {
	if op.Match == nil {
		return true
	}
	raw, demangled := o.Names.SiteNames(r.Site)
	return op.Match(raw, demangled, o.Path)
}

// Table is all that is traced in one process.
type Table struct {
	Objects []*Object
	ops     [MaxOps]*Ops
	inUse   opsSet
	off     bool // nothing is to be armed
	// What was armed or disarmed by name, the last decides.
	overrides []override
}

type override struct {
	name  string
	match func(raw, demangled, object string) bool
	on    bool
}

// Clone returns a table with the same ops and copies of the objects, by the originals.
func (t *Table) Clone() (*Table, map[*Object]*Object) {
	c := &Table{ops: t.ops, inUse: t.inUse, off: t.off, overrides: slices.Clone(t.overrides)}
	copies := make(map[*Object]*Object, len(t.Objects))
	for _, o := range t.Objects {
		copies[o] = o.Clone()
		c.Objects = append(c.Objects, copies[o])
	}
	return c, copies
}

// Add enters an object and marks the functions that the registered ops select.
// It returns how many those are.
func (t *Table) Add(o *Object) int {
	t.Objects = append(t.Objects, o)
	for slot, op := range t.ops {
		if op != nil {
			t.mark(o, slot)
		}
	}
	for _, v := range t.overrides {
		v.apply(o)
	}
	n := 0
	for i := range o.Records {
		if o.Records[i].Wanted() {
			n++
		}
	}
	return n
}

// Override arms or disarms the functions that match selects, whatever ops want, in
// the objects of the table and those added later. name tells what it is from others:
// the last of a name counts. It returns how many functions it selects.
func (t *Table) Override(name string, on bool, match func(raw, demangled, object string) bool) int {
	t.overrides = slices.DeleteFunc(t.overrides, func(v override) bool { return v.name == name })
	v := override{name, match, on}
	t.overrides = append(t.overrides, v)
	n := 0
	for _, o := range t.Objects {
		n += v.apply(o)
	}
	return n
}

func (v *override) apply(o *Object) int {
	n := 0
	for i := range o.Records {
		r := &o.Records[i]
		if r.Reason != "" {
			continue
		}
		raw, demangled := o.Names.SiteNames(r.Site)
		if !v.match(raw, demangled, o.Path) {
			continue
		}
		n++
		r.override = -1
		if v.on {
			r.override = 1
		}
	}
	return n
}

// Reset unregisters all ops and forgets the overrides. Sites change with the next
// [Table.Update].
func (t *Table) Reset() {
	t.ops, t.inUse, t.overrides = [MaxOps]*Ops{}, 0, nil
	for _, o := range t.Objects {
		for i := range o.Records {
			o.Records[i].ops, o.Records[i].override = 0, 0
		}
	}
}

// SetOff says whether everything is to be disarmed, with the next [Table.Update].
func (t *Table) SetOff(off bool) { t.off = off }

// Remove forgets an object that the target has unmapped.
func (t *Table) Remove(o *Object) {
	for i, other := range t.Objects {
		if other == o {
			t.Objects = append(t.Objects[:i], t.Objects[i+1:]...)
			return
		}
	}
}

// target is what a record's site should call, when it is prepared or if it were.
func (t *Table) target(o *Object, r *Record, prepared bool) uint64 {
	if !r.Wanted() || t.off || !prepared {
		return 0
	}
	set := r.ops
	if set == 0 {
		set = 1 // armed by name: as the first ops does it
	}
	if t.flags(set)&FlagTrigger != 0 {
		return o.Trigger
	}
	return t.forSet(o, r, set)
}

// Beside is what a record's site would call without the ops that have a flag, 0 for
// nothing.
func (t *Table) Beside(o *Object, r *Record, without Flags) uint64 {
	set, ok := t.without(r, without)
	if !ok {
		return 0
	}
	return t.forSet(o, r, set)
}

// Common is what a record's site would call if there were no code of its own and no
// ops with a flag, 0 for nothing.
func (t *Table) Common(o *Object, r *Record, without Flags) uint64 {
	set, ok := t.without(r, without)
	if !ok {
		return 0
	}
	return t.common(o, r, set)
}

func (t *Table) without(r *Record, without Flags) (set opsSet, ok bool) {
	set = r.ops
	for slot, op := range t.ops {
		if op != nil && op.Flags&without != 0 {
			set &^= 1 << slot
		}
	}
	return set, (set != 0 || r.override > 0) && r.override >= 0
}

// forSet is the cheapest code that serves all ops of a set.
func (t *Table) forSet(o *Object, r *Record, set opsSet) uint64 {
	switch f := t.flags(set); {
	case f&FlagIPModify != 0 && r.inject != 0:
		return r.inject
	case r.own.Entry != 0:
		return r.own.Entry
	}
	return t.common(o, r, set)
}

// common is the cheapest trampoline that does.
func (t *Table) common(o *Object, r *Record, set opsSet) uint64 {
	switch f := t.flags(set); {
	case f&FlagNot != 0:
		return o.Not
	case f&FlagRoot != 0:
		return o.Root
	case f&(FlagRegs|FlagStack) != 0:
		return o.RegsCaller
	case o.Count != 0 && r.exits == nil: // one that never returns has none, and is known
		return o.Count
	default:
		return o.Caller
	}
}

// Prepare writes slot 1, and the exits, of every site of o that an ops wants. All
// threads must be stopped, none with its pc at slot 2 of such a site, or the object
// not running yet. A site that does not hold what it should is left out with a reason;
// a function whose exits do not is entry-only.
func (t *Table) Prepare(text arm64.Text, o *Object) (refused []error) {
	for i := range o.Records {
		r := &o.Records[i]
		if !o.Wants(r) || r.prepared {
			continue
		}
		if err := arm64.InitNop(text, r.Addr); err != nil {
			r.Reason = err.Error()
			r.ops, r.override = 0, 0
			refused = append(refused, fmt.Errorf("prepare %s in %s: %w", o.Name(r), o.Path, err))
			continue
		}
		r.prepared = true
		if !r.stubs {
			continue
		}
		if err := o.prepareExits(text, r); err != nil {
			r.exits, r.stubs = nil, false
			refused = append(refused, fmt.Errorf("prepare exits of %s in %s: %w", o.Name(r), o.Path, err))
		}
	}
	return refused
}

// Update makes slot 2 of every site of o call what its ops need, and switches its
// exits, stopping nobody. It goes on after an error and returns the first.
//
// Exits are switched on before their entry and off behind it, so that a call whose
// entry is recorded is not left without its exit but where it runs meanwhile.
func (t *Table) Update(text arm64.Text, o *Object) error {
	var first error
	for i := range o.Records {
		r := &o.Records[i]
		want := t.target(o, r, r.prepared)
		err := error(nil)
		if want != 0 && r.prepared {
			err = o.switchExits(text, r, true)
		}
		switch {
		case err != nil || want == r.target:
		case r.target == 0:
			err = arm64.MakeCall(text, r.Addr, want)
		case want == 0:
			err = arm64.MakeNop(text, r.Addr, r.target)
		default:
			err = arm64.ModifyCall(text, r.Addr, r.target, want)
		}
		if err != nil {
			if first == nil {
				first = fmt.Errorf("%s in %s: %w", o.Name(r), o.Path, err)
			}
			continue
		}
		r.target = want
		if want == 0 && r.exitsTo != 0 {
			if err := o.switchExits(text, r, false); err != nil && first == nil {
				first = fmt.Errorf("%s in %s: %w", o.Name(r), o.Path, err)
			}
		}
	}
	return first
}
