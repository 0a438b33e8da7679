package arm64

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

func TestClassify(t *testing.T) {
	for _, c := range table {
		if got := Classify(c.insn); got != c.kind {
			t.Errorf("Classify(%08x) = %v, want %v (%s)", c.insn, got, c.kind, c.asm)
		}
	}
}

func TestKindString(t *testing.T) {
	for k := Kind(0); k < kinds; k++ {
		if k.String() == "" {
			t.Errorf("kind %d has no name", k)
		}
	}
	if got := KindUDF.String(); got != "udf" {
		t.Errorf("last kind is called %q: names and kinds are out of step", got)
	}
	if got := kinds.String(); got != "invalid" {
		t.Errorf("kinds.String() = %q", got)
	}
}

func TestUses(t *testing.T) {
	for _, c := range table {
		got := usesOf(c.insn)
		want := uses{c.reads, c.writes, c.flow}
		if got != want {
			t.Errorf("usesOf(%08x): reads %#x, writes %#x, flow %d; want %#x, %#x, %d (%s)", c.insn,
				got.reads, got.writes, got.flow, want.reads, want.writes, want.flow, c.asm)
		}
	}
}

func TestTableAssembles(t *testing.T) {
	llvmMC := findTool(t, "llvm-mc")
	var source bytes.Buffer
	for _, c := range table {
		fmt.Fprintln(&source, c.asm)
	}
	cmd := exec.Command(llvmMC, "-triple=aarch64", "-mattr=+v8.6a,+sve,+mte,+flagm,+aes,+sha2", "--show-encoding")
	cmd.Stdin = &source
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("assemble the table: %v\n%s", err, stderr.Bytes())
	}
	encodings := regexp.MustCompile(`encoding: \[0x(..),0x(..),0x(..),0x(..)\]`).FindAllStringSubmatch(string(out), -1)
	if len(encodings) != len(table) {
		t.Fatalf("%d encodings for %d instructions", len(encodings), len(table))
	}
	for i, c := range table {
		e := encodings[i]
		if want := e[4] + e[3] + e[2] + e[1]; fmt.Sprintf("%08x", c.insn) != want {
			t.Errorf("%s: table has %08x, llvm-mc %s", c.asm, c.insn, want)
		}
	}
}

// TestClassifyAgainstObjdump compares kinds with the mnemonics that another
// disassembler gives to the same words, branch targets included.
func TestClassifyAgainstObjdump(t *testing.T) {
	objdump := findTool(t, "aarch64-linux-gnu-objdump")
	file := t.TempDir() + "/code"
	var code []byte
	for _, c := range table {
		code = append(code, byte(c.insn), byte(c.insn>>8), byte(c.insn>>16), byte(c.insn>>24))
	}
	if err := os.WriteFile(file, code, 0o600); err != nil {
		t.Fatal(err)
	}
	const base = 1 << 32
	out, err := exec.Command(objdump, "-D", "-b", "binary", "-m", "aarch64", fmt.Sprintf("--adjust-vma=%#x", base), file).Output()
	if err != nil {
		t.Fatalf("disassemble the table: %v", err)
	}
	lines := regexp.MustCompile(`(?m)^\s*[0-9a-f]+:\t([0-9a-f]{8}) \t(\S+)(?:\t(.*))?$`).FindAllStringSubmatch(string(out), -1)
	if len(lines) != len(table) {
		t.Fatalf("%d lines for %d instructions", len(lines), len(table))
	}
	names := map[string]Kind{
		"nop": KindNop, "bti": KindBTI, "paciasp": KindPACIASP, "pacibsp": KindPACIBSP, "autiasp": KindAUTIASP,
		"autibsp": KindAUTIBSP, "b": KindB, "bl": KindBL, "cbz": KindCBZ, "cbnz": KindCBZ, "tbz": KindTBZ,
		"tbnz": KindTBZ, "br": KindBR, "braa": KindBRA, "brab": KindBRA, "braaz": KindBRA, "brabz": KindBRA,
		"blr": KindBLR, "blraa": KindBLRA, "blraaz": KindBLRA, "blrabz": KindBLRA, "ret": KindRET,
		"retaa": KindRETAA, "retab": KindRETAB, "eret": KindERET, "eretaa": KindERET, "eretab": KindERET,
		"drps": KindERET, "svc": KindSVC, "hvc": KindHVC, "smc": KindSMC, "brk": KindBRK, "hlt": KindHLT,
		"isb": KindISB, "adr": KindADR, "adrp": KindADRP, "udf": KindUDF,
	}
	for i, line := range lines {
		pc := uint64(base + i*InsnSize)
		mnemonic, operands := line[2], line[3]
		want := names[mnemonic]
		if strings.HasPrefix(mnemonic, "b.") {
			want = KindBCond
		}
		if got := Classify(table[i].insn); got != want && got != KindLDRLiteral {
			t.Errorf("Classify(%08x) = %v, want %v (%s)", table[i].insn, got, want, mnemonic)
		}
		target, ok := BranchTarget(pc, table[i].insn)
		if !ok {
			continue
		}
		operands, _, _ = strings.Cut(operands, "  //")
		if text := fmt.Sprintf("%#x", target); !strings.HasSuffix(operands, text) {
			t.Errorf("BranchTarget(%#x, %08x) = %s, objdump says %s", pc, table[i].insn, text, operands)
		}
	}
}

func TestBranchTarget(t *testing.T) {
	const pc = 0x40_0000_0000
	for _, c := range []struct {
		insn   uint32
		target uint64
	}{
		{0x14000000, pc},
		{0x17ffffff, pc - 4},
		{0x15ffffff, pc + BranchReach - 4},
		{0x96000000, pc - BranchReach},
		{0x547fffe0, pc + 1<<20 - 4},
		{0x54800000, pc - 1<<20},
		{0x34000089, pc + 16},
		{0xb5ffff8a, pc - 16},
		{0x361bffeb, pc + 1<<15 - 4},
		{0xb7fc000c, pc - 1<<15},
	} {
		if got, ok := BranchTarget(pc, c.insn); !ok || got != c.target {
			t.Errorf("BranchTarget(%#x, %08x) = %#x, %v; want %#x", uint64(pc), c.insn, got, ok, c.target)
		}
	}
	for _, c := range table {
		_, ok := BranchTarget(pc, c.insn)
		switch c.kind {
		case KindB, KindBL, KindBCond, KindCBZ, KindTBZ:
			if !ok {
				t.Errorf("%s has no target", c.asm)
			}
		default:
			if ok {
				t.Errorf("%s has a target", c.asm)
			}
		}
	}
}

// findTool gives the path of a program that a test needs. Only in CI is it a
// failure not to have it.
func findTool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("find tool: %v", err)
		}
		t.Skipf("find tool: %v", err)
	}
	return path
}

func TestIsCallPad(t *testing.T) {
	for insn, want := range map[uint32]bool{
		0xd503245f: true,  // bti c
		0xd50324df: true,  // bti jc
		0xd503249f: false, // bti j
		0xd503241f: false, // bti
		0xd503233f: true,  // paciasp
		0xd503237f: true,  // pacibsp
		0xd50323bf: false, // autiasp
		Nop:        false,
	} {
		if got := IsCallPad(insn); got != want {
			t.Errorf("%08x: %v", insn, got)
		}
	}
}
