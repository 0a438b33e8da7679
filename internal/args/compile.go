package args

import (
	"fmt"
	"math"

	"nopal/internal/image"
	"nopal/internal/probe"
	"nopal/trace"
)

// compiler turns a condition into what a probe evaluates, for one function.
type compiler struct {
	machine trace.Machine
	text    string
	sig     *image.Signature // nil: not known
	sigErr  error
	entry   bool // arguments are used
	exit    bool // results are
}

func (c *compiler) fail(pos int, format string, args ...any) error {
	return &SyntaxError{What: "condition", Text: c.text, Offset: pos, Problem: fmt.Sprintf(format, args...)}
}

// UsesResult reports whether the condition can only be decided when the function returns.
func (c *Condition) UsesResult() bool { return usesResult(c.root) }

func usesResult(n node) bool {
	switch n := n.(type) {
	case *andNode:
		return usesResult(n.a) || usesResult(n.b)
	case *orNode:
		return usesResult(n.a) || usesResult(n.b)
	case *notNode:
		return usesResult(n.a)
	case *compareNode:
		return usesResult(n.x) || usesResult(n.y)
	case *operandNode:
		return n.from == fromRet || n.from == fromFPRet
	}
	return false
}

// Missing returns the first argument that the condition asks for by its number and that a function with this signature does not have;
// "" if there is none. A function may be called with more than its signature says, so this is no mistake everywhere.
func (c *Condition) Missing(m trace.Machine, sig *image.Signature) string {
	return missing(c.root, m, sig)
}

func missing(n node, m trace.Machine, sig *image.Signature) string {
	either := func(a, b node) string {
		if name := missing(a, m, sig); name != "" {
			return name
		}
		return missing(b, m, sig)
	}
	switch n := n.(type) {
	case *andNode:
		return either(n.a, n.b)
	case *orNode:
		return either(n.a, n.b)
	case *notNode:
		return missing(n.a, m, sig)
	case *compareNode:
		return either(n.x, n.y)
	case *operandNode:
		if (n.from == fromArg || n.from == fromFPArg) && n.place == "" && !n.passed(m, sig) {
			return n.name
		}
	}
	return ""
}

// passed reports whether a function may have an argument where a spec says.
func (s *spec) passed(m trace.Machine, sig *image.Signature) bool {
	want, err := s.operand(m)
	if err != nil || sig.Variadic {
		return true
	}
	for i := range sig.Params {
		place := &sig.Params[i].Place
		if place.Unknown != "" || place.Address != nil && operandOf(*place.Address) == want {
			return true
		}
		for _, p := range place.Pieces {
			if operandOf(p) == want {
				return true
			}
		}
	}
	return false
}

// Compile gives what is to hold at the function's entry and at its exit; either may be nil. sig says what DWARF knows of the function,
// nil with err as the reason if that is nothing.
//
// Arguments are gone when the function returns. So what is said about them and what is said about results can only be joined by &&.
func (c *Condition) Compile(m trace.Machine, sig *image.Signature, err error) (entry, exit probe.Cond, e error) {
	for _, n := range conjuncts(nil, c.root) {
		k := compiler{machine: m, text: c.text, sig: sig, sigErr: err}
		cond, err := k.truth(n)
		switch {
		case err != nil:
			return nil, nil, err
		case k.entry && k.exit:
			return nil, nil, k.fail(n.at(), "arguments are gone when results come: join conditions on both by &&")
		case k.exit:
			exit = both(exit, cond)
		default:
			entry = both(entry, cond)
		}
	}
	return entry, exit, nil
}

// conjuncts are the conditions that && joins at the top.
func conjuncts(list []node, n node) []node {
	if and, ok := n.(*andNode); ok {
		return conjuncts(conjuncts(list, and.a), and.b)
	}
	return append(list, n)
}

// both joins two conditions, of which the first may be nil.
func both(a, b probe.Cond) probe.Cond {
	if a == nil {
		return b
	}
	return probe.And{A: a, B: b}
}

func (c *compiler) truth(n node) (probe.Cond, error) {
	pair := func(a, b node, join func(a, b probe.Cond) probe.Cond) (probe.Cond, error) {
		x, err := c.truth(a)
		if err != nil {
			return nil, err
		}
		y, err := c.truth(b)
		return join(x, y), err
	}
	switch n := n.(type) {
	case *andNode:
		return pair(n.a, n.b, func(a, b probe.Cond) probe.Cond { return probe.And{A: a, B: b} })
	case *orNode:
		return pair(n.a, n.b, func(a, b probe.Cond) probe.Cond { return probe.Or{A: a, B: b} })
	case *notNode:
		x, err := c.truth(n.a)
		return probe.Not{X: x}, err
	case *compareNode:
		return c.compare(n)
	}
	return nil, c.fail(n.at(), "this is no condition")
}

// compare compares a value with a number or the name of an enumeration's value.
func (c *compiler) compare(n *compareNode) (probe.Cond, error) {
	x := n.x.(*operandNode)
	y, op := n.y, n.op
	number, ok := y.(*numberNode)
	if !ok {
		other := y.(*operandNode)
		if number = c.enumerator(x, other); number == nil {
			if number = c.enumerator(other, x); number == nil {
				return nil, c.fail(n.pos, "one of the two has to be a number")
			}
			x, op = other, turned(op)
		}
	}
	v, err := c.value(x)
	if err != nil {
		return nil, err
	}
	return c.compareNumber(x, v, op, number)
}

// enumerator is the value of an enumeration's name: in `mode == RED`, name is RED and of is mode.
func (c *compiler) enumerator(of, name *operandNode) *numberNode {
	if name.from != fromName || name.masked || name.format.kind != 0 || name.param(c.machine, c.sig) != nil {
		return nil
	}
	p := of.param(c.machine, c.sig)
	if p == nil || p.Type == nil {
		return nil
	}
	for _, e := range p.Type.Enums {
		if e.Name == name.name {
			return &numberNode{pos: name.offset, integer: true, bits: uint64(e.Value), below: e.Value < 0, float: float64(e.Value)}
		}
	}
	return nil
}

// value is an operand with its type.
type value struct {
	probe.Value
	known bool // the type was given or is DWARF's
}

// value finds where a value is and how wide: as the user says, as DWARF says, or 64 bits.
func (c *compiler) value(x *operandNode) (value, error) {
	if x.from == fromRet || x.from == fromFPRet {
		c.exit = true
	} else {
		c.entry = true
	}
	var v value
	param := x.param(c.machine, c.sig)
	if param == nil {
		if x.from == fromName {
			return v, c.fail(x.offset, "%v", noParam(x.name, c.sig, c.sigErr))
		}
		op, err := x.operand(c.machine)
		if err != nil {
			return v, c.fail(x.offset, "%v", err)
		}
		v.Base = op
	} else {
		place := param.Place
		if len(place.Pieces) != 1 || place.Pieces[0].At != 0 || place.Unknown != "" {
			return v, c.fail(x.offset, "%s is not a single number", x.name)
		}
		v.Base = operandOf(place.Pieces[0])
	}
	v.Width, v.Signed = 8, true
	switch f := x.format; {
	case f.kind != 0:
		v.known = true
		v.Width, v.Signed, v.Float = f.bits/8, f.kind == 'i', f.kind == 'f'
		switch f.kind {
		case 'c':
			v.Width = 1
		case 'p':
			v.Width = 8
		}
	case param != nil:
		if err := c.typed(&v, x, param.Type); err != nil {
			return v, err
		}
	case v.Base.Kind == probe.RegV:
		v.known, v.Signed, v.Float = true, false, true
	}
	if x.masked {
		if v.Float {
			return v, c.fail(x.offset, "& is for integers, and %s is floating point", x.name)
		}
		v.Mask, v.Signed, v.known = x.mask, false, true
		if v.Mask == 0 {
			return v, c.fail(x.offset, "nothing is left of %s & 0", x.name)
		}
	}
	return v, nil
}

// typed gives a value the width and sign of a type of DWARF's.
func (c *compiler) typed(v *value, x *operandNode, t *image.Type) error {
	v.known, v.Signed = true, false
	v.Width = int(t.Size)
	switch t.Kind {
	case image.Int:
		v.Signed = true
	case image.Enum:
		v.Signed = t.Signed
	case image.Float:
		v.Float = true
	case image.Uint, image.Bool, image.Char, image.Pointer:
	default:
		return c.fail(x.offset, "%s is not a single number", x.name)
	}
	if v.Width != 1 && v.Width != 2 && v.Width != 4 && v.Width != 8 || v.Float && v.Width < 4 {
		return c.fail(x.offset, "%s has %d bytes: numbers of 1, 2, 4 and 8 can be compared", x.name, v.Width)
	}
	return nil
}

var comparisons = map[string]probe.Op{
	"==": probe.Equal, "!=": probe.NotEqual, "<": probe.Less, "<=": probe.LessEqual, ">": probe.Greater, ">=": probe.GreaterEqual,
}

func (c *compiler) compareNumber(x *operandNode, v value, op string, y *numberNode) (probe.Cond, error) {
	compare := probe.Compare{X: v.Value, Op: comparisons[op], Y: probe.Constant{Int: int64(y.bits), Float: y.float}}
	if v.Float {
		return compare, nil
	}
	if !y.integer {
		return nil, c.fail(y.pos, "%s is an integer", x.name)
	}
	equality := op == "==" || op == "!="
	// -1 and 0xffffffff are two ways to write the same 32 bits.
	bits := uint(v.Width) * 8
	low, high := int64(math.MinInt64)>>(64-bits), uint64(math.MaxUint64)>>(64-bits)
	signedHigh := high >> 1
	fits := y.below && int64(y.bits) >= low || !y.below && y.bits <= high
	switch {
	case !fits:
		return nil, c.fail(y.pos, "%s has %d bits: the number does not fit", x.name, bits)
	case v.Signed && !y.below && y.bits > signedHigh && !equality:
		return nil, c.fail(y.pos, "%s is signed and has %d bits: the number does not fit", x.name, bits)
	case !v.Signed && y.below && !equality:
		return nil, c.fail(y.pos, "%s is unsigned, never negative", x.name)
	}
	if v.Signed {
		compare.Y.Int = int64(y.bits) << (64 - bits) >> (64 - bits)
	} else {
		compare.Y.Int = int64(y.bits & high)
	}
	if !v.known {
		return untyped(compare), nil
	}
	return compare, nil
}

// untyped is a comparison of 64 bits of which it is not known whether they are an int: then the upper half is undefined, and is
// zero as compilers make a -1. So a value is taken for the int that it would be where only that is negative.
func untyped(c probe.Compare) probe.Cond {
	below := func(c probe.Compare) probe.Cond {
		if c.Y.Int < math.MinInt32 {
			return c
		}
		half, int32s := c, c
		half.X.Signed, half.X.Mask = false, math.MaxUint32<<32
		half.Op, half.Y = probe.Equal, probe.Constant{}
		int32s.X.Width = 4
		return probe.Or{A: c, B: probe.And{A: half, B: int32s}}
	}
	inverse := c
	n := c.Y.Int
	switch c.Op {
	case probe.Equal, probe.Less, probe.LessEqual:
		if n < 0 || n == 0 && c.Op == probe.Less {
			return below(c)
		}
		return c
	case probe.NotEqual:
		inverse.Op = probe.Equal
	case probe.GreaterEqual:
		inverse.Op = probe.Less
	case probe.Greater:
		inverse.Op = probe.LessEqual
	}
	if n < 0 || n == 0 && inverse.Op == probe.Less {
		return probe.Not{X: below(inverse)}
	}
	return c
}
