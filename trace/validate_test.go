package trace

import (
	"bytes"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	chunk := func(stream uint32, ticks ...uint64) Chunk {
		c := Chunk{Proc: 1, Stream: stream, TID: 100 + stream}
		for _, n := range ticks {
			c.Words = append(c.Words, bytesOf(EventWord(funcIndex(0), 0, n))...)
		}
		return c
	}
	for _, c := range []struct {
		name  string
		write func(w *Writer) error
		want  string
	}{
		{"good", func(w *Writer) error {
			check(t, w.WriteChunk(chunk(1, 5, 6, 6)), w.WriteRound(7), w.WriteChunk(chunk(2, 7)), w.WriteRound(8),
				w.WriteLost(Lost{Proc: 1, TID: 7, Count: 5}), w.WriteExit(Exit{Proc: 1}))
			return nil
		}, ""},
		{"second meta", func(w *Writer) error { return w.WriteMeta(Meta{}) }, "META is not the first"},
		{"second clock", func(w *Writer) error { return w.WriteClock(Clock{Frequency: 1}) }, "a second clock"},
		{"process twice", func(w *Writer) error { return w.WriteProcess(Process{Proc: 1}) }, "process 1 is introduced again"},
		{"image twice", func(w *Writer) error { return w.WriteImage(Image{ID: 1}, nil) }, "image 1 is introduced again"},
		{"unknown process", func(w *Writer) error { return w.WriteThread(Thread{Proc: 2}) }, "process 2 has not been introduced"},
		{"unknown image", func(w *Writer) error { return w.WriteRange(Range{Proc: 1, Image: 3, Index: 64}) }, "image 3 has not been"},
		{"odd range", func(w *Writer) error { return w.WriteRange(Range{Proc: 1, Image: 1, Index: 64, Addr: 2}) }, "not those of instructions"},
		{"unknown position", func(w *Writer) error {
			return w.WriteChunk(Chunk{Proc: 1, Words: bytesOf(EventWord(9999, 0, 0))})
		}, "position 9999 is in no range"},
		{"a little back in time", func(w *Writer) error { return w.WriteChunk(chunk(1, 6, 5)) }, ""},
		{"back in time", func(w *Writer) error { return w.WriteChunk(chunk(1, 1<<25-1, 5)) }, "time goes back by"},
		{"back between chunks", func(w *Writer) error {
			c := chunk(1, 6)
			c.Base = 1 << 40
			check(t, w.WriteChunk(c))
			return w.WriteChunk(chunk(1, 5))
		}, "time goes back by"},
		{"round goes back", func(w *Writer) error {
			check(t, w.WriteRound(10))
			return w.WriteRound(9)
		}, "watermark goes back"},
		{"thread after its exit", func(w *Writer) error {
			check(t, w.WriteExit(Exit{Proc: 1, TID: 101}))
			return w.WriteChunk(chunk(1, 9))
		}, "thread 101 has ended"},
		{"thread id used again", func(w *Writer) error {
			check(t, w.WriteExit(Exit{Proc: 1, TID: 101}), w.WriteThread(Thread{1, 101, "new"}))
			return w.WriteChunk(chunk(1, 9))
		}, ""},
		{"process after its exit", func(w *Writer) error {
			check(t, w.WriteExit(Exit{Proc: 1}))
			return w.WriteChunk(chunk(1, 9))
		}, "process 1 has ended"},
		{"probe twice", func(w *Writer) error {
			check(t, w.WriteProbe(testProbe(1, ProbeEntry)))
			return w.WriteProbe(testProbe(1, ProbeEntry))
		}, "probe 1 is introduced again"},
		{"unknown probe", func(w *Writer) error {
			return w.WriteChunk(Chunk{Proc: 1, Words: bytesOf(record(9, EventWord(funcIndex(1), 0, 0), 1, "a")...)})
		}, "probe 9, which has not been introduced"},
		{"attached record of too much", func(w *Writer) error {
			check(t, w.WriteProbe(testProbe(AttachedNumber, ProbeExit|ProbeAttached)))
			return w.WriteChunk(Chunk{Proc: 1, Words: bytesOf(record(AttachedNumber, EventWord(funcIndex(1), 0, 0), 1, "abc")...)})
		}, "is 24 bytes longer"},
		{"record of too little", func(w *Writer) error {
			check(t, w.WriteProbe(testProbe(1, ProbeEntry)))
			return w.WriteChunk(Chunk{Proc: 1, Words: bytesOf(record(1, EventWord(funcIndex(1), 0, 0), 1, "")...)})
		}, `ends before its field "s"`},
		{"record of too much", func(w *Writer) error {
			check(t, w.WriteProbe(testProbe(2, ProbeExit)))
			return w.WriteChunk(Chunk{Proc: 1, Words: bytesOf(record(2, EventWord(funcIndex(1), 0, 0), 1, "abc")...)})
		}, "is 24 bytes longer"},
		{"wrong totals", func(w *Writer) error {
			w.stats.Events++
			return nil
		}, "the totals are"},
	} {
		var file bytes.Buffer
		w := beginFile(t, &file)
		check(t, c.write(w), w.Close(0, ""))
		_, err := Validate(&file)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	var file bytes.Buffer
	w := beginFile(t, &file)
	check(t, w.WriteRound(10), w.WriteChunk(chunk(1, 9)), w.WriteRound(20), w.WriteChunk(chunk(2, 9, 8, 10)), w.Close(0, ""))
	if n, err := Validate(&file); err != nil || n != (Totals{Events: 4, Chunks: 2, Late: 2, Backs: 1}) {
		t.Errorf("%+v, error %v", n, err)
	}
	file.Reset()
	w = beginFile(t, &file)
	check(t, w.Flush())
	if _, err := Validate(&file); err == nil {
		t.Error("a recording without an end is called valid")
	}
}
