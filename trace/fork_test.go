package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

// A fork goes on with the numbers of its original, and neither sees what the other
// writes.
func TestFork(t *testing.T) {
	word := binary.LittleEndian.AppendUint64(nil, MinIndex<<37)
	chunk := Chunk{Proc: 1, Stream: 1, TID: 7, Words: word}
	var file, copied bytes.Buffer
	w, err := NewWriter(&file, MachineARM64)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.WriteClock(Clock{Frequency: 1e9}))
	must(w.WriteProcess(Process{Proc: 1, PID: 7}))
	must(w.WriteChunk(chunk))
	f, err := w.Fork(&copied)
	must(err)
	copied.Write(file.Bytes())
	must(f.WriteChunk(chunk))
	must(f.WriteChunk(chunk))
	must(f.Close(0, "snapshot"))
	must(w.WriteChunk(chunk))
	must(w.Close(0, "done"))
	for _, c := range []struct {
		file   *bytes.Buffer
		events uint64
	}{{&file, 2}, {&copied, 3}} {
		r, err := NewReader(c.file)
		must(err)
		var end *End
		events := uint64(0)
		for {
			b, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			must(err)
			switch b := b.(type) {
			case *Chunk:
				events += CountEvents(b.Words)
			case *End:
				end = b
			}
		}
		if end == nil || end.Events != c.events || events != c.events {
			t.Errorf("%d events and END %+v, want %d", events, end, c.events)
		}
	}
}
