package entry

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

// TestCode checks what Go's assembler has made of the blocks: only instructions that the
// rules at the head of entry_amd64.s allow, no reference out of the blob, nothing stored
// below rsp, and a system call in the loader's hook alone.
func TestCode(t *testing.T) {
	var b Blob
	b.Code = make([]byte, blockAlign)
	var p parts
	for _, base := range blocks() {
		if err := b.add(base, &p); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.link(&p); err != nil {
		t.Fatal(err)
	}
	data := map[int]bool{
		partBegin: true, partEnd: true, partLiterals: true, partGraphThunks: true, partGraphExitEnd: true,
		partFindFDEGone: true, partFindFDETable: true, // instructions of the target, and a table
	}
	seen := map[uint64]bool{}
	for part, at := range p {
		if data[part] {
			continue
		}
		if at == 0 {
			t.Errorf("part %d is not there", part)
			continue
		}
		checkCode(t, b, at, part == partDLHook, p[partFindFDEGone], seen)
	}
	t.Logf("%d instructions in %d bytes", len(seen), len(b.Code))
	if len(seen) < 1000 {
		t.Errorf("%d instructions only", len(seen))
	}
}

// rdfsbase is an instruction that x86asm does not know: RDFSBASE of some register.
func rdfsbase(code []byte) bool {
	return len(code) >= 5 && code[0] == 0xf3 && code[1]&0xf6 == 0x40 && code[2] == 0x0f && code[3] == 0xae && code[4]&0xf8 == 0xc0 ||
		bytes.HasPrefix(code, []byte{0xf3, 0x48, 0x0f, 0xae})
}

func checkCode(t *testing.T, b Blob, at uint64, syscalls bool, foreign uint64, seen map[uint64]bool) {
	for !seen[at] && at != foreign {
		if at < blockAlign || at >= b.Literals && b.Literals != 0 || at >= uint64(len(b.Code)) {
			t.Errorf("control goes to %#x", at)
			return
		}
		seen[at] = true
		if rdfsbase(b.Code[at:]) {
			const length = 5
			at += length
			continue
		}
		insn, err := x86asm.Decode(b.Code[at:], 64)
		if err != nil {
			t.Errorf("%#x: % x: %v", at, b.Code[at:at+8], err)
			return
		}
		where := fmt.Sprintf("%#x: %s", at, x86asm.GNUSyntax(insn, at, nil))
		next := at + uint64(insn.Len)
		switch insn.Op {
		case x86asm.CLD, x86asm.STD, x86asm.INT, x86asm.HLT, x86asm.UD2:
			t.Errorf("%s: not allowed", where)
		case x86asm.SYSCALL:
			if !syscalls {
				t.Errorf("%s: not here", where)
			}
		}
		for _, prefix := range insn.Prefix {
			if prefix&^x86asm.PrefixImplicit == x86asm.PrefixREP || prefix&^x86asm.PrefixImplicit == x86asm.PrefixREPN {
				if insn.Op != x86asm.PAUSE {
					t.Errorf("%s: string instructions rely on the direction flag", where)
				}
			}
		}
		var to uint64
		for i, arg := range insn.Args {
			switch a := arg.(type) {
			case x86asm.Reg:
				if a >= x86asm.F0 && a <= x86asm.X15 || a >= x86asm.ES && a <= x86asm.GS || a >= x86asm.CR0 {
					t.Errorf("%s: register %s", where, a)
				}
			case x86asm.Rel:
				to = next + uint64(int64(a))
			case x86asm.Mem:
				if a.Base == x86asm.RIP {
					if target := next + uint64(int64(int32(a.Disp))); target < blockAlign || target > uint64(len(b.Code)) {
						t.Errorf("%s: refers to %#x", where, target)
					}
				}
				if a.Base == x86asm.RSP && a.Disp < 0 && i == 0 && insn.Op != x86asm.JMP {
					t.Errorf("%s: stores below rsp", where)
				}
				if a.Segment != 0 && a.Segment != x86asm.FS {
					t.Errorf("%s: segment %s", where, a.Segment)
				}
			}
		}
		if to != 0 && insn.Op != x86asm.JMP {
			checkCode(t, b, to, syscalls, foreign, seen)
		}
		switch insn.Op {
		case x86asm.JMP:
			if to == 0 {
				return
			}
			at = to
		case x86asm.RET, x86asm.IRETQ:
			return
		default:
			at = next
		}
	}
}

// TestLiterals checks that Fill puts each word where it belongs.
func TestLiterals(t *testing.T) {
	b, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	code := bytes.Clone(b.Code)
	b.Fill(code, Literals{1, 2, 3, 4, 5, 6, 7, 8})
	for i := range SizeofLiterals / 8 {
		if got := code[b.Literals+8*uint64(i)]; got != byte(i+1) {
			t.Errorf("word %d is %d", i, got)
		}
	}
	if !bytes.Equal(code[:b.Literals], b.Code[:b.Literals]) {
		t.Error("the code has changed")
	}
}

// TestGraphExitBegins with an instruction of five bytes that a jump may replace while
// the target stands (session.filterThunks).
func TestGraphExitBegins(t *testing.T) {
	b, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Code[b.Graph.Exit:][:5]; !bytes.Equal(got, []byte{0x48, 0x8d, 0x64, 0x24, 0xf8}) {
		t.Errorf("% x is not lea rsp, [rsp-8]", got)
	}
}

// TestCounter checks the frequency against the kernel's clock once more.
func TestCounter(t *testing.T) {
	if err := CheckProcessor(); err != nil {
		t.Log(err)
	}
	from := readClocks()
	for CounterFrequency(); Counter()-from.ticks < CounterFrequency()/20; {
	}
	to := readClocks()
	got := float64(to.ticks-from.ticks) / to.at.Sub(from.at).Seconds()
	if off := got/float64(CounterFrequency()) - 1; off > 1e-4 || off < -1e-4 {
		t.Errorf("%.0f Hz now, %d Hz measured", got, CounterFrequency())
	}
	t.Logf("%d Hz, %.0f Hz", CounterFrequency(), got)
}
