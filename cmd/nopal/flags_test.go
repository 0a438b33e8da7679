package main

import "testing"

func TestSizeFlag(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "4096": 4096, "64k": 64 << 10, "64m": 64 << 20, "2G": 2 << 30} {
		var f sizeFlag
		if err := f.Set(text); err != nil || int64(f) != want {
			t.Errorf("%q is %d (%v), want %d", text, f, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "k", "1.5m", "1mb", "9999999999g", "0x10"} {
		var f sizeFlag
		if err := f.Set(text); err == nil {
			t.Errorf("%q is accepted as %d", text, f)
		}
	}
	for size, want := range map[sizeFlag]string{0: "0", 1: "1", 64 << 20: "64m", 3 << 9: "1536", 5 << 30: "5g"} {
		if got := size.String(); got != want {
			t.Errorf("%d is written as %q, want %q", int64(size), got, want)
		}
	}
}

func TestDurationFlag(t *testing.T) {
	for text, want := range map[string]string{"10": "10s", "0.5": "500ms", "1m30s": "1m30s", "500ms": "500ms"} {
		var f durationFlag
		if err := f.Set(text); err != nil || f.String() != want {
			t.Errorf("%q is %s (%v), want %s", text, &f, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1s", "ten"} {
		var f durationFlag
		if err := f.Set(text); err == nil {
			t.Errorf("%q is accepted as %s", text, &f)
		}
	}
}
