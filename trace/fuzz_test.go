package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
	"testing"
)

// seal makes a recording of blocks without their checksums and numbers, each
// {type u8, length u16, payload}, so that a fuzzer gets past those.
func seal(data []byte) []byte {
	var file bytes.Buffer
	w, err := NewWriter(&file, MachineARM64)
	if err != nil {
		panic(err)
	}
	for len(data) >= 3 {
		t, n := Type(data[0]), int(binary.LittleEndian.Uint16(data[1:]))
		data = data[3:]
		n = min(n, len(data))
		w.begin()
		w.buf = append(w.buf, data[:n]...)
		data = data[n:]
		if err := w.end(t); err != nil {
			panic(err)
		}
	}
	if err := w.Flush(); err != nil {
		panic(err)
	}
	return file.Bytes()
}

// unseal is the reverse of seal.
func unseal(t testing.TB, file []byte) []byte {
	var data []byte
	r, err := NewReader(bytes.NewReader(file))
	check(t, err)
	for {
		typ, payload, err := r.next(r.reuse)
		if err != nil {
			return data
		}
		data = append(data, byte(typ))
		data = binary.LittleEndian.AppendUint16(data, uint16(len(payload)))
		data = append(data, payload...)
	}
}

// seedFile has a block of each type and words of each kind.
func seedFile(t testing.TB) []byte {
	var file bytes.Buffer
	w := beginFile(t, &file)
	words := []uint64{EventWord(funcIndex(0), 0x100, 10), ControlWord(WordTime, 1), EventWord(funcIndex(1), 0xf0, 11), 0,
		ControlWord(WordPad, 2), 5, ControlWord(WordReserved, 2), 5,
		ControlWord(WordRecord, RecordRegs|RecordStack|38), EventWord(funcIndex(2), 0xe0, 12)}
	words = append(words, make([]uint64, len(MachineARM64.Registers()))...)
	words = append(words, 1, 0xaaaa00001004)
	check(t,
		w.WriteThread(Thread{1, 100, "main"}),
		w.WriteChunk(Chunk{Proc: 1, Stream: 1, TID: 100, Base: 5, Lost: 1, Words: bytesOf(words...)}),
		w.WriteRound(20),
		w.WriteChunk(Chunk{Proc: 1, Stream: 2, TID: 101, Lost: 2}),
		w.WriteLost(Lost{1, 101, 5, 0}),
		w.WriteRange(Range{Proc: 1, Image: 1, Index: 100, Count: 10, Addr: 0x5000, VA: 0x1000}),
		w.WriteChunk(Chunk{Proc: 1, Stream: 1, TID: 100, Base: 1 << 30, Words: bytesOf(EventWord(105, 0xf0, 1))}),
		w.WriteRound(1<<31),
		w.WriteRange(Range{Proc: 1, Image: 1, Index: exitIndex(0) - 2, Count: 16 * progFuncs, Addr: 0xaaaa00001000, VA: 0x1000, Kind: RangeExits}),
		w.WriteChunk(Chunk{Proc: 1, Stream: 3, TID: 100, Base: 1 << 31, Words: newProg(1, 90, 0.3).appendWords(nil, 100, new(uint64))}),
		w.WriteProbe(testProbe(1, ProbeEntry)),
		w.WriteProbe(testProbe(AttachedNumber, ProbeExit|ProbeAttached)),
		w.WriteProbe(testProbe(InjectedNumber, ProbeInjected)),
		w.WriteChunk(Chunk{Proc: 1, Stream: 3, TID: 100, Base: 1 << 32, Words: bytesOf(slices.Concat(
			record(1, EventWord(funcIndex(1), 0x900, 1), 5, "five"), record(InjectedNumber, EventWord(funcIndex(1), 0x800, 2), 6, "six"),
			record(AttachedNumber, EventWord(exitIndex(1), 0x900, 3), 7, ""), []uint64{EventWord(exitIndex(1), 0x900, 4)})...)}),
		w.WriteProfile(Profile{1, 100, 79, []ProfileFunc{{1, 0x1000, 3, 60, 50, 10, 30, []ProfileBucket{{4, 1}, {5, 2}}}}}),
		w.WriteMark(Mark{1, 100, 80, "off"}),
		w.WriteExit(Exit{1, 101, 0, 0}),
		w.WriteExit(Exit{1, 0, 0, 0}),
		w.Close(1, "end"))
	return file.Bytes()
}

// asOf gives a file that says of itself that it is of a machine.
func asOf(m Machine, file []byte) []byte {
	if len(file) < HeaderSize {
		return file
	}
	file = bytes.Clone(file)
	binary.LittleEndian.PutUint16(file[10:], uint16(m))
	binary.LittleEndian.PutUint32(file[HeaderSize-4:], crc32.Checksum(file[:HeaderSize-4], castagnoli))
	return file
}

// readEverything reads a recording in all ways there are, as one of each machine.
func readEverything(t testing.TB, file []byte) {
	for _, m := range []Machine{MachineARM64, MachineAMD64} {
		readAllWays(t, asOf(m, file))
	}
}

func readAllWays(t testing.TB, file []byte) {
	_, _ = Validate(bytes.NewReader(file))
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		return
	}
	e := NewEvents(r)
	counted, seen := uint64(0), uint64(0)
	for {
		ev, err := e.Next()
		if err != nil {
			break
		}
		if ev.Site == nil {
			continue
		}
		if ev.Kind != Injection && (!ev.Inferred || ev.Kind == Entry) {
			seen++
		}
		_ = ev.Site.Name()
		_ = ArgsText(nil, ev.Args)
		if ev.Ret != nil {
			_ = ev.Ret.AppendJSON(nil)
		}
		for _, a := range ev.Stack {
			_ = ev.Program.Symbol(a).String()
		}
	}
	readAllCalls(t, file)
	sameQuick(t, file)
	r, err = NewReader(bytes.NewReader(file))
	check(t, err)
	for {
		b, err := r.Next()
		if err != nil {
			if errors.Is(err, io.EOF) && counted < seen {
				t.Fatalf("%d events delivered, %d counted", seen, counted)
			}
			return
		}
		if c, ok := b.(*Chunk); ok {
			counted += CountEvents(c.Words)
		}
	}
}

func readAllCalls(t testing.TB, file []byte) {
	r, err := NewReader(bytes.NewReader(file))
	check(t, err)
	for c := NewCalls(r, CallsOptions{Nodes: true}); ; {
		b, err := c.Next()
		if err != nil {
			return
		}
		for i := range b.Calls {
			call := &b.Calls[i]
			if _ = c.Recording().SiteByID(call.Site).Name(); call.Node >= 0 {
				_ = c.Node(call.Node)
			}
			if call.Parent != -1 {
				_ = c.Recording().SiteByID(call.Parent)
			}
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add(seedFile(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		readAllWays(t, data)
		readEverything(t, data)
	})
}

func FuzzBlocks(f *testing.F) {
	f.Add(unseal(f, seedFile(f)))
	f.Fuzz(func(t *testing.T, data []byte) { readEverything(t, seal(data)) })
}

// FuzzWords: the writer's count and the reader's agree on every chunk that
// the reader accepts.
func FuzzWords(f *testing.F) {
	f.Add(bytesOf(EventWord(64, 0x100, 10), ControlWord(WordTime, 1), 0, ControlWord(WordPad, 2), 5,
		ControlWord(WordReserved, 9), 5))
	f.Add(bytesOf(ControlWord(WordRecord, RecordStack|5), EventWord(65, 0, 1), 2, 3, 4, EventWord(66, 0, 2)))
	f.Fuzz(func(t *testing.T, words []byte) {
		words = words[:len(words)&^7]
		c := Cursor{Machine: []Machine{MachineARM64, MachineAMD64}[len(words)/8%2]}
		c.Reset(&Chunk{Words: words}, 0)
		n, last := uint64(0), uint64(0)
		for c.Next() {
			n++
			if c.Ticks < last || c.Index < MinIndex {
				t.Fatalf("event %+v after %d ticks", c, last)
			}
			last = c.Ticks
			_ = c.AppendRegs(nil)
			_ = c.AppendStack(nil)
		}
		if c.Err() == nil && n != CountEvents(words) {
			t.Fatalf("CountEvents finds %d events, Cursor %d", CountEvents(words), n)
		}
	})
}

// TestSealed: the fuzzers' detour loses nothing.
func TestSealed(t *testing.T) {
	if file := seedFile(t); !bytes.Equal(seal(unseal(t, file)), file) {
		t.Error("sealing what was unsealed gives another file")
	}
}
