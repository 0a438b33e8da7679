package image

import (
	"debug/dwarf"
	"math"
	"strings"
)

// Bounds of the types of one signature. What is beyond is Opaque.
const (
	maxTypes      = 2048
	maxTypeDepth  = 24
	maxMembers    = 512
	maxEnumerator = 4096
	// maxPointers is through how many pointers types are followed: what a
	// parameter points to, but not what its members point to.
	maxPointers = 1
)

// Encodings of base types, DW_ATE_.
const (
	ateAddress      = 0x01
	ateBoolean      = 0x02
	ateComplexFloat = 0x03
	ateFloat        = 0x04
	ateSigned       = 0x05
	ateSignedChar   = 0x06
	ateUnsigned     = 0x07
	ateUnsignedChar = 0x08
	ateUTF          = 0x10
)

const (
	attrGNUVector = dwarf.Attr(0x2107)
)

// DW_CC_ of a class (DWARF 5, section 5.7.1).
const (
	ccPassByReference = 4
	ccPassByValue     = 5
)

// typeReader reads the types of one signature.
type typeReader struct {
	d     *dwarfData
	cxx   bool
	x87   bool // long double is that of the x87
	types int  // read for this signature
}

// typeKey is a type that was read. Other functions may have it, too.
type typeKey struct {
	at       dwarf.Offset
	pointers int
	cxx      bool
}

// maxKnown is how many types are kept for other functions: some dozens of MiB.
const maxKnown = 1 << 17

// forget makes room before a signature is read.
func (d *dwarfData) forget() {
	if len(d.known) > maxKnown || d.known == nil {
		d.known = make(map[typeKey]*Type)
	}
}

// of reads the type of an entry: void where it has none.
func (r *typeReader) of(e *dwarf.Entry, pointers, depth int) *Type {
	at, has, err := r.d.target(e, dwarf.AttrType)
	if err != nil {
		return &Type{Kind: Opaque, unsure: err.Error()}
	}
	if !has {
		return &Type{Kind: Void}
	}
	return r.at(at, pointers, depth)
}

// at reads the type of an entry, through at most so many pointers.
func (r *typeReader) at(at dwarf.Offset, pointers, depth int) *Type {
	key := typeKey{at, pointers, r.cxx}
	if t := r.d.known[key]; t != nil {
		return t
	}
	if r.types++; r.types > maxTypes || depth > maxTypeDepth {
		return &Type{Kind: Opaque, unsure: "its type is too large"}
	}
	e, err := r.d.entry(at)
	if err != nil {
		return &Type{Kind: Opaque, unsure: err.Error()}
	}
	// A type that contains itself, which only a malformed file has, ends here.
	r.d.known[key] = &Type{Kind: Opaque, unsure: "its type contains itself"}
	t := r.read(e, pointers, depth+1)
	r.d.known[key] = t
	return t
}

func (r *typeReader) read(e *dwarf.Entry, pointers, depth int) *Type {
	name, _ := e.Val(dwarf.AttrName).(string)
	size, _ := number(e, dwarf.AttrByteSize)
	t := &Type{Name: name, Tag: name, Size: size, align: size, natural: size}
	switch e.Tag {
	case dwarf.TagBaseType:
		r.base(t, e)
	case dwarf.TagUnspecifiedType: // std::nullptr_t
		t.Kind, t.Size, t.Elem = Pointer, 8, &Type{Kind: Void}
		t.align, t.natural = 8, 8
	case dwarf.TagPointerType, dwarf.TagReferenceType, dwarf.TagRvalueReferenceType:
		r.pointer(t, e, pointers, depth)
	case dwarf.TagPtrToMemberType:
		// Itanium C++ ABI, 2.3: an offset, or two words for a function.
		t.Kind, t.Size, t.natural, t.align = Opaque, 8, 8, 8
		if to := r.of(e, 0, depth); to.Kind == Opaque && to.Tag == subroutine {
			t.Kind, t.Tag, t.Size = Struct, memberFunction, 16
		}
	case dwarf.TagTypedef, dwarf.TagConstType, dwarf.TagVolatileType, dwarf.TagRestrictType, dwarf.TagAtomicType, dwarf.TagImmutableType,
		dwarf.TagTemplateAlias, dwarf.TagPackedType:
		under := *r.of(e, pointers, depth)
		if name != "" {
			under.Name = name
		}
		if e.Tag == dwarf.TagAtomicType && under.unsure == "" && under.Kind >= Struct {
			under.unsure = "it is _Atomic"
		}
		t = &under
	case dwarf.TagEnumerationType:
		r.enum(t, e, depth)
	case dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType:
		r.composite(t, e, pointers, depth)
	case dwarf.TagArrayType:
		r.array(t, e, pointers, depth)
	case dwarf.TagSubroutineType:
		t.Kind, t.Tag = Opaque, subroutine
	default:
		t.Kind, t.unsure = Opaque, "its type has the tag "+e.Tag.String()
	}
	if a, ok := number(e, dwarf.AttrAlignment); ok && a <= 1<<16 {
		t.align = a
	}
	return t
}

const (
	// subroutine is the tag of what a pointer to a function points at.
	subroutine = "function"
	// memberFunction is the tag of a pointer to a function of a class: a structure of
	// two words.
	memberFunction = "member function"
)

func (r *typeReader) base(t *Type, e *dwarf.Entry) {
	encoding, _ := e.Val(dwarf.AttrEncoding).(int64)
	switch encoding {
	case ateBoolean:
		t.Kind = Bool
	case ateFloat:
		t.Kind = Float
		// There is no other way to tell it from __float128 and _Float128.
		t.Extended = r.x87 && t.Size == 16 && !strings.Contains(t.Tag, "128")
	case ateComplexFloat:
		t.Kind, t.natural = Complex, t.Size/2
		t.Extended = r.x87 && t.Size == 32 && !strings.Contains(t.Tag, "128")
		t.align = t.natural
	case ateSigned:
		t.Kind = Int
	case ateSignedChar, ateUnsignedChar:
		// char has one of these, and so have signed char and unsigned char, of
		// which numbers are made: int8_t.
		switch {
		case t.Tag == "char":
			t.Kind = Char
		case encoding == ateSignedChar:
			t.Kind = Int
		default:
			t.Kind = Uint
		}
	case ateUnsigned, ateAddress, ateUTF:
		t.Kind = Uint
	default:
		t.Kind, t.unsure = Opaque, "its base type has an unknown encoding"
	}
	switch t.Size {
	case 1, 2, 4, 8, 16:
	case 32:
		if t.Kind == Complex {
			return
		}
		fallthrough
	default:
		if t.Size != 0 {
			t.unsure = "its base type has an unusual size"
		}
		t.Kind = Opaque
	}
}

func (r *typeReader) pointer(t *Type, e *dwarf.Entry, pointers, depth int) {
	t.Kind, t.Size, t.align, t.natural = Pointer, 8, 8, 8
	t.Reference = e.Tag != dwarf.TagPointerType
	if pointers <= 0 {
		t.Elem = &Type{Kind: Opaque, Incomplete: true}
		return
	}
	t.Elem = r.of(e, pointers-1, depth)
}

func (r *typeReader) enum(t *Type, e *dwarf.Entry, depth int) {
	t.Kind = Enum
	if e.Val(dwarf.AttrType) != nil {
		under := r.of(e, 0, depth)
		t.Signed = under.Kind == Int
		if t.Size == 0 {
			t.Size = under.Size
		}
	}
	t.align, t.natural = t.Size, t.Size
	list, err := r.d.children(e)
	if err != nil || len(list) > maxEnumerator {
		return // a number is shown
	}
	for _, c := range list {
		value, ok := number(c, dwarf.AttrConstValue)
		if name, named := c.Val(dwarf.AttrName).(string); ok && named && c.Tag == dwarf.TagEnumerator {
			t.Enums = append(t.Enums, Enumerator{name, int64(value)})
			t.Signed = t.Signed || int64(value) < 0 && t.Size < 8
		}
	}
}

func (r *typeReader) array(t *Type, e *dwarf.Entry, pointers, depth int) {
	elem := r.of(e, pointers, depth)
	t.Kind, t.Elem, t.unsure = Array, elem, elem.unsure
	t.align, t.natural = elem.align, elem.natural
	t.Count = 1
	list, err := r.d.children(e)
	if err != nil {
		t.unsure = err.Error()
		return
	}
	dimensions := 0
	for _, c := range list {
		if c.Tag != dwarf.TagSubrangeType {
			continue
		}
		dimensions++
		count, ok := number(c, dwarf.AttrCount)
		if !ok {
			upper, has := number(c, dwarf.AttrUpperBound)
			count, ok = upper+1, has
		}
		if !ok {
			count = 0 // a flexible array member, or one of variable length
		}
		if count > math.MaxUint32 || t.Count*count > math.MaxUint32 {
			t.Kind, t.unsure = Opaque, "its array is too large"
			return
		}
		t.Count *= count
	}
	if dimensions == 0 {
		t.Count = 0
	}
	if stride, ok := number(e, dwarf.AttrStrideSize); ok && stride != elem.Size*8 {
		t.Kind, t.unsure = Opaque, "its array has a stride"
	}
	if t.Size == 0 {
		t.Size = t.Count * elem.Size
	}
	if isVector, _ := e.Val(attrGNUVector).(bool); isVector {
		t.Kind, t.align, t.natural = Vector, t.Size, t.Size
		if t.Size != 8 && t.Size != 16 {
			t.unsure = "its vector is no short vector" // Perhaps one of SVE.
		}
	}
}

func (r *typeReader) composite(t *Type, e *dwarf.Entry, pointers, depth int) {
	t.Kind, t.class = Struct, r.cxx
	if e.Tag == dwarf.TagUnionType {
		t.Kind = Union
	}
	t.align, t.natural = 1, 1
	if declared, _ := e.Val(dwarf.AttrDeclaration).(bool); declared {
		// With a signature this stands for a type in a unit of its own.
		if to, has, err := r.d.target(e, dwarf.AttrSignature); has && err == nil && to != e.Offset {
			*t = *r.at(to, pointers, depth)
			return
		}
		t.Incomplete, t.unsure = true, "its class is only declared"
		if isLibString(t.Tag) {
			// libstdc++ promises that it is compiled elsewhere, so clang does
			// not describe it.
			t.indirect, t.unsure, t.Size = true, "", 32
		}
		return
	}
	list, err := r.d.children(e)
	if err != nil || len(list) > 1<<14 {
		t.Kind, t.unsure = Opaque, "its type is too large"
		return
	}
	special := false // has members by which it is not trivially copyable
	packed := false
	for _, c := range list {
		switch c.Tag {
		case dwarf.TagMember, dwarf.TagInheritance:
			m, ok := r.member(c, pointers, depth)
			if !ok {
				continue
			}
			if virtual, _ := number(c, dwarf.AttrVirtuality); virtual != 0 {
				special = true
			}
			special = special || m.Type.indirect
			if m.Type.unsure != "" && t.unsure == "" {
				t.unsure = m.Type.unsure
			}
			align := m.Type.align
			if a, ok := number(c, dwarf.AttrAlignment); ok && a <= 1<<16 {
				align = a
			}
			if align > 1 && m.BitSize == 0 && m.Offset%align != 0 {
				packed = true
			}
			t.natural = max(t.natural, align)
			if len(t.Members) < maxMembers {
				t.Members = append(t.Members, m)
			} else {
				t.unsure = "its type is too large"
			}
		case dwarf.TagSubprogram:
			special = special || isSpecial(c, t.Tag)
		case dwarf.TagVariantPart:
			// An enum of Rust.
			t.Kind, t.unsure = Opaque, "it is an enum with fields"
		}
	}
	if packed || t.natural > 1 && t.Size%t.natural != 0 {
		t.natural = 1
	}
	t.align = t.natural
	if r.cxx {
		how, _ := number(e, dwarf.AttrCalling)
		t.indirect = how == ccPassByReference || special && how != ccPassByValue
	}
}

// member reads a data member or a base class.
func (r *typeReader) member(e *dwarf.Entry, pointers, depth int) (Member, bool) {
	external, _ := e.Val(dwarf.AttrExternal).(bool)
	declared, _ := e.Val(dwarf.AttrDeclaration).(bool)
	if external || declared {
		return Member{}, false // static
	}
	m := Member{Type: r.of(e, pointers, depth), Base: e.Tag == dwarf.TagInheritance}
	m.Name, _ = e.Val(dwarf.AttrName).(string)
	m.Offset, _ = number(e, dwarf.AttrDataMemberLoc)
	if f := e.AttrField(dwarf.AttrDataMemberLoc); f != nil && f.Class == dwarf.ClassExprLoc {
		// DW_OP_plus_uconst; else a virtual base.
		expr, _ := f.Val.([]byte)
		const plusUconst = 0x23
		if len(expr) > 1 && expr[0] == plusUconst {
			m.Offset, _, _ = uleb(expr[1:])
		} else {
			return m, false
		}
	}
	if bits, ok := number(e, dwarf.AttrBitSize); ok {
		m.BitSize = bits
		if at, ok := number(e, dwarf.AttrDataBitOffset); ok {
			m.BitOffset = at
		} else if at, ok := number(e, dwarf.AttrBitOffset); ok {
			// DWARF 3: from the most significant bit of the storage unit.
			storage, has := number(e, dwarf.AttrByteSize)
			if !has {
				storage = m.Type.Size
			}
			m.BitOffset = m.Offset*8 + storage*8 - at - bits
		} else {
			m.BitOffset = m.Offset * 8
		}
		m.Offset = m.BitOffset / 8
	}
	return m, true
}

// isSpecial recognises, where the compiler does not say how a class is passed,
// the destructors and virtual functions by which it is not passed by value.
func isSpecial(e *dwarf.Entry, class string) bool {
	if virtual, _ := number(e, dwarf.AttrVirtuality); virtual != 0 {
		return true
	}
	name, _ := e.Val(dwarf.AttrName).(string)
	_, defaulted := number(e, dwarf.AttrDefaulted)
	return strings.HasPrefix(name, "~") && !defaulted
}

// isLibString recognises std::string of libstdc++ by its declaration.
func isLibString(name string) bool {
	return name == "basic_string<char, std::char_traits<char>, std::allocator<char> >" ||
		name == "basic_string<char, std::char_traits<char>, std::allocator<char>>"
}
