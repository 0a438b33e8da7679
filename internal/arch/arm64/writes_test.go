package arm64

import "testing"

func TestWrites(t *testing.T) {
	const sp = 1 << 31
	for _, c := range []struct {
		insn uint32
		name string
		want uint32
		ok   bool
	}{
		{0xa9be7bfd, "stp x29, x30, [sp, #-32]!", sp, true},
		{0xa9017bfd, "stp x29, x30, [sp, #16]", 0, true},
		{0xa8c27bfd, "ldp x29, x30, [sp], #32", regs(29, 30) | sp, true},
		{0xf81f0ffe, "str x30, [sp, #-16]!", sp, true},
		{0xf84107fe, "ldr x30, [sp], #16", regs(30) | sp, true},
		{0xf94007fe, "ldr x30, [sp, #8]", regs(30), true},
		{0xfc1f0fe8, "str d8, [sp, #-16]!", sp, true},
		{0x4c9f7fe0, "st1 {v0.2d}, [sp], #16", sp, true},
		{0xd10083ff, "sub sp, sp, #32", sp, true},
		{0x910003fd, "mov x29, sp", regs(29), true},
		{0x910003bf, "mov sp, x29", sp, true},
		{0xeb1f03ff, "cmp sp.. (subs xzr)", 0, true},
		{0xf10003ff, "cmp sp, #0", 0, true},
		{0xcb2c63ff, "sub sp, sp, x12", sp, true},
		{0x927cec1f, "and sp, x0, #~15", sp, true},
		{0xf240001f, "tst x0, #1", 0, true},
		{0x94000000, "bl", regs(30), true},
		{0xd63f0000, "blr x0", regs(30), true},
		{0xd4000001, "svc #0", regs(0), true},
		{0xd503233f, "paciasp", 0, true},
		{0xc8007c41, "stxr w0, x1, [x2]", regs(0), true},
		{0xd9a00fe0, "st2g x0, [sp, #0]!", regs(0) | sp, true},
		{0x00000000, "udf #0", 0, false},
	} {
		got, ok := Writes(c.insn)
		if ok != c.ok || ok && got&^0x7fffffff != c.want&^0x7fffffff || got&c.want != c.want {
			t.Errorf("%s (%08x): %#x, %v; want %#x, %v", c.name, c.insn, got, ok, c.want, c.ok)
		}
	}
}
