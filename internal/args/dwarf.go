package args

import (
	"slices"
	"strings"

	"nopal/internal/image"
	"nopal/internal/probe"
	"nopal/trace"
)

// What is read of one argument, in bytes.
const (
	// structByValue is the limit for a structure that is the value, or that a reference stands for.
	structByValue = 256
	// structPointed is up to which size a structure is read through a pointer. What is larger has its meaning elsewhere, and would
	// fill the ring at each call.
	structPointed = 128
	// payloadRoom is what all fields of a call may take.
	payloadRoom = 1000
)

// Limits of what is said about types: it is written once for each function.
const (
	maxTypes   = 256
	maxEnums   = 512
	maxNesting = 12
)

// fromSignature makes fields of the parameters and the result of a function.
func fromSignature(sig *image.Signature) (entry, exit []field) {
	room := payloadRoom - 8
	for i := range sig.Params {
		p := &sig.Params[i]
		f, ok := paramField(p, false)
		if !ok {
			f = unknownField(p.Name)
		}
		if cost(&f) > room {
			f = plainField(p)
		}
		if cost(&f) > room {
			entry = append(entry, moreField())
			break
		}
		room -= cost(&f)
		entry = append(entry, f)
	}
	if sig.Result != nil {
		if f, ok := paramField(sig.Result, true); ok {
			exit = append(exit, f)
		}
	}
	return entry, exit
}

// paramField makes the field of one parameter, or of the result. There is none where its place is not known.
func paramField(p *image.Param, exit bool) (field, bool) {
	o, ok := objectOf(p, exit)
	if !ok {
		return field{}, false
	}
	f := field{name: p.Name}
	if exit {
		f.name = "ret"
	}
	b := typeBuilder{known: make(map[*image.Type]uint32), nothing: &image.Type{Kind: image.Void}}
	f.run = b.field(o, p)
	f.types = b.types
	return f, true
}

// cost is how many bytes of the payload a field takes at most.
func cost(f *field) int {
	if f.run.Mem != nil {
		return 16 + (f.run.Mem.Max+7)&^7
	}
	return (f.run.Size + 7) &^ 7
}

// plainField shows no more than the address, where there is no room for what is there.
func plainField(p *image.Param) field {
	first := p.Place.Address
	if first == nil && len(p.Place.Pieces) == 1 && p.Type.Kind == image.Pointer {
		first = &p.Place.Pieces[0]
	}
	if first == nil {
		return unknownField(p.Name)
	}
	return field{name: p.Name, run: inlineAddress(probe.Expr{Base: operandOf(*first)}), types: addressTypes()}
}

// unknownField is a parameter of which only the name is known.
func unknownField(name string) field {
	return field{name: name, types: []trace.ValueType{{Kind: trace.KindVoid}}}
}

// moreField says that there are parameters for which there is no room: its only value has the name "...".
func moreField() field {
	return field{
		name:  "...",
		run:   probe.Field{Size: 8, Parts: []probe.Part{{From: probe.Expr{Base: probe.Operand{Kind: probe.Const}}, Size: 8}}},
		types: []trace.ValueType{{Kind: trace.KindEnum, Size: 8, Enums: []trace.TypeEnum{{Name: "..."}}}},
	}
}

func inlineAddress(from probe.Expr) probe.Field {
	return probe.Field{Size: 8, Parts: []probe.Part{{From: from, Size: 8}}}
}

func addressTypes() []trace.ValueType {
	return []trace.ValueType{{Kind: trace.KindPointer, Size: 8, Elem: 1}, {Kind: trace.KindVoid}}
}

// object is a value: in registers and on the stack, or in memory.
type object struct {
	pieces []image.Piece
	at     *probe.Expr // its address
}

// objectOf is where a parameter is at the entry, or the result at the exit.
func objectOf(p *image.Param, exit bool) (object, bool) {
	switch {
	case p.Place.Unknown != "" || p.Type.Kind == image.Void:
		return object{}, false
	case slices.ContainsFunc(p.Place.Pieces, func(piece image.Piece) bool { return piece.Kind == image.InX87 }):
		return object{}, false // no probe reads the x87
	case p.Place.AtEntry && exit:
		// The function was told in x8 where its result goes, and need not keep that (AAPCS64, 6.9).
		return object{at: &probe.Expr{Base: probe.Operand{Kind: probe.SavedX8}}}, true
	case p.Place.Address != nil:
		return object{at: &probe.Expr{Base: operandOf(*p.Place.Address)}}, true
	}
	return object{pieces: p.Place.Pieces}, true
}

// needsX8 reports whether exits have fields for which the entry has to keep x8.
func needsX8(exits []field) bool {
	saved := func(e *probe.Expr) bool { return e != nil && e.Base.Kind == probe.SavedX8 }
	for _, f := range exits {
		if m := f.run.Mem; m != nil && (saved(&m.Addr) || saved(m.Len)) {
			return true
		}
	}
	return false
}

// load is the word at an offset in the object.
func (o object) load(off uint64) (probe.Expr, bool) {
	if o.at == nil {
		for _, piece := range o.pieces {
			if uint64(piece.At) == off && piece.Size == 8 {
				return probe.Expr{Base: operandOf(piece)}, true
			}
		}
		return probe.Expr{}, false
	}
	e := probe.Expr{Base: o.at.Base}
	e.Deref = append(append(e.Deref, o.at.Deref...), o.at.Add+int64(off))
	return e, true
}

// typeBuilder makes the types of one field.
type typeBuilder struct {
	types []trace.ValueType
	known map[*image.Type]uint32
	// nothing is what pointers inside of structures point to.
	nothing *image.Type
}

// field makes what the target does for a value, and its types: that of the value is the first.
func (b *typeBuilder) field(o object, p *image.Param) probe.Field {
	t := p.Type
	if run, ok := b.text(o, t); ok {
		return run
	}
	if t.Kind == image.Pointer && o.at == nil && len(o.pieces) == 1 {
		return b.pointer(o, p)
	}
	if o.at != nil {
		size := min(t.Size, structByValue)
		b.whole(t, size)
		return probe.Field{Mem: &probe.Mem{Addr: *o.at, Max: int(size)}}
	}
	b.of(t, 0)
	run := probe.Field{Size: int(t.Size)}
	for _, piece := range o.pieces {
		run.Parts = append(run.Parts, probe.Part{From: probe.Expr{Base: operandOf(piece)}, Off: piece.At, Size: piece.Size})
	}
	return run
}

// pointer shows what a pointer points to where that says more than the address.
func (b *typeBuilder) pointer(o object, p *image.Param) probe.Field {
	t, to := p.Type, p.Type.Elem
	from := probe.Expr{Base: operandOf(o.pieces[0])}
	known := to != nil && !to.Incomplete && to.Size > 0 && !p.Artificial
	aggregate := known && (to.Kind == image.Struct || to.Kind == image.Union)
	switch {
	case known && to.Kind == image.Char && !t.Reference:
		b.types = []trace.ValueType{{Kind: trace.KindCString, Name: t.Name}}
		return probe.Field{Mem: &probe.Mem{Addr: from, CString: true, Max: stringSize}}
	case aggregate && !t.Reference && to.Size <= structPointed:
		b.types = []trace.ValueType{{Kind: trace.KindPointer, Size: 8, Name: t.Name, Elem: 1}}
		b.whole(to, to.Size)
		return probe.Field{Mem: &probe.Mem{Addr: from, Max: int(to.Size)}}
	case aggregate && t.Reference, known && t.Reference && scalar(to):
		size := min(to.Size, structByValue)
		b.whole(to, size)
		return probe.Field{Mem: &probe.Mem{Addr: from, Max: int(size)}}
	}
	b.types = addressTypes()
	b.types[0].Name = t.Name
	return inlineAddress(from)
}

func scalar(t *image.Type) bool {
	switch t.Kind {
	case image.Bool, image.Char, image.Int, image.Uint, image.Float, image.Enum:
		return true
	}
	return false
}

// whole adds the type of an object of which only so many bytes are read: members that lie beyond are left out.
func (b *typeBuilder) whole(t *image.Type, size uint64) {
	if size >= t.Size {
		b.of(t, 0)
		return
	}
	short := *t
	short.Members = nil
	for _, m := range t.Members {
		if m.Offset+m.Type.Size <= size {
			short.Members = append(short.Members, m)
		}
	}
	b.of(&short, 0)
}

// kinds are the kinds of types that are numbers.
var kinds = map[image.TypeKind]trace.TypeKind{
	image.Bool: trace.KindBool, image.Char: trace.KindChar, image.Int: trace.KindInt, image.Uint: trace.KindUint,
	image.Float: trace.KindFloat,
}

// of adds a type and gives its index.
func (b *typeBuilder) of(t *image.Type, depth int) uint32 {
	if at, ok := b.known[t]; ok {
		return at
	}
	at := uint32(len(b.types))
	size := uint32(min(t.Size, 1<<30))
	v := trace.ValueType{Kind: trace.KindBytes, Size: size, Name: t.Name}
	b.types = append(b.types, v)
	if depth > maxNesting || at > maxTypes {
		return at
	}
	b.known[t] = at
	switch t.Kind {
	case image.Void:
		v.Kind = trace.KindVoid
	case image.Bool, image.Char, image.Int, image.Uint, image.Float:
		v.Kind = kinds[t.Kind]
		if t.Extended {
			v.Kind = trace.KindExtended
		}
		if t.Kind == image.Float && strings.Contains(t.Tag, "bf") {
			v.Kind = trace.KindHex // __bf16, which is none of IEEE 754
		}
	case image.Enum:
		v.Kind = trace.KindEnum
		if len(t.Enums) == 0 || len(t.Enums) > maxEnums {
			v.Kind = trace.KindUint
			if t.Signed {
				v.Kind = trace.KindInt
			}
			break
		}
		for _, e := range t.Enums {
			v.Enums = append(v.Enums, trace.TypeEnum{Name: e.Name, Value: e.Value})
		}
	case image.Pointer:
		v.Kind = trace.KindPointer
		v.Elem = b.of(b.nothing, depth+1)
	case image.Complex:
		v.Kind = trace.KindStruct
		half := b.of(&image.Type{Kind: image.Float, Size: t.Size / 2, Extended: t.Extended}, depth+1)
		v.Members = []trace.TypeMember{{Name: "re", Type: half}, {Name: "im", Type: half, Off: size / 2}}
	case image.Array, image.Vector:
		if t.Count > 0 {
			v.Kind, v.Count = trace.KindArray, uint32(min(t.Count, 1<<30))
			v.Elem = b.of(t.Elem, depth+1)
		}
	case image.Struct, image.Union:
		v.Kind = trace.KindStruct
		v.Members = b.members(t, depth)
	}
	b.types[at] = v
	return at
}

func (b *typeBuilder) members(t *image.Type, depth int) []trace.TypeMember {
	var list []trace.TypeMember
	for _, m := range t.Members {
		if m.Type.Size == 0 {
			continue // a flexible array, an empty structure of C
		}
		list = append(list, trace.TypeMember{
			Name:    m.Name,
			Type:    b.of(m.Type, depth+1),
			Off:     uint32(min(m.Offset, 1<<30)),
			BitOff:  uint32(m.BitOffset % 8),
			BitSize: uint32(m.BitSize),
		})
	}
	return list
}
