package ftrace

import (
	"fmt"
	"math/bits"
)

// Flags say what an [Ops] needs at its functions, in the kernel's terms.
type Flags uint8

const (
	FlagRegs     Flags = 1 << iota // the whole register set (FTRACE_OPS_FL_SAVE_REGS)
	FlagStack                      // return addresses
	FlagIPModify                   // changes the pc; one such ops a function (FTRACE_OPS_FL_IPMODIFY)
	FlagRoot                       // recording begins here: set_graph_function
	FlagNot                        // and ends here: set_graph_notrace
	FlagTrigger                    // does something when it is called
)

// Ops is a filter and what happens at the functions it selects. Several ops on
// one function combine: its site calls the cheapest code that serves them all.
type Ops struct {
	Name  string
	Flags Flags
	// Match selects functions; nil selects all. object is the path.
	Match func(raw, demangled, object string) bool
}

// MaxOps is how many ops a table holds.
const MaxOps = 32

// opsSet is a set of registered ops, one bit each.
type opsSet uint32

// ConflictError says that two ops would change the pc of one function.
type ConflictError struct{ Function, First, Second string }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("register %s: %s already changes where %s goes, and only one may", e.Second, e.First, e.Function)
}

// Register adds ops and marks the functions it selects. It returns how many
// those are. Nothing is written into the target: see [Table.Prepare] and
// [Table.Update].
func (t *Table) Register(op *Ops) (int, error) {
	slot := bits.TrailingZeros32(^uint32(t.inUse))
	if slot >= MaxOps {
		return 0, fmt.Errorf("register %s: %d ops are registered already", op.Name, MaxOps)
	}
	if op.Flags&FlagIPModify != 0 {
		if err := t.checkIPModify(op); err != nil {
			return 0, err
		}
	}
	t.ops[slot] = op
	t.inUse |= 1 << slot
	n := 0
	for _, o := range t.Objects {
		n += t.mark(o, slot)
	}
	return n, nil
}

// checkIPModify makes sure that no function that op selects has its pc changed by another.
func (t *Table) checkIPModify(op *Ops) error {
	for _, o := range t.Objects {
		for i := range o.Records {
			r := &o.Records[i]
			if t.flags(r.ops)&FlagIPModify == 0 || !o.selected(r, op) {
				continue
			}
			for slot, other := range t.ops {
				if r.ops&(1<<slot) != 0 && other.Flags&FlagIPModify != 0 {
					return &ConflictError{Function: o.Name(r), First: other.Name, Second: op.Name}
				}
			}
		}
	}
	return nil
}

// mark enters ops number slot at the functions of o that it selects.
func (t *Table) mark(o *Object, slot int) int {
	n := 0
	for i := range o.Records {
		r := &o.Records[i]
		if r.Reason == "" && o.selected(r, t.ops[slot]) {
			r.ops |= 1 << slot
			n++
		}
	}
	return n
}

// Unregister removes ops. Its sites change with the next [Table.Update].
func (t *Table) Unregister(op *Ops) {
	for slot, other := range t.ops {
		if other != op || op == nil {
			continue
		}
		t.ops[slot] = nil
		t.inUse &^= 1 << slot
		for _, o := range t.Objects {
			for i := range o.Records {
				o.Records[i].ops &^= 1 << slot
			}
		}
	}
}

// flags is the union of what a set of ops needs.
func (t *Table) flags(set opsSet) Flags {
	var f Flags
	for set := set & t.inUse; set != 0; set &= set - 1 {
		f |= t.ops[bits.TrailingZeros32(uint32(set))].Flags
	}
	return f
}

// OpsOf names the ops at a record.
func (t *Table) OpsOf(r *Record) []string {
	var names []string
	for slot, op := range t.ops {
		if op != nil && r.ops&(1<<slot) != 0 {
			names = append(names, op.Name)
		}
	}
	return names
}
