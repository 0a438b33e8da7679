package trace

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/bits"
	"slices"
)

// Arg is an argument of a call.
type Arg struct {
	Name  string
	Value Value
}

// Value is an argument's or a result's value. It refers to memory of the event
// that it came with.
type Value struct {
	types []ValueType
	typ   uint32
	state valueState
	mem   bool   // data is what was at addr
	addr  uint64 // of a memory field
	data  []byte
}

type valueState uint8

const (
	valueWhole     valueState = iota
	valueTruncated            // there is more than data
	valueFault                // addr could not be read
	valueUnread               // nopal may not read there
	valueUnknown              // not even the address is known
	valueDamaged              // the record ends before it
)

// Fault returns the address that could not be read, if there is one.
func (v *Value) Fault() (addr uint64, fault bool) { return v.addr, v.state == valueFault }

// Truncated reports that there was more than was recorded.
func (v *Value) Truncated() bool { return v.state == valueTruncated }

// CloneArgs appends copies of arguments to dst, and what they refer to to buf.
// They stay valid as long as buf is not changed.
func CloneArgs(dst []Arg, buf []byte, args []Arg) ([]Arg, []byte) {
	for _, a := range args {
		a.Value, buf = a.Value.Clone(buf)
		dst = append(dst, a)
	}
	return dst, buf
}

// Clone returns a copy of the value, and buf with what it refers to behind.
func (v *Value) Clone(buf []byte) (Value, []byte) {
	c, n := *v, len(buf)
	buf = append(buf, v.data...)
	c.data = buf[n:len(buf):len(buf)]
	return c, buf
}

// What a value may take. Types are as deep and as wide as who wrote the file
// likes; the arguments of programs need a fraction of this.
const (
	maxValueDepth = 16
	maxValueNodes = 4096
	maxValueBytes = 256 << 10
)

// renderer writes one value.
type renderer struct {
	types []ValueType
	b     []byte
	end   int // of b
	nodes int
	depth int
	part  bool // the data may end before the type does
}

func newRenderer(dst []byte, v *Value) renderer {
	return renderer{types: v.types, b: dst, end: len(dst) + maxValueBytes, nodes: maxValueNodes}
}

// enter reports that one more part may be shown, with what cost it has.
func (r *renderer) enter(cost int) bool {
	r.nodes -= 1 + cost
	return r.nodes >= 0 && r.depth < maxValueDepth && len(r.b) < r.end
}

// cut takes the bytes of a part from those of the whole. They are nil if they
// are not all there.
func cut(data []byte, off, size uint32) []byte {
	if uint64(off)+uint64(size) > uint64(len(data)) {
		return nil
	}
	return data[off : off+size : off+size]
}

// member returns the bytes of a member, those of a bit field as a number of
// their own.
func (r *renderer) member(data []byte, m *TypeMember) []byte {
	size := r.types[m.Type].Size
	if m.BitSize == 0 {
		return cut(data, m.Off, size)
	}
	if m.BitSize > 64 || m.BitOff > 64 || size > 8 {
		return nil
	}
	// A field of 64 bits that begins inside of a byte is in nine of them.
	bytes := cut(data, m.Off, (m.BitOff%8+m.BitSize+7)/8+m.BitOff/8)
	if bytes == nil {
		return nil
	}
	var wide [16]byte
	copy(wide[:], bytes[m.BitOff/8:])
	n := binary.LittleEndian.Uint64(wide[:])>>(m.BitOff%8) | uint64(wide[8])<<(64-m.BitOff%8)
	shift := 64 - m.BitSize
	if k := r.types[m.Type].Kind; k == KindInt || k == KindEnum {
		n = uint64(int64(n<<shift) >> shift)
	} else {
		n = n << shift >> shift
	}
	return binary.LittleEndian.AppendUint64(nil, n)[:size]
}

// elements returns the type of an array's elements, and how many there are.
func (r *renderer) elements(t *ValueType, data []byte) (elem *ValueType, n int) {
	elem = &r.types[t.Elem]
	if elem.Size == 0 {
		return elem, 0
	}
	n = len(data) / int(elem.Size)
	if t.Count > 0 {
		n = min(n, int(t.Count))
	}
	return elem, n
}

// isText reports that an array is one of characters.
func (r *renderer) isText(t *ValueType) bool {
	return t.Kind == KindArray && r.types[t.Elem].Kind == KindChar && r.types[t.Elem].Size == 1
}

// untilZero is what is in front of a byte of 0.
func untilZero(b []byte) []byte {
	if i := slices.Index(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

// number reads up to 8 bytes, without and with a sign.
func number(b []byte) (u uint64, i int64) {
	for k := len(b) - 1; k >= 0; k-- {
		u = u<<8 | uint64(b[k])
	}
	shift := 64 - 8*len(b)
	return u, int64(u<<shift) >> shift
}

// wide reads more than that.
func wide(b []byte, signed bool) *big.Int {
	be := slices.Clone(b)
	slices.Reverse(be)
	n := new(big.Int).SetBytes(be)
	if signed && len(b) > 0 && b[len(b)-1]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return n
}

// isScalar reports that the type is a number which can be shown.
func (t *ValueType) isScalar() bool {
	switch t.Kind {
	case KindInt, KindUint, KindHex:
		return t.Size >= 1 && t.Size <= 16
	case KindBool, KindChar, KindPointer, KindEnum:
		return t.Size >= 1 && t.Size <= 8
	case KindExtended:
		return t.Size == 16
	case KindFloat:
		return t.Size == 2 || t.Size == 4 || t.Size == 8 || t.Size == 16
	}
	return false
}

// isFloat reports that the type is a floating-point number.
func (t *ValueType) isFloat() bool { return t.Kind == KindFloat || t.Kind == KindExtended }

// float reads a number of a floating-point type; what is longer than 8 bytes is rounded.
func (t *ValueType) float(b []byte) float64 {
	if t.Kind == KindExtended {
		return extended(b)
	}
	return float(b)
}

// extended reads a number of the x87's extended precision, whose 64 bits of fraction
// have the integer bit among them (Intel 64 and IA-32 Architectures Software
// Developer's Manual, volume 1, section 4.2.2).
func extended(b []byte) float64 {
	frac, top := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint16(b[8:])
	exp := int(top & 0x7fff)
	whole := frac>>63 != 0
	var v float64
	switch {
	case exp != 0 && !whole, exp == 0x7fff && frac<<1 != 0:
		return math.NaN() // also what no x87 writes
	case exp == 0x7fff:
		v = math.Inf(1)
	default:
		f := new(big.Float).SetUint64(frac)
		f.SetMantExp(f, max(exp, 1)-16383-63)
		v, _ = f.Float64()
	}
	if top>>15 != 0 {
		v = -v
	}
	return v
}

// float reads a floating-point number; one of 16 bytes is rounded.
func float(b []byte) float64 {
	switch len(b) {
	case 2:
		return small(uint64(binary.LittleEndian.Uint16(b)), 5, 10)
	case 4:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case 8:
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	lo, hi := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	exp, frac := int(hi>>48&0x7fff), new(big.Int).SetUint64(hi&(1<<48-1))
	frac.Lsh(frac, 64).Or(frac, new(big.Int).SetUint64(lo))
	sign := 1.0
	if hi>>63 != 0 {
		sign = -1
	}
	switch {
	case exp == 0x7fff && frac.Sign() != 0:
		return math.NaN()
	case exp == 0x7fff:
		return math.Inf(int(sign))
	case exp == 0:
		exp = 1
	default:
		frac.SetBit(frac, 112, 1)
	}
	f := new(big.Float).SetInt(frac)
	f.SetMantExp(f, exp-16383-112)
	v, _ := f.Float64()
	return math.Copysign(v, sign)
}

// small is a floating-point number of so many bits of exponent and fraction.
func small(u uint64, expBits, fracBits int) float64 {
	exp, frac := int(u>>fracBits)&(1<<expBits-1), float64(u&(1<<fracBits-1))
	v, bias := 0.0, 1<<(expBits-1)-1
	switch {
	case exp == 1<<expBits-1 && frac != 0:
		return math.NaN()
	case exp == 1<<expBits-1:
		v = math.Inf(1)
	case exp == 0:
		v = math.Ldexp(frac, 1-bias-fracBits)
	default:
		v = math.Ldexp(frac+math.Ldexp(1, fracBits), exp-bias-fracBits)
	}
	if u>>(expBits+fracBits)&1 != 0 {
		return -v
	}
	return v
}

// appendEnum appends the name of an enumeration's value, or those of its flags.
func appendEnum(dst []byte, t *ValueType, u uint64, i int64) ([]byte, bool) {
	single, all := uint64(0), true
	for k := range t.Enums {
		v := t.Enums[k].Value
		if v == i || uint64(v) == u {
			return append(dst, t.Enums[k].Name...), true
		}
		if bits.OnesCount64(uint64(v)) == 1 {
			single |= uint64(v)
		}
	}
	for k := range t.Enums {
		all = all && uint64(t.Enums[k].Value)&^single == 0
	}
	// 0, 1 and 2 are not taken for flags.
	if !all || single < 4 || bits.OnesCount64(single) < 2 || u&single == 0 {
		return dst, false
	}
	sep := false
	for k := range t.Enums {
		if v := uint64(t.Enums[k].Value); v != 0 && u&v == v && bits.OnesCount64(v) == 1 {
			if sep {
				dst = append(dst, '|')
			}
			dst = append(dst, t.Enums[k].Name...)
			u, sep = u&^v, true
		}
	}
	if u != 0 {
		dst = appendHex(append(dst, '|'), u)
	}
	return dst, true
}
