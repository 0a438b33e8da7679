package args

import (
	"math"
	"strings"
	"testing"

	"nopal/internal/image"
	"nopal/internal/probe"
	"nopal/trace"
)

// machine is what a condition is evaluated on.
type machine struct {
	x [32]uint64
	v [32]uint64
}

func (m *machine) holds(t *testing.T, c probe.Cond) bool {
	switch c := c.(type) {
	case probe.And:
		return m.holds(t, c.A) && m.holds(t, c.B)
	case probe.Or:
		return m.holds(t, c.A) || m.holds(t, c.B)
	case probe.Not:
		return !m.holds(t, c.X)
	case probe.Compare:
		return m.compare(t, c)
	}
	t.Fatalf("condition %T", c)
	return false
}

func (m *machine) compare(t *testing.T, c probe.Compare) bool {
	bits := uint64(0)
	switch c.X.Base.Kind {
	case probe.RegX:
		bits = m.x[c.X.Base.N]
	case probe.RegV:
		bits = m.v[c.X.Base.N]
	default:
		t.Fatalf("operand %+v", c.X.Base)
	}
	order := func(less, equal bool) bool {
		switch c.Op {
		case probe.Equal:
			return equal
		case probe.NotEqual:
			return !equal
		case probe.Less:
			return less
		case probe.LessEqual:
			return less || equal
		case probe.Greater:
			return !less && !equal
		}
		return !less
	}
	if c.X.Float {
		x, y := math.Float64frombits(bits), c.Y.Float
		if c.X.Width == 4 {
			x, y = float64(math.Float32frombits(uint32(bits))), float64(float32(y))
		}
		return order(x < y, x == y)
	}
	shift := 64 - 8*c.X.Width
	if c.X.Mask != 0 {
		bits &= c.X.Mask
	}
	if c.X.Signed {
		x := int64(bits) << shift >> shift
		return order(x < c.Y.Int, x == c.Y.Int)
	}
	x := bits << shift >> shift
	return order(x < uint64(c.Y.Int), x == uint64(c.Y.Int))
}

var number = &image.Type{Kind: image.Int, Size: 4, Name: "int"}

// signature is `int f(int fd, const char *buf, size_t count, float scale, enum mode mode, unsigned char tag, struct pair p)`.
var signature = &image.Signature{
	Name: "f",
	Params: []image.Param{
		{Name: "fd", Type: number, Place: inX(0, 4)},
		{Name: "buf", Type: &image.Type{Kind: image.Pointer, Size: 8}, Place: inX(1, 8)},
		{Name: "count", Type: &image.Type{Kind: image.Uint, Size: 8}, Place: inX(2, 8)},
		{Name: "scale", Type: &image.Type{Kind: image.Float, Size: 4}, Place: image.Place{Pieces: []image.Piece{{Kind: image.InV, Size: 4}}}},
		{Name: "mode", Type: &image.Type{Kind: image.Enum, Size: 4, Enums: []image.Enumerator{{Name: "RED", Value: 3}, {Name: "BLUE", Value: 4}}}, Place: inX(3, 4)},
		{Name: "tag", Type: &image.Type{Kind: image.Uint, Size: 1}, Place: inX(4, 1)},
		{Name: "p", Type: &image.Type{Kind: image.Struct, Size: 16}, Place: image.Place{Pieces: []image.Piece{{N: 5, Size: 8}, {N: 6, At: 8, Size: 8}}}},
	},
	Result: &image.Param{Type: number, Place: inX(0, 4)},
}

func inX(n, size int) image.Place {
	return image.Place{Pieces: []image.Piece{{Kind: image.InX, N: n, Size: size}}}
}

func TestConditions(t *testing.T) {
	minus1 := uint64(math.MaxUint64)
	f32 := uint64(math.Float32bits(1.5))
	for _, c := range []struct {
		text  string
		sig   *image.Signature
		x     []uint64
		v     []uint64
		holds bool
	}{
		{"arg1==2 && arg3>4096", nil, []uint64{2, 0, 4097}, nil, true},
		{"arg1==2 && arg3>4096", nil, []uint64{2, 0, 4096}, nil, false},
		{"arg1==2&&arg3>0x1000", nil, []uint64{3, 0, 4097}, nil, false},
		{"arg1==1 || arg1==2 && arg2==3", nil, []uint64{1, 0}, nil, true},
		{"(arg1==1 || arg1==2) && arg2==3", nil, []uint64{1, 0}, nil, false},
		{"!arg1", nil, []uint64{0}, nil, true},
		{"!(arg1 < 5)", nil, []uint64{5}, nil, true},
		{"!!arg1", nil, []uint64{7}, nil, true},
		{"arg1", nil, []uint64{7}, nil, true},
		{"arg1 & 4", nil, []uint64{3}, nil, false},
		{"arg1 & 4", nil, []uint64{12}, nil, true},
		{"arg1 & 0xff == 0x12", nil, []uint64{0x3412}, nil, true},
		{"(0xff & arg1) == 18", nil, []uint64{0x3412}, nil, true},
		{"arg1 == 'x'", nil, []uint64{'x'}, nil, true},
		{`arg1 == '\n'`, nil, []uint64{10}, nil, true},
		{`arg1 == '\''`, nil, []uint64{'\''}, nil, true},
		{`arg1 == '\0'`, nil, []uint64{0}, nil, true},
		{"arg2 == NULL", nil, []uint64{1, 0}, nil, true},
		{"4096 < arg1", nil, []uint64{4097}, nil, true},
		{"4096 >= arg1", nil, []uint64{4097}, nil, false},
		{"arg1/u8 == 0x34", nil, []uint64{0x1234}, nil, true},
		{"arg1/i8 < 0", nil, []uint64{0x80}, nil, true},
		{"arg1/u8 < 0x81", nil, []uint64{0x80}, nil, true},
		{"arg1/u64 > 5", nil, []uint64{minus1}, nil, true},
		{"arg1/i32 == 0xffffffff", nil, []uint64{0xffffffff}, nil, true},
		{"arg1/u32 == -1", nil, []uint64{0xffffffff}, nil, true},
		{"arg1/c%x2 == 'a'", nil, []uint64{0, 0, 'a'}, nil, true},
		{"arg1 == 0xffffffffffffffff", nil, []uint64{minus1}, nil, true},
		{"arg1 == -9223372036854775808", nil, []uint64{1 << 63}, nil, true},
		{"fparg1 > 1.25", nil, nil, []uint64{math.Float64bits(1.5)}, true},
		{"fparg1 > -1e-3", nil, nil, []uint64{math.Float64bits(-1)}, false},
		{"fparg1/f32 == 1.5", nil, nil, []uint64{f32}, true},
		{"fparg1 == 3", nil, nil, []uint64{math.Float64bits(3)}, true},
		{"fparg1 < .5", nil, nil, []uint64{math.Float64bits(math.NaN())}, false},
		// Of unknown width: an int's -1 is negative, whatever is above it.
		{"arg1 < 0", nil, []uint64{minus1}, nil, true},
		{"arg1 < 0", nil, []uint64{0xffffffff}, nil, true},
		{"arg1 < 0", nil, []uint64{0x7fffffff}, nil, false},
		{"arg1 < 0", nil, []uint64{0x1ffffffff}, nil, false},
		{"arg1 >= 0", nil, []uint64{0xffffffff}, nil, false},
		{"arg1 == -1", nil, []uint64{0xffffffff}, nil, true},
		{"arg1 != -1", nil, []uint64{0xffffffff}, nil, false},
		{"arg1 > -3", nil, []uint64{0xfffffffd}, nil, false},
		{"arg1 > -3", nil, []uint64{0xfffffffe}, nil, true},
		{"arg1 > 3", nil, []uint64{0xfffffffe}, nil, true},
		// With DWARF.
		{"fd == -1", signature, []uint64{0x12345678ffffffff}, nil, true},
		{"arg1 == -1", signature, []uint64{0x12345678ffffffff}, nil, true},
		{"arg1 > 5", signature, []uint64{0x1234567800000001}, nil, false},
		{"count > 4096", signature, []uint64{0, 0, 1 << 63}, nil, true},
		{"scale >= 1.5", signature, nil, []uint64{f32}, true},
		{"fparg1 < 1.5", signature, nil, []uint64{f32}, false},
		{"mode == RED", signature, []uint64{0, 0, 0, 0xff00000003}, nil, true},
		{"BLUE != mode", signature, []uint64{0, 0, 0, 4}, nil, false},
		{"BLUE < arg4", signature, []uint64{0, 0, 0, 5}, nil, true},
		{"tag/i8 == -1", signature, []uint64{0, 0, 0, 0, 255}, nil, true},
		{"buf == NULL || tag == 7", signature, []uint64{0, 1, 0, 0, 7}, nil, true},
	} {
		cond, err := ParseCondition(c.text)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		entry, exit, err := cond.Compile(trace.MachineARM64, c.sig, nil)
		if err != nil || exit != nil || cond.UsesResult() {
			t.Errorf("%s: %v, exit %v", c.text, err, exit)
			continue
		}
		m := &machine{}
		copy(m.x[:], c.x)
		copy(m.v[:], c.v)
		if got := m.holds(t, entry); got != c.holds {
			t.Errorf("%s with %#x %#x: %t", c.text, c.x, c.v, got)
		}
	}
}

func TestConditionsOnResults(t *testing.T) {
	c, err := ParseCondition("arg1 == 3 && (ret < 0 || ret == 7)")
	if err != nil {
		t.Fatal(err)
	}
	entry, exit, err := c.Compile(trace.MachineARM64, signature, nil)
	if err != nil || entry == nil || exit == nil || !c.UsesResult() {
		t.Fatalf("%v %v %v", entry, exit, err)
	}
	for x0, want := range map[uint64]bool{0xffffffff: true, 7: true, 8: false, 1 << 32: false} {
		if got := (&machine{x: [32]uint64{x0}}).holds(t, exit); got != want {
			t.Errorf("ret = %#x: %t", x0, got)
		}
	}
}

func TestMissing(t *testing.T) {
	for text, want := range map[string]string{
		"arg1==1 && arg5==2":            "",
		"arg6==1 || arg7==1":            "", // the two halves of p
		"arg1==1 && !(arg8 & 4)":        "arg8",
		"fparg1<1 || fparg2<1 || arg9":  "fparg2",
		"arg9==3":                       "arg9",
		"arg9%x3==3 && count==1":        "",
		"ret==1 && tag==2 && mode!=RED": "",
	} {
		c, err := ParseCondition(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Missing(trace.MachineARM64, signature); got != want {
			t.Errorf("%s: %q", text, got)
		}
		if got := c.Missing(trace.MachineARM64, &image.Signature{Variadic: true}); got != "" {
			t.Errorf("%s, variadic: %q", text, got)
		}
	}
}

func TestBadConditions(t *testing.T) {
	for _, c := range []struct {
		text   string
		sig    *image.Signature
		offset int
		says   string
	}{
		{"", nil, 0, "missing"},
		{"arg1 ==", nil, 7, "missing"},
		{"arg1 = 2", nil, 5, "not expected"},
		{"arg1 == 2 &&", nil, 12, "missing"},
		{"arg1 == 2 arg2", nil, 10, "not expected"},
		{"(arg1 == 2", nil, 10, "no )"},
		{"arg1 == 2)", nil, 9, "not expected"},
		{"1 == 2", nil, 2, "two numbers"},
		{"1", nil, 0, "alone"},
		{"1 < arg1 < 3", nil, 9, "chain"},
		{"(arg1 == 1) == 1", nil, 12, "condition"},
		{"arg1 == arg2", nil, 5, "has to be a number"},
		{`arg1 == "text"`, nil, 8, "strings"},
		{"arg1/s == 0", nil, 0, "strings"},
		{"arg1 == 'ab'", nil, 8, "no character"},
		{"arg1 == 'a", nil, 8, "no character"},
		{"arg1 == 12z", nil, 8, "no number"},
		{"arg1 == 99999999999999999999", nil, 8, "64 bits"},
		{"arg1 == 1.5", nil, 8, "integer"},
		{"arg1 == -arg2", nil, 8, "numbers only"},
		{"arg1 & arg2", nil, 5, "& takes"},
		{"arg1 & 0", nil, 0, "nothing is left"},
		{"arg1 & 1 & 2", nil, 9, "one mask"},
		{"arg1/q == 2", nil, 5, "no format"},
		{"arg1/u8 == 300", nil, 11, "fit"},
		{"arg1/i8 > 0x80", nil, 10, "fit"},
		{"arg1/u8 > -1", nil, 10, "never negative"},
		{"fparg9 > 1", nil, 0, "stack"},
		{"arg1%x9 > 1", nil, 0, "x9"},
		{"fparg1 & 1", nil, 0, "floating point"},
		{"fd == 1", nil, 0, "arg1"},
		{"df == 1", signature, 0, "fd, buf"},
		{"p == 1", signature, 0, "single number"},
		{"mode == GREEN", signature, 5, "number"},
		{"arg1 == 1 || ret < 0", nil, 0, "join"},
		{"arg1 ~ 3", nil, 5, "not expected"},
		{strings.Repeat("(", 100) + "arg1", nil, 32, "deep"},
		{strings.Repeat("!", 100) + "arg1", nil, 31, "deep"},
	} {
		cond, err := ParseCondition(c.text)
		if err == nil {
			_, _, err = cond.Compile(trace.MachineARM64, c.sig, image.ErrNoDWARF)
		}
		checkSyntax(t, c.text, err, c.offset, c.says)
	}
}

func FuzzCondition(f *testing.F) {
	for _, text := range []string{"arg1==2 && arg3>4096", "!(ret/i32 & 0x40) || fpret < -1.5e3", `arg2%stack+1 == '\x7f'`, "mode == RED", "((((", "a&1==1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCondition(text)
		if err != nil {
			_ = err.Error()
			return
		}
		for _, sig := range []*image.Signature{nil, signature} {
			entry, exit, err := c.Compile(trace.MachineARM64, sig, image.ErrNoDWARF)
			if err != nil {
				_ = err.Error()
			} else if entry == nil && exit == nil {
				t.Errorf("%q: nothing", text)
			}
		}
	})
}

func FuzzSpecs(f *testing.F) {
	for _, text := range []string{"arg1/i32,arg2/s[8]", "fparg1%stack+1", "x/c%v3"} {
		f.Add(text, false)
	}
	f.Add("ret/i32,fpret", true)
	f.Fuzz(func(t *testing.T, text string, exit bool) {
		list, err := readSpecs("-A", text, 0, exit)
		if err != nil {
			_ = err.Error()
			return
		}
		for _, s := range list {
			if f, err := s.field(trace.MachineARM64); err == nil && s.from != fromName && len(f.types) == 0 {
				t.Errorf("%q: no type", text)
			}
		}
	})
}
