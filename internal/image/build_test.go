package image

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The compilers of the fixtures.
const (
	gcc   = "aarch64-linux-gnu-gcc"
	gxx   = "aarch64-linux-gnu-g++"
	clang = "clang"
)

// findTool gives the path of a program that a test needs. Only in CI is it a
// failure not to have it.
func findTool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("find tool: %v", err)
		}
		t.Skipf("find tool: %v", err)
	}
	return path
}

// run runs a tool that has to succeed and gives its output.
func run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(findTool(t, name), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

// build compiles a file of testdata.
func build(t testing.TB, compiler, source string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "object")
	args := []string{"-O2"}
	if compiler == clang {
		findTool(t, "ld.lld")
		args = append(args, "--target=aarch64-linux-gnu", "-fuse-ld=lld")
	}
	if compiler == gcc {
		args = append(args, "-fno-ipa-cp") // one function for each in the source
	}
	args = append(args, flags...)
	run(t, compiler, append(args, filepath.Join("testdata", source), "-o", out)...)
	return out
}

// open opens an object with no debug files but those in dirs.
func open(t testing.TB, path string, dirs ...string) *Image {
	t.Helper()
	im, err := Open(path, Options{DebugDirs: append([]string{}, dirs...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := im.Close(); err != nil {
			t.Error(err)
		}
	})
	return im
}

// binutils gives what the names of tools for an object begin with.
func binutils(t testing.TB, path string) string {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Machine == elf.EM_X86_64 {
		return "x86_64-linux-gnu-"
	}
	return "aarch64-linux-gnu-"
}

// addresses asks nm for the addresses of all functions.
func addresses(t testing.TB, path string) map[string]uint64 {
	t.Helper()
	found := make(map[string]uint64)
	for lines := bufio.NewScanner(bytes.NewReader(run(t, binutils(t, path)+"nm", path))); lines.Scan(); {
		var addr, kind, name string
		if n, _ := fmt.Sscan(lines.Text(), &addr, &kind, &name); n == 3 && strings.Contains("tTwW", kind) {
			va, err := strconv.ParseUint(addr, 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			found[name] = va
		}
	}
	return found
}

// rewrite makes a changed copy of an object with objcopy or strip.
func rewrite(t testing.TB, path string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "object")
	run(t, binutils(t, path)+"objcopy", append(args, path, out)...)
	return out
}
