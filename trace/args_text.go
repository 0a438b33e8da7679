package trace

import (
	"math"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// maxTextElements is how many elements of an array are shown to people.
const maxTextElements = 16

// AppendText appends the value as a programmer writes it.
func (v *Value) AppendText(b []byte) []byte {
	switch v.state {
	case valueFault:
		if v.addr == 0 {
			return append(b, "NULL"...)
		}
		return append(appendHex(append(b, "<fault "...), v.addr), '>')
	case valueUnread:
		return appendPointer(b, v.addr)
	case valueUnknown, valueDamaged:
		return append(b, '?')
	}
	r := newRenderer(b, v)
	r.part = v.state == valueTruncated
	t := &v.types[v.typ]
	if v.mem && t.Kind == KindPointer {
		r.b = append(r.b, '&')
		t = &v.types[t.Elem]
	}
	r.text(t, v.data)
	return r.b
}

// ArgsText appends arguments as they stand between the parentheses of a call.
func ArgsText(b []byte, args []Arg) []byte {
	for i := range args {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = args[i].Value.AppendText(b)
	}
	return b
}

func appendPointer(b []byte, u uint64) []byte {
	if u == 0 {
		return append(b, "NULL"...)
	}
	return appendHex(b, u)
}

func (r *renderer) text(t *ValueType, data []byte) {
	if !r.enter(len(t.Enums) / 8) {
		r.b = append(r.b, "..."...)
		return
	}
	r.depth++
	defer func() { r.depth-- }()
	switch {
	case t.isScalar():
		if len(data) < int(t.Size) {
			r.b = append(r.b, '?')
		} else {
			r.textScalar(t, data[:t.Size])
		}
	case t.Kind == KindCString, r.isText(t):
		r.quote(untilZero(data), r.part && len(untilZero(data)) == len(data))
	case t.Kind == KindString:
		r.quote(data, r.part)
	case t.Kind == KindStruct:
		r.b = append(r.b, '{')
		r.textMembers(t, data, true)
		r.b = append(r.b, '}')
	case t.Kind == KindArray:
		r.textElements(t, data)
	case t.Kind == KindVoid:
		r.b = append(r.b, '?')
	default:
		r.b = append(r.b, '{')
		for i, c := range data[:min(len(data), 2*maxTextElements)] {
			if i > 0 {
				r.b = append(r.b, ' ')
			}
			r.b = append(r.b, hexDigits[c>>4], hexDigits[c&15])
		}
		if r.part || len(data) > 2*maxTextElements {
			r.b = append(r.b, " ..."...)
		}
		r.b = append(r.b, '}')
	}
}

func (r *renderer) textElements(t *ValueType, data []byte) {
	elem, n := r.elements(t, data)
	r.b = append(r.b, '{')
	for i := range min(n, maxTextElements) {
		if i > 0 {
			r.b = append(r.b, ", "...)
		}
		r.text(elem, data[i*int(elem.Size):][:elem.Size])
	}
	if n > maxTextElements || r.part || uint32(n) < t.Count {
		r.b = append(r.b, ", ..."...)
	}
	r.b = append(r.b, '}')
}

func (r *renderer) textMembers(t *ValueType, data []byte, first bool) bool {
	for i := range t.Members {
		m := &t.Members[i]
		mt := &r.types[m.Type]
		if m.Name == "" && mt.Kind == KindStruct {
			if r.enter(0) {
				r.depth++
				first = r.textMembers(mt, r.member(data, m), first)
				r.depth--
			}
			continue
		}
		if !first {
			r.b = append(r.b, ", "...)
		}
		first = false
		if !r.enter(0) {
			r.b = append(r.b, "..."...)
			break
		}
		r.b = append(appendPrintable(r.b, m.Name), '=')
		r.text(mt, r.member(data, m))
	}
	return first
}

func (r *renderer) textScalar(t *ValueType, data []byte) {
	if t.isFloat() {
		r.b = appendTextFloat(r.b, t.float(data), len(data))
		return
	}
	if len(data) > 8 {
		if t.Kind == KindHex {
			r.b = wide(data, false).Append(append(r.b, "0x"...), 16)
		} else {
			r.b = wide(data, t.Kind == KindInt).Append(r.b, 10)
		}
		return
	}
	u, i := number(data)
	switch t.Kind {
	case KindInt:
		r.b = strconv.AppendInt(r.b, i, 10)
	case KindUint:
		r.b = strconv.AppendUint(r.b, u, 10)
	case KindHex:
		r.b = appendHex(r.b, u)
	case KindBool:
		r.b = strconv.AppendBool(r.b, u != 0)
	case KindPointer:
		r.b = appendPointer(r.b, u)
	case KindChar:
		if u > unicode.MaxRune {
			r.b = strconv.AppendUint(r.b, u, 10)
		} else {
			r.b = append(appendEscaped(append(r.b, '\''), rune(u), '\''), '\'')
		}
	case KindEnum:
		n := len(r.b)
		var known bool
		if r.b, known = appendEnum(r.b, t, u, i); known {
			r.b = appendPrintable(r.b[:n], string(r.b[n:]))
		} else {
			r.b = strconv.AppendInt(r.b, i, 10)
		}
	}
}

// appendTextFloat appends a number in as few digits as tell it apart from
// others of its type.
func appendTextFloat(b []byte, f float64, size int) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "nan"...)
	case math.IsInf(f, 1):
		return append(b, "inf"...)
	case math.IsInf(f, -1):
		return append(b, "-inf"...)
	}
	n, bits := len(b), 64
	if size <= 4 {
		bits = 32
	}
	b = strconv.AppendFloat(b, f, 'g', -1, bits)
	for _, c := range b[n:] {
		if c == '.' || c == 'e' {
			return b
		}
	}
	return append(b, ".0"...)
}

// quote appends a string as in C, and whether there is more of it.
func (r *renderer) quote(s []byte, more bool) {
	b := append(r.b, '"')
	for len(s) > 0 {
		c, n := utf8.DecodeRune(s)
		if c == utf8.RuneError && n == 1 {
			b = appendOctal(b, s[0])
		} else {
			b = appendEscaped(b, c, '"')
		}
		s = s[n:]
	}
	if b = append(b, '"'); more {
		b = append(b, "..."...)
	}
	r.b = b
}

// appendEscaped appends a character of a literal between such quotes.
func appendEscaped(b []byte, c rune, quote rune) []byte {
	switch {
	case c == quote || c == '\\':
		return append(b, '\\', byte(c))
	case c == '\n':
		return append(b, '\\', 'n')
	case c == '\t':
		return append(b, '\\', 't')
	case c == '\r':
		return append(b, '\\', 'r')
	case c == 0 && quote == '\'':
		return append(b, '\\', '0')
	case unicode.IsPrint(c) && c != utf8.RuneError:
		return utf8.AppendRune(b, c)
	}
	var buf [utf8.UTFMax]byte
	if c < 0x100 && quote == '\'' {
		return appendOctal(b, byte(c))
	}
	for _, x := range utf8.AppendRune(buf[:0], c) {
		b = appendOctal(b, x)
	}
	return b
}

// appendOctal appends a byte as an escape that no digit can prolong.
func appendOctal(b []byte, c byte) []byte {
	return append(b, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
}

// appendPrintable appends a name without what could steer a terminal.
func appendPrintable(b []byte, s string) []byte {
	for _, c := range s {
		if unicode.IsPrint(c) && c != utf8.RuneError {
			b = utf8.AppendRune(b, c)
		} else {
			b = append(b, '?')
		}
	}
	return b
}
