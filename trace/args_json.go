package trace

import (
	"encoding/hex"
	"math"
	"strconv"
	"unicode/utf8"
)

// AppendJSON appends the value as JSON. FORMAT.md says how.
func (v *Value) AppendJSON(b []byte) []byte {
	switch v.state {
	case valueFault:
		return append(appendHex(append(b, `{"fault":"`...), v.addr), `"}`...)
	case valueUnread:
		return append(appendHex(append(b, `{"unread":"`...), v.addr), `"}`...)
	case valueUnknown, valueDamaged:
		return append(b, "null"...)
	}
	r := newRenderer(b, v)
	t := &v.types[v.typ]
	if v.mem && t.Kind == KindPointer {
		t = &v.types[t.Elem]
	}
	r.json(t, v.data)
	return r.b
}

func (r *renderer) json(t *ValueType, data []byte) {
	if !r.enter(len(t.Enums) / 8) {
		r.b = append(r.b, "null"...)
		return
	}
	r.depth++
	defer func() { r.depth-- }()
	switch {
	case t.isScalar():
		if len(data) < int(t.Size) {
			r.b = append(r.b, "null"...)
		} else {
			r.jsonScalar(t, data[:t.Size])
		}
	case t.Kind == KindCString, r.isText(t):
		r.b = appendJSONString(r.b, untilZero(data))
	case t.Kind == KindString:
		r.b = appendJSONString(r.b, data)
	case t.Kind == KindStruct:
		r.b = append(r.b, '{')
		r.jsonMembers(t, data, true)
		r.b = append(r.b, '}')
	case t.Kind == KindArray:
		elem, n := r.elements(t, data)
		r.b = append(r.b, '[')
		for i := range n {
			if i > 0 {
				r.b = append(r.b, ',')
			}
			if r.nodes <= 0 {
				r.b = append(r.b, "null"...)
				break
			}
			r.json(elem, data[i*int(elem.Size):][:elem.Size])
		}
		r.b = append(r.b, ']')
	case t.Kind == KindVoid:
		r.b = append(r.b, "null"...)
	default:
		r.b = append(hex.AppendEncode(append(r.b, '"'), data), '"')
	}
}

// jsonMembers writes the members of a struct, and reports whether none has
// been written so far.
func (r *renderer) jsonMembers(t *ValueType, data []byte, first bool) bool {
	for i := range t.Members {
		m := &t.Members[i]
		mt := &r.types[m.Type]
		if m.Name == "" && mt.Kind == KindStruct {
			if r.enter(0) {
				r.depth++
				first = r.jsonMembers(mt, r.member(data, m), first)
				r.depth--
			}
			continue
		}
		if !r.enter(0) {
			break
		}
		if !first {
			r.b = append(r.b, ',')
		}
		first = false
		r.b = append(appendJSONString(r.b, []byte(m.Name)), ':')
		r.json(mt, r.member(data, m))
	}
	return first
}

func (r *renderer) jsonScalar(t *ValueType, data []byte) {
	if len(data) > 8 && !t.isFloat() {
		r.b = wide(data, t.Kind == KindInt).Append(r.b, 10)
		return
	}
	var u uint64
	var i int64
	if len(data) <= 8 {
		u, i = number(data)
	}
	switch t.Kind {
	case KindInt:
		r.b = strconv.AppendInt(r.b, i, 10)
	case KindUint, KindHex, KindChar:
		r.b = strconv.AppendUint(r.b, u, 10)
	case KindBool:
		r.b = strconv.AppendBool(r.b, u != 0)
	case KindPointer:
		r.b = append(appendHex(append(r.b, '"'), u), '"')
	case KindEnum:
		var known bool
		var name [64]byte
		n := name[:0]
		if n, known = appendEnum(n, t, u, i); known {
			r.b = appendJSONString(r.b, n)
		} else {
			r.b = strconv.AppendInt(r.b, i, 10)
		}
	case KindFloat, KindExtended:
		r.b = appendJSONFloat(r.b, t.float(data))
	}
}

// appendJSONFloat appends a number, or one of the words for what JSON has no
// number for.
func appendJSONFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(b, `"-Infinity"`...)
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}

func appendHex(b []byte, u uint64) []byte { return strconv.AppendUint(append(b, "0x"...), u, 16) }

const hexDigits = "0123456789abcdef"

// appendJSONString appends bytes as a string. Those that are no UTF-8 become
// the surrogates U+DC80 to U+DCFF, from which they can be told (PEP 383).
func appendJSONString(b, s []byte) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\t':
			b = append(b, '\\', 't')
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			if r, n := utf8.DecodeRune(s[i:]); r != utf8.RuneError || n > 1 {
				b = append(b, s[i:i+n]...)
				i += n
				continue
			}
			b = append(b, '\\', 'u', 'd', 'c', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
	}
	return append(b, '"')
}
