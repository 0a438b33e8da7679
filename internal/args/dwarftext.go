package args

import (
	"strings"

	"nopal/internal/image"
	"nopal/internal/probe"
	"nopal/trace"
)

// textPlace says where in an object its text is.
type textPlace struct {
	data   uint64 // offset of the pointer to it
	length uint64 // offset of its length; in the text's own memory if before is set
	before int64  // the length stands so many bytes before the text; 0: it does not
	bytes  bool   // of no encoding
}

// text recognises the strings of C++ and Rust: by value, by reference and through a pointer.
func (b *typeBuilder) text(o object, t *image.Type) (probe.Field, bool) {
	of := t
	if t.Kind == image.Pointer && t.Elem != nil && o.at == nil && len(o.pieces) == 1 {
		of = t.Elem
		o = object{at: &probe.Expr{Base: operandOf(o.pieces[0])}}
	}
	where, ok := textOf(of)
	if !ok {
		return probe.Field{}, false
	}
	data, ok := o.load(where.data)
	if !ok {
		return probe.Field{}, false
	}
	var length probe.Expr
	if where.before != 0 {
		length = data
		length.Deref = append(append([]int64(nil), data.Deref...), -where.before)
	} else if length, ok = o.load(where.length); !ok {
		return probe.Field{}, false
	}
	kind := trace.KindString
	if where.bytes {
		kind = trace.KindBytes
	}
	b.types = []trace.ValueType{{Kind: kind, Name: of.Name}}
	return probe.Field{Mem: &probe.Mem{Addr: data, Len: &length, Max: stringSize}}, true
}

// textOf recognises a type by its name and finds its parts by their names, which versions of a library move.
func textOf(t *image.Type) (textPlace, bool) {
	switch {
	case strings.HasPrefix(t.Tag, "basic_string<char,"):
		return stringOf(t)
	case strings.HasPrefix(t.Tag, "basic_string_view<char,"):
		return pairOf(t, [][2]string{{"_M_str", "_M_len"}, {"__data_", "__size_"}, {"__data", "__size"}})
	case t.Tag == "&str":
		return pairOf(t, [][2]string{{"data_ptr", "length"}})
	case t.Tag == "&[u8]":
		w, ok := pairOf(t, [][2]string{{"data_ptr", "length"}})
		w.bytes = true
		return w, ok
	case t.Tag == "String":
		return rustString(t)
	}
	return textPlace{}, false
}

// stringOf is std::string of libstdc++. That of libc++, whose short strings are inside of the object, is shown as the structure that
// it is.
func stringOf(t *image.Type) (textPlace, bool) {
	if t.Incomplete && t.Size == 32 {
		return textPlace{data: 0, length: 8}, true // as image knows it
	}
	data, ok := member(t, "_M_dataplus")
	if !ok {
		return textPlace{}, false
	}
	if length, ok := member(t, "_M_string_length"); ok {
		return textPlace{data: data.Offset, length: length.Offset}, true
	}
	// Before GCC 5: a pointer to the text, which follows {length, capacity, references}.
	const header = 24
	return textPlace{data: data.Offset, before: header}, t.Size == 8
}

// pairOf is a pointer and a length, called by one of the pairs of names.
func pairOf(t *image.Type, names [][2]string) (textPlace, bool) {
	for _, n := range names {
		data, ok := member(t, n[0])
		length, ok2 := member(t, n[1])
		if ok && ok2 {
			return textPlace{data: data.Offset, length: length.Offset}, true
		}
	}
	return textPlace{}, false
}

// rustString is String: {vec: {buf, len}}, with the pointer somewhere in buf.
func rustString(t *image.Type) (textPlace, bool) {
	vec, ok := member(t, "vec")
	if !ok {
		return textPlace{}, false
	}
	length, ok := member(vec.Type, "len")
	buf, ok2 := member(vec.Type, "buf")
	if !ok || !ok2 {
		return textPlace{}, false
	}
	at, ok := pointerIn(buf.Type, 0)
	return textPlace{data: vec.Offset + buf.Offset + at, length: vec.Offset + length.Offset}, ok
}

// pointerIn finds the only pointer in a structure.
func pointerIn(t *image.Type, depth int) (at uint64, ok bool) {
	if t.Kind == image.Pointer {
		return 0, true
	}
	for _, m := range t.Members {
		if depth < maxNesting {
			if in, found := pointerIn(m.Type, depth+1); found {
				return m.Offset + in, true
			}
		}
	}
	return 0, false
}

func member(t *image.Type, name string) (image.Member, bool) {
	for _, m := range t.Members {
		if m.Name == name {
			return m, true
		}
	}
	return image.Member{}, false
}
