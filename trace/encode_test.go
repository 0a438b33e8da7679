package trace

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// roundTrip encodes words and decodes them again.
func roundTrip(t testing.TB, e *encoder, d *wordDecoder, words []byte, base uint64) []byte {
	t.Helper()
	enc := e.encode(nil, words, base, CountEvents(words), progExits)
	got, err := d.decode(&Chunk{Base: base, Words: enc}, make([]byte, 0, len(words)))
	check(t, err)
	if !bytes.Equal(got, words) {
		for i := 0; i < len(words); i += 8 {
			if i >= len(got) || !bytes.Equal(got[i:i+8], words[i:i+8]) {
				t.Fatalf("word %d of %d is %x, want %x", i/8, len(words)/8, got[min(i, len(got)):min(i+8, len(got))], words[i:i+8])
			}
		}
		t.Fatal("there are more words than before")
	}
	return enc
}

func TestEncoding(t *testing.T) {
	e, err := newEncoder()
	check(t, err)
	var d wordDecoder
	base := uint64(1 << 30)
	for _, c := range []struct {
		name     string
		unproven float64
		exits    bool
	}{{"all exits", 0, true}, {"some exits", 0.25, true}, {"entries", 0, false}} {
		p := newProg(1, 300, c.unproven)
		p.exits = c.exits
		p.appendWords(nil, 1_000_000, new(uint64))
		for _, n := range []int{10, 100, 1000, 65000} {
			high := p.time >> TimeBits
			base := p.time
			words := p.appendWords(nil, n, &high)
			enc := roundTrip(t, e, &d, words, base)
			t.Logf("%s: %d events, %.2f bytes an event; %d tokens, %d times, %d definitions", c.name, n, float64(len(enc))/float64(n),
				len(e.plane[planeTokens]), len(e.plane[planeTimes]), len(e.plane[planeDefs]))
		}
	}
	// Times that are all the same, and such that do not compress.
	for _, mask := range []uint64{0, 127} {
		var words []byte
		for i, rnd := 0, rand.New(rand.NewPCG(1, 1)); i < 60000; i++ {
			base += 3 + rnd.Uint64()&mask
			words = binary.LittleEndian.AppendUint64(words, EventWord(funcIndex(0), 0x100, base))
		}
		enc := roundTrip(t, e, &d, words, 0)
		t.Logf("times of %d: %.3f bytes an event", mask+1, float64(len(enc))/60000)
	}
	// Words of all kinds.
	words := bytesOf(0, EventWord(funcIndex(1), 0x100, 5), ControlWord(WordTime, 7), ControlWord(WordPad, 3), 1, 2,
		EventWord(funcIndex(1), 0x100, 6), ControlWord(WordRecord, RecordStack|5), EventWord(funcIndex(2), 0, 7), 2, 3, 4,
		ControlWord(9, 5), ControlWord(WordPad, 0), EventWord(exitIndex(1), 0x100, 4), EventWord(exitIndex(1), 0x100, 1<<25-1),
		EventWord(99999, 0, 1<<20), ControlWord(WordReserved, 100), 1)
	words = append(words[:len(words)-16], bytesOf(slices.Concat(record(1, EventWord(funcIndex(1), 0x900, 1), 5, "five"),
		record(2, EventWord(funcIndex(2), 0x800, 2), 5, ""), []uint64{EventWord(exitIndex(2), 0x800, 3)}, record(2, EventWord(exitIndex(1), 0x900, 4), 6, ""),
		record(2, EventWord(exitIndex(7), 0x900, 5), 6, ""), record(2, 0, 6, ""), record(2, 5, 6, ""), record(5, EventWord(funcIndex(2), 0x800, 6), 5, "")[:2],
		record(AttachedNumber, EventWord(exitIndex(1), 0x900, 3), 7, ""), []uint64{EventWord(exitIndex(1), 0x900, 4)})...)...)
	roundTrip(t, e, &d, words, 1<<61)
}

func BenchmarkEncode(b *testing.B) {
	e, err := newEncoder()
	check(b, err)
	p := newProg(1, 300, 0)
	words := p.appendWords(nil, 65000, new(uint64))
	words = p.appendWords(words[:0], 65000, new(uint64))
	var enc []byte
	start := cpuTime(b, 0)
	for b.Loop() {
		enc = e.encode(enc[:0], words, 0, 0, progExits)
	}
	b.ReportMetric(65000*float64(b.N)/cpuTime(b, start).Seconds()/1e6, "Mevents/cpu-s")
	b.ReportMetric(float64(len(enc))/65000, "bytes/event")
}

func BenchmarkDecode(b *testing.B) {
	e, err := newEncoder()
	check(b, err)
	p := newProg(1, 300, 0)
	words := p.appendWords(nil, 65000, new(uint64))
	enc := e.encode(nil, words, 0, 0, progExits)
	var d wordDecoder
	start := cpuTime(b, 0)
	for b.Loop() {
		if _, err := d.decode(&Chunk{Words: enc}, words[:0]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(65000*float64(b.N)/cpuTime(b, start).Seconds()/1e6, "Mevents/cpu-s")
}

// TestGather: chunks that continue one another are joined, with all that they
// say about time, and blocks stay in the order in which they were written.
func TestGather(t *testing.T) {
	var file bytes.Buffer
	w := beginGraph(t, &file)
	const streams = 5
	var progs [streams]*prog
	for i := range progs {
		progs[i] = newProg(uint64(i), 300, 0.1)
	}
	var want [streams][]uint64
	round := uint64(0)
	for k := range 300 {
		i := k % streams
		p := progs[i]
		high := p.time >> TimeBits
		c := Chunk{Proc: 1, Stream: uint32(i), TID: uint32(100 + i), Base: p.time}
		c.Words = p.appendWords(nil, 1+p.rnd.IntN(2000), &high)
		if k%7 == 0 {
			c.Words = append(c.Words, bytesOf(ControlWord(WordPad, 9), 5)...) // cut off
		}
		if k%11 == 0 {
			p.time += 1 << 26
		}
		var cur Cursor
		for cur.Reset(&c, 0); cur.Next(); {
			want[i] = append(want[i], cur.Ticks)
		}
		check(t, cur.Err(), w.WriteChunk(c))
		if k%50 == 49 {
			round++
			check(t, w.WriteRound(round))
		}
	}
	check(t, w.Close(0, ""))
	if _, err := Validate(bytes.NewReader(file.Bytes())); err != nil {
		t.Error(err)
	}
	blocks, _, err := readAll(&file)
	check(t, err)
	var got [streams][]uint64
	chunks := 0
	for _, b := range blocks {
		switch b := b.(type) {
		case *Chunk:
			chunks++
			var cur Cursor
			for cur.Reset(b, 0); cur.Next(); {
				got[b.Stream] = append(got[b.Stream], cur.Ticks)
			}
			check(t, cur.Err())
		case *Round:
			if b.Ticks > 1 && chunks == 0 {
				t.Error("a round without the chunks before it")
			}
			round -= min(round, 1)
		}
	}
	if round != 0 {
		t.Errorf("%d rounds are missing", round)
	}
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("stream %d: %d times, want %d, or other ones", i, len(got[i]), len(want[i]))
		}
	}
	if chunks > 200 {
		t.Errorf("%d chunks of 300 were not joined", chunks)
	}
}

// TestHurry: chunks are not encoded while events are lost, or about to be.
func TestHurry(t *testing.T) {
	p := newProg(1, 300, 0)
	words := p.appendWords(nil, 4000, new(uint64))
	size := func(lost uint64, hurry bool) int64 {
		w := beginGraph(t, &bytes.Buffer{})
		check(t, w.Sync())
		before := w.Stats().Bytes
		w.Hurry(hurry)
		check(t, w.WriteChunk(Chunk{Proc: 1, TID: 100, Lost: lost, Words: words}), w.Sync())
		return w.Stats().Bytes - before
	}
	if n := size(0, false); n > 8000 {
		t.Errorf("%d bytes although there is no hurry", n)
	}
	if n := size(5, false); n < 32000 {
		t.Errorf("%d bytes although events were lost", n)
	}
	if n := size(0, true); n < 32000 {
		t.Errorf("%d bytes in a hurry", n)
	}
}

// TestPatient: where nothing can be lost any more all chunks are encoded, and without a
// hurry all are, however fast they come.
func TestPatient(t *testing.T) {
	p := newProg(1, 300, 0)
	words := p.appendWords(nil, 60000, new(uint64))
	for _, patient := range []bool{false, true} {
		w := beginGraph(t, &bytes.Buffer{})
		w.Patient(patient)
		w.Hurry(patient)
		for stream := range uint32(100) {
			lost := uint64(0)
			if patient {
				lost = 1
			}
			check(t, w.WriteChunk(Chunk{Proc: 1, Stream: stream, TID: 100 + stream, Lost: lost, Words: words}), w.submitAll())
		}
		check(t, w.Sync())
		if n := w.Stats().Bytes; n > int64(100*len(words)/4) {
			t.Errorf("patient %v: %d bytes of %d", patient, n, 100*len(words))
		}
	}
}

func FuzzEncode(f *testing.F) {
	p := newProg(1, 100, 0.2)
	f.Add(p.appendWords(nil, 100, new(uint64)))
	f.Add(bytesOf(0, ControlWord(WordPad, 3), 1, 2, EventWord(exitIndex(1), 0x100, 6), EventWord(funcIndex(1), 0, 1)))
	e, err := newEncoder()
	check(f, err)
	var d wordDecoder
	f.Fuzz(func(t *testing.T, words []byte) {
		roundTrip(t, e, &d, words[:len(words)&^7], 12345)
	})
}

// FuzzDecode: whatever is decoded, the memory stays within bounds.
func FuzzDecode(f *testing.F) {
	e, err := newEncoder()
	check(f, err)
	p := newProg(1, 100, 0.2)
	words := p.appendWords(nil, 70, new(uint64))
	f.Add(e.encode(nil, words, 0, 70, progExits))
	f.Add(e.encode(nil, append(words, bytesOf(0, ControlWord(WordPad, 3), 1)...), 0, 70, progExits))
	var d wordDecoder
	f.Fuzz(func(t *testing.T, b []byte) {
		words, err := d.decode(&Chunk{Words: b}, nil)
		if err == nil && len(words) > MaxChunk {
			t.Fatalf("%d bytes", len(words))
		}
	})
}

// TestEncodeRecords: of what probes record, only the values are written as they are.
func TestEncodeRecords(t *testing.T) {
	e, err := newEncoder()
	check(t, err)
	p := newProg(1, 300, 0)
	p.appendWords(nil, 100_000, new(uint64))
	base, high := p.time, p.time>>TimeBits
	plain := p.appendWords(nil, 16_000, &high)
	var words []byte
	values := 0
	for i := 0; i < len(plain); i += 8 {
		w := binary.LittleEndian.Uint64(plain[i:])
		if w < MinIndex<<indexShift {
			words = append(words, plain[i:i+8]...)
			continue
		}
		words = append(words, bytesOf(record(uint32(w>>indexShift)&1023, w, uint64(p.rnd.IntN(100)), "")...)...)
		values++
	}
	enc := roundTrip(t, e, new(wordDecoder), words, base)
	if n, lit := len(e.plane[planeValues]), len(e.plane[planeLiterals]); n != 8*values || lit > 64 || !e.plain {
		t.Errorf("%d bytes and %d bytes of literals for %d values", n, lit, values)
	}
	t.Logf("%.2f bytes a record of %.1f", float64(len(enc))/float64(values), float64(len(words))/float64(values))
}
