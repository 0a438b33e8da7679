package amd64

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

func TestBranches(t *testing.T) {
	for _, c := range []struct {
		from, to uint64
		want     string
		err      bool
	}{
		{0x1000, 0x1005, "e900000000", false},
		{0x1000, 0x1000, "e9fbffffff", false},
		{0x1000, 0x1005 + 1<<31 - 1, "e9ffffff7f", false},
		{0x1000, 0x1005 + 1<<31, "", true},
		{1 << 40, 1<<40 + 5 - 1<<31, "e900000080", false},
		{1 << 40, 1<<40 + 4 - 1<<31, "", true},
	} {
		got, err := EncodeJmp(c.from, c.to)
		var outside *RangeError
		if errors.As(err, &outside) != c.err {
			t.Errorf("jmp %#x -> %#x: error %v", c.from, c.to, err)
			continue
		}
		if c.err {
			continue
		}
		b := []byte{byte(got), byte(got >> 8), byte(got >> 16), byte(got >> 24), byte(got >> 32)}
		if hex.EncodeToString(b) != c.want {
			t.Errorf("jmp %#x -> %#x: % x, want %s", c.from, c.to, b, c.want)
		}
		if to, call, ok := BranchTarget(c.from, got|0xaa<<56); to != c.to || call || !ok {
			t.Errorf("% x leads to %#x, %v, %v", b, to, call, ok)
		}
	}
	short, err := EncodeShort(0x1000, 0x1000-14)
	if err != nil || short != 0xf0eb {
		t.Errorf("jmp short: %#x, %v", short, err)
	}
	if to, ok := ShortTarget(0x1000, short); to != 0x1000-14 || !ok {
		t.Errorf("jmp short leads to %#x, %v", to, ok)
	}
	if _, err := EncodeShort(0x1000, 0x1000+130); err == nil {
		t.Error("a short jump that is too far has no error")
	}
}

// A stub is read by a disassembler, on and off, called and jumped to, and is known again.
func TestStub(t *testing.T) {
	const at, body = 0x10000, 0x8005
	for _, c := range []struct {
		s            Stub
		enter, leads string
	}{
		{Stub{Target: 0x20000, Call: true, On: true}, "lea rsp, ptr [rsp-0x8]", "call .+0xffeb"},
		{Stub{Target: 0x20000, On: true}, "lea rsp, ptr [rsp-0x8]", "jmp .+0xffeb"},
		{Stub{Target: 0x20000}, "jmp .-0x8000", "jmp .+0xffeb"},
		{Stub{}, "jmp .-0x8000", "jmp .+0x0"},
	} {
		s := c.s
		s.At, s.Body, s.Index, s.Exit, s.Old = at, body, 0x1122334455667788, 7, 0x9090909090
		code := make([]byte, StubSize)
		if err := s.Put(code); err != nil {
			t.Fatal(err)
		}
		var got []string
		for off := 0; off < StubTail+2+JumpSize; {
			insn, err := x86asm.Decode(code[off:], 64)
			if err != nil {
				t.Fatalf("+%d: %v", off, err)
			}
			got = append(got, strings.ToLower(x86asm.IntelSyntax(insn, 0, nil)))
			off += insn.Len
		}
		want := []string{c.enter, "mov qword ptr [rsp], r11", "lea r11, ptr [rip+0x10]", c.leads, "pop r11", "jmp .-0x8017"}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("stub %+v:\n%s\nwant\n%s", s, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if again, ok := ParseStub(at, code); !ok || again != s {
			t.Errorf("stub %+v is read as %+v, %v", s, again, ok)
		}
		// Each word that is switched holds the whole of the instruction that changes.
		for _, word := range []int{StubEnter, StubSwitch} {
			if word%8 != 0 || word+JumpSize > word+8 {
				t.Errorf("the instruction at +%d is not in one word", word)
			}
		}
	}
	code := make([]byte, StubSize)
	s := Stub{At: at, Body: body, On: true}
	if err := s.Put(code); err != nil {
		t.Fatal(err)
	}
	code[6] ^= 1
	if _, ok := ParseStub(at, code); ok {
		t.Error("what is no stub is taken for one")
	}
}
