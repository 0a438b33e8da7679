package probe

import (
	"testing"
	"unsafe"

	"nopal/internal/entry"
)

// TestLayout checks what the code is made for against what it meets.
func TestLayout(t *testing.T) {
	var l entry.Literals
	var k entry.Control
	for _, c := range []struct {
		what     string
		is, want uint64
	}{
		{"slotShift", slotShift, entry.SlotShift},
		{"slotBits", slotBits, entry.SlotBits},
		{"timeBits", timeBits, entry.TimeBits},
		{"tidShift", tidShift, entry.TidShift},
		{"indexShift", indexShift, entry.WordIndexShift},
		{"spShift", spShift, entry.WordSPShift},
		{"pageWords", pageWords, entry.PageWords},
		{"wordTime", wordTime, entry.WordTime},
		{"wordReserved", wordReserved, entry.WordReserved},
		{"wordRecord", wordRecord, entry.WordRecord},
		{"recordArgs", recordArgs, entry.RecordArgs},
		{"recordNumberShift", recordNumberShift, entry.RecordNumberShift},
		{"literalsTable", literalsTable, uint64(unsafe.Offsetof(l.Table))},
		{"literalsIndex", literalsIndex, uint64(unsafe.Offsetof(l.Index))},
		{"controlSize", controlSize, entry.ControlSize},
		{"controlResults", controlResults, uint64(unsafe.Offsetof(k.Results))},
		{"resultHash", resultHash, entry.ResultHash},
		{"resultBits", resultBits, entry.ResultBits},
		{"size of results", 16 << resultBits, uint64(unsafe.Sizeof(k.Results))},
		{"memUnseen", memUnseen, entry.MemUnseen},
		{"end of the control block", controlSize, uint64(unsafe.Sizeof(k))},
	} {
		if c.is != c.want {
			t.Errorf("%s is %d, want %d", c.what, c.is, c.want)
		}
	}
}
