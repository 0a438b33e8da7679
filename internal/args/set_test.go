package args

import (
	"strings"
	"testing"

	"nopal/internal/image"
	"nopal/internal/probe"
	"nopal/trace"
)

func mustParse(t *testing.T, entries, exits []string) *Set {
	t.Helper()
	s, err := Parse(entries, exits, false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustFor(t *testing.T, s *Set, name, object string, sig *image.Signature) *Wanted {
	t.Helper()
	w, err := s.For(trace.MachineARM64, name, name, object, func() (*image.Signature, error) {
		if sig == nil {
			return nil, image.ErrNoDWARF
		}
		return sig, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (s *Set) mustWhere(t *testing.T, pattern string) {
	t.Helper()
	glob, text, found := Split(pattern)
	var c *Condition
	var err error
	if found {
		if c, err = ParseCondition(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Where(glob, c); err != nil {
		t.Fatal(err)
	}
}

func TestSet(t *testing.T) {
	s := mustParse(t, []string{"write@arg1/i32,arg2/s;lib.so*:read@arg1", "wr*@arg3/u64,arg1/i32"}, []string{"write@ret/i64"})
	w := mustFor(t, s, "write", "/bin/x", nil)
	if w == nil || w.Entry == nil || w.Exit == nil || w.Entry.Cond != nil {
		t.Fatalf("write: %+v", w)
	}
	var names []string
	for _, f := range w.EntryLayout.Fields {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, " "); got != "arg1 arg2 arg3" || len(w.Entry.Fields) != 3 {
		t.Errorf("write has %s", got)
	}
	if w.EntryLayout.Kind != trace.ProbeEntry || w.ExitLayout.Kind != trace.ProbeExit || w.ExitLayout.Fields[0].Name != "ret" {
		t.Errorf("layouts %+v %+v", w.EntryLayout, w.ExitLayout)
	}
	if w := mustFor(t, s, "read", "/bin/x", nil); w != nil {
		t.Errorf("read of another object: %+v", w)
	}
	if u := s.Unmatched(); len(u) != 1 || u[0].What != "-A" || u[0].Text != "lib.so*:read@arg1" {
		t.Errorf("unmatched: %+v", u)
	}
	if w := mustFor(t, s, "read", "/lib/lib.so.1", nil); w == nil || w.Exit != nil {
		t.Errorf("read: %+v", w)
	}
	if len(s.Unmatched()) != 0 {
		t.Error("unmatched still")
	}
	if !s.NeedsExits() || s.Conditional() {
		t.Error("what the set needs")
	}
}

func TestWhere(t *testing.T) {
	s := mustParse(t, nil, nil)
	if !s.Empty() {
		t.Error("not empty")
	}
	s.mustWhere(t, "f@arg1==1")
	s.mustWhere(t, "f@arg1==2")
	s.mustWhere(t, "g*@arg1==2 && ret<0")
	s.mustWhere(t, "h@arg1==2")
	s.mustWhere(t, "h")
	if !s.Conditional() || !s.NeedsExits() {
		t.Error("what the set needs")
	}
	w := mustFor(t, s, "f", "", nil)
	if w == nil || w.EntryLayout != nil || len(w.Entry.Fields) != 0 || w.Exit != nil {
		t.Fatalf("f: %+v", w)
	}
	for x0, want := range map[uint64]bool{1: true, 2: true, 3: false} {
		if got := (&machine{x: [32]uint64{x0}}).holds(t, w.Entry.Cond); got != want {
			t.Errorf("f(%d): %t", x0, got)
		}
	}
	if w := mustFor(t, s, "gg", "", nil); w == nil || w.Entry == nil || w.Exit == nil || w.Exit.Cond == nil {
		t.Errorf("gg: %+v", w)
	}
	for _, name := range []string{"h", "other"} {
		if w := mustFor(t, s, name, "", nil); w != nil {
			t.Errorf("%s: %+v", name, w)
		}
	}
	s.mustWhere(t, "gg@arg1==7")
	if _, err := s.For(trace.MachineARM64, "gg", "gg", "", nil); err == nil || !strings.Contains(err.Error(), "||") {
		t.Errorf("two conditions, one on the result: %v", err)
	}
}

func TestNamesInSpecs(t *testing.T) {
	s := mustParse(t, []string{"f@count/u32,arg1/i32"}, nil)
	w := mustFor(t, s, "f", "", signature)
	if w == nil || w.EntryLayout.Fields[0].Name != "count" || w.Entry.Fields[0].Parts[0].From.Base != (probe.Operand{Kind: probe.RegX, N: 2}) {
		t.Fatalf("count: %+v", w)
	}
	s = mustParse(t, []string{"f@nothing/u32"}, nil)
	for _, sig := range []*image.Signature{nil, signature} {
		if _, err := s.For(trace.MachineARM64, "f", "f", "", func() (*image.Signature, error) { return sig, nil }); err == nil {
			t.Error("a parameter that is not there")
		}
	}
}

func TestBadSets(t *testing.T) {
	for text, says := range map[string]string{
		"@arg1":          "no function name",
		"!write@arg1":    "leaves functions out",
		":f@arg1":        "before the colon",
		"f[@arg1":        "has no ]",
		"write@arg1/s2x": "no format",
	} {
		_, err := Parse([]string{text}, nil, false)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "-F") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestWithoutSpecs(t *testing.T) {
	s := mustParse(t, []string{"f"}, []string{"f*"})
	w := mustFor(t, s, "f", "", signature)
	if w == nil || w.EntryLayout == nil || w.EntryLayout.Fields[0].Name != "fd" || w.ExitLayout == nil || w.ExitLayout.Fields[0].Name != "ret" {
		t.Fatalf("%+v", w)
	}
	_, err := s.For(trace.MachineARM64, "f", "f", "", func() (*image.Signature, error) { return nil, image.ErrNoDWARF })
	if err == nil || !strings.Contains(err.Error(), "f@arg1") {
		t.Errorf("without DWARF: %v", err)
	}
}

func TestFloatResult(t *testing.T) {
	s := mustParse(t, nil, []string{"f@fpret/f32"})
	if w := mustFor(t, s, "f", "", nil); w == nil || w.ExitLayout.Fields[0].Name != "ret" || w.Exit.Fields[0].Parts[0].From.Base.Kind != probe.RegV {
		t.Errorf("%+v", w)
	}
}
