package amd64

import (
	"encoding/hex"
	"testing"
)

func TestNopLen(t *testing.T) {
	for _, c := range []struct {
		code string
		want int
	}{
		{"90", 1},
		{"9090", 1},
		{"6690", 2},
		{"0f1f00", 3},
		{"0f1f4000", 4},
		{"0f1f440000", 5},
		{"0f1f440008", 5}, // clang's
		{"660f1f440000", 6},
		{"660f1f440008", 6},
		{"0f1f8000000000", 7},
		{"0f1f800002000090", 7},
		{"0f1f840000000000", 8},
		{"0f1f840000020000", 8},
		{"660f1f840000000000", 9},
		{"662e0f1f840000000000", 10},
		{"666666662e0f1f840000000000", 13},
		{"66666666662e0f1f840000000000", 14},
		{"6666666666662e0f1f840000000000", 15},
		{"0f1f0425000000000000", 8}, // SIB without a base
		{"0f1f0500000000", 7},       // relative to rip
		{"0fc0", 0},
		{"0f1fc8", 0}, // /1: reserved
		{"f390", 0},   // pause
		{"4190", 0},   // xchg r8d, eax
		{"0f1f44", 0}, // cut
		{"0f1f4400", 0},
		{"660f1f", 0},
		{"66", 0},
		{"6666666666666666666666666666662e90", 0}, // longer than an instruction may be
		{"f30f1efa", 0},
		{"", 0},
	} {
		code, err := hex.DecodeString(c.code)
		if err != nil {
			t.Fatal(err)
		}
		if got := NopLen(code); got != c.want {
			t.Errorf("NopLen(%s) = %d, want %d", c.code, got, c.want)
		}
	}
}

func TestIsLanding(t *testing.T) {
	for code, want := range map[string]bool{
		"\xf3\x0f\x1e\xfa": true, "\xf3\x0f\x1e\xfa\x90": true, "\xf3\x0f\x1e\xfb": false, "\xf3\x0f\x1e": false, "": false,
	} {
		if got := IsLanding([]byte(code)); got != want {
			t.Errorf("IsLanding(% x) = %v", code, got)
		}
	}
}
