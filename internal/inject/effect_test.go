package inject

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"nopal/internal/image"
)

func inX(n, size int) image.Place {
	return image.Place{Pieces: []image.Piece{{Kind: image.InX, N: n, Size: size}}}
}

func inV(n, size int) image.Place {
	return image.Place{Pieces: []image.Piece{{Kind: image.InV, N: n, Size: size}}}
}

var (
	tInt    = &image.Type{Kind: image.Int, Size: 4, Name: "int"}
	tULong  = &image.Type{Kind: image.Uint, Size: 8, Name: "unsigned long"}
	tBool   = &image.Type{Kind: image.Bool, Size: 1, Name: "bool"}
	tFloat  = &image.Type{Kind: image.Float, Size: 4, Name: "float"}
	tDouble = &image.Type{Kind: image.Float, Size: 8, Name: "double"}
	tPair   = &image.Type{Kind: image.Struct, Size: 16, Tag: "pair"}
	tLarge  = &image.Type{Kind: image.Struct, Size: 37, Tag: "large"}

	pairPlace = image.Place{Pieces: []image.Piece{{Kind: image.InX, N: 0, Size: 8}, {Kind: image.InX, N: 1, At: 8, Size: 8}}}
)

func returning(t *image.Type, place image.Place) *image.Signature {
	return &image.Signature{Result: &image.Param{Type: t, Place: place}}
}

// f(int a, double d, pair p, ..., int on the stack)
var taking = &image.Signature{Params: []image.Param{
	{Name: "a", Type: tInt, Place: inX(0, 4)},
	{Name: "d", Type: tDouble, Place: inV(0, 8)},
	{Name: "p", Type: tPair, Place: image.Place{Pieces: []image.Piece{{Kind: image.InX, N: 1, Size: 8}, {Kind: image.InX, N: 2, At: 8, Size: 8}}}},
	{Name: "s", Type: tInt, Place: image.Place{Pieces: []image.Piece{{Kind: image.InStack, Offset: 8, Size: 4}}}},
	{Name: "odd", Type: tPair, Place: image.Place{Unknown: "nobody knows"}},
}}

func TestResolve(t *testing.T) {
	memory := image.Place{Address: &image.Piece{Kind: image.InX, N: 8, Size: 8}}
	show := func(e *Effect) string {
		var b strings.Builder
		for _, m := range e.moves {
			switch m.to {
			case toX:
				fmt.Fprintf(&b, "x%d=%#x ", m.n, m.bits)
			case toV:
				fmt.Fprintf(&b, "v%d=%#x ", m.n, m.bits)
			case toStack:
				fmt.Fprintf(&b, "sp+%d/%d=%#x ", m.offset, m.size, m.bits)
			}
		}
		if e.zero > 0 {
			fmt.Fprintf(&b, "zero %d ", e.zero)
		}
		if e.returns {
			b.WriteString("return")
		}
		return strings.TrimSpace(b.String())
	}
	for _, c := range []struct {
		rule string
		sig  *image.Signature
		want string // what it does, or behind "!" what the error says
	}{
		{"f: return -1", nil, "x0=0xffffffffffffffff return"},
		{"f: return 1.5", nil, fmt.Sprintf("v0=%#x return", math.Float64bits(1.5))},
		{"f: return", nil, "return"},
		{"f: return zero", nil, "!not known"},
		{"abort: return", nil, "!never returns"},
		{"f: return -1", returning(tInt, inX(0, 4)), "x0=0xffffffffffffffff return"},
		{"f: return 0xffffffff", returning(tInt, inX(0, 4)), "x0=0xffffffffffffffff return"},
		{"f: return -1", returning(tULong, inX(0, 8)), "x0=0xffffffffffffffff return"},
		{"f: return 5000000000", returning(tInt, inX(0, 4)), "!does not fit int"},
		{"f: return 2", returning(tBool, inX(0, 1)), "!does not fit bool"},
		{"f: return true", returning(tBool, inX(0, 1)), "x0=0x1 return"},
		{"f: return 1.5", returning(tInt, inX(0, 4)), "!no floating-point"},
		{"f: return 2", returning(tFloat, inV(0, 4)), fmt.Sprintf("v0=%#x return", math.Float32bits(2))},
		{"f: return -0.5", returning(tDouble, inV(0, 8)), fmt.Sprintf("v0=%#x return", math.Float64bits(-0.5))},
		{"f: return zero", returning(tPair, pairPlace), "x0=0x0 x1=0x0 return"},
		{"f: return 1", returning(tPair, pairPlace), "!only zero"},
		{"f: return 1", returning(tLarge, memory), "!in memory: only `return zero`"},
		{"f: return zero", returning(tLarge, memory), "zero 37 return"},
		{"f: return", returning(tInt, inX(0, 4)), "!say what"},
		{"f: return", &image.Signature{}, "return"},
		{"f: return 1", &image.Signature{}, "!returns nothing"},
		{"f: return 1", &image.Signature{NoReturn: true}, "!never returns"},
		{"f: delay 1s", &image.Signature{NoReturn: true}, ""},
		{"f: return zero", returning(tPair, image.Place{Unknown: "of Rust"}), "!of Rust"},

		{"f: set arg2=7", nil, "x1=0x7"},
		{"f: set arg10=-2", nil, "sp+8/8=0xfffffffffffffffe"},
		{"f: set fparg3=2", nil, fmt.Sprintf("v2=%#x", math.Float64bits(2))},
		{"f: set fparg9=2", nil, "!on the stack"},
		{"f: set arg1=2.5", nil, "!no floating-point argument"},
		{"f: set a=2", nil, "!call it arg1"},
		{"f: set a=-2", taking, "x0=0xfffffffffffffffe"},
		{"f: set arg1=-2", taking, "x0=0xfffffffffffffffe"},
		{"f: set d=1", taking, fmt.Sprintf("v0=%#x", math.Float64bits(1))},
		{"f: set fparg1=1", taking, fmt.Sprintf("v0=%#x", math.Float64bits(1))},
		{"f: set s=3", taking, "sp+8/4=0x3"},
		{"f: set arg10=3", taking, "sp+8/4=0x3"},
		{"f: set p=zero", taking, "x1=0x0 x2=0x0"},
		{"f: set p=1", taking, "!only zero"},
		{"f: set arg4=1", taking, "!no such argument"},
		{"f: set fparg2=1", taking, "!no such argument"},
		{"f: set q=1", taking, "!no such argument, the function takes (a, d, p, s, odd)"},
		{"f: set odd=zero", taking, "!nobody knows"},
		{"f: return 1 if nothing == 3", nil, "!nothing"},
		{"f: delay 1s if arg2 == 3", returning(tInt, inX(0, 4)), "!asks for arg2"},
	} {
		r, err := ParseRule(c.rule)
		if err != nil {
			t.Error(err)
			continue
		}
		name, _, _ := strings.Cut(c.rule, ":")
		e, err := r.Resolve(0, name, c.sig, image.ErrNoDWARF)
		if says, refused := strings.CutPrefix(c.want, "!"); refused {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v", c.rule, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.rule, err)
			continue
		}
		if got := show(e); got != c.want {
			t.Errorf("%s: %s, want %s", c.rule, got, c.want)
		}
	}
}
