package image

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const gxxX86 = "x86_64-linux-gnu-g++"

func TestSignaturesX86(t *testing.T) {
	for _, c := range []struct{ compiler, source, flags string }{
		{gccX86, "signatures.c", "-O0"},
		{gccX86, "signatures.c", "-O2"},
		{gccX86, "signatures.c", "-O3 -gdwarf-4 -fcf-protection"},
		{gccX86, "signatures.c", "-O2 -flto"},
		{gccX86, "signatures.c", "-fpatchable-function-entry=16,14"},
		{clang, "signatures.c", "-O0"},
		{clang, "signatures.c", "-O2 -gdwarf-5"},
		{clang, "signatures.c", "-O3 -gdwarf-4 -ffunction-sections"},
		{clang, "signatures.c", "-O2 -flto -fcf-protection"},
		{gxxX86, "signatures.cc", "-O0"},
		{gxxX86, "signatures.cc", "-O2"},
		{gxxX86, "signatures.cc", "-O2 -gdwarf-4 -gstrict-dwarf"},
		{clang, "signatures.cc", "-O0"},
		{clang, "signatures.cc", "-O2 -gdwarf-5"},
	} {
		t.Run(fmt.Sprintf("%s %s %s", c.compiler, c.source, c.flags), func(t *testing.T) {
			t.Parallel()
			flags := append([]string{"-g", "-w", "-fpatchable-function-entry=5"}, strings.Fields(c.flags)...)
			if strings.HasSuffix(c.source, ".cc") {
				flags = append(flags, "-std=c++17", "-shared", "-fPIC")
			}
			want := expected(t, c.source, forX86)
			if c.compiler == clang && c.source == "signatures.c" && clangVersion(t) < firstWholeWide {
				want["alignment"] = strings.Replace(want["alignment"], "int16 s16+s24", "int16 s8+s16", 1)
			}
			checkSignatures(t, open(t, buildX86(t, c.compiler, c.source, flags...)), want)
		})
	}
}

func clangVersion(t *testing.T) int {
	t.Helper()
	version := regexp.MustCompile(`version (\d+)`).FindSubmatch(run(t, clang, "--version"))
	if version == nil {
		t.Fatal("clang says no version")
	}
	n, err := strconv.Atoi(string(version[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestLackingParametersX86 has parameters that clang does not tell of.
func TestLackingParametersX86(t *testing.T) {
	im := open(t, buildX86(t, clang, "lacking.cc", "-O0", "-g", "-w", "-shared", "-fPIC", "-fpatchable-function-entry=5"))
	checkSignatures(t, im, expected(t, "lacking.cc", forX86))
}
