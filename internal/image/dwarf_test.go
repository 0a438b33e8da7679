package image

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nopal/internal/arch/amd64"
)

// text writes a signature as the comments in testdata do.
func (s *Signature) text(m elf.Machine) string {
	var b strings.Builder
	b.WriteString(s.Name + "(")
	for i, p := range s.Params {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p.text(m))
	}
	if s.Variadic {
		b.WriteString(", ...")
	}
	b.WriteString(")")
	if s.Result != nil {
		b.WriteString(" " + s.Result.text(m))
	}
	if s.NoReturn {
		b.WriteString(" noreturn")
	}
	return b.String()
}

func (p *Param) text(m elf.Machine) string {
	what := fmt.Sprintf("%v%d", p.Type.Kind, p.Type.Size)
	if p.Type.Kind == Pointer {
		what += fmt.Sprintf(" %v", p.Type.Elem.Kind)
		if p.Type.Reference {
			what = "&" + what
		}
	}
	var pieces []string
	at := func(piece Piece) string {
		switch piece.Kind {
		case InX:
			if m == elf.EM_X86_64 {
				return amd64.RegNames[piece.N]
			}
			return fmt.Sprintf("x%d", piece.N)
		case InX87:
			return fmt.Sprintf("st%d", piece.N)
		case InStack:
			return fmt.Sprintf("s%d", piece.Offset)
		}
		return fmt.Sprintf("v%d", piece.N)
	}
	for _, piece := range p.Place.Pieces {
		if piece.Kind != InVHigh && (piece.Kind != InStack || piece.At == 0 || p.Type.Kind != Float) {
			pieces = append(pieces, at(piece))
		}
	}
	switch {
	case p.Place.Unknown != "":
		what += " ?"
	case p.Place.Address != nil:
		what += " *" + at(*p.Place.Address)
	case len(pieces) > 0:
		what += " " + strings.Join(pieces, "+")
	}
	return what
}

// What signatures for each machine begin with in a source.
const (
	forArm = "//= "
	forX86 = "//x "
)

// expected reads the signatures in a source, by the functions' names.
func expected(t *testing.T, source, mark string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", source))
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		if sig, ok := strings.CutPrefix(strings.TrimSpace(line), mark); ok {
			name, _, _ := strings.Cut(strings.Replace(sig, "operator()", "operator", 1), "(")
			want[strings.Replace(name, "operator", "operator()", 1)] = sig
		}
	}
	return want
}

// checkSignatures compares the signatures of an object with those of its source.
func checkSignatures(t *testing.T, im *Image, want map[string]string) {
	t.Helper()
	seen := make(map[string]bool)
	for _, site := range im.Sites() {
		sig, err := im.Signature(site)
		if err != nil {
			if !strings.Contains(im.SiteName(site), "thunk") && !strings.HasPrefix(im.SiteName(site), "_ZTv") {
				t.Error(err)
			}
			continue
		}
		w, ok := want[sig.Name]
		if !ok {
			continue
		}
		seen[sig.Name] = true
		if got := sig.text(im.Machine); got != w {
			t.Errorf("%s:\n     %s\nwant %s", im.SiteName(site), got, w)
			for _, p := range sig.Params {
				if p.Place.Unknown != "" {
					t.Logf("%s: %s", p.Name, p.Place.Unknown)
				}
			}
		}
	}
	for name := range want {
		if !seen[name] {
			t.Errorf("no function %s", name)
		}
	}
}

func TestSignatures(t *testing.T) {
	for _, c := range []struct{ compiler, source, flags string }{
		{gcc, "signatures.c", "-O0"},
		{gcc, "signatures.c", "-O2"},
		{gcc, "signatures.c", "-O3 -gdwarf-4 -ffunction-sections"},
		{gcc, "signatures.c", "-O1 -fdebug-types-section"},
		{gcc, "signatures.c", "-O1 -gdwarf-4 -gz"},
		{gcc, "signatures.c", "-O2 -flto"},
		{gcc, "signatures.c", "-mbranch-protection=standard -no-pie"},
		{gcc, "signatures.c", "-fpatchable-function-entry=6,2"},
		{clang, "signatures.c", "-O0"},
		{clang, "signatures.c", "-O2 -gdwarf-5"},
		{clang, "signatures.c", "-O3 -gdwarf-4 -ffunction-sections"},
		{clang, "signatures.c", "-O2 -flto"},
		{gxx, "signatures.cc", "-O0"},
		{gxx, "signatures.cc", "-O2"},
		{gxx, "signatures.cc", "-O2 -gdwarf-4 -gstrict-dwarf"},
		{gxx, "signatures.cc", "-D_GLIBCXX_USE_CXX11_ABI=1 -std=c++20 -O1"},
		{clang, "signatures.cc", "-O0"},
		{clang, "signatures.cc", "-O2 -gdwarf-5"},
		{clang, "signatures.cc", "-O1 -gdwarf-4 -gstrict-dwarf"},
		{clang, "rust.s", "-shared -nostdlib"},
	} {
		t.Run(fmt.Sprintf("%s %s %s", c.compiler, c.source, c.flags), func(t *testing.T) {
			t.Parallel()
			flags := append([]string{"-g", "-w", "-fpatchable-function-entry=2"}, strings.Fields(c.flags)...)
			if strings.HasSuffix(c.source, ".cc") {
				flags = append(flags, "-std=c++17", "-shared", "-fPIC")
			}
			source := c.source
			if source == "rust.s" {
				source = "rust.rs"
			}
			checkSignatures(t, open(t, build(t, c.compiler, c.source, flags...)), expected(t, source, forArm))
		})
	}
}

// TestSignaturesOfDebugFile has the DWARF in a file of its own, whether or not
// the object has symbols.
func TestSignaturesOfDebugFile(t *testing.T) {
	want := expected(t, "signatures.c", forArm)
	for _, strip := range []string{"--strip-all", "--strip-debug"} {
		path := build(t, gcc, "signatures.c", "-g", "-w", "-fpatchable-function-entry=2")
		dir := t.TempDir()
		debug, bare := filepath.Join(dir, "object.debug"), filepath.Join(dir, "object")
		run(t, "aarch64-linux-gnu-objcopy", "--only-keep-debug", path, debug)
		run(t, "aarch64-linux-gnu-objcopy", strip, "--add-gnu-debuglink="+debug, path, bare)
		im := open(t, bare)
		checkSignatures(t, im, want)
		if err := im.NoDWARF(); err != nil {
			t.Error(err)
		}
		if err := os.Remove(debug); err != nil {
			t.Fatal(err)
		}
		im = open(t, bare)
		if err := im.NoDWARF(); !errors.Is(err, ErrNoDWARF) {
			t.Errorf("without the file: %v", err)
		}
		if _, err := im.Signature(im.Sites()[0]); !errors.Is(err, ErrNoDWARF) {
			t.Errorf("without the file: %v, want %v", err, ErrNoDWARF)
		}
	}
}

// TestChangedFunctions has functions of which the compiler knows all calls, so
// that it calls them as it likes.
func TestChangedFunctions(t *testing.T) {
	const source = `
struct point { int x, y; };
extern volatile int sink;
volatile int sink;
__attribute__((noinline)) static int constant(int a, int always, int b) { sink = a; return a * b * always; }
__attribute__((noinline)) static int member(struct point *p, int z) { sink = z; return p->x + z; }
__attribute__((noinline)) static int unused(int not, int b) { sink = b; return b; }
int main(int argc, char **argv)
{
	struct point p = { argc, 2 };
	return constant(argc, 3, 5) + constant(2, 3, argc) + member(&p, argc) + unused(argc, 7) + unused(1, argc);
}
`
	for _, c := range []struct {
		compiler string
		want     map[string]string // prefixes
	}{
		// What is known of GCC's clones is where their parameters are.
		{gcc, map[string]string{
			"constant": "constant(int4 x0, int4 ?, int4 x1)",
			"unused":   "unused(int4 ?, int4 x0)",
		}},
		{clang, map[string]string{
			"constant": "constant(int4 x0, int4 ?, int4 x1)",
			"unused":   "unused(int4 ?, int4 x0)",
		}},
	} {
		im := open(t, compile(t, source, c.compiler, "-O2"))
		for _, site := range im.Sites() {
			sig, err := im.Signature(site)
			if err != nil {
				t.Error(err)
				continue
			}
			t.Logf("%s %s: %s", c.compiler, im.SiteName(site), sig.text(im.Machine))
			if got := sig.text(im.Machine); !strings.HasPrefix(got, c.want[sig.Name]) {
				t.Errorf("%s: %s has the signature %s, want %s", c.compiler, im.SiteName(site), got, c.want[sig.Name])
			}
		}
	}
}

// TestLinkTimeChanges has functions that the linker finds to be called from
// nowhere else.
func TestLinkTimeChanges(t *testing.T) {
	const source = `
volatile int sink;
__attribute__((noinline)) int last(int a, int unused) { sink = a; return a + 1; }
__attribute__((noinline)) int first(int unused, int a) { sink = a; return a + 1; }
__attribute__((noinline)) int third(int a, int three, int b) { sink = a; return a * three + b; }
int main(int argc, char **argv)
{
	last(argc, argc + 7);
	first(argc * 3, argc + 1);
	return third(argc, 3, 8) + third(2, 3, argc);
}
`
	want := map[string]string{
		"last":  "last(int4 x0, int4 ?) int4 ?",
		"first": "first(int4 ?, int4 x0) int4 ?",
	}
	for _, compiler := range []string{gcc, clang} {
		im := open(t, compile(t, source, compiler, "-O2", "-flto"))
		checkSignatures(t, im, want)
		for _, site := range im.Sites() {
			sig, err := im.Signature(site)
			if err == nil && sig.Name == "third" && !strings.HasPrefix(sig.text(im.Machine), "third(int4 x0, int4 ?, int4 x1)") {
				t.Errorf("%s: %s", compiler, sig.text(im.Machine))
			}
		}
	}
}

// TestLackingParameters has parameters that clang does not tell of.
func TestLackingParameters(t *testing.T) {
	const source = `
struct big { long a, b, c; };
struct mixed { char c; long l; };
int first(struct big unused, int a, double d, char c, _Bool b, struct mixed m) { return a; }
int second(struct big used, int a, struct big unused, int b, struct big last) { return used.a + last.b; }
int main(void) { return 0; }
`
	im := open(t, compile(t, source, clang, "-O0"))
	checkSignatures(t, im, map[string]string{
		"first":  "first(int4 x1, float8 v0, char1 x2, bool1 ?, struct16 ?) int4 x0",
		"second": "second(struct24 *x0, int4 x1, int4 x3, struct24 *x4) int4 x0",
	})
}

// TestSplitDWARF says why there is nothing.
func TestSplitDWARF(t *testing.T) {
	im := open(t, compile(t, "int main(int c, char **v) { return c; }\n", gcc, "-gsplit-dwarf"))
	if _, err := im.Signature(im.Sites()[0]); !errors.Is(err, ErrNoDWARF) || !strings.Contains(err.Error(), ".dwo") {
		t.Errorf("error %v", err)
	}
}

// TestMalformedDWARF changes bytes of the debug sections. What comes of it does
// not matter, if it comes soon.
func TestMalformedDWARF(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var paths []string
	for _, flags := range [][]string{{gcc, "signatures.c", "-O2"}, {clang, "signatures.c", "-O2", "-gdwarf-5"}} {
		paths = append(paths, build(t, flags[0], flags[1], append(flags[2:], "-g", "-w", "-fpatchable-function-entry=2")...))
	}
	for _, flags := range [][]string{{gccX86, "signatures.c", "-O2"}, {clang, "signatures.c", "-O0", "-gdwarf-5"}} {
		paths = append(paths, buildX86(t, flags[0], flags[1], append(flags[2:], "-g", "-w", "-fpatchable-function-entry=5")...))
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		good, bad := 0, 0
		for range 300 {
			broken := bytes.Clone(data)
			for _, name := range []string{".debug_info", ".debug_abbrev", ".debug_loc", ".debug_loclists", ".debug_rnglists", ".debug_addr"} {
				if s := f.Section(name); s != nil && random.IntN(2) == 0 {
					for range 1 + random.IntN(4) {
						broken[s.Offset+random.Uint64N(s.FileSize)] = byte(random.Uint32())
					}
				}
			}
			im, err := New(bytes.NewReader(broken), "broken", Options{DebugDirs: []string{}})
			if err != nil {
				t.Fatal(err)
			}
			for _, site := range im.Sites() {
				if _, err := im.Signature(site); err != nil {
					bad++
				} else {
					good++
				}
			}
		}
		t.Logf("%d signatures, %d errors", good, bad)
	}
}

// TestManyRanges reads what a small file can say so often that it fills all memory: that
// functions have a long list of ranges, which is one and the same.
func TestManyRanges(t *testing.T) {
	im := open(t, compile(t, `
int f(int x) { return x; }
asm(".section .debug_abbrev, \"\", @progbits\n"
    ".byte 1, 0x11, 1, 0x13, 0x0b, 0x11, 1, 0x55, 0x17, 0, 0\n" /* unit: language, low_pc, ranges */
    ".byte 2, 0x2e, 0, 0x55, 0x17, 0, 0, 0\n"                   /* subprogram: ranges */
    ".section .debug_ranges, \"\", @progbits\n"
    ".rept 3000; .quad 0, 0x1000000; .endr; .quad 0, 0\n"
    ".section .debug_info, \"\", @progbits\n"
    ".4byte 2f - 1f; 1: .2byte 4; .4byte 0; .byte 8\n"
    ".byte 1, 0x0c; .quad 0; .4byte 0\n"
    ".rept 3000; .byte 2; .4byte 0; .endr; .byte 0; 2:\n");
`, gcc, "-g0", "-shared", "-nostdlib"))
	if _, err := im.Signature(im.Sites()[0]); err == nil || !strings.Contains(err.Error(), "ranges of code") {
		t.Errorf("error %v", err)
	}
}
