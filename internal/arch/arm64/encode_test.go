package arm64

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// encodings has what each method of an Assembler makes at address 0x1000, the words as
// llvm-mc gives them (TestEncodingsAssemble).
var encodings = []struct {
	want string
	asm  string
	make func(a *Assembler)
}{
	// C6.2, MOVZ, MOVK, MOVN
	{"d2824689", "movz x9, #0x1234", func(a *Assembler) { a.MovZ(X9, 0x1234, 0) }},
	{"f2f7ddef", "movk x15, #0xbeef, lsl #48", func(a *Assembler) { a.MovK(X15, 0xbeef, 48) }},
	{"928000e0", "movn x0, #7", func(a *Assembler) { a.MovN(X0, 7, 0) }},
	{"d2800011", "movz x17, #0", func(a *Assembler) { a.MovImm(X17, 0) }},
	{"92800011", "movn x17, #0", func(a *Assembler) { a.MovImm(X17, ^uint64(0)) }},
	{"d28acf0a f2a2468a f2dbd5aa", "movz x10, #0x5678; movk x10, #0x1234, lsl #16; movk x10, #0xdead, lsl #32",
		func(a *Assembler) { a.MovImm(X10, 0xdead12345678) }},
	{"b200f3ea", "orr x10, xzr, #0x5555555555555555", func(a *Assembler) { a.MovImm(X10, 0x5555555555555555) }},
	// C6.2, MOV (register), MOV (to/from SP)
	{"aa1e03e9", "mov x9, x30", func(a *Assembler) { a.Mov(X9, X30) }},
	{"910003fd", "mov x29, sp", func(a *Assembler) { a.MovSP(X29, SP) }},
	// C6.2, ADD and SUB (immediate)
	{"910083ff", "add sp, sp, #32", func(a *Assembler) { a.AddImm(SP, SP, 32) }},
	{"d10103ff", "sub sp, sp, #64", func(a *Assembler) { a.AddImm(SP, SP, -64) }},
	{"9140452a", "add x10, x9, #17, lsl #12", func(a *Assembler) { a.AddImm(X10, X9, 17<<12) }},
	{"d140052a d100054a", "sub x10, x9, #1, lsl #12; sub x10, x10, #1", func(a *Assembler) { a.AddImm(X10, X9, -4097) }},
	// C6.2, the instructions with a shifted register
	{"8b1e8e0f", "add x15, x16, x30, lsl #35", func(a *Assembler) { a.Add(X15, X16, X30, 35) }},
	{"cb0a012b", "sub x11, x9, x10", func(a *Assembler) { a.Sub(X11, X9, X10, 0) }},
	{"8a0b014c", "and x12, x10, x11", func(a *Assembler) { a.And(X12, X10, X11, 0) }},
	{"aa0b894c", "orr x12, x10, x11, lsl #34", func(a *Assembler) { a.Orr(X12, X10, X11, 34) }},
	{"ca0a9e31", "eor x17, x17, x10, lsl #39", func(a *Assembler) { a.Eor(X17, X17, X10, 39) }},
	{"ca5065b1", "eor x17, x13, x16, lsr #25", func(a *Assembler) { a.EorLSR(X17, X13, X16, 25) }},
	{"ca8bfd4a", "eor x10, x10, x11, asr #63", func(a *Assembler) { a.EorASR(X10, X10, X11, 63) }},
	{"8a2b054a", "bic x10, x10, x11, lsl #1", func(a *Assembler) { a.Bic(X10, X10, X11, 1) }},
	{"eb0b015f", "cmp x10, x11", func(a *Assembler) { a.Cmp(X10, X11) }},
	// C6.2, ADD (extended register)
	{"8b2c4dce", "add x14, x14, w12, uxtw #3", func(a *Assembler) { a.AddUXTW(X14, X14, X12, 3) }},
	// C6.2, CMP (immediate), CCMP (register), CSEL
	{"f13ffd5f", "cmp x10, #4095", func(a *Assembler) { a.CmpImm(X10, 4095) }},
	{"fa4b1144", "ccmp x10, x11, #4, ne", func(a *Assembler) { a.Ccmp(X10, X11, 4, NE) }},
	{"9a8cb16a", "csel x10, x11, x12, lt", func(a *Assembler) { a.Csel(X10, X11, X12, LT) }},
	// C6.2, AND, ORR, EOR (immediate)
	{"9240218a", "and x10, x12, #0x1ff", func(a *Assembler) { a.AndImm(X10, X12, 0x1ff) }},
	{"927cec20", "and x0, x1, #0xfffffffffffffff0", func(a *Assembler) { a.AndImm(X0, X1, ^uint64(15)) }},
	{"b2410149", "orr x9, x10, #0x8000000000000000", func(a *Assembler) { a.OrrImm(X9, X10, 1<<63) }},
	{"d200cd49", "eor x9, x10, #0xf0f0f0f0f0f0f0f", func(a *Assembler) { a.EorImm(X9, X10, 0x0f0f0f0f0f0f0f0f) }},
	// C6.2, UBFX, SBFX, BFI, BFXIL, LSL, LSR
	{"d3447d49", "ubfx x9, x10, #4, #28", func(a *Assembler) { a.Ubfx(X9, X10, 4, 28) }},
	{"93407d4a", "sbfx x10, x10, #0, #32", func(a *Assembler) { a.Sbfx(X10, X10, 0, 32) }},
	{"b36b3fb0", "bfi x16, x29, #21, #16", func(a *Assembler) { a.Bfi(X16, X29, 21, 16) }},
	{"b34061f0", "bfxil x16, x15, #0, #25", func(a *Assembler) { a.Bfxil(X16, X15, 0, 25) }},
	{"d3701d49", "ubfiz x9, x10, #16, #8", func(a *Assembler) { a.Ubfiz(X9, X10, 16, 8) }},
	{"d3607d4a", "lsl x10, x10, #32", func(a *Assembler) { a.LslImm(X10, X10, 32) }},
	{"d359fdeb", "lsr x11, x15, #25", func(a *Assembler) { a.LsrImm(X11, X15, 25) }},
	// C6.2, MUL, UDIV, MSUB
	{"9b0b7d49", "mul x9, x10, x11", func(a *Assembler) { a.Mul(X9, X10, X11) }},
	{"9acb0949", "udiv x9, x10, x11", func(a *Assembler) { a.Udiv(X9, X10, X11) }},
	{"9b0bb149", "msub x9, x10, x11, x12", func(a *Assembler) { a.Msub(X9, X10, X11, X12) }},
	// C5.2, NZCV; D24, TPIDR_EL0, CNTVCT_EL0
	{"d53b4209", "mrs x9, nzcv", func(a *Assembler) { a.MrsNZCV(X9) }},
	{"d51b4209", "msr nzcv, x9", func(a *Assembler) { a.MsrNZCV(X9) }},
	{"d53bd04a", "mrs x10, tpidr_el0", func(a *Assembler) { a.MrsTPIDR(X10) }},
	{"d53be050", "mrs x16, cntvct_el0", func(a *Assembler) { a.MrsCounter(X16) }},
	// C7.2, FMOV (general)
	{"9e66006a", "fmov x10, d3", func(a *Assembler) { a.FmovX(X10, 3) }},
	{"9eae03ea", "fmov x10, v31.d[1]", func(a *Assembler) { a.FmovHigh(X10, 31) }},
	// C6.2, SVC, YIELD
	{"d4000001", "svc #0", func(a *Assembler) { a.Svc() }},
	{"d503203f", "yield", func(a *Assembler) { a.Yield() }},
	// C6.2, LDR and STR (immediate), LDUR and STUR, and those of fewer bytes
	{"f9400fab", "ldr x11, [x29, #24]", func(a *Assembler) { a.Ldr(8, X11, X29, 24) }},
	{"f85b03a0", "ldur x0, [x29, #-80]", func(a *Assembler) { a.Ldr(8, X0, X29, -80) }},
	{"b940054a", "ldr w10, [x10, #4]", func(a *Assembler) { a.Ldr(4, X10, X10, 4) }},
	{"7940054a", "ldrh w10, [x10, #2]", func(a *Assembler) { a.Ldr(2, X10, X10, 2) }},
	{"797ffd4a", "ldrh w10, [x10, #8190]", func(a *Assembler) { a.Ldr(2, X10, X10, 8190) }},
	{"39400d4a", "ldrb w10, [x10, #3]", func(a *Assembler) { a.Ldr(1, X10, X10, 3) }},
	{"f9000bea", "str x10, [sp, #16]", func(a *Assembler) { a.Str(8, X10, SP, 16) }},
	{"f81f83b0", "stur x16, [x29, #-8]", func(a *Assembler) { a.Str(8, X16, X29, -8) }},
	{"b8003149", "stur w9, [x10, #3]", func(a *Assembler) { a.Str(4, X9, X10, 3) }},
	{"3900054a", "strb w10, [x10, #1]", func(a *Assembler) { a.Str(1, X10, X10, 1) }},
	// C6.2, LDR (register)
	{"f86b694a", "ldr x10, [x10, x11]", func(a *Assembler) { a.LdrReg(X10, X10, X11) }},
	{"b86d694a", "ldr w10, [x10, x13]", func(a *Assembler) { a.LdrReg32(X10, X10, X13) }},
	// C6.2, LDP and STP
	{"a97f396d", "ldp x13, x14, [x11, #-16]", func(a *Assembler) { a.Ldp(X13, X14, X11, -16) }},
	{"a90105c0", "stp x0, x1, [x14, #16]", func(a *Assembler) { a.Stp(X0, X1, X14, 16) }},
	{"a9bf27fd", "stp x29, x9, [sp, #-16]!", func(a *Assembler) { a.StpPre(X29, X9, SP, -16) }},
	{"a8c17bfd", "ldp x29, x30, [sp], #16", func(a *Assembler) { a.LdpPost(X29, X30, SP, 16) }},
	// C6.2, LDXR, STXR, LDAXR, STLXR, LDXP, STXP, LDAR, STLR
	{"c85f7d49", "ldxr x9, [x10]", func(a *Assembler) { a.Ldxr(X9, X10) }},
	{"c80b7d49", "stxr w11, x9, [x10]", func(a *Assembler) { a.Stxr(X11, X9, X10) }},
	{"c85ffd49", "ldaxr x9, [x10]", func(a *Assembler) { a.Ldaxr(X9, X10) }},
	{"c80bfd49", "stlxr w11, x9, [x10]", func(a *Assembler) { a.Stlxr(X11, X9, X10) }},
	{"c87f356c", "ldxp x12, x13, [x11]", func(a *Assembler) { a.Ldxp(X12, X13, X11) }},
	{"c8293571", "stxp w9, x17, x13, [x11]", func(a *Assembler) { a.Stxp(X9, X17, X13, X11) }},
	{"c8dffd49", "ldar x9, [x10]", func(a *Assembler) { a.Ldar(X9, X10) }},
	{"c89ffdd1", "stlr x17, [x14]", func(a *Assembler) { a.Stlr(X17, X14) }},
	// C6.2, LDR (literal), ADRP
	{"5803ffeb", "ldr x11, #0x7ffc", func(a *Assembler) { a.LdrAt(X11, 0x8ffc) }},
	{"f000000b 9100e16b", "adrp x11, #0x3000; add x11, x11, #0x38", func(a *Assembler) { a.AdrpAdd(X11, 0x4038) }},
	{"f000000b f9401d6b", "adrp x11, #0x3000; ldr x11, [x11, #0x38]", func(a *Assembler) { a.LdrFar(X11, 0x4038) }},
	// C6.2, the branches
	{"14000003 d503201f d503201f", "b #12; nop; nop", func(a *Assembler) { ahead(a, a.B) }},
	{"94000003 d503201f d503201f", "bl #12; nop; nop", func(a *Assembler) { ahead(a, a.Bl) }},
	{"5400006b d503201f d503201f", "b.lt #12; nop; nop", func(a *Assembler) { ahead(a, func(l Label) { a.Bcond(LT, l) }) }},
	{"b4000069 d503201f d503201f", "cbz x9, #12; nop; nop", func(a *Assembler) { ahead(a, func(l Label) { a.Cbz(X9, l) }) }},
	{"b5000069 d503201f d503201f", "cbnz x9, #12; nop; nop", func(a *Assembler) { ahead(a, func(l Label) { a.Cbnz(X9, l) }) }},
	{"35000069 d503201f d503201f", "cbnz w9, #12; nop; nop", func(a *Assembler) { ahead(a, func(l Label) { a.Cbnz32(X9, l) }) }},
	{"36480069 d503201f d503201f", "tbz w9, #9, #12; nop; nop", func(a *Assembler) { ahead(a, func(l Label) { a.Tbz(X9, 9, l) }) }},
	{"b7f80069 d503201f d503201f", "tbnz x9, #63, #12; nop; nop", func(a *Assembler) { ahead(a, func(l Label) { a.Tbnz(X9, 63, l) }) }},
	{"10000069 d503201f d503201f", "adr x9, #12; nop; nop", func(a *Assembler) { ahead(a, func(l Label) { a.Adr(X9, l) }) }},
	{"d503201f 17ffffff", "nop; b #-4", func(a *Assembler) { l := a.Here(); a.Raw(Nop); a.B(l) }},
	{"17fffc00", "b #-4096", func(a *Assembler) { a.BTo(0) }},
	{"94000400", "bl #4096", func(a *Assembler) { a.BlTo(0x2000) }},
	{"d61f0220", "br x17", func(a *Assembler) { a.Br(X17) }},
	{"d63f0220", "blr x17", func(a *Assembler) { a.Blr(X17) }},
	{"d65f0120", "ret x9", func(a *Assembler) { a.Ret(X9) }},
}

// ahead makes a branch over two instructions.
func ahead(a *Assembler, branch func(Label)) {
	l := a.Label()
	branch(l)
	a.Raw(Nop)
	a.Raw(Nop)
	a.Bind(l)
}

func TestEncodings(t *testing.T) {
	for _, c := range encodings {
		a := NewAssembler(0x1000)
		c.make(a)
		code, err := a.Finish()
		if err != nil {
			t.Errorf("%s: %v", c.asm, err)
			continue
		}
		if got := hexWords(code); got != c.want {
			t.Errorf("%s: got %s, want %s", c.asm, got, c.want)
		}
	}
}

func hexWords(code []uint32) string {
	var words []string
	for _, insn := range code {
		words = append(words, fmt.Sprintf("%08x", insn))
	}
	return strings.Join(words, " ")
}

// TestEncodingsAssemble checks the table against llvm-mc.
func TestEncodingsAssemble(t *testing.T) {
	llvmMC := findTool(t, "llvm-mc")
	var lines []string
	for _, c := range encodings {
		lines = append(lines, strings.Split(c.asm, "; ")...)
	}
	cmd := exec.Command(llvmMC, "-triple=aarch64", "-show-encoding")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("llvm-mc: %v\n%s", err, out)
	}
	found := regexp.MustCompile(`encoding: \[0x(..),0x(..),0x(..),0x(..)\]`).FindAllStringSubmatch(string(out), -1)
	if len(found) != len(lines) {
		t.Fatalf("llvm-mc gave %d instructions for %d", len(found), len(lines))
	}
	for _, c := range encodings {
		var words []string
		for range strings.Split(c.asm, "; ") {
			b := found[0]
			found = found[1:]
			words = append(words, b[4]+b[3]+b[2]+b[1])
		}
		if got := strings.Join(words, " "); got != c.want {
			t.Errorf("%s: table has %s, llvm-mc %s", c.asm, c.want, got)
		}
	}
}

func TestLiterals(t *testing.T) {
	a := NewAssembler(0x1000)
	a.LdrLiteral(X10, 0x1122334455667788)
	a.LdrLiteral(X11, 1)
	a.LdrLiteral(X12, 0x1122334455667788)
	code, err := a.Finish()
	if err != nil {
		t.Fatal(err)
	}
	const want = "5800008a 580000ab 5800004c d503201f 55667788 11223344 00000001 00000000"
	if got := hexWords(code); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCannotEncode(t *testing.T) {
	for name, make := range map[string]func(a *Assembler){
		"immediate":   func(a *Assembler) { a.AddImm(X0, X0, 1<<24) },
		"bit mask":    func(a *Assembler) { a.AndImm(X0, X0, 5) },
		"no bit mask": func(a *Assembler) { a.OrrImm(X0, X0, 0) },
		"offset":      func(a *Assembler) { a.Ldr(8, X0, X0, 257) },
		"size":        func(a *Assembler) { a.Str(3, X0, X0, 0) },
		"pair":        func(a *Assembler) { a.Stp(X0, X1, X2, 512) },
		"far":         func(a *Assembler) { a.BTo(1 << 30) },
		"literal":     func(a *Assembler) { a.LdrAt(X0, 1<<30) },
		"page":        func(a *Assembler) { a.AdrpAdd(X0, 1<<40) },
		"label":       func(a *Assembler) { a.B(a.Label()) },
		"bound twice": func(a *Assembler) { a.Bind(a.Here()) },
		"test branch": func(a *Assembler) {
			l := a.Here()
			for range 8193 {
				a.Raw(Nop)
			}
			a.Tbz(X0, 0, l)
		},
		"shift amount": func(a *Assembler) { a.Add(X0, X0, X0, 64) },
	} {
		a := NewAssembler(0x1000)
		make(a)
		if code, err := a.Finish(); err == nil {
			t.Errorf("%s: no error, code %x", name, code)
		}
	}
	if _, err := NewAssembler(4).Finish(); err == nil {
		t.Error("code at 4: no error")
	}
}

// Every constant that is a bit mask is one of those that there are.
func TestBitmask(t *testing.T) {
	n := 0
	for size := 2; size <= 64; size *= 2 {
		for ones := 1; ones < size; ones++ {
			for turn := range size {
				e := ^uint64(0) >> (64 - ones)
				if size < 64 {
					e = (e<<turn | e>>(size-turn)) & (1<<size - 1)
				} else {
					e = e<<turn | e>>(64-turn)
				}
				for s := size; s < 64; s *= 2 {
					e |= e << s
				}
				if !IsBitmask(e) {
					t.Fatalf("%#x is a bit mask", e)
				}
				n++
			}
		}
	}
	if n != 5334 { // all that there are, each once
		t.Errorf("%d bit masks", n)
	}
	for _, v := range []uint64{0, ^uint64(0), 5, 0x1234, 0x8000000000000002} {
		if IsBitmask(v) {
			t.Errorf("%#x is no bit mask", v)
		}
	}
}
