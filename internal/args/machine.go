package args

import (
	"slices"
	"strconv"
	"strings"

	"nopal/internal/arch/amd64"
	"nopal/trace"
)

// convention is how a machine's C functions are called, as far as a user may say by hand
// where an argument is.
type convention struct {
	// integer are the registers of the first integer arguments, by the numbers that
	// probes have for them; result is that of the result. As many of floating point as
	// floats says are in vector registers, from 0 on.
	integer []int
	result  int
	floats  int
	// register reads the name of a register.
	register func(name string) (kind placeKind, n int, ok bool)
	// unfit says why a register is none to look into; "" if it is.
	unfit func(n int) string
}

// conventions: AAPCS64, section 6.8.2, and System V ABI, AMD64 supplement, section 3.2.3.
// Both pass the other arguments on the stack, each in 8 bytes.
var conventions = map[trace.Machine]*convention{
	trace.MachineARM64: {
		integer: []int{0, 1, 2, 3, 4, 5, 6, 7}, result: 0, floats: 8, register: registerOfARM64,
		unfit: func(n int) string {
			if n >= 9 && n <= 17 {
				return "x9 to x17 hold no arguments, and do not reach a function unchanged"
			}
			return ""
		},
	},
	trace.MachineAMD64: {
		integer: []int{amd64.RDI, amd64.RSI, amd64.RDX, amd64.RCX, amd64.R8, amd64.R9}, result: amd64.RAX, floats: 8,
		register: registerOfAMD64, unfit: func(int) string { return "" },
	},
}

// inRange reads a number from low to high.
func inRange(s string, low, high int) (int, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= low && n <= high
}

// registerOfARM64 reads x3, w3, d0, s0, v0, q0 and sp.
func registerOfARM64(name string) (kind placeKind, n int, ok bool) {
	switch {
	case name == "":
		return 0, 0, false
	case name == "sp":
		return placeX, 31, true
	case name[0] == 'x' || name[0] == 'w':
		n, ok = inRange(name[1:], 0, 30)
		return placeX, n, ok
	case strings.IndexByte("vdsq", name[0]) >= 0:
		n, ok = inRange(name[1:], 0, 31)
		return placeV, n, ok
	}
	return 0, 0, false
}

// registerOfAMD64 reads rdi, edi, r8, r8d and xmm0.
func registerOfAMD64(name string) (kind placeKind, n int, ok bool) {
	if vector, is := strings.CutPrefix(name, "xmm"); is {
		n, ok = inRange(vector, 0, 15)
		return placeV, n, ok
	}
	if len(name) == 3 && name[0] == 'e' {
		name = "r" + name[1:]
	} else if rest, is := strings.CutSuffix(name, "d"); is && len(rest) > 1 {
		name = rest
	}
	n = slices.Index(amd64.RegNames[:], name)
	return placeX, n, n >= 0
}

// placeKind is what a place is.
type placeKind uint8

const (
	placeX placeKind = iota
	placeV
	placeStack
)

// placeOf reads a register's name or, counted in words of 8 bytes from 1 as uftrace does, stack+1.
func (c *convention) placeOf(text string) (kind placeKind, n int, ok bool) {
	if rest, isStack := strings.CutPrefix(text, "stack"); isStack {
		n, ok = inRange(strings.TrimPrefix(rest, "+"), 1, 512)
		return placeStack, n, ok
	}
	return c.register(text)
}

// isPlace reports whether a machine has such a place.
func isPlace(text string) bool {
	for _, c := range conventions {
		if _, _, ok := c.placeOf(text); ok {
			return true
		}
	}
	return false
}
