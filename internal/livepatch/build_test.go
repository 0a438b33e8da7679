package livepatch

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The compilers of the fixtures.
const (
	gcc   = "aarch64-linux-gnu-gcc"
	gxx   = "aarch64-linux-gnu-g++"
	clang = "clang --target=aarch64-linux-gnu"
)

const patchable = "-fpatchable-function-entry=2"

// run runs a tool that has to succeed. Only in CI is it a failure not to have it.
func run(t testing.TB, name string, args ...string) {
	t.Helper()
	words := strings.Fields(name)
	path, err := exec.LookPath(words[0])
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("find tool: %v", err)
		}
		t.Skipf("find tool: %v", err)
	}
	out, err := exec.Command(path, append(words[1:], args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// source writes a source file.
func source(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// compile makes an object file.
func compile(t testing.TB, compiler, file string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))+".o")
	run(t, compiler, append(append([]string{"-O2", "-w", "-c", file, "-o", out}, patchable), flags...)...)
	return out
}

// link makes a program or library.
func link(t testing.TB, compiler string, flags []string, objects ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "program")
	run(t, compiler, append(append(flags, "-Wl,--build-id", "-o", out), objects...)...)
	return out
}

// patchOf builds a patch of a text for a program that was made of another.
func patchOf(t testing.TB, old, changed string, flags ...string) (*Patch, *Report, error) {
	t.Helper()
	program := link(t, gcc, []string{"-shared", "-Wl,-z,notext"}, compile(t, gcc, source(t, "code.c", old), append([]string{"-fPIC"}, flags...)...))
	return Build(BuildOptions{Name: "fix", Target: program, Objects: []string{compile(t, gcc, source(t, "code.c", changed), append([]string{"-fPIC"}, flags...)...)}})
}

// configuration is how the fixture is compiled and linked.
type configuration struct {
	name, compiler string
	flags, linking []string
	all            bool // all changes are tried
	anchored       bool // constants stand in one section
}

var configurations = []configuration{
	{"gcc", gcc, nil, nil, true, false},
	{"gcc -O0", gcc, []string{"-O0"}, nil, false, true},
	{"gcc -fPIC", gcc, []string{"-fPIC"}, nil, false, false},
	{"gcc -fpic", gcc, []string{"-fpic"}, nil, false, false},
	{"gcc -no-pie", gcc, []string{"-fno-pie"}, []string{"-no-pie"}, false, true},
	{"gcc -static", gcc, nil, []string{"-static"}, false, false},
	{"gcc sections", gcc, []string{"-ffunction-sections", "-fdata-sections"}, nil, true, false},
	{"gcc bti", gcc, []string{"-mbranch-protection=standard"}, nil, false, false},
	{"gcc library", gcc, []string{"-fPIC"}, []string{"-shared"}, false, false},
	{"clang", clang, nil, []string{"-fuse-ld=lld"}, false, false},
	{"clang library", clang, []string{"-fPIC"}, []string{"-shared", "-fuse-ld=lld"}, true, false},
}

func (c configuration) target(t testing.TB) string {
	return link(t, c.compiler, slices.Clone(c.linking), compile(t, c.compiler, "testdata/server.c", c.flags...))
}

func (c configuration) change(t testing.TB, number string) string {
	return compile(t, c.compiler, "testdata/server.c", append([]string{"-DCHANGE=" + number}, c.flags...)...)
}

// What is replaced is what a change to the source has changed: not more, so that
// the linker's work was understood, and not less.
func TestWhatHasChangedIsReplaced(t *testing.T) {
	changes := []struct {
		number   string
		replaced []string
		along    []string
	}{
		{"1", []string{"name"}, nil},
		{"2", []string{"helper"}, nil},
		{"3", []string{"scale"}, nil},
		{"4", []string{"pick"}, nil},
		{"5", []string{"choose"}, nil},
		{"6", []string{"count"}, nil},
		{"7", []string{"entry"}, []string{"added"}},
		{"8", []string{"recurse"}, nil},
		{"9", []string{"weak"}, nil},
		{"10", []string{"touched"}, nil},
	}
	for _, c := range configurations {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			program := c.target(t)
			for _, change := range changes {
				if !c.all && !slices.Contains([]string{"1", "4", "6"}, change.number) {
					continue
				}
				_, report, err := Build(BuildOptions{Name: "fix", Target: program, Objects: []string{c.change(t, change.number)}})
				if change.number == "7" && err != nil && strings.Contains(err.Error(), "-fdata-sections") && c.name != "gcc sections" {
					continue // a new variable among old ones moves them
				}
				if err != nil {
					t.Errorf("change %s: %v", change.number, err)
					continue
				}
				got := report.Replaced
				if c.anchored { // read-only data that moved counts as changed
					got = slices.DeleteFunc(slices.Clone(got), func(name string) bool {
						return name != change.replaced[0] && slices.Contains([]string{"name", "scale", "pick", "helper"}, name)
					})
				}
				if diff := cmp.Diff(change.replaced, got); diff != "" {
					t.Errorf("change %s: replaced (-want +got):\n%s", change.number, diff)
				}
				if diff := cmp.Diff(change.along, report.Along); diff != "" {
					t.Errorf("change %s: new functions (-want +got):\n%s", change.number, diff)
				}
			}
			if _, _, err := Build(BuildOptions{Name: "fix", Target: program, Objects: []string{c.change(t, "0")}}); err == nil || !strings.Contains(err.Error(), "nothing to replace") {
				t.Errorf("without a change: %v, want an error", err)
			}
		})
	}
}

// A patch is the same when it is built again, so that it can be signed by two.
func TestBuildIsReproducible(t *testing.T) {
	c := configurations[6]
	program, object := c.target(t), c.change(t, "7")
	var first []byte
	for range 3 {
		p, _, err := Build(BuildOptions{Name: "fix", Target: program, Objects: []string{object}, Source: "server.c", Functions: []string{"entry"}})
		if err != nil {
			t.Fatal(err)
		}
		data, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, data) {
			t.Error("another patch was built of the same")
		}
		first = data
	}
}

func TestCommonAndWeakDefinitions(t *testing.T) {
	const code = `
int common_one;
int weak_one(int x) __attribute__((weak, noinline));
int weak_one(int x) { return x; }
int use(int x) { common_one += x; return weak_one(x) + NUMBER; }
`
	p, report, err := patchOf(t, strings.Replace(code, "NUMBER", "1", 1), strings.Replace(code, "NUMBER", "2", 1), "-fcommon")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"use"}, report.Replaced); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"common_one", "weak_one"} {
		if !slices.ContainsFunc(p.targets, func(x target) bool { return x.Name == name && x.Kind == inTarget }) {
			t.Errorf("%s is not the target's: %+v", name, p.targets)
		}
	}
}

func TestStaticVariablesOfFunctions(t *testing.T) {
	const old = `
int one(void) { static int calls = 4; return ++calls; }
int two(int x) { return x; }
`
	// The compiler numbers statics anew.
	const changed = `
int two(int x) { static int seen; return seen += x; }
int one(void) { static int calls = 4; return ++calls + 1; }
`
	p, report, err := patchOf(t, old, changed, "-fdata-sections")
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Data) != 1 || !strings.HasPrefix(report.Data[0], "seen.") {
		t.Errorf("new variables %q, want one seen", report.Data)
	}
	if !slices.ContainsFunc(p.targets, func(x target) bool { return strings.Contains(x.Name, "calls.") && x.Kind == inTarget }) {
		t.Errorf("calls is not the target's: %+v", p.targets)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, old, changed, want string
		flags                    []string
	}{
		{"new thread-local variable", `int f(void) { return 1; }`, `static __thread int fresh; int f(void) { return ++fresh; }`,
			"fresh: it is a new thread-local variable", nil},
		{"ifunc", `int f(void) { return 1; }`, `static int g(void) { return 2; } static int (*which(void))(void) { return g; }
			int chosen(void) __attribute__((ifunc("which"))); int f(void) { return chosen(); }`,
			"chosen: patches cannot have indirect functions", nil},
		{"constructor", `int f(void) { return 1; }`, `int f(void) { return 2; } __attribute__((constructor)) static void start(void) { f(); }`,
			"patches cannot have constructors", nil},
		{"size of a variable", `int table[4]; int f(int x) { return table[x]; }`, `int table[8]; int f(int x) { return table[x] + 1; }`,
			"table: it has 16 bytes in", nil},
		{"size of a static variable", `static long v[2]; long *f(int x) { return v + x; }`, `static long v[3]; long *f(int x) { return v + x + 1; }`,
			"v: it has 16 bytes in", []string{"-fdata-sections"}},
		{"variables side by side", `static int a, b; int f(void) { return ++a + ++b; }`, `static int a, n, b; int f(void) { return ++a + ++b + ++n; }`,
			"compile it with -fdata-sections", nil},
		{"no site", `__attribute__((patchable_function_entry(0))) int f(void) { return 1; }`, `int f(void) { return 2; }`,
			"replace f: the old one at", nil},
		{"one NOP", `__attribute__((patchable_function_entry(1))) int f(void) { return 1; }`, `int f(void) { return 2; }`,
			"replace f: the old one at", nil},
		{"nothing", `int f(void) { return 1; }`, `int f(void) { return 1; }`, "nothing to replace", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := patchOf(t, c.old, c.changed, c.flags...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestNamedFunctions(t *testing.T) {
	c := configurations[6]
	program, object := c.target(t), c.change(t, "7")
	build := func(o BuildOptions) (*Report, error) {
		o.Name, o.Target, o.Objects = "fix", program, []string{object}
		_, report, err := Build(o)
		return report, err
	}
	for name, want := range map[string]string{
		"nosuch": "none of the objects defines",
		"added":  "it was inlined into its callers or left out",
	} {
		if _, err := build(BuildOptions{Functions: []string{name}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--function %s: %v, want an error with %q", name, err, want)
		}
	}
	// What is the same is replaced if it is asked for.
	report, err := build(BuildOptions{Functions: []string{"main"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"main"}, report.Replaced); diff != "" {
		t.Error(diff)
	}
	if len(report.Notes) != 1 || !strings.Contains(report.Notes[0], "entry is changed, too") {
		t.Errorf("notes %q, want one about entry", report.Notes)
	}
}

func TestMainIsLeftOut(t *testing.T) {
	old := source(t, "m.c", `int f(int x) { return x; } int main(int c, char **v) { return f(c); }`)
	changed := source(t, "m.c", `int f(int x) { return x + 1; } int main(int c, char **v) { return f(c) + 3; }`)
	program := link(t, gcc, nil, compile(t, gcc, old, "-fno-inline"))
	_, report, err := Build(BuildOptions{Name: "fix", Target: program, Objects: []string{compile(t, gcc, changed, "-fno-inline")}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"f"}, report.Replaced); diff != "" {
		t.Error(diff)
	}
	if len(report.Notes) != 1 || !strings.Contains(report.Notes[0], "main is changed") {
		t.Errorf("notes %q, want one about main", report.Notes)
	}
}

func TestFunctionsOfOneName(t *testing.T) {
	const util = "static __attribute__((noinline, noclone)) int util(int x) { return x * 3; }\n"
	one := source(t, "one.c", util+`int one(int x) { return util(x) + 1; }`)
	two := source(t, "two.c", strings.Replace(util, "3", "5", 1)+`int two(int x) { return util(x) + 2; }`)
	program := link(t, gcc, []string{"-shared"}, compile(t, gcc, one, "-fPIC"), compile(t, gcc, two, "-fPIC"))
	fix := func(o BuildOptions, text string) (*Patch, error) {
		o.Name, o.Target = "fix", program
		o.Objects = []string{compile(t, gcc, source(t, "fix.c", text), "-fPIC")}
		p, _, err := Build(o)
		return p, err
	}
	// util is that of two.c, since it is the same.
	p, err := fix(BuildOptions{}, strings.Replace(util, "3", "5", 1)+`int two(int x) { return util(x) + 22; }`)
	if err != nil {
		t.Fatal(err)
	}
	old, err := openOriginal(program)
	if err != nil {
		t.Fatal(err)
	}
	defer old.close()
	addresses := make(map[string]uint64) // of the two, by file
	for _, s := range old.symbols["util"] {
		addresses[s.file] = s.va
	}
	i := slices.IndexFunc(p.targets, func(x target) bool { return x.Name == "util" })
	if i < 0 || p.targets[i].VA != addresses["two.c"] {
		t.Errorf("util is at %+v, want %#x", p.targets, addresses["two.c"])
	}
	changed := strings.Replace(util, "3", "7", 1) + `int two(int x) { return util(x) + 2; }`
	if _, err := fix(BuildOptions{}, changed); err == nil || !strings.Contains(err.Error(), "2 of the name util") || !strings.Contains(err.Error(), "--source") {
		t.Errorf("error %v, want that there are two", err)
	}
	p, err = fix(BuildOptions{Source: "two.c"}, changed)
	if err != nil {
		t.Fatal(err)
	}
	if f := p.Functions(); len(f) != 1 || f[0].OldVA != addresses["two.c"] {
		t.Errorf("replaces %+v, want util at %#x", f, addresses["two.c"])
	}
}

func TestInlinedCopiesAreNoted(t *testing.T) {
	header := source(t, "h.h", `inline int shared(int x) { return x * FACTOR; }`)
	one := source(t, "one.c", `#include "`+header+`"
		extern inline int shared(int x); int one(int x) { return shared(x) + 1; }`)
	two := source(t, "two.c", `#include "`+header+`"
		int two(int x) { return shared(x) + 2; }`)
	program := link(t, gcc, []string{"-shared"}, compile(t, gcc, one, "-fPIC", "-g", "-DFACTOR=3"), compile(t, gcc, two, "-fPIC", "-g", "-DFACTOR=3"))
	build := func(files ...string) *Report {
		o := BuildOptions{Name: "fix", Target: program}
		for _, file := range files {
			o.Objects = append(o.Objects, compile(t, gcc, file, "-fPIC", "-DFACTOR=5"))
		}
		_, report, err := Build(o)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	if notes := build(one).Notes; len(notes) != 1 || !strings.Contains(notes[0], "shared was also inlined into two") {
		t.Errorf("notes %q, want one about two", notes)
	}
	if notes := build(one, two).Notes; len(notes) != 0 {
		t.Errorf("notes %q with both objects", notes)
	}
}

// Objects are the user's own, but may be damaged.
func FuzzObject(f *testing.F) {
	c := configurations[6]
	program := c.target(f)
	for _, number := range []string{"0", "7", "10"} {
		data, err := os.ReadFile(c.change(f, number))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "x.o")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		p, _, err := Build(BuildOptions{Name: "fix", Target: program, Objects: []string{path}})
		if err != nil {
			return
		}
		if _, err := p.Encode(); err != nil {
			t.Error(err)
		}
	})
}

// A change of one function moves others, whose loops are aligned with another
// number of NOPs then.
func TestAlignmentIsNoChange(t *testing.T) {
	const loops = `
int price(int x) { EXTRA return x * 3; }
int work(int *v, int n) { int s = 0; for (int i = 0; i < n; i++) { s += v[i] * s; if (s == 77) s ^= n; } return s; }
int more(int *v, int n) { int s = 0; while (n--) { s ^= v[n] + 3; } for (int i = 0; i < s; i++) s += price(s); return s; }
`
	program := link(t, gcc, []string{"-shared"}, compile(t, gcc, source(t, "code.c", strings.Replace(loops, "EXTRA", "", 1)), "-fPIC", "-fno-inline"))
	moved := false
	for _, extra := range []string{"x++;", "x ^= 5; x *= 7;", "if (x > 3) x -= 100; x ^= 77;", "if (x > 3) return x ^ 0x12345; x /= 5;"} {
		object := compile(t, gcc, source(t, "code.c", strings.Replace(loops, "EXTRA", extra, 1)), "-fPIC", "-fno-inline")
		p, report, err := Build(BuildOptions{Name: "fix", Target: program, Objects: []string{object}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"price"}, report.Replaced); diff != "" {
			t.Errorf("%s: replaced (-want +got):\n%s", extra, diff)
		}
		o, err := openObject(object)
		if err != nil {
			t.Fatal(err)
		}
		for _, y := range o.symbols {
			moved = moved || y.name == "work" && y.size != sizeOf(t, program, "work") || y.name == "more" && y.size != sizeOf(t, program, "more")
		}
		if p.funcs[0].Name != "price" {
			t.Errorf("replaces %+v", p.funcs)
		}
	}
	if !moved {
		t.Log("no loop was aligned in another way")
	}
}

func sizeOf(t *testing.T, program, name string) uint64 {
	t.Helper()
	o, err := openOriginal(program)
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	return o.symbols[name][0].size
}

func TestStrippedTarget(t *testing.T) {
	c := configurations[6]
	program := c.target(t)
	run(t, "aarch64-linux-gnu-strip", "-s", program)
	_, _, err := Build(BuildOptions{Name: "fix", Target: program, Objects: []string{c.change(t, "2")}})
	if err == nil || !strings.Contains(err.Error(), "has no symbol table") {
		t.Errorf("error %v, want that there is no symbol table", err)
	}
}

// What a function catches is not in its code.
func TestHandlersAreCompared(t *testing.T) {
	const code = `
#include <stdexcept>
int thrower(int);
int one(int x) { try { return thrower(x); } catch (const CAUGHT &e) { return 5; } }
int two(int x) { try { return thrower(x); } catch (const std::logic_error &e) { return 6; } }
int three(int x) { return x; }
`
	for _, c := range []struct{ name, compiler string }{{"gcc", gxx}, {"clang", strings.Replace(clang, "clang", "clang++", 1) + " -fuse-ld=lld"}} {
		t.Run(c.name, func(t *testing.T) {
			make := func(caught string) string {
				return compile(t, c.compiler, source(t, "code.cc", strings.Replace(code, "CAUGHT", caught, 1)), "-fPIC")
			}
			program := link(t, c.compiler, []string{"-shared"}, make("std::range_error"))
			_, report, err := Build(BuildOptions{Name: "fix", Target: program, Objects: []string{make("std::domain_error")}})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"one(int)"}, report.Replaced); diff != "" {
				t.Errorf("replaced (-want +got):\n%s", diff)
			}
		})
	}
}
