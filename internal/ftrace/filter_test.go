package ftrace

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern   string
		match, no []string
	}{
		{"f", []string{"f"}, []string{"", "ff", "F"}},
		{"*", []string{"", "f", "a::b(int)"}, nil},
		{"lua*", []string{"lua", "lua_call"}, []string{"xlua", "lu"}},
		{"*mid*", []string{"mid", "amidb", "midmid"}, []string{"mi", "md"}},
		{"a*b", []string{"ab", "axb", "abab"}, []string{"aba", "a", "b"}},
		{"a*a", []string{"aa", "axa"}, []string{"a"}},
		{"*ab*abc", []string{"ababc", "xabxabc"}, []string{"abc", "ababcx"}},
		{"a?c", []string{"abc", "a:c", "aéc"}, []string{"ac", "abbc"}},
		{"*?x", []string{"ax", "aéx"}, []string{"x"}},
		{"*?b*c", []string{"abc", "abbc"}, []string{"bc"}},
		{"[a-c]x", []string{"ax", "cx"}, []string{"dx", "x"}},
		{"[a-z0-9_]x", []string{"ax", "0x", "_x"}, []string{"Ax"}},
		{"[!a-c]x", []string{"dx"}, []string{"ax", "x"}},
		{"[^a]x", []string{"dx"}, []string{"ax"}},
		{"[]a]x", []string{"]x", "ax"}, []string{"bx"}},
		{"[a-]x", []string{"-x", "ax"}, []string{"bx"}},
		{`[\]]x`, []string{"]x"}, []string{`\x`}},
		{"*[0-9]", []string{"f1", "1"}, []string{"f", "1f"}},
		{`a\*b`, []string{"a*b"}, []string{"axb"}},
		{"operator[]*", []string{"operator[](int)"}, []string{"operator(int)"}},
		{"{lambda()#?}", []string{"{lambda()#1}"}, []string{"lambda()#1"}},
		{"a*b*c*d*e", []string{"abcde"}, []string{strings.Repeat("abcd", 1000)}},
	} {
		g, err := compileGlob(c.pattern)
		if err != nil {
			t.Errorf("%q: %v", c.pattern, err)
			continue
		}
		for _, s := range c.match {
			if !g.match(s) {
				t.Errorf("%q does not match %q", c.pattern, s)
			}
		}
		for _, s := range c.no {
			if g.match(s) {
				t.Errorf("%q matches %q", c.pattern, s)
			}
		}
	}
}

func TestPatternErrorShowsThePlace(t *testing.T) {
	for _, c := range []struct {
		only, not []string
		want      string
	}{
		{only: []string{"foo[abc"}, want: "read pattern of -F: this [ has no ] (write \\[ for the character itself)\n    foo[abc\n       ^"},
		{not: []string{"lib*.so:fo[z-a]"}, want: "read pattern of -N: this range is the wrong way round\n    lib*.so:fo[z-a]\n               ^"},
		{only: []string{"!é\\"}, want: "read pattern of -F: the \\ at the end has nothing to quote\n    !é\\\n      ^"},
		{only: []string{":f"}, want: "read pattern of -F: nothing before the colon: write object:function\n    :f\n    ^"},
		{only: []string{"lib.so:"}, want: "read pattern of -F: no function name here: * stands for all\n    lib.so:\n           ^"},
		{only: []string{""}, want: "read pattern of -F: no function name here: * stands for all\n    \n    ^"},
	} {
		_, err := NewFilter(c.only, c.not)
		var p *PatternError
		if !errors.As(err, &p) {
			t.Errorf("%q %q: error %v, want a PatternError", c.only, c.not, err)
			continue
		}
		if diff := cmp.Diff(c.want, err.Error()); diff != "" {
			t.Errorf("%q %q: %s", c.only, c.not, diff)
		}
	}
}

func TestObjectColon(t *testing.T) {
	for pattern, want := range map[string]int{
		"f":                         -1,
		"libc.so.6:f":               9,
		"std::vector<*>::push_back": -1,
		"libx.so:ns::f":             7,
		"libx.so:::f":               7,
		"f[abi:cxx11]":              -1,
		"lib[a:b].so:f":             11,
		`a\:b`:                      -1,
		"ns::f":                     -1,
		"::f":                       -1,
		":f":                        0,
	} {
		if got := objectColon(pattern); got != want {
			t.Errorf("objectColon(%q) = %d, want %d", pattern, got, want)
		}
	}
}

func TestCoreName(t *testing.T) {
	for name, want := range map[string]string{
		"f":                      "f",
		"f(int)":                 "f",
		"a::b(int, char const*)": "a::b",
		"a::b() const":           "a::b",
		"void a::f<int>(int)":    "a::f<int>",
		"std::pair<int, long> g<int>(std::pair<int, long>)": "g<int>",
		"a::operator()(int)":                               "a::operator()",
		"a::operator<(a const&)":                           "a::operator<",
		"a::operator<<(int)":                               "a::operator<<",
		"bool operator==<int>(int, int)":                   "operator==<int>",
		"a::operator[](unsigned long)":                     "a::operator[]",
		"a::operator unsigned long() const":                "a::operator unsigned long",
		"operator new(unsigned long)":                      "operator new",
		"(anonymous namespace)::f(int)":                    "(anonymous namespace)::f",
		"f(int)::{lambda(char)#1}::operator()(char) const": "f(int)::{lambda(char)#1}::operator()",
		"f[abi:cxx11](int)":                                "f[abi:cxx11]",
		"f(int) [clone .part.0]":                           "f",
		"my_operator(int)":                                 "my_operator",
		"operators(int)":                                   "operators",
		"core::fmt::Formatter::pad":                        "core::fmt::Formatter::pad",
		"<alloc::vec::Vec<T> as Drop>::drop":               "<alloc::vec::Vec<T> as Drop>::drop",
		"f(void (*)(int))":                                 "f",
	} {
		start, end := coreName(name)
		if got := name[start:end]; got != want {
			t.Errorf("core of %q is %q, want %q", name, got, want)
		}
	}
}

func TestFilterMatch(t *testing.T) {
	type function struct{ raw, demangled, object string }
	c := func(name string) function { return function{name, name, "/usr/bin/lua"} }
	push := function{"_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector<int, std::allocator<int> >::push_back(int&&)", "/usr/lib/libx.so.1"}
	bar := function{"_ZN3foo3barEi", "foo::bar(int)", "/usr/lib/libx.so.1"}
	tmpl := function{"_ZN3foo1tIiEEvT_", "void foo::t<int>(int)", "/usr/lib/libx.so.1"}
	abi := function{"_Z1fB5cxx11v", "f[abi:cxx11]()", "/usr/lib/libx.so.1"}
	for _, tt := range []struct {
		only, not []string
		f         function
		want      bool
	}{
		{nil, nil, c("f"), true},
		{[]string{"f"}, nil, c("f"), true},
		{[]string{"f"}, nil, c("g"), false},
		{[]string{"f", "g"}, nil, c("g"), true},
		{nil, []string{"f"}, c("f"), false},
		{nil, []string{"f"}, c("g"), true},
		{[]string{"lua*"}, []string{"lua_x*"}, c("lua_xyz"), false},
		{[]string{"lua*", "!lua_x*"}, nil, c("lua_xyz"), false},
		{[]string{"!lua_x*", "lua*"}, nil, c("lua_xyz"), false},
		{[]string{"!lua_x*"}, nil, c("g"), true},
		{[]string{"std::vector<*>::push_back*"}, nil, push, true},
		{[]string{"std::vector<*>::push_back"}, nil, push, true},
		{[]string{"_ZNSt6vector*"}, nil, push, true},
		{[]string{"foo::bar"}, nil, bar, true},
		{[]string{"foo::bar(int)"}, nil, bar, true},
		{[]string{"foo::ba"}, nil, bar, false},
		{[]string{"foo::t<int>"}, nil, tmpl, true},
		{[]string{"foo::t<*>(int)"}, nil, tmpl, true},
		{[]string{"void foo::t*"}, nil, tmpl, true},
		{[]string{"f[abi:cxx11]"}, nil, abi, true},
		{[]string{"libx.so*:*"}, nil, bar, true},
		{[]string{"/usr/lib/*:*"}, nil, bar, true},
		{[]string{"lib?.so.1:foo::bar"}, nil, bar, true},
		{[]string{"liby.so:*"}, nil, bar, false},
		{[]string{"x.so:*"}, nil, bar, false},
		{nil, []string{"libx.so.1:*"}, bar, false},
		{nil, []string{"libx.so.1:*"}, c("f"), true},
		{[]string{"!lua:f"}, nil, c("f"), false},
	} {
		f, err := NewFilter(tt.only, tt.not)
		if err != nil {
			t.Errorf("-F %q -N %q: %v", tt.only, tt.not, err)
			continue
		}
		if got := f.Match(tt.f.raw, tt.f.demangled, tt.f.object); got != tt.want {
			t.Errorf("-F %q -N %q on %s: %v, want %v", tt.only, tt.not, tt.f.demangled, got, tt.want)
		}
	}
}

func TestFilterCountsHitsOfEveryPattern(t *testing.T) {
	f, err := NewFilter([]string{"*", "f", "nosuch"}, []string{"g"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"f", "g", "h"} {
		f.Match(name, name, "/x")
	}
	var got []string
	for _, p := range f.Patterns() {
		got = append(got, fmt.Sprint(p, " ", p.Hits()))
	}
	if diff := cmp.Diff([]string{"* 3", "f 1", "nosuch 0", "g 1"}, got); diff != "" {
		t.Error(diff)
	}
	if u := f.Unmatched(); len(u) != 1 || u[0].String() != "nosuch" {
		t.Errorf("unmatched: %v, want nosuch", u)
	}
}

func TestCheckSuggests(t *testing.T) {
	candidates := []Candidate{
		{"lua_newstate", "lua_newstate", "/usr/bin/lua"},
		{"lua_newthread", "lua_newthread", "/usr/bin/lua"},
		{"luaH_get", "luaH_get", "/usr/bin/lua"},
		{"main", "main", "/usr/bin/lua"},
		{"_ZN3foo9push_backEi", "foo::push_back(int)", "/usr/lib/libx.so"},
		{"sqlite3_step", "sqlite3_step", "/usr/lib/libsqlite3.so.0"},
	}
	for _, c := range []struct {
		only []string
		want string
	}{
		{[]string{"lua_newstat"}, `-F "lua_newstat" matches no function; did you mean lua_newstate?`},
		{[]string{"lua_nwestate"}, `-F "lua_nwestate" matches no function; did you mean lua_newstate?`},
		{[]string{"mian"}, `-F "mian" matches no function; did you mean main?`},
		{[]string{"push_bak"}, `-F "push_bak" matches no function; did you mean foo::push_back?`},
		{[]string{"sqlit_*"}, `-F "sqlit_*" matches no function; did you mean sqlite3_step?`},
		{[]string{"luah_get"}, `-F "luah_get" matches no function; did you mean luaH_get?`},
		{[]string{"*_newthraed"}, `-F "*_newthraed" matches no function; did you mean lua_newthread?`},
		{[]string{"zzzzzz"}, "-F \"zzzzzz\" matches no function, and no name is near it (`nopal sites` lists them)"},
		{[]string{"libz.so:*"}, `-F "libz.so:*" matches no function: no object has that name; there are lua, libx.so, libsqlite3.so.0`},
		{[]string{"libx.so:main"}, "-F \"libx.so:main\" matches no function, and no name is near it (`nopal sites` lists them)"},
		{[]string{"main"}, ""},
	} {
		f, err := NewFilter(c.only, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range candidates {
			f.Match(x.Raw, x.Demangled, x.Object)
		}
		got := ""
		if err := f.Check(slices.Values(candidates)); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.only, got, c.want)
		}
	}
}

// naive is the definition of a glob without classes, to check the matcher that skips from star to star against.
func naive(p, s string) bool {
	if p == "" {
		return s == ""
	}
	switch p[0] {
	case '*':
		return naive(p[1:], s) || s != "" && naive(p, s[1:])
	case '?':
		return s != "" && naive(p[1:], s[1:])
	}
	return s != "" && s[0] == p[0] && naive(p[1:], s[1:])
}

func FuzzGlob(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("[a-z]*\\", "q")
	f.Add("*?*a", "ba")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		g, err := compileGlob(pattern)
		if err != nil {
			var e *globError
			if !errors.As(err, &e) || e.offset < 0 || e.offset >= len(pattern) {
				t.Fatalf("%q: error %v does not name a place in it", pattern, err)
			}
			return
		}
		got := g.match(s)
		ascii := strings.IndexFunc(pattern+s, func(r rune) bool { return r >= 0x80 }) < 0
		if ascii && !strings.ContainsAny(pattern, `[]\`) && strings.Count(pattern, "*") < 5 && len(s) < 20 {
			if want := naive(pattern, s); got != want {
				t.Fatalf("match(%q, %q) = %v, want %v", pattern, s, got, want)
			}
		}
		coreName(s)
		objectColon(pattern)
	})
}

func BenchmarkFilter100k(b *testing.B) {
	names := make([]string, 100_000)
	for i := range names {
		names[i] = fmt.Sprintf("std::vector<int, std::allocator<int> >::method_%d(int, char const*)", i)
	}
	f, err := NewFilter([]string{"std::*::method_99*", "*push_back*"}, []string{"*[0-9]77(*"})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for _, name := range names {
			f.Match("_Zraw", name, "/usr/lib/libx.so")
		}
	}
}
