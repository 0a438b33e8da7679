package entry

import "encoding/binary"

// Fill puts the literals into code, a copy of b.Code.
func (b Blob) Fill(code []byte, l Literals) {
	words := [SizeofLiterals / 8]uint64{l.Table, l.Index, l.Action, l.RDebug, l.Reserved, l.Record, l.Reserve, l.Stacks}
	for i, w := range words {
		binary.LittleEndian.PutUint64(code[b.Literals+8*uint64(i):], w)
	}
}
