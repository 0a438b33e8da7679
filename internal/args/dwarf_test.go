package args

import (
	"fmt"
	"strings"
	"testing"

	"nopal/internal/image"
	"nopal/internal/probe"
	"nopal/trace"
)

// The types of the signatures below.
var (
	intType    = &image.Type{Kind: image.Int, Name: "int", Size: 4}
	longType   = &image.Type{Kind: image.Uint, Name: "size_t", Size: 8}
	charType   = &image.Type{Kind: image.Char, Name: "char", Size: 1}
	doubleType = &image.Type{Kind: image.Float, Name: "double", Size: 8}
	pointType  = &image.Type{Kind: image.Struct, Name: "point", Tag: "point", Size: 8, Members: []image.Member{
		{Name: "x", Type: intType}, {Name: "y", Type: intType, Offset: 4}}}
	largeType = &image.Type{Kind: image.Struct, Name: "large", Tag: "large", Size: 512, Members: []image.Member{
		{Name: "first", Type: longType}, {Name: "last", Type: longType, Offset: 504}}}
	colorType = &image.Type{Kind: image.Enum, Name: "color", Size: 4, Signed: true,
		Enums: []image.Enumerator{{Name: "RED"}, {Name: "BLUE", Value: -1}}}
	stringType = &image.Type{Kind: image.Struct, Name: "string", Size: 32,
		Tag: "basic_string<char, std::char_traits<char>, std::allocator<char> >", Members: []image.Member{
			{Name: "_M_dataplus", Type: &image.Type{Kind: image.Struct, Size: 8}},
			{Name: "_M_string_length", Type: longType, Offset: 8}}}
	oldStringType = &image.Type{Kind: image.Struct, Name: "string", Size: 8,
		Tag: "basic_string<char, std::char_traits<char>, std::allocator<char> >", Members: []image.Member{
			{Name: "_M_dataplus", Type: &image.Type{Kind: image.Struct, Size: 8}}}}
	viewType = &image.Type{Kind: image.Struct, Name: "string_view", Size: 16,
		Tag: "basic_string_view<char, std::char_traits<char> >", Members: []image.Member{
			{Name: "_M_len", Type: longType}, {Name: "_M_str", Type: to(charType), Offset: 8}}}
	strType = &image.Type{Kind: image.Struct, Name: "&str", Tag: "&str", Size: 16, Members: []image.Member{
		{Name: "data_ptr", Type: to(charType)}, {Name: "length", Type: longType, Offset: 8}}}
	rustStringType = &image.Type{Kind: image.Struct, Name: "String", Tag: "String", Size: 24, Members: []image.Member{
		{Name: "vec", Type: &image.Type{Kind: image.Struct, Size: 24, Members: []image.Member{
			{Name: "len", Type: longType, Offset: 16},
			{Name: "buf", Type: &image.Type{Kind: image.Struct, Size: 16, Members: []image.Member{
				{Name: "cap", Type: longType}, {Name: "ptr", Type: to(charType), Offset: 8}}}}}}}}}
)

func to(t *image.Type) *image.Type { return &image.Type{Kind: image.Pointer, Size: 8, Elem: t} }

func reference(t *image.Type) *image.Type {
	p := to(t)
	p.Reference = true
	return p
}

func xAt(first, size int) image.Place {
	var p image.Place
	for at := 0; at < size; at += 8 {
		p.Pieces = append(p.Pieces, image.Piece{Kind: image.InX, N: first + at/8, At: at, Size: min(8, size-at)})
	}
	return p
}

func memAt(n int) image.Place {
	return image.Place{Address: &image.Piece{Kind: image.InX, N: n, Size: 8}}
}

// describe writes what a field does: *x0+8 is what memory holds 8 bytes behind where x0 points.
func describe(f field) string {
	expr := func(e probe.Expr) string {
		text := map[probe.OperandKind]string{probe.RegX: fmt.Sprintf("x%d", e.Base.N), probe.RegV: fmt.Sprintf("v%d", e.Base.N),
			probe.Stack: fmt.Sprintf("sp%d", e.Base.Off), probe.Const: fmt.Sprint(e.Base.Off), probe.SavedX8: "x8"}[e.Base.Kind]
		for _, d := range e.Deref {
			text = fmt.Sprintf("*(%s%+d)", text, d)
		}
		return text
	}
	kinds := map[trace.TypeKind]string{trace.KindVoid: "void", trace.KindInt: "int", trace.KindUint: "uint", trace.KindPointer: "pointer",
		trace.KindEnum: "enum", trace.KindCString: "cstring", trace.KindString: "string", trace.KindStruct: "struct", trace.KindFloat: "float",
		trace.KindBytes: "bytes", trace.KindChar: "char"}
	text := f.name + " " + kinds[f.types[0].Kind]
	if m := f.run.Mem; m != nil {
		if f.types[0].Kind == trace.KindPointer {
			text += " " + kinds[f.types[f.types[0].Elem].Kind]
		}
		text += fmt.Sprintf(" at %s %d", expr(m.Addr), m.Max)
		if m.Len != nil {
			text += " length " + expr(*m.Len)
		}
		return text
	}
	for _, p := range f.run.Parts {
		text += fmt.Sprintf(" %s:%d@%d", expr(p.From), p.Size, p.Off)
	}
	return text
}

func TestFromSignature(t *testing.T) {
	for _, c := range []struct {
		name string
		p    image.Param
		want string
		ret  string // as a result; empty: the same, but for its name
	}{
		{"number", image.Param{Type: intType, Place: xAt(1, 4)}, "int x1:4@0", ""},
		{"float", image.Param{Type: doubleType, Place: image.Place{Pieces: []image.Piece{{Kind: image.InV, N: 2, Size: 8}}}}, "float v2:8@0", ""},
		{"stack", image.Param{Type: intType, Place: image.Place{Pieces: []image.Piece{{Kind: image.InStack, Offset: 16, Size: 4}}}}, "int sp16:4@0", ""},
		{"enum", image.Param{Type: colorType, Place: xAt(0, 4)}, "enum x0:4@0", ""},
		{"struct", image.Param{Type: pointType, Place: xAt(3, 8)}, "struct x3:8@0", ""},
		{"struct in memory", image.Param{Type: largeType, Place: memAt(3)}, "struct at x3 256", "struct at x8 256"},
		{"C string", image.Param{Type: to(charType), Place: xAt(0, 8)}, "cstring at x0 64", ""},
		{"pointer to a struct", image.Param{Type: to(pointType), Place: xAt(0, 8)}, "pointer struct at x0 8", ""},
		{"this", image.Param{Type: to(pointType), Place: xAt(0, 8), Artificial: true}, "pointer x0:8@0", ""},
		{"pointer to a large struct", image.Param{Type: to(largeType), Place: xAt(0, 8)}, "pointer x0:8@0", ""},
		{"pointer to a number", image.Param{Type: to(intType), Place: xAt(0, 8)}, "pointer x0:8@0", ""},
		{"opaque pointer", image.Param{Type: to(&image.Type{Kind: image.Struct, Incomplete: true}), Place: xAt(0, 8)}, "pointer x0:8@0", ""},
		{"reference to a number", image.Param{Type: reference(intType), Place: xAt(0, 8)}, "int at x0 4", ""},
		{"reference to a struct", image.Param{Type: reference(pointType), Place: xAt(0, 8)}, "struct at x0 8", ""},
		{"std::string", image.Param{Type: stringType, Place: memAt(1)}, "string at *(x1+0) 64 length *(x1+8)", "string at *(x8+0) 64 length *(x8+8)"},
		{"const std::string &", image.Param{Type: reference(stringType), Place: xAt(1, 8)}, "string at *(x1+0) 64 length *(x1+8)", ""},
		{"old std::string", image.Param{Type: oldStringType, Place: memAt(1)}, "string at *(x1+0) 64 length *(*(x1+0)-24)", "string at *(x8+0) 64 length *(*(x8+0)-24)"},
		{"std::string_view", image.Param{Type: viewType, Place: xAt(2, 16)}, "string at x3 64 length x2", ""},
		{"&str", image.Param{Type: strType, Place: xAt(2, 16)}, "string at x2 64 length x3", ""},
		{"&String", image.Param{Type: to(rustStringType), Place: xAt(2, 8)}, "string at *(x2+8) 64 length *(x2+16)", ""},
		{"String", image.Param{Type: rustStringType, Place: memAt(2)}, "string at *(x2+8) 64 length *(x2+16)", "string at *(x8+8) 64 length *(x8+16)"},
		{"unknown", image.Param{Type: intType, Place: image.Place{Unknown: "gone"}}, "void", "-"},
	} {
		c.p.Name = "a"
		result := c.p
		result.Place.AtEntry = result.Place.Address != nil // as AAPCS64 has it
		entry, exit := fromSignature(&image.Signature{Params: []image.Param{c.p}, Result: &result})
		if len(entry) != 1 || describe(entry[0]) != "a "+c.want {
			t.Errorf("%s: fields %v, want a %s", c.name, entry, c.want)
			for _, f := range entry {
				t.Log(describe(f))
			}
		}
		want := "ret " + c.want
		switch c.ret {
		case "":
		case "-":
			want = ""
		default:
			want = "ret " + c.ret
		}
		got := ""
		if len(exit) > 0 {
			got = describe(exit[0])
		}
		if needsX8(exit) != strings.Contains(got, "x8") {
			t.Errorf("%s: needsX8 is %v", c.name, needsX8(exit))
		}
		if got != want {
			t.Errorf("%s: result %q, want %q", c.name, got, want)
		}
	}
}

// TestRoom has more than a record can hold: the last fields show less, and then nothing.
func TestRoom(t *testing.T) {
	sig := &image.Signature{}
	for i := range 250 {
		p := image.Param{Name: fmt.Sprint("a", i), Type: to(charType), Place: xAt(0, 8)}
		sig.Params = append(sig.Params, p)
	}
	fields, _ := fromSignature(sig)
	total, strs, last := 0, 0, ""
	for _, f := range fields {
		total += cost(&f)
		if last = describe(f); strings.Contains(last, "cstring") {
			strs++
		}
	}
	if total > payloadRoom || strs < 10 || strs == len(fields) || !strings.HasPrefix(last, "... ") {
		t.Errorf("%d fields take %d bytes, %d of them as strings, the last is %s", len(fields), total, strs, last)
	}
}

// TestTypes shows members, and that types which are used twice are there once.
func TestTypes(t *testing.T) {
	nested := &image.Type{Kind: image.Struct, Size: 40, Members: []image.Member{
		{Name: "p", Type: pointType}, {Name: "q", Type: pointType, Offset: 8},
		{Name: "low", Type: intType, Offset: 16, BitOffset: 131, BitSize: 5},
		{Name: "list", Type: &image.Type{Kind: image.Array, Size: 12, Count: 3, Elem: intType}, Offset: 20},
		{Name: "flexible", Type: &image.Type{Kind: image.Array, Elem: intType}, Offset: 40},
		{Name: "next", Type: to(nil), Offset: 32},
	}}
	f, ok := paramField(&image.Param{Name: "n", Type: to(nested), Place: xAt(0, 8)}, false)
	if !ok || f.types[0].Kind != trace.KindPointer {
		t.Fatalf("field %+v", f)
	}
	top := f.types[f.types[0].Elem]
	if len(top.Members) != 5 || top.Members[0].Type != top.Members[1].Type {
		t.Fatalf("members %+v", top.Members)
	}
	if low := top.Members[2]; low.Off != 16 || low.BitOff != 3 || low.BitSize != 5 {
		t.Errorf("bit field %+v", low)
	}
	if list := f.types[top.Members[3].Type]; list.Kind != trace.KindArray || list.Count != 3 || f.types[list.Elem].Kind != trace.KindInt {
		t.Errorf("array %+v", list)
	}
	if len(f.types) > 7 {
		t.Errorf("%d types: %+v", len(f.types), f.types)
	}
}
