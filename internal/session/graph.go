package session

import (
	"encoding/binary"
	"fmt"

	"nopal/internal/entry"
	"nopal/internal/ftrace"
)

// exits reports whether functions' exits are changed too.
func (r *recorder) exits() bool { return r.o.Graph || r.o.Profile }

// shadowed reports whether something about a call is decided in the target, from the
// calls around it.
func (r *recorder) shadowed() bool {
	return r.o.Graph && (r.o.Filter != nil || r.o.Depth > 0 || r.o.MaxDepth > 0 || r.o.Threshold > 0)
}

// filters reports whether the target decides so: it has its stacks, or else ctl has asked
// for it, and was told why not.
func (t *target) filters() bool { return t.shadow != 0 && (t.rec.shadowed() || t.graph.filters) }

// ops is what is registered in each target.
func (r *recorder) ops() []*ftrace.Ops {
	return append(append(r.filterOps(), r.triggerOps()...), r.injectOps()...)
}

func (r *recorder) filterOps() []*ftrace.Ops {
	if r.o.Inject != nil && r.o.Filter == nil && !r.o.Graph {
		return nil // what is injected is recorded, other calls if they are asked for
	}
	op := &ftrace.Ops{Name: "record"}
	if r.o.Regs {
		op.Flags |= ftrace.FlagRegs
	}
	if r.o.Stack {
		op.Flags |= ftrace.FlagStack
	}
	f := r.o.Filter
	if f == nil {
		return []*ftrace.Ops{op}
	}
	if !r.shadowed() {
		op.Match = f.Match
		return []*ftrace.Ops{op}
	}
	// What a function of -F calls is recorded, whatever it is.
	root := &ftrace.Ops{Name: "root", Flags: ftrace.FlagRoot, Match: func(raw, demangled, object string) bool {
		chosen, _ := f.Classify(raw, demangled, object)
		return chosen
	}}
	not := &ftrace.Ops{Name: "not", Flags: ftrace.FlagNot, Match: func(raw, demangled, object string) bool {
		_, removed := f.Classify(raw, demangled, object)
		return removed
	}}
	return []*ftrace.Ops{op, root, not}
}

// planExits finds the exits of the functions of o: of all, since what is not wanted
// now may be armed later.
func (t *target) planExits(o *object) {
	defer func() { o.stubs = t.table.LayoutStubs(o.traced) }()
	if !t.rec.exits() {
		return
	}
	for i := range o.traced.Records {
		r := &o.traced.Records[i]
		if r.Reason != "" {
			continue
		}
		found := o.im.Exits(r.Site)
		if found.Reason != "" {
			continue
		}
		r.Called = found.Called
		exits := make([]ftrace.Exit, 0, len(found.List))
		for _, e := range found.List {
			if at := e.Addr + o.bias; at >= o.start && at+4 <= o.end {
				exits = append(exits, ftrace.Exit{Addr: at, Insn: e.Insn, Kind: e.Kind, Target: e.Target + o.bias, Reg: e.Reg})
			}
		}
		if len(exits) == len(found.List) {
			r.SetExits(exits)
		}
	}
}

// stubsOffset is where the stubs begin in an island.
func (t *target) stubsOffset() uint64 {
	const align = 64
	return (uint64(len(t.blob.Code)) + align - 1) &^ (align - 1)
}

// setTrampolines says what the sites and exits of o lead to.
func (t *target) setTrampolines(o *object) {
	if o.island == 0 {
		return
	}
	b := &t.blob
	known := t.tidOffset != entry.TidOffsetNone
	at := func(offset uint64) uint64 {
		if offset == 0 {
			return 0
		}
		return o.island + offset
	}
	var tr ftrace.Trampolines
	exits := b.Exit
	switch {
	case t.rec.o.Profile:
		p := b.Profile
		if !known {
			p = b.ProfileUnknown
		}
		tr.Caller, tr.Count, exits = at(p.Caller), at(p.Count), p.Exit
		if p.Thunk != 0 && !t.callsBodies() {
			tr.Caller = tr.Count
		}
	case t.filters():
		s := b.Shadow
		if !known {
			s = b.ShadowUnknown
		}
		tr.Caller, tr.Root, tr.Not, tr.Count, exits = at(s.Caller), at(s.Root), at(s.Not), at(s.Count), s.Exit
	case t.callsBodies() && known:
		tr.Caller, tr.Count = at(b.Graph.Caller), at(b.Caller)
		tr.Called = tr.Count
	case t.callsBodies():
		tr.Caller, tr.Count = at(b.Graph.Unknown), at(b.CallerUnknown)
		tr.Called = tr.Count
	case !known:
		tr.Caller, exits = at(b.CallerUnknown), b.ExitUnknown
		tr.Called = tr.Caller
	default:
		tr.Caller = at(b.Caller)
		tr.Called = tr.Caller
	}
	tr.RegsCaller = at(b.RegsCaller)
	tr.Trigger = at(b.Trigger)
	if tr.Caller != 0 && t.rec.exits() {
		tr.ExitRet, tr.ExitGen, tr.ExitPushed = at(exits.Ret), at(exits.Gen), at(exits.Pushed)
	}
	o.traced.Trampolines = tr
	o.traced.StubsAt = o.island + t.stubsOffset()
	t.setOwn(o)
}

// writeStubs puts the stubs of the exits of o that are to be prepared into its island,
// neighbours at once. No exit leads there yet. Where none is written no memory is taken.
func (t *target) writeStubs(o *object) error {
	if o.island == 0 || o.stubs == 0 {
		return nil
	}
	code := make([]byte, o.stubs)
	var from, to uint32 // made and not written yet
	var err error
	flush := func() {
		if err == nil && to > from {
			err = t.writeIsland(o.traced.StubsAt+uint64(from), code[from:to])
		}
	}
	refused := t.table.Stubs(o.traced, code, func(r *ftrace.Record) (entry, exit uint64) {
		return t.entryLiteral(o, r), t.exitLiteral(o, r)
	}, func(off, size uint32) {
		if off > to || off < from {
			flush()
			from, to = off, off
		}
		to = max(to, off+size)
	})
	flush()
	t.refused(refused)
	return err
}

// writeWords writes instructions that nobody runs yet.
func (t *target) writeWords(addr uint64, words []uint32) error {
	code := make([]byte, 4*len(words))
	for i, w := range words {
		binary.LittleEndian.PutUint32(code[4*i:], w)
	}
	return t.writeIsland(addr, code)
}

// writeIsland writes code that nobody runs yet.
func (t *target) writeIsland(addr uint64, code []byte) error {
	_, err := t.mem.WriteAt(code, int64(addr))
	if err != nil && t.attached {
		_, err = t.p.WriteAt(code, int64(addr))
	}
	if err != nil {
		return fmt.Errorf("write stubs at %#x: %w", addr, err)
	}
	return nil
}

// entryLiteral is the word that a function's entry loads, where it loads one: the code
// position of its event.
func (t *target) entryLiteral(o *object, r *ftrace.Record) uint64 {
	return (o.index + (r.Body-o.start)/4) << entry.WordIndexShift
}

// exitLiteral is the word that the exits of a function load: the code position of its
// event, which is that of the entry in the range of the exits; or where it is counted.
func (t *target) exitLiteral(o *object, r *ftrace.Record) uint64 {
	if t.rec.o.Profile {
		return t.profileLiteral(o, r)
	}
	return (o.exitIndex + (r.Body-o.start)/4) << entry.WordIndexShift
}

// controlTail is the end of the control block. Its last word makes the target's
// threads record.
func (t *target) controlTail() []byte {
	tail := make([]byte, 7*8)
	t.shadowState = t.rec.shadowState()
	t.shadowState.put(tail)
	put := binary.LittleEndian.PutUint64
	put(tail[40:], t.tidOffsetNow())
	put(tail[48:], t.ringAddr)
	return tail
}
