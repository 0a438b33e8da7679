package unwind

import (
	"testing"
	"time"
)

func TestEveryInstruction(t *testing.T) {
	for _, name := range []string{
		"chain", "chain-gcc-o0", "chain-gcc-o1", "chain-gcc-o2", "chain-gcc-o3", "chain-gcc-os", "chain-gcc-nofp", "chain-gcc-now",
		"chain-gcc-stripped", "chain-gcc-debugframe",
		"chain-clang-o0", "chain-clang-o2", "chain-clang-os", "chain-clang-nofp",
		"throw-gcc", "throw-gcc-static", "throw-clang", "chain-musl", "chain-musl-static",
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			steps, unknown := everyStep(t, fixture(t, "unwind/"+name), Options{}, 200000)
			t.Logf("%d instructions in %v", steps, time.Since(began))
			for what, n := range unknown {
				t.Errorf("%d times: %s", n, what)
			}
		})
	}
}
