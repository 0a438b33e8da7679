package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// TestLookers looks at functions that end with a call of one that wants to know who has
// called it.
func TestLookers(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("it compiles for x86-64")
	}
	const source = `#define _GNU_SOURCE
#include <dlfcn.h>
void *jumps(const char *n) { return dlsym(RTLD_NEXT, n); }
void *calls(const char *n) { void *p = dlsym(RTLD_NEXT, n); asm volatile("" : "+r"(p)); return (char *)p + 1; }
int main(void) { return jumps("puts") == calls("puts"); }
`
	dir := t.TempDir()
	file := filepath.Join(dir, "looker.c")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"-fplt", "-fno-plt", "-fcf-protection"} {
		program := filepath.Join(dir, "looker"+flag)
		out, err := exec.Command("gcc", "-O2", "-fno-inline", "-fno-ipa-icf", "-fpatchable-function-entry=5", flag, "-o", program, file, "-ldl").CombinedOutput()
		if err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Skip(err)
		}
		im, err := Open(program, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for name, called := range map[string]bool{"jumps": false, "calls": true} {
			for i, s := range im.Sites() {
				if im.SiteName(s) != name {
					continue
				}
				if got := im.Exits(i); got.Called != called {
					t.Errorf("%s: %s: %+v", flag, name, got)
				}
			}
		}
		if err := im.Close(); err != nil {
			t.Error(err)
		}
	}
}
