package tracee

import (
	"encoding/binary"
	"testing"
)

func TestRseqAbort(t *testing.T) {
	var cs [32]byte
	for i, v := range []uint64{0, 0x1000, 0x20, 0x3000} {
		binary.NativeEndian.PutUint64(cs[8*i:], v)
	}
	for pc, inside := range map[uint64]bool{0xffc: false, 0x1000: true, 0x101c: true, 0x1020: false} {
		if abort, ok := rseqAbort(cs, pc); ok != inside || abort != 0x3000 {
			t.Errorf("%#x: %#x, %v", pc, abort, ok)
		}
	}
}
