package test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// machineName is what uname calls this machine.
const machineName = "aarch64"

// Programs that only this machine has.
var machinePrograms = []string{"fib-n4", "rawclone", "threads-static 2", "threads-staticpie 1", "threads-musl-static 1"}

// The registers of a record are those at the function's entry: pc after the BL, lr the true return address, sp the caller's.
func TestRegs(t *testing.T) {
	o, file := record(t, "", []string{"--regs"}, fixture(t, "values"))
	r := replay(t, file, func(e event) bool { return e.Name == "known" || e.Name == "probe" })
	var i uint64
	for _, e := range r.all {
		if e.Regs == nil {
			t.Fatalf("no registers: %+v", e)
		}
		if e.Name == "known" {
			for reg, want := range []uint64{i, 0x1111111111111111, 0xfffffffffffffffd, 0x7fffffffffffffff, 0x8000000000000000, 0x5555, 0x66, 0x77} {
				if got := number(t, e.Regs["x"+strconv.Itoa(reg)]); got != want {
					t.Errorf("call %d: x%d is %#x, want %#x", i, reg, got, want)
				}
			}
			i++
			continue
		}
		var fp, lr, sp uint64
		_, probe, _ := strings.Cut(o.stdout, "~probe ")
		if _, err := fmt.Sscanf(probe, "x29 0x%x x30 0x%x sp 0x%x", &fp, &lr, &sp); err != nil {
			t.Fatal(err)
		}
		want := map[string]uint64{"x29": fp, "x30": lr, "sp": sp, "pc": number(t, e.Addr) + 8}
		for reg := range 29 {
			if reg != 9 {
				want["x"+strconv.Itoa(reg)] = 0xa500 + uint64(reg)
			}
		}
		for reg, w := range want {
			if got := number(t, e.Regs[reg]); got != w {
				t.Errorf("probe: %s is %#x, want %#x", reg, got, w)
			}
		}
		if nzcv := number(t, e.Regs["pstate"]) & 0xf0000000; nzcv != 0x80000000 {
			t.Errorf("probe: NZCV is %#x, want N", nzcv)
		}
	}
	if i != 10 {
		t.Errorf("%d calls of known with registers, want 10", i)
	}
}
