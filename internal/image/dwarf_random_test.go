package image

import (
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
	dir := t.TempDir()
	in, out := filepath.Join(dir, "source.c"), filepath.Join(dir, "object")
	if err := os.WriteFile(in, []byte(source), 0o666); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-w", "-g", "-fpatchable-function-entry=2"}, flags...)
	if compiler == clang {
		findTool(t, "ld.lld")
		args = append(args, "--target=aarch64-linux-gnu", "-fuse-ld=lld")
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
			d, err := im.openDWARF()
			if err != nil {
				t.Fatal(err)
			}
			known, functions := 0, 0
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
				var a allocator
				for i, f := range found {
					p := &s.Params[i]
					want := a.place(p.Type)
					l := b.location(f.concrete, b.body, p.Type.Size)
					if l.known {
						known++
					}
					if want.Unknown != "" || !l.agrees(want) {
						t.Errorf("%s: parameter %s, a %v of %d bytes, is at %+v, for the compiler at %+v",
							im.SiteName(site), p.Name, p.Type.Kind, p.Type.Size, want, l.place)
					}
				}
			}
			t.Logf("%d functions, %d parameters with known locations", functions, known)
			if functions != len(program.Funcs) || known < 2*functions {
				t.Errorf("%d functions of %d, %d locations", functions, len(program.Funcs), known)
			}
		})
	}
}
