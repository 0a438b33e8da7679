package args

import (
	"slices"

	"nopal/internal/probe"
	"nopal/trace"
)

// field is one argument or result: what the target does for it, and how a reader understands what comes of that.
type field struct {
	name string
	run  probe.Field
	// types are the types that the value is made of; the value's own is the first. Their indexes are those of this list.
	types []trace.ValueType
}

// layout makes one list of the fields' types and places each field in it.
func layout(fields []field) ([]trace.ProbeField, []trace.ValueType) {
	var list []trace.ProbeField
	var types []trace.ValueType
	for i := range fields {
		f := &fields[i]
		first := uint32(len(types))
		list = append(list, trace.ProbeField{Name: f.name, Type: first, Mem: f.run.Mem != nil})
		for _, t := range f.types {
			if t.Kind == trace.KindPointer || t.Kind == trace.KindArray {
				t.Elem += first
			}
			t.Members = slices.Clone(t.Members)
			for j := range t.Members {
				t.Members[j].Type += first
			}
			types = append(types, t)
		}
	}
	return list, types
}
