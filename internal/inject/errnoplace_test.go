package inject

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"
)

// words is memory: 32-bit words by address.
type words map[uint64]uint32

func (w words) ReadAt(p []byte, off int64) (int, error) {
	for i := 0; i < len(p); i += 4 {
		v, ok := w[uint64(off)+uint64(i)]
		if !ok {
			return i, io.EOF
		}
		binary.LittleEndian.PutUint32(p[i:], v)
	}
	return len(p), nil
}

func code(at uint64, insns ...uint32) words {
	w := words{}
	for i, insn := range insns {
		w[at+4*uint64(i)] = insn
	}
	return w
}

func (w words) with(at uint64, v uint64) words {
	w[at], w[at+4] = uint32(v), uint32(v>>32)
	return w
}

func TestErrnoOffset(t *testing.T) {
	for name, c := range map[string]struct {
		mem  words
		at   uint64
		want int64
	}{
		// glibc 2.36's libc.so: adrp x0, got; mrs x1, tpidr_el0; ldr x0, [x0, #3448]; add x0, x1, x0; ret
		"glibc": {code(0x25000, 0xd503245f, 0xb0000ba0, 0xd53bd041, 0xf946bc00, 0x8b000020, 0xd65f03c0).with(0x19a000+0xd78, 0x20), 0x25000, 0x20},
		// A static program: mrs x0, tpidr_el0; add x0, x0, #0, lsl #12; add x0, x0, #0x28; ret
		"static": {code(0x400000, 0xd503233f, 0xd53bd040, 0x91400000, 0x9100a000, 0xd65f03c0), 0x400000, 0x28},
		// musl: mrs x0, tpidr_el0; sub x0, x0, #0xa4; ret
		"musl": {code(0x1000, 0xd53bd040, 0xd1029000, 0xd65f03c0), 0x1000, -0xa4},
		// movz x1, #0x10; movk x1, #1, lsl #16; mrs x0, tpidr_el0; b +8; (none); add x0, x0, x1; retaa
		"moves": {code(0x1000, 0xd2800201, 0xf2a00021, 0xd53bd040, 0x14000002, 0, 0x8b010000, 0xd65f0bff), 0x1000, 0x10010},
	} {
		got, err := ErrnoOffset(c.mem, c.at)
		if err != nil || got != c.want {
			t.Errorf("%s: %#x, %v", name, got, err)
		}
	}
	for name, c := range map[string]struct {
		mem  words
		says string
	}{
		"constant": {code(0x1000, 0xd2800200, 0xd65f03c0), "no constant distance"},
		"call":     {code(0x1000, 0x94000000), "not understood"},
		"unmapped": {code(0x1000, 0xd53bd040), "read 0x1004"},
		"loop":     {code(0x1000, 0x14000000), "longer than"},
		"table":    {code(0x1000, 0x90000000, 0xf9400000, 0xd65f03c0), "no constant distance"},
		"both":     {code(0x1000, 0xd53bd040, 0xd53bd041, 0x8b010000, 0xd65f03c0), "no constant distance"},
	} {
		_, err := ErrnoOffset(c.mem, 0x1000)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
