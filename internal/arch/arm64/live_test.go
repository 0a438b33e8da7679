package arm64

import (
	"encoding/binary"
	"testing"
)

// temporaries is what a preserve_most function may find its caller's values in.
const temporaries = 0x3fe00 // x9 to x17

func TestLiveIn(t *testing.T) {
	for _, c := range []struct {
		name string
		code []uint32
		want uint32
	}{
		{"nothing", nil, 0},
		{"ordinary", []uint32{
			0xa9be7bfd, // stp x29, x30, [sp, #-32]!
			0x910003fd, // mov x29, sp
			0xaa0003e9, // mov x9, x0
			0xf9400129, // ldr x9, [x9]
			0xd65f03c0, // ret
		}, 0},
		{"preserve_most saves what it uses", []uint32{
			0xa9bd2be9, // stp x9, x10, [sp, #-48]!
			0xa90133eb, // stp x11, x12, [sp, #16]
			0x94000000, // bl .
		}, 0x1e00},
		{"an argument in a temporary", []uint32{
			0x8b090000, // add x0, x0, x9
			0xd65f03c0, // ret
		}, 0x200},
		{"written first", []uint32{
			0xd2800029, // mov x9, #1
			0x8b090000, // add x0, x0, x9
			0xd65f03c0, // ret
		}, 0},
		{"after a call", []uint32{
			0x94000000, // bl .
			0x8b090000, // add x0, x0, x9
		}, 0},
		{"after the end", []uint32{
			0xd65f03c0, // ret
			0x8b090000, // add x0, x0, x9
		}, 0},
		{"on the way that falls through", []uint32{
			0xb4000040, // cbz x0, #8
			0xf81f0fe9, // str x9, [sp, #-16]!
			0xd65f03c0, // ret
		}, 0x200},
		{"on the way that branches", []uint32{
			0xb4000060, // cbz x0, #12
			0xd2800029, // mov x9, #1
			0xd65f03c0, // ret
			0xf81f0fe9, // str x9, [sp, #-16]!
			0xd65f03c0, // ret
		}, 0x200},
		{"written on one of two ways", []uint32{
			0xb4000040, // cbz x0, #8
			0xd2800029, // mov x9, #1
			0xf90007e9, // str x9, [sp, #8]
			0xd65f03c0, // ret
		}, 0x200},
		{"never written on a path that is never taken", []uint32{
			0xb4000040, // cbz x0, #8
			0xd2800029, // mov x9, #1
			0x8b090000, // add x0, x0, x9
			0xd65f03c0, // ret
		}, 0},
		{"a branch to what is jumped to as well", []uint32{
			0xb4000040, // cbz x0, #8
			0x14000001, // b #4
			0xf9000009, // str x9, [x0]
			0xa9002be9, // stp x9, x10, [sp]
		}, 0x600},
		{"a jump backwards", []uint32{
			0x14000003, // b #12
			0x8b0a0000, // add x0, x0, x10
			0xd65f03c0, // ret
			0xd2800029, // mov x9, #1
			0x17fffffd, // b #-12
		}, 0x400},
		{"a loop without an end", []uint32{
			0xd503201f, // nop
			0xb4ffffe0, // cbz x0, #-4
			0x17fffffe, // b #-8
		}, 0},
		{"a branch out of the function", []uint32{
			0x17ffffff, // b #-4
			0x8b090000, // add x0, x0, x9
		}, 0},
		{"data", []uint32{
			0x00000000, // udf #0
			0x8b090000, // add x0, x0, x9
		}, 0},
	} {
		if got := LiveIn(c.code, temporaries); got != c.want {
			t.Errorf("%s: LiveIn = %#x, want %#x", c.name, got, c.want)
		}
		if got := LiveIn(c.code, 0); got != 0 {
			t.Errorf("%s: LiveIn of no registers = %#x", c.name, got)
		}
	}
}

func FuzzLiveIn(f *testing.F) {
	f.Add([]byte{0x40, 0, 0, 0xb4, 0xe9, 0x0f, 0x1f, 0xf8}, uint32(temporaries))
	f.Fuzz(func(t *testing.T, data []byte, mask uint32) {
		code := make([]uint32, len(data)/InsnSize)
		for i := range code {
			code[i] = binary.LittleEndian.Uint32(data[i*InsnSize:])
		}
		if live := LiveIn(code, mask); live&^mask != 0 {
			t.Errorf("LiveIn(%08x, %#x) = %#x: not asked for", code, mask, live)
		}
	})
}

func TestSavedBy(t *testing.T) {
	for _, c := range []struct {
		insn uint32
		want uint32
	}{
		{0xf90007e9, regs(9)},     // str x9, [sp, #8]
		{0xf81f0fe9, regs(9)},     // str x9, [sp, #-16]!
		{0xf81f83e9, regs(9)},     // stur x9, [sp, #-8]
		{0xa9002be9, regs(9, 10)}, // stp x9, x10, [sp]
		{0xa9bd2be9, regs(9, 10)}, // stp x9, x10, [sp, #-48]!
		{0xf94007e9, 0},           // ldr x9, [sp, #8]
		{0xa9402be9, 0},           // ldp x9, x10, [sp]
		{0xfd0007e9, 0},           // str d9, [sp, #8]
		{0x6d002be9, 0},           // stp d9, d10, [sp]
		{0xf9000409, 0},           // str x9, [x0, #8]
		{0x910003e9, 0},           // mov x9, sp
	} {
		if got := savedBy(c.insn); got != c.want {
			t.Errorf("savedBy(%08x) = %#x, want %#x", c.insn, got, c.want)
		}
	}
}
