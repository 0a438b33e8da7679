package image

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nopal/internal/arch/amd64"
)

// gccX86 is GCC for x86-64, on any host; clang has it in buildX86.
const gccX86 = "x86_64-linux-gnu-gcc"

// buildX86 compiles a file of testdata for x86-64.
func buildX86(t testing.TB, compiler, source string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "object")
	args := []string{"-O2"}
	if compiler == clang {
		findTool(t, "ld.lld")
		args = append(args, "--target=x86_64-linux-gnu", "-fuse-ld=lld")
	} else {
		args = append(args, "-fno-ipa-cp", "-fcf-protection=none")
	}
	args = append(args, flags...)
	run(t, compiler, append(args, filepath.Join("testdata", source), "-o", out)...)
	return out
}

// TestSitesX86 does for x86-64 what TestSites does for arm64.
func TestSitesX86(t *testing.T) {
	library := without(fixtureFuncs, "main")
	const entry = "-fpatchable-function-entry="
	for _, c := range []struct {
		name     string
		compiler string
		flags    string
		funcs    []string // nil: fixtureFuncs
		kind     SiteKind
		before   int
		pads     []string // functions with endbr64
		size     uint64   // of what is changed in the entry; 0: 5
		split    uint64   // how far before the entry the long jump goes; 0: it is in the entry
		reason   string   // part of the reason why no function can be traced
	}{
		{name: "PIE", compiler: gccX86, flags: entry + "5 -pie"},
		{name: "program at a fixed address", compiler: gccX86, flags: entry + "5 -no-pie"},
		{name: "shared", compiler: gccX86, flags: entry + "5 -shared -fPIC -DLIBRARY", funcs: library},
		{name: "static", compiler: gccX86, flags: entry + "5 -static"},
		{name: "static PIE", compiler: gccX86, flags: entry + "5 -static-pie"},
		{name: "RELR", compiler: gccX86, flags: entry + "5 -pie -Wl,-z,pack-relative-relocs"},
		{name: "O0", compiler: gccX86, flags: "-O0 " + entry + "5"},
		{name: "Os", compiler: gccX86, flags: "-Os " + entry + "5"},
		{name: "debug information", compiler: gccX86, flags: "-g " + entry + "5"},
		{name: "more than five", compiler: gccX86, flags: entry + "9"},
		{name: "four", compiler: gccX86, flags: entry + "4", reason: "only 4 bytes"},
		{name: "as on arm64", compiler: gccX86, flags: entry + "2", reason: "only 2 bytes of NOPs at its entry, 5 needed: compile with -fpatchable-function-entry=5"},
		{name: "endbr64", compiler: gccX86, flags: entry + "5 -fcf-protection", pads: fixtureFuncs},
		{name: "16,14", compiler: gccX86, flags: entry + "16,14", before: 14, size: 2, split: 8},
		{name: "16,14 endbr64", compiler: gccX86, flags: entry + "16,14 -fcf-protection", before: 14, size: 2, split: 8, pads: fixtureFuncs},
		{name: "7,5", compiler: gccX86, flags: entry + "7,5", before: 5, size: 2, split: 5},
		{name: "10,5", compiler: gccX86, flags: entry + "10,5", before: 5},
		{name: "6,4", compiler: gccX86, flags: entry + "6,4", before: 4, reason: "4 bytes of NOPs before its entry and 2 after"},
		{name: "8,8", compiler: gccX86, flags: entry + "8,8", before: 8, reason: "entry=13,8"},
		{name: "sections dropped", compiler: gccX86, flags: entry + "5 -ffunction-sections -Wl,--gc-sections -no-pie"},
		{name: "mfentry", compiler: gccX86, flags: "-pg -mfentry -mnop-mcount -mrecord-mcount -fno-pic -no-pie", kind: Mcount},
		{name: "mfentry static", compiler: gccX86, flags: "-pg -mfentry -mnop-mcount -mrecord-mcount -fno-pic -static", kind: Mcount},
		{name: "mfentry endbr64", compiler: gccX86, flags: "-pg -mfentry -mnop-mcount -mrecord-mcount -fno-pic -no-pie -fcf-protection", kind: Mcount, pads: fixtureFuncs},
		{name: "mfentry calls", compiler: gccX86, flags: "-pg -mfentry -mrecord-mcount -no-pie", kind: Mcount, reason: "-mnop-mcount"},
		{name: "mfentry calls from a PIE", compiler: gccX86, flags: "-pg -mfentry -mrecord-mcount -fPIE -pie", kind: Mcount, reason: "-mnop-mcount"},
		{name: "mcount", compiler: gccX86, flags: "-pg -mno-fentry -mnop-mcount -mrecord-mcount -fno-pic -no-pie -fno-omit-frame-pointer", kind: Mcount, reason: "-mfentry"},

		{name: "clang PIE", compiler: clang, flags: entry + "5 -pie"},
		{name: "clang at a fixed address", compiler: clang, flags: entry + "5 -no-pie -fno-pie"},
		{name: "clang shared", compiler: clang, flags: entry + "5 -shared -fPIC -DLIBRARY", funcs: library},
		{name: "clang RELR", compiler: clang, flags: entry + "5 -pie -Wl,--pack-dyn-relocs=relr"},
		{name: "clang addends in place", compiler: clang, flags: entry + "5 -pie -Wl,--apply-dynamic-relocs"},
		{name: "clang 8", compiler: clang, flags: entry + "8 -pie", size: 8},
		{name: "clang 20", compiler: clang, flags: entry + "20 -pie", size: 10},
		{name: "clang 4", compiler: clang, flags: entry + "4 -pie", reason: "only 4 bytes"},
		{name: "clang 16,14", compiler: clang, flags: entry + "16,14 -pie", before: 14, size: 2, split: 8},
		{name: "clang endbr64", compiler: clang, flags: entry + "5 -fcf-protection -pie", pads: fixtureFuncs},
		{name: "clang 16,14 endbr64", compiler: clang, flags: entry + "16,14 -fcf-protection -pie", before: 14, size: 2, split: 8, pads: fixtureFuncs},
		{name: "clang sections dropped", compiler: clang, flags: entry + "5 -ffunction-sections -Wl,--gc-sections -pie"},
		{name: "clang debug information", compiler: clang, flags: "-g " + entry + "5 -pie"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := buildX86(t, c.compiler, "functions.c", strings.Fields(c.flags)...)
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
				if c.reason == "" && s.Reason != "" || !strings.Contains(s.Reason, c.reason) {
					t.Errorf("site of %s has reason %q, want %q", name, s.Reason, c.reason)
				}
				w := Site{Entry: want[name], Func: s.Func, Kind: c.kind, Before: c.before, Reason: s.Reason}
				first := want[name]
				if w.BTI = hasPad(name, c.pads, im, first); w.BTI {
					first += 4
				}
				size := c.size
				if size == 0 {
					size = 5
				}
				w.Addr, w.Body = first, first+size
				if c.split != 0 {
					w.Addr, w.Short = want[name]-c.split, first
				}
				if c.reason != "" {
					w.Addr, w.Body, w.Entry, w.BTI = s.Addr, s.Body, s.Entry, s.BTI
				}
				if s != w {
					t.Errorf("site of %s is %+v, want %+v", name, s, w)
				}
				if im.funcs[s.Func].Name != name {
					t.Errorf("site of %s has function %d, %s", name, s.Func, im.funcs[s.Func].Name)
				}
				if s.Reason == "" {
					checkNops(t, im, s)
				}
			}
			stripped(t, im, path)
		})
	}
}

// hasPad says which function should have a landing pad. GCC leaves it out where no
// pointer to a local function is ever made.
func hasPad(name string, pads []string, im *Image, entry uint64) bool {
	var p [4]byte
	_, err := im.ReadVA(p[:], entry)
	return slices.Contains(pads, name) && (name != "local_function" || err == nil && amd64.IsLanding(p[:])) || name == "dropped" && pads != nil
}

// checkNops looks at what stands where a site says that jumps go.
func checkNops(t *testing.T, im *Image, s Site) {
	t.Helper()
	check := func(va, end uint64) {
		for va < end {
			var p [15]byte
			n, _ := im.ReadVA(p[:], va)
			size := amd64.NopLen(p[:n])
			if size == 0 {
				t.Errorf("%s: no NOP at %#x", im.SiteName(s), va)
				return
			}
			va += uint64(size)
		}
		if va != end {
			t.Errorf("%s: a NOP crosses %#x", im.SiteName(s), end)
		}
	}
	if s.Short == 0 {
		check(s.Addr, s.Body)
		return
	}
	check(s.Addr, s.Addr+5)
	check(s.Short, s.Body)
	if distance := s.Short + 2 - s.Addr; distance > 128 {
		t.Errorf("%s: a short jump by %d", im.SiteName(s), distance)
	}
}

// TestNopAreasX86 takes the table away.
func TestNopAreasX86(t *testing.T) {
	for _, compiler := range []string{gccX86, clang} {
		for _, protection := range []string{"none", "full"} {
			path := buildX86(t, compiler, "functions.c", "-fpatchable-function-entry=5", "-no-pie", "-fcf-protection="+protection)
			want := open(t, path).Sites()
			got := open(t, rewrite(t, path, "--remove-section=__patchable_function_entries")).Sites()
			if len(got) != len(want) || len(got) == 0 {
				t.Fatalf("%d sites without the table, %d with it", len(got), len(want))
			}
			for i := range got {
				w := want[i]
				w.Kind = NopArea
				if got[i] != w {
					t.Errorf("site %+v, want %+v", got[i], w)
				}
			}
		}
	}
}

// TestConventionsX86 has functions of preserve_most: nothing of theirs is touched.
func TestConventionsX86(t *testing.T) {
	im := open(t, buildX86(t, clang, "conventions.c", "-g", "-fpatchable-function-entry=5", "-shared", "-fPIC"))
	if len(im.Sites()) != 4 {
		t.Errorf("%d sites, want 4", len(im.Sites()))
	}
	for _, s := range im.Sites() {
		if s.Reason != "" {
			t.Errorf("%s has reason %q", im.SiteName(s), s.Reason)
		}
	}
}

// TestSitesOfAssemblyX86 has what compilers do not write. The names say what is
// expected.
func TestSitesOfAssemblyX86(t *testing.T) {
	im := open(t, buildX86(t, gccX86, "sites_x86.S", "-nostdlib", "-static", "-Wl,-e,begin"))
	want := map[string]struct{ site, exits string }{
		"plain":          {},
		"mixed":          {},
		"overlapped":     {site: "inner begins within its NOPs"},
		"border":         {site: "on the border of two pages"},
		"unreachable":    {},
		"prefixed":       {},
		"begin":          {exits: "it has no caller"},
		"a_setjmp":       {exits: "it returns twice"},
		"vfork":          {exits: "it returns twice"},
		"dlsym":          {exits: "looks at its return address"},
		"_Unwind_Resume": {exits: "looks at its return address"},
	}
	found := make(map[string]Site)
	for i, s := range im.Sites() {
		name := im.SiteName(s)
		found[name] = s
		w, ok := want[name]
		e := im.Exits(i)
		switch {
		case !ok:
			t.Errorf("unexpected site %+v of %s", s, name)
		case (s.Reason == "") != (w.site == "") || !strings.Contains(s.Reason, w.site):
			t.Errorf("%s has reason %q, want %q", name, s.Reason, w.site)
		case w.site == "" && ((e.Reason == "") != (w.exits == "") || !strings.Contains(e.Reason, w.exits) || e.Called != (w.exits == "")):
			t.Errorf("exits of %s are %+v, want reason %q", name, e, w.exits)
		case len(e.List) != 0:
			t.Errorf("%s has exits %+v", name, e.List)
		}
	}
	if len(found) != len(want) {
		t.Errorf("%d sites, want %d", len(found), len(want))
	}
	if s := found["mixed"]; s.Body != s.Addr+6 {
		t.Errorf("site of two NOPs of three bytes: %+v", s)
	}
	if s, next := found["unreachable"], found["prefixed"]; s.Short != 0 || s.Body != s.Addr+5 || next.Short != next.Entry || next.Addr != s.Body+6 {
		t.Errorf("patch areas that meet: %s, %s", fmt.Sprintf("%+v", s), fmt.Sprintf("%+v", next))
	}
}
