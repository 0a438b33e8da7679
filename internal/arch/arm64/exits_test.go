package arm64

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// at0 is where the code of the tests below lies; two NOPs come first.
const at0 = 0x10000

func body(words ...uint32) *Body {
	words = append([]uint32{Nop, Nop}, words...)
	code := make([]byte, 0, len(words)*InsnSize)
	for _, w := range words {
		code = binary.LittleEndian.AppendUint32(code, w)
	}
	return &Body{
		Parts: []Part{{at0, code}}, Entry: at0, Start: at0 + 8, Mapped: true,
		Taken: func(start, end uint64) bool { return false },
	}
}

// show gives exits as "kind+offset", or "!" and the reason.
func show(exits []Exit, reason string) string {
	if reason != "" {
		return "!" + reason
	}
	var s []string
	for _, e := range exits {
		kind := map[ExitKind]string{ExitRet: "ret", ExitRetAuth: "reta", ExitTailB: "b", ExitTailBR: "br"}[e.Kind]
		s = append(s, fmt.Sprintf("%s+%#x", kind, e.Addr-at0))
	}
	return strings.Join(s, " ")
}

const (
	iRet   = 0xd65f03c0
	iPush  = 0xa9be7bfd // stp x29, x30, [sp, #-32]!
	iPop   = 0xa8c27bfd // ldp x29, x30, [sp], #32
	iFrame = 0x910003fd // mov x29, sp
	iCall  = 0x94001000 // bl .+0x4000
	iBR16  = 0xd61f0200 // br x16
	iBR1   = 0xd61f0020 // br x1
	iLdr1  = 0xf9400001 // ldr x1, [x0]
	iLdr11 = 0xf9400421 // ldr x1, [x1, #8]
	iMov16 = 0xaa0103f0 // mov x16, x1
)

func TestExits(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Body)
		words  []uint32
		want   string
	}{
		{name: "empty function", words: []uint32{iRet}, want: "ret+0x8"},
		{name: "retaa, retab", words: []uint32{0xb4000040, 0xd65f0bff, 0xd65f0fff}, want: "reta+0xc reta+0x10"},
		{name: "tail call", words: []uint32{0x14001000}, want: "b+0x8"},
		{name: "loop", words: []uint32{0x14000000}, want: ""},
		{name: "entered anew", words: []uint32{0x17fffffe}, want: "b+0x8"},
		{name: "entered anew at slot 2", words: []uint32{0x17ffffff}, want: "b+0x8"},
		{name: "ret x1", words: []uint32{0xd65f0020}, want: "!it returns through x1 (at +0x8)"},
		{name: "conditional branch out", words: []uint32{0xb4001000, iRet}, want: "!a conditional branch leaves it (at +0x8)"},
		{name: "braa", words: []uint32{0xd71f0a11}, want: "!an indirect branch with authentication (at +0x8)"},
		{name: "falls out", words: []uint32{0x8b000000, Nop}, want: "!its code runs on into what follows it (at +0x8)"},
		{name: "never returns", words: []uint32{iPush, iCall}, want: ""},
		{name: "calls its middle", words: []uint32{0x94000002, iRet, iRet}, want: "!it calls into its own middle (at +0x8)"},
		{name: "data", words: []uint32{iRet, iRet, iRet}, want: "ret+0x8 ret+0x10",
			change: func(b *Body) { b.Data = []Range{{at0 - 8, at0}, {at0 + 12, at0 + 16}} }},

		{name: "virtual tail call", words: []uint32{iLdr1, iLdr11, iMov16, iBR16}, want: "br+0x14"},
		{name: "virtual tail call after a frame", words: []uint32{iPush, iFrame, iCall, iLdr1, iLdr11, iMov16, iPop, iBR16}, want: "br+0x24"},
		{name: "indirect jump with a frame", words: []uint32{iPush, iFrame, iCall, iLdr1, iBR1, iPop, iRet}, want: "ret+0x20"},
		{name: "sp above its value at the entry", words: []uint32{iLdr1, 0x910043ff, iBR1},
			want: "!an indirect branch with an unclear stack frame (at +0x10)"},
		{name: "address taken", words: []uint32{iLdr1, iBR1}, want: "!an indirect branch which may be a computed goto (at +0xc)",
			change: func(b *Body) { b.Taken = func(start, end uint64) bool { return start <= at0+12 && at0+12 < end } }},
		{name: "entry taken", words: []uint32{iLdr1, iBR1}, want: "br+0xc",
			change: func(b *Body) { b.Taken = func(start, end uint64) bool { return start <= at0 && at0 < end } }},
		{name: "no mapping symbols, all reached", words: []uint32{0xb4000040, iRet, iRet}, want: "ret+0xc ret+0x10",
			change: func(b *Body) { b.Mapped = false }},
		{name: "no mapping symbols, unreached", words: []uint32{iRet, iRet}, want: "!cannot tell whether +0xc is code",
			change: func(b *Body) { b.Mapped = false }},
		{name: "no mapping symbols, landing pad", words: []uint32{iRet, iRet}, want: "ret+0x8 ret+0xc",
			change: func(b *Body) { b.Mapped = false; b.Pads = []uint64{at0 + 12} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := body(c.words...)
			if c.change != nil {
				c.change(b)
			}
			var f ExitFinder
			if got := show(f.Find(b)); got != c.want {
				t.Errorf("exits %q, want %q", got, c.want)
			}
		})
	}
}

// FuzzExits gives anything for code: it has to end, soon and without panic, and
// to find only exits that are in the code.
func FuzzExits(f *testing.F) {
	f.Add(body(iPush, iCall, iLdr1, iPop, iBR1).Parts[0].Code, true, uint64(0))
	f.Add(body(0x10000041, iBR1, iRet).Parts[0].Code, false, uint64(12))
	f.Fuzz(func(t *testing.T, code []byte, mapped bool, pad uint64) {
		if len(code) > 1<<16 {
			return
		}
		half := len(code) / 2 &^ 3
		var finder ExitFinder
		for _, parts := range [][]Part{{{at0, code}}, {{at0, code[:half]}, {1 << 40, code[half:]}}, {{^uint64(0) - 1<<10 + 1, code}}} {
			entry := parts[0].VA
			b := &Body{Parts: parts, Entry: entry, Start: entry + 8, Mapped: mapped, Pads: []uint64{pad, at0 + pad},
				Data:  []Range{{at0 + pad, at0 + pad + 8}},
				Taken: func(start, end uint64) bool { return start <= pad && pad < end },
				Read:  func(p []byte, va uint64) bool { return copy(p, code) == len(p) },
				Word:  func(va uint64) uint32 { return uint32(pad >> (va & 31)) }}
			exits, reason := finder.Find(b)
			if reason != "" && exits != nil {
				t.Errorf("exits %v with reason %q", exits, reason)
			}
			for _, e := range exits {
				i, ok := finder.index(e.Addr)
				if !ok || finder.words[i] != e.Insn {
					t.Errorf("exit %+v is not in the code", e)
				}
			}
		}
	})
}
