package probe

import (
	"encoding/binary"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/arch/arm64/arm64asm"
)

// programs has one of each kind of code that is made.
func programs() map[string]*Program {
	x := func(n int) Expr { return Expr{Base: Operand{Kind: RegX, N: n}} }
	compare := func(v Value, y Constant) Cond { return Compare{X: v, Op: Less, Y: y} }
	hfa := Field{Size: 16}
	for i := range 4 {
		hfa.Parts = append(hfa.Parts, Part{From: Expr{Base: Operand{Kind: RegV, N: i}}, Off: 4 * i, Size: 4})
	}
	whole := func(o Operand) Field { return Field{Size: 8, Parts: []Part{{From: Expr{Base: o}, Size: 8}}} }
	length := x(1)
	return map[string]*Program{
		"registers": arguments(5),
		"others":    {Fields: []Field{whole(Operand{N: 29}), whole(Operand{N: 30}), whole(Operand{N: 31}), whole(Operand{N: 18}), whole(Operand{N: 28})}},
		"floats":    {Fields: []Field{hfa, whole(Operand{Kind: RegVHigh, N: 7})}},
		"stack":     {Fields: []Field{whole(Operand{Kind: Stack, Off: 8}), whole(Operand{Kind: Const, Off: 1 << 40})}},
		"memory":    {Fields: []Field{{Mem: &Mem{Addr: x(0), Len: &length, Max: 64}}, {Mem: &Mem{Addr: Expr{Base: Operand{N: 2}, Deref: []int64{8, -300}, Add: 1 << 30}, CString: true, Max: 1024}}, hfa}},
		"nothing":   {},
		"x8":        {SaveX8: true},
		"result":    {Fields: []Field{{Mem: &Mem{Addr: Expr{Base: Operand{Kind: SavedX8}}, Max: 48}}}},
		"condition": {Fields: arguments(1).Fields, Cond: And{
			Or{compare(Value{Expr: x(0), Width: 4, Signed: true}, Constant{Int: -5}), Not{compare(Value{Expr: x(1), Width: 8, Mask: 0x123}, Constant{Int: 1 << 33})}},
			compare(Value{Expr: Expr{Base: Operand{Kind: RegV}}, Width: 8, Float: true}, Constant{Float: 0.5}),
		}},
		"condition on memory": {Cond: compare(Value{Expr: Expr{Base: Operand{Kind: Stack, Off: 16}, Deref: []int64{0}}, Width: 2}, Constant{Int: 7})},
	}
}

// The code keeps the rules of internal/entry/entry_arm64.s: no FP/SIMD register but to be
// read, nothing stored below sp, flags only where they have been saved, no register but
// those that are free. x0-x8 are changed where they have been saved.
func TestRules(t *testing.T) {
	const at = 1 << 20
	shared := Shared{at, at, at, at, at}
	simd := regexp.MustCompile(`\b[VBHSDQ][0-9]+\b`)
	written := regexp.MustCompile(`^\w+ [XW](\d+)\b(?:, ?[XW](\d+)\b)?`)
	for name, p := range programs() {
		made := 0
		for _, next := range []uint64{0, at} {
			for _, generate := range []func(Target) ([]uint32, error){p.Entry, p.Exit} {
				code, err := generate(Target{At: at, Shared: shared, Next: next, Else: next})
				if err != nil {
					continue // for the other end
				}
				made++
				saved, flags := false, false
				for i, insn := range code {
					var raw [4]byte
					binary.LittleEndian.PutUint32(raw[:], insn)
					in, err := arm64asm.Decode(raw[:])
					if err != nil || insn>>16 == 0 {
						continue // a literal
					}
					text := in.String()
					saved = saved || strings.HasPrefix(text, "STP X8, X16, [X29")
					fails := func(why string) { t.Errorf("%s: %d: %s: %s", name, i, text, why) }
					op, rest, _ := strings.Cut(text, " ")
					if simd.MatchString(rest) && (op != "FMOV" || !strings.HasPrefix(rest, "X")) {
						fails("FP/SIMD register")
					}
					if strings.HasPrefix(rest, "[SP,#-") || strings.Contains(rest, "[SP,#-") && !strings.HasSuffix(rest, "]!") {
						fails("stores below sp")
					}
					switch op {
					case "CMP", "CCMP":
						if !flags {
							fails("changes NZCV")
						}
					case "MRS":
						flags = flags || strings.Contains(rest, "S3_3_C4_C2_0") || strings.Contains(rest, "NZCV")
					case "STR", "STP", "STLR", "STUR", "B", "BL", "CBZ", "CBNZ", "TBZ", "TBNZ", "RET", "MSR":
						continue
					}
					m := written.FindStringSubmatch(text)
					if m == nil || op == "CMP" {
						continue
					}
					for j, n := range m[1:] {
						if j == 1 && op != "LDP" && op != "LDXP" {
							continue // a source
						}
						switch {
						case n == "", len(n) == 1 && n <= "8" && saved:
						case n >= "10" && n <= "17" && len(n) == 2, n == "9", n == "29", n == "30":
						default:
							fails("changes x" + n)
						}
					}
				}
			}
		}
		if made == 0 {
			t.Errorf("%s: no code", name)
		}
	}
}
