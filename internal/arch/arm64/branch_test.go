package arm64

import (
	"errors"
	"strings"
	"testing"
)

func TestEncode(t *testing.T) {
	const pc = 0xffff_8000_0000
	for _, c := range []struct {
		distance int64
		b, bl    uint32 // 0: not possible
	}{
		{0, 0x14000000, 0x94000000},
		{4, 0x14000001, 0x94000001},
		{-4, 0x17ffffff, 0x97ffffff},
		{BranchReach - 4, 0x15ffffff, 0x95ffffff},
		{-BranchReach, 0x16000000, 0x96000000},
		{BranchReach, 0, 0},
		{-BranchReach - 4, 0, 0},
		{1 << 32, 0, 0},
		{-(1 << 32), 0, 0},
		{2, 0, 0},
		{-1, 0, 0},
	} {
		target := uint64(pc + c.distance)
		if got := InReach(pc, target); got != (c.b != 0) {
			t.Errorf("InReach(pc, pc%+d) = %v", c.distance, got)
		}
		for _, e := range []struct {
			name   string
			encode func(pc, target uint64) (uint32, error)
			want   uint32
		}{{"EncodeB", EncodeB, c.b}, {"EncodeBL", EncodeBL, c.bl}} {
			got, err := e.encode(pc, target)
			if e.want == 0 {
				var reach *ReachError
				if !errors.As(err, &reach) || reach.PC != pc || reach.Target != target {
					t.Errorf("%s(pc, pc%+d): error %v, want a ReachError", e.name, c.distance, err)
				}
				continue
			}
			if err != nil || got != e.want {
				t.Errorf("%s(pc, pc%+d) = %08x, %v; want %08x", e.name, c.distance, got, err, e.want)
				continue
			}
			if back, ok := BranchTarget(pc, got); !ok || back != target {
				t.Errorf("%s(pc, pc%+d) leads to %#x, want %#x", e.name, c.distance, back, target)
			}
		}
	}
}

// TestEncodeWraps covers an address space whose ends meet: the distance counts,
// not the order.
func TestEncodeWraps(t *testing.T) {
	if got, err := EncodeB(0, ^uint64(3)); err != nil || got != 0x17ffffff {
		t.Errorf("EncodeB(0, -4) = %08x, %v", got, err)
	}
	if InReach(0, 1<<63) {
		t.Error("half the address space is in reach")
	}
}

func TestReachErrorText(t *testing.T) {
	far := (&ReachError{PC: 0x1000, Target: 0x9000000}).Error()
	if !strings.Contains(far, "0x1000") || !strings.Contains(far, "0x9000000") || !strings.Contains(far, "128 MiB") {
		t.Errorf("error for a far branch: %q", far)
	}
	if odd := (&ReachError{PC: 0x1000, Target: 0x1002}).Error(); !strings.Contains(odd, "not aligned") {
		t.Errorf("error for an odd target: %q", odd)
	}
}
