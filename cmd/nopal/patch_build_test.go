package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestPatchScripts runs the scripts that compile for arm64.
func TestPatchScripts(t *testing.T) {
	if _, err := exec.LookPath("aarch64-linux-gnu-gcc"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("find compiler: %v", err)
		}
		t.Skipf("find compiler: %v", err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/patch",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}
