package image

import (
	"debug/dwarf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nopal/test/argsgen"
)

// compile compiles a source that the test has made.
func compile(t *testing.T, source, compiler string, flags ...string) string {
	t.Helper()
	return compileFor(t, "aarch64-linux-gnu", source, compiler, append([]string{"-fpatchable-function-entry=2"}, flags...))
}

// compileX86 does so for x86-64.
func compileX86(t *testing.T, source, compiler string, flags ...string) string {
	t.Helper()
	return compileFor(t, "x86_64-linux-gnu", source, compiler, append([]string{"-fpatchable-function-entry=5"}, flags...))
}

func compileFor(t *testing.T, target, source, compiler string, flags []string) string {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "source.c"), filepath.Join(dir, "object")
	if err := os.WriteFile(in, []byte(source), 0o666); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-w", "-g"}, flags...)
	if compiler == clang {
		findTool(t, "ld.lld")
		args = append(args, "--target="+target, "-fuse-ld=lld")
	}
	run(t, compiler, append(args, in, "-o", out)...)
	return out
}

// TestPlacesOfRandomSignatures compares where parameters are by AAPCS64 with
// where the compilers say that they are at the functions' first instructions.
func TestPlacesOfRandomSignatures(t *testing.T) {
	for seed, c := range []struct{ compiler, flags string }{
		{gcc, "-O1"}, {gcc, "-O2 -gdwarf-4"}, {gcc, "-O3"},
		{clang, "-O1"}, {clang, "-O2 -gdwarf-4"}, {clang, "-O3 -ffunction-sections"},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			t.Parallel()
			program := argsgen.Generate(uint64(seed), 60)
			im := open(t, compile(t, program.Source, c.compiler, strings.Fields(c.flags)...))
			checkRandom(t, im, len(program.Funcs))
		})
	}
}

// checkRandom compares the places of parameters with what the compiler says.
func checkRandom(t *testing.T, im *Image, want int) {
	t.Helper()
	d, err := im.openDWARF()
	if err != nil {
		t.Fatal(err)
	}
	known, stacked, functions := 0, 0, 0
	for _, site := range im.Sites() {
		if !strings.HasPrefix(im.SiteName(site), "f") {
			continue
		}
		functions++
		d.budget = maxQuestion
		b, err := im.newBuilder(d, site)
		if err != nil {
			t.Errorf("%s: %v", im.SiteName(site), err)
			continue
		}
		var s Signature
		if err := b.params(&s); err != nil {
			t.Errorf("%s: %v", im.SiteName(site), err)
		}
		found, err := b.list(&s)
		if err != nil {
			t.Fatal(err)
		}
		// The places that checkPlaces may have corrected are made anew.
		a := b.abi.arguments(b.resultType(), b.caller())
		for i, f := range found {
			p := &s.Params[i]
			want := a.place(p.Type)
			l := b.location(f.concrete, b.body, p.Type.Size)
			if l.known {
				known++
			}
			if at, ok := onStack(b, f.concrete); ok {
				stacked++
				if len(want.Pieces) == 0 || want.Pieces[0].Kind != InStack || want.Pieces[0].Offset != at {
					t.Errorf("%s: parameter %s, a %v of %d bytes, is at %+v, for the compiler at %d on the stack",
						im.SiteName(site), p.Name, p.Type.Kind, p.Type.Size, want, at)
				}
			}
			if want.Unknown != "" || !l.agrees(want) {
				t.Errorf("%s: parameter %s, a %v of %d bytes, is at %+v, for the compiler at %+v",
					im.SiteName(site), p.Name, p.Type.Kind, p.Type.Size, want, l.place)
			}
		}
	}
	t.Logf("%d functions, %d parameters with known locations, and %d on the stack", functions, known, stacked)
	if functions != want || known < 2*functions {
		t.Errorf("%d functions of %d, %d locations", functions, want, known)
	}
}

// onStack gives where on the stack GCC says that a parameter is.
func onStack(b *builder, e *dwarf.Entry) (offset int64, ok bool) {
	const opCallFrameCFA = 0x9c
	if base, _ := b.fn[0].Val(dwarf.AttrFrameBase).([]byte); len(base) != 1 || base[0] != opCallFrameCFA || e == nil {
		return 0, false
	}
	offset, ok = homeOf(e)
	return offset, ok && offset >= 0
}

// TestPlacesOfRandomSignaturesX86 does so for the System V ABI. GCC has other programs than
// clang, which has no _Float16 there.
func TestPlacesOfRandomSignaturesX86(t *testing.T) {
	for seed, c := range []struct{ compiler, flags string }{
		{gccX86, "-O1"}, {gccX86, "-O2 -gdwarf-4 -fcf-protection"}, {gccX86, "-O3"},
		{clang, "-O1"}, {clang, "-O2 -gdwarf-4"}, {clang, "-O3 -ffunction-sections"},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			t.Parallel()
			program := argsgen.Generate(uint64(seed), 60)
			flags := strings.Fields(c.flags)
			if c.compiler == clang {
				flags = append(flags, "-D_Float16=float")
			}
			checkRandom(t, open(t, compileX86(t, program.Source, c.compiler, flags...)), len(program.Funcs))
		})
	}
}
