package unwind

import (
	"strings"
	"testing"
	"time"
)

// TestEveryInstruction unwinds at each instruction of programs that were compiled in
// different ways. While longjmp exchanges the registers the stack is not known; everywhere
// else it has to be.
func TestEveryInstruction(t *testing.T) {
	for _, c := range []struct {
		name      string
		lazy, all bool
	}{
		{name: "chain", all: true},
		{name: "chain-gcc-o0"},
		{name: "chain-gcc-o2", all: true},
		{name: "chain-gcc-o3"},
		{name: "chain-gcc-os"},
		{name: "chain-gcc-nofp", lazy: true},
		{name: "chain-gcc-stripped"},
		{name: "chain-gcc-debugframe"},
		{name: "chain-clang-o0"},
		{name: "chain-clang-o2"},
		{name: "chain-clang-os"},
		{name: "chain-clang-nofp"},
		{name: "throw-gcc"},
		{name: "throw-clang"},
		{name: "chain-musl", all: true},
		{name: "chain-musl-static"},
	} {
		t.Run(c.name, func(t *testing.T) { checkEveryStep(t, c.name, c.lazy, c.all) })
	}
}

// Signed return addresses and landing pads, on the machines that have them.
func TestEveryInstructionPACBTI(t *testing.T) {
	for _, name := range []string{"chain-gcc-bti", "chain-clang-bti"} {
		t.Run(name, func(t *testing.T) { checkEveryStep(t, name, false, true) })
	}
}

func checkEveryStep(t *testing.T, name string, lazy, all bool) {
	t.Helper()
	began := time.Now()
	var args []string
	if all {
		args = append(args, "all")
	}
	steps, unknown := everyStep(t, fixture(t, "unwind/"+name), Options{}, lazy, args...)
	t.Logf("%d instructions in %v", steps, time.Since(began))
	total := 0
	for what, n := range unknown {
		total += n
		t.Logf("%d times: %s", n, what)
	}
	most := 16 // the instructions of longjmp
	switch {
	case strings.HasPrefix(name, "throw"):
		most = 0
	case strings.Contains(name, "musl"):
		most = 500 // in printf: no call frame information, and jump tables in several frames
	}
	if total > most {
		t.Errorf("%d stacks are not known", total)
	}
}
