package image

import (
	"slices"
	"strings"
	"testing"
)

// fixtureFuncs are the functions of testdata/functions.c that no linker drops.
var fixtureFuncs = []string{"local_function", "exported", "tail_caller", "through_pointer", "main"}

func without(names []string, drop ...string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(drop, name) })
}

// TestSites builds one source in the ways that objects differ, and compares the
// sites found with what nm says about the functions.
func TestSites(t *testing.T) {
	library := without(fixtureFuncs, "main")
	for _, c := range []struct {
		name     string
		compiler string
		flags    string
		funcs    []string // nil: fixtureFuncs
		before   int
		bti      []string // functions with a landing pad
		reason   string   // part of the reason why no function can be traced
	}{
		{name: "PIE", compiler: gcc, flags: "-fpatchable-function-entry=2 -pie"},
		{name: "program at a fixed address", compiler: gcc, flags: "-fpatchable-function-entry=2 -no-pie"},
		{name: "shared", compiler: gcc, flags: "-fpatchable-function-entry=2 -shared -fPIC -DLIBRARY", funcs: library},
		{name: "static", compiler: gcc, flags: "-fpatchable-function-entry=2 -static"},
		{name: "static PIE", compiler: gcc, flags: "-fpatchable-function-entry=2 -static-pie"},
		{name: "O0", compiler: gcc, flags: "-O0 -fpatchable-function-entry=2"},
		{name: "O3", compiler: gcc, flags: "-O3 -fpatchable-function-entry=2"},
		{name: "debug information", compiler: gcc, flags: "-g -fpatchable-function-entry=2"},
		{name: "more than two", compiler: gcc, flags: "-fpatchable-function-entry=5"},
		{name: "only one", compiler: gcc, flags: "-fpatchable-function-entry=1", reason: "only 1 NOP"},
		{name: "4,2", compiler: gcc, flags: "-fpatchable-function-entry=4,2", before: 2},
		{name: "7,5", compiler: gcc, flags: "-fpatchable-function-entry=7,5", before: 5},
		{name: "2,1", compiler: gcc, flags: "-fpatchable-function-entry=2,1", before: 1, reason: "entry=3,1"},
		{name: "2,2", compiler: gcc, flags: "-fpatchable-function-entry=2,2", before: 2, reason: "entry=4,2"},
		{name: "BTI", compiler: gcc, flags: "-fpatchable-function-entry=2 -mbranch-protection=standard",
			bti: []string{"exported", "tail_caller", "through_pointer", "main"}},
		{name: "BTI 4,2", compiler: gcc, flags: "-fpatchable-function-entry=4,2 -mbranch-protection=standard", before: 2,
			bti: []string{"exported", "tail_caller", "through_pointer", "main"}},
		{name: "PAC without BTI", compiler: gcc, flags: "-fpatchable-function-entry=2 -mbranch-protection=pac-ret+leaf"},
		{name: "sections dropped", compiler: gcc,
			flags: "-fpatchable-function-entry=2 -ffunction-sections -Wl,--gc-sections -no-pie"},
		{name: "sections dropped, text at the header", compiler: gcc,
			flags: "-fpatchable-function-entry=2 -ffunction-sections -Wl,--gc-sections -Wl,-z,noseparate-code -pie"},

		{name: "clang PIE", compiler: clang, flags: "-fpatchable-function-entry=2 -pie"},
		{name: "clang at a fixed address", compiler: clang, flags: "-fpatchable-function-entry=2 -no-pie -fno-pie"},
		{name: "clang shared", compiler: clang, flags: "-fpatchable-function-entry=2 -shared -fPIC -DLIBRARY", funcs: library},
		{name: "clang RELR", compiler: clang, flags: "-fpatchable-function-entry=2 -pie -Wl,--pack-dyn-relocs=relr"},
		{name: "clang addends in place", compiler: clang, flags: "-fpatchable-function-entry=2 -pie -Wl,--apply-dynamic-relocs"},
		{name: "clang 4,2", compiler: clang, flags: "-fpatchable-function-entry=4,2 -pie", before: 2},
		{name: "clang BTI", compiler: clang, flags: "-fpatchable-function-entry=2 -mbranch-protection=standard -pie", bti: fixtureFuncs},
		{name: "clang BTI 4,2", compiler: clang, flags: "-fpatchable-function-entry=4,2 -mbranch-protection=standard -pie",
			before: 2, bti: fixtureFuncs},
		{name: "clang sections dropped", compiler: clang,
			flags: "-fpatchable-function-entry=2 -ffunction-sections -Wl,--gc-sections -pie"},
		{name: "clang debug information", compiler: clang, flags: "-g -fpatchable-function-entry=2 -pie"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := build(t, c.compiler, "functions.c", strings.Fields(c.flags)...)
			want := addresses(t, path)
			im := open(t, path)
			funcs := c.funcs
			if funcs == nil {
				funcs = fixtureFuncs
			}
			if _, kept := want["dropped"]; kept {
				funcs = append(slices.Clone(funcs), "dropped")
			} else if !strings.Contains(c.flags, "gc-sections") {
				t.Error("function dropped is not there")
			}
			sites := make(map[string]Site)
			for _, s := range im.Sites() {
				sites[im.SiteName(s)] = s
				if !slices.Contains(funcs, im.SiteName(s)) {
					t.Errorf("unexpected site %+v of %s", s, im.SiteName(s))
				}
			}
			for _, name := range funcs {
				s, ok := sites[name]
				if !ok {
					t.Errorf("no site for %s", name)
					continue
				}
				bti := slices.Contains(c.bti, name) || name == "dropped" && c.bti != nil
				addr := want[name]
				if bti {
					addr += 4
				}
				if s.Entry != want[name] || s.Addr != addr || s.Before != c.before || s.BTI != bti || s.Kind != Table {
					t.Errorf("site of %s is %+v, want address %#x, entry %#x, %d before, BTI %v", name, s, addr, want[name], c.before, bti)
				}
				if c.reason == "" && s.Reason != "" || !strings.Contains(s.Reason, c.reason) {
					t.Errorf("site of %s has reason %q, want %q", name, s.Reason, c.reason)
				}
				if im.funcs[s.Func].Name != name {
					t.Errorf("site of %s has function %d, %s", name, s.Func, im.funcs[s.Func].Name)
				}
			}
			stripped(t, im, path)
		})
	}
}

// stripped checks that an object without symbols has the same sites.
func stripped(t *testing.T, im *Image, path string) {
	t.Helper()
	bare := open(t, rewrite(t, path, "--strip-all"))
	if len(bare.Sites()) != len(im.Sites()) {
		t.Fatalf("%d sites after strip, %d before", len(bare.Sites()), len(im.Sites()))
	}
	for i, got := range bare.Sites() {
		want := im.Sites()[i]
		if got.Func < 0 {
			want.Func = -1
		} else if bare.SiteName(got) != im.SiteName(want) {
			t.Errorf("strip changes a name from %s to %s", im.SiteName(want), bare.SiteName(got))
		} else {
			want.Func = got.Func
		}
		if got != want {
			t.Errorf("strip changes a site from %+v to %+v", want, got)
		}
	}
}

func TestSiteNameWithoutSymbols(t *testing.T) {
	path := rewrite(t, build(t, gcc, "functions.c", "-fpatchable-function-entry=2"), "--strip-all")
	im := open(t, path)
	for _, s := range im.Sites() {
		if name := im.SiteName(s); !strings.HasPrefix(name, "object+0x") {
			t.Errorf("site %+v is called %q", s, name)
		}
	}
}

// TestNopPairs takes the table away.
func TestNopPairs(t *testing.T) {
	for _, protection := range []string{"none", "standard"} {
		path := build(t, gcc, "functions.c", "-fpatchable-function-entry=2", "-no-pie", "-mbranch-protection="+protection)
		want := open(t, path).Sites()
		im := open(t, rewrite(t, path, "--remove-section=__patchable_function_entries"))
		got := im.Sites()
		if len(got) != len(want) || len(got) == 0 {
			t.Fatalf("%d sites without the table, %d with it", len(got), len(want))
		}
		for i := range got {
			w := want[i]
			w.Kind = NopPair
			if got[i] != w {
				t.Errorf("site %+v, want %+v", got[i], w)
			}
		}
	}
}

// TestSeveralTables has two sections of the one name, with odd entries.
func TestSeveralTables(t *testing.T) {
	want := []struct{ name, reason string }{
		{"_start", ""},
		{"second", ""},
		{"object+0x", "not aligned"},
		{"bare", "no NOPs"},
	}
	// In the library the table refers to symbols, which the loader looks up.
	for _, flag := range []string{"-static", "-shared"} {
		path := build(t, gcc, "second_table.S", "-nostdlib", flag)
		im := open(t, rewrite(t, path, "--rename-section", "other_table="+tableSection))
		if len(im.Sites()) != len(want) {
			t.Errorf("%s: sites %+v, want %d", flag, im.Sites(), len(want))
			continue
		}
		for i, s := range im.Sites() {
			if !strings.HasPrefix(im.SiteName(s), want[i].name) || !strings.Contains(s.Reason, want[i].reason) ||
				(s.Reason == "") != (want[i].reason == "") {
				t.Errorf("%s: site %d is %+v of %s, want %s with reason %q", flag, i, s, im.SiteName(s), want[i].name, want[i].reason)
			}
		}
	}
}

func TestConventions(t *testing.T) {
	for _, c := range []struct {
		flags  string
		silent bool // silent can be seen to be special
	}{
		{"", false},
		{"-g", true},
		{"-g -gdwarf-4", true},
	} {
		flags := append(strings.Fields(c.flags), "-fpatchable-function-entry=2", "-shared", "-fPIC")
		im := open(t, build(t, clang, "conventions.c", flags...))
		reasons := make(map[string]string)
		for _, s := range im.Sites() {
			reasons[im.SiteName(s)] = s.Reason
		}
		if len(reasons) != 4 {
			t.Errorf("flags %q: %d sites, want 4", c.flags, len(reasons))
		}
		for name, special := range map[string]bool{"ordinary": false, "other": false, "saves": true, "silent": c.silent} {
			if got := reasons[name]; (got != "") != special || special && !strings.Contains(got, "preserve_most") {
				t.Errorf("flags %q: %s has reason %q", c.flags, name, got)
			}
		}
	}
}

func TestUntraceable(t *testing.T) {
	im := open(t, build(t, gcc, "functions.c"))
	if len(im.Sites()) != 0 {
		t.Errorf("sites without the option: %+v", im.Sites())
	}
	var names []string
	for _, u := range im.Untraceable() {
		names = append(names, im.Funcs()[u.Func].Name)
		if !strings.Contains(u.Reason, "-fpatchable-function-entry=2") {
			t.Errorf("%s: reason %q", im.Funcs()[u.Func].Name, u.Reason)
		}
	}
	for _, name := range fixtureFuncs {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not among the untraceable", name)
		}
	}
}

func TestIsCold(t *testing.T) {
	for name, want := range map[string]bool{
		"sort.cold": true, "sort.cold.1": true, "_ZN1aC2Ev.cold": true, "sort.part.0": false, "scold": false, "a.colder": false, "a.cold.b": false,
	} {
		if got := isCold(name); got != want {
			t.Errorf("isCold(%s) = %v", name, got)
		}
	}
}
