package args

import (
	"strings"
	"testing"

	"nopal/internal/probe"
	"nopal/trace"
)

func TestSpecs(t *testing.T) {
	x := func(n int) probe.Operand { return probe.Operand{Kind: probe.RegX, N: n} }
	v := func(n int) probe.Operand { return probe.Operand{Kind: probe.RegV, N: n} }
	stack := func(off int64) probe.Operand { return probe.Operand{Kind: probe.Stack, Off: off} }
	for _, c := range []struct {
		text string
		base probe.Operand
		size int
		kind trace.TypeKind
		name string
	}{
		// AAPCS64 6.8.2: x0 to x7, then 8 bytes each on the stack.
		{"arg1/i32", x(0), 4, trace.KindInt, "arg1"},
		{"arg8/u8", x(7), 1, trace.KindUint, "arg8"},
		{"arg9/x16", stack(0), 2, trace.KindHex, "arg9"},
		{"arg12/i64", stack(24), 8, trace.KindInt, "arg12"},
		{"arg3", x(2), 8, trace.KindHex, "arg3"},
		{"arg1/i", x(0), 8, trace.KindInt, "arg1"},
		{"arg1/d32", x(0), 4, trace.KindInt, "arg1"},
		{"arg1/c", x(0), 1, trace.KindChar, "arg1"},
		{"arg2/p", x(1), 8, trace.KindPointer, "arg2"},
		{"fparg1", v(0), 8, trace.KindFloat, "fparg1"},
		{"fparg8/f32", v(7), 4, trace.KindFloat, "fparg8"},
		{"fparg2/x64", v(1), 8, trace.KindHex, "fparg2"},
		{"arg1/i32%x8", x(8), 4, trace.KindInt, "arg1"},
		{"arg1/u64%sp", x(31), 8, trace.KindUint, "arg1"},
		{"arg1/i32%w19", x(19), 4, trace.KindInt, "arg1"},
		{"arg9/i32%stack+2", stack(8), 4, trace.KindInt, "arg9"},
		{"arg9%stack1", stack(0), 8, trace.KindHex, "arg9"},
		{"fparg9/f32%stack+3", stack(16), 4, trace.KindFloat, "fparg9"},
		{"fparg1/f32%s3", v(3), 4, trace.KindFloat, "fparg1"},
		{" arg1/u32 ", x(0), 4, trace.KindUint, "arg1"},
	} {
		list, err := readSpecs("-A", c.text, 0, false)
		if err != nil || len(list) != 1 {
			t.Errorf("%s: %v, %d specs", c.text, err, len(list))
			continue
		}
		f, err := list[0].field(trace.MachineARM64)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if f.name != c.name || f.run.Size != c.size || f.types[0].Kind != c.kind || f.types[0].Size != uint32(c.size) ||
			len(f.run.Parts) != 1 || f.run.Parts[0].From.Base != c.base || f.run.Parts[0].Size != c.size {
			t.Errorf("%s: %+v", c.text, f)
		}
	}
}

func TestMemorySpecs(t *testing.T) {
	list, err := readSpecs("-A", "arg1/s,arg2/s[8],arg3/S[100]", 0, false)
	if err != nil {
		t.Fatal(err)
	}
	var got []field
	for _, s := range list {
		f, err := s.field(trace.MachineARM64)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, f)
	}
	if m := got[0].run.Mem; m == nil || !m.CString || m.Max != stringSize || m.Addr.Base.N != 0 || got[0].types[0].Kind != trace.KindCString {
		t.Errorf("arg1/s: %+v", got[0])
	}
	if m := got[1].run.Mem; m == nil || !m.CString || m.Max != 8 || m.Addr.Base.N != 1 {
		t.Errorf("arg2/s[8]: %+v", got[1])
	}
	if m := got[2].run.Mem; m == nil || m.CString || m.Max != 100 || len(m.Addr.Deref) != 1 || m.Len == nil || m.Len.Deref[0] != 8 {
		t.Errorf("arg3/S[100]: %+v", got[2])
	}
	fields, types := layout(got)
	if len(fields) != 3 || len(types) != 3 || !fields[1].Mem || fields[2].Type != 2 {
		t.Errorf("layout: %+v %+v", fields, types)
	}
}

func TestBadSpecs(t *testing.T) {
	for _, c := range []struct {
		text   string
		offset int
		says   string
	}{
		{"", 0, "nothing here"},
		{"arg1,,arg2", 5, "nothing here"},
		{"arg1,", 5, "nothing here"},
		{"arg0", 0, "numbered"},
		{"arg65", 0, "numbered"},
		{"arg99999999999999999999", 0, "numbered"},
		{"arg1,fparg0", 5, "numbered"},
		{"arg1/", 5, "no format"},
		{"arg1/i33", 5, "no format"},
		{"arg1/i032", 5, "no format"},
		{"arg1/i+32", 5, "no format"},
		{"arg1/f16", 5, "no format"},
		{"arg1/s[0]", 5, "no format"},
		{"arg1/s[9999]", 5, "no format"},
		{"arg1/s[", 5, "no format"},
		{"arg1/q", 5, "no format"},
		{"arg1/i32%", 8, "no place"},
		{"arg1/i32%x31", 8, "no place"},
		{"arg1/i32%stack+0", 8, "no place"},
		{"arg1/i32%rex", 8, "no place"},
		{"fparg1/s", 0, "floating-point"},
		{"ret/i32", 0, "-R"},
		{"a-b", 0, "none of"},
		{"1", 0, "none of"},
	} {
		_, err := readSpecs("-A", c.text, 0, false)
		checkSyntax(t, c.text, err, c.offset, c.says)
	}
	_, err := readSpecs("-R", "ret/i32,arg1", 0, true)
	checkSyntax(t, "ret/i32,arg1", err, 8, "only results")
}

func checkSyntax(t *testing.T, text string, err error, offset int, says string) {
	t.Helper()
	syntax, ok := err.(*SyntaxError)
	if !ok {
		t.Errorf("%q: %v", text, err)
		return
	}
	if syntax.Offset != offset || !strings.Contains(syntax.Problem, says) {
		t.Errorf("%q: at %d: %s", text, syntax.Offset, syntax.Problem)
	}
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 3 || !strings.HasSuffix(lines[2], "^") {
		t.Errorf("%q: message %q", text, err)
	}
}

func TestSplit(t *testing.T) {
	for text, want := range map[string][2]string{
		"write":                      {"write", ""},
		"write@arg1==2":              {"write", "arg1==2"},
		"lib@2.so:write@arg1":        {"lib@2.so:write", "arg1"},
		"f@arg1=='@' && arg2=='\\''": {"f", "arg1=='@' && arg2=='\\''"},
		"operator'x@arg1":            {"operator'x", "arg1"},
		"f@":                         {"f", ""},
	} {
		glob, rest, _ := Split(text)
		if glob != want[0] || rest != want[1] {
			t.Errorf("%q: %q, %q", text, glob, rest)
		}
	}
}
