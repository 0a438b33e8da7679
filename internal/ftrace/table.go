package ftrace

import (
	"fmt"
	"slices"
)

// Record is one site of the target: dyn_ftrace in the kernel.
type Record struct {
	Addr     uint64 // of what is changed at it, in the target
	Body     uint64 // where the function goes on behind that
	Short    uint64 // see image.Site; 0: none
	Called   bool   // the method's way to see an exit is to call the body, and it may be
	Site     int    // in the image's sites
	Reason   string // why it cannot be traced; "" if it can
	ops      opsSet
	prepared bool   // its site has been changed, and so have its exits
	stubs    bool   // it, or its exits, have places for stubs
	override int8   // 1: armed whatever ops want, -1: disarmed
	target   uint64 // what its site calls; 0: nothing
	exits    []Exit
	exitsTo  uint64 // where the stub of its RET goes; 0: switched off
	own      Own
	inject   uint64 // for ops that change the pc; goes on to what there would be without them

	stub     uint32 // of a site with one: its offset from Object.StubsAt
	leads    uint64 // the trampoline that this goes to, on or off; 0: none
	old      uint64 // what the site holds as compiled
	oldShort uint64
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

// Prepared reports whether the site has been changed, so that it can be armed.
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
	Method  Method
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
	c := &Table{Method: t.Method, ops: t.ops, inUse: t.inUse, off: t.off, overrides: slices.Clone(t.overrides)}
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
	case o.Count != 0 && r.exits == nil && !r.Called: // one that never returns has none, and is known
		return o.Count
	default:
		return o.Caller
	}
}

// Wants reports whether a record is to be prepared.
func (o *Object) Wants(r *Record) bool { return r.Wanted() || o.PrepareAll && r.Reason == "" }

// LayoutStubs gives the stubs of an object's functions their places and returns the
// bytes that all take. Those of records that are not wanted are not written, but stay
// free for them.
func (t *Table) LayoutStubs(o *Object) uint64 { return t.Method.layoutStubs(o) }

// Look finds out what the sites of o hold that are to be prepared and are not yet. One
// that does not hold what it should is left out with a reason.
func (t *Table) Look(text Text, o *Object) (refused []error) {
	for i := range o.Records {
		r := &o.Records[i]
		if !o.Wants(r) || r.prepared {
			continue
		}
		if err := t.Method.look(text, r); err != nil {
			refused = append(refused, o.refuse(r, err))
		}
	}
	return refused
}

// refuse leaves a record out.
func (o *Object) refuse(r *Record, err error) error {
	r.Reason = err.Error()
	r.ops, r.override = 0, 0
	return fmt.Errorf("prepare %s in %s: %w", o.Name(r), o.Path, err)
}

// Stubs makes the stubs of the records that are to be prepared and are not yet, for
// o.StubsAt, each switched on where its record will be armed. code is as large as
// LayoutStubs says; each stub that is written there is passed to wrote, if not nil.
// literals gives the words that the code for a function's entry and exits is to load.
func (t *Table) Stubs(o *Object, code []byte, literals func(r *Record) (entry, exit uint64), wrote func(off, size uint32)) (refused []error) {
	if wrote == nil {
		wrote = func(uint32, uint32) {}
	}
	for i := range o.Records {
		r := &o.Records[i]
		if r.prepared || !o.Wants(r) {
			continue
		}
		if err := t.Method.stubsOf(t, o, r, code, literals, wrote); err != nil {
			refused = append(refused, o.refuse(r, err))
		}
	}
	return refused
}

// Prepare changes every site of o that an ops wants, and its exits. All
// threads must be stopped, none with its pc inside of such a site (see Method.Inside), or
// the object not running yet. A site that does not hold what it should is left out with a
// reason; a function whose exits do not is entry-only.
func (t *Table) Prepare(text Text, o *Object) (refused []error) {
	for i := range o.Records {
		r := &o.Records[i]
		if !o.Wants(r) || r.prepared {
			continue
		}
		if err := t.Method.prepareSite(text, o, r); err != nil {
			refused = append(refused, o.refuse(r, err))
			continue
		}
		r.prepared = true
		if !r.stubs {
			continue
		}
		if err := t.Method.prepareExits(text, o, r); err != nil {
			r.exits, r.stubs = nil, false
			refused = append(refused, fmt.Errorf("prepare exits of %s in %s: %w", o.Name(r), o.Path, err))
		}
	}
	return refused
}

// Update makes every site of o call what its ops need, and switches its
// exits, stopping nobody. It goes on after an error and returns the first.
func (t *Table) Update(text Text, o *Object) error {
	var first error
	for i := range o.Records {
		r := &o.Records[i]
		err := t.Method.update(text, o, r, t.target(o, r, r.prepared))
		if err != nil && first == nil {
			first = fmt.Errorf("%s in %s: %w", o.Name(r), o.Path, err)
		}
	}
	return first
}
