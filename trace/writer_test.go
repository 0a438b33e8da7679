package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func bytesOf(words ...uint64) []byte {
	var b []byte
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// readAll collects the blocks of a recording.
func readAll(r io.Reader) ([]Block, *Reader, error) {
	rd, err := NewReader(r)
	if err != nil {
		return nil, nil, err
	}
	var blocks []Block
	for {
		b, err := rd.Next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return blocks, rd, err
		}
		if c, ok := b.(*Chunk); ok {
			d := *c
			d.Words = bytes.Clone(c.Words)
			b = &d
		}
		blocks = append(blocks, b)
	}
}

func check(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	want := []Block{
		&Meta{"1", []string{"nopal", "record"}, "h", "Linux 6.1", "aarch64", 4, 4096, -7, []Option{{"regs", "true"}}},
		&Clock{"cntvct", 62_500_000, 1000, -5, 1 << 60},
		&Process{1, 100, 99, 1001, []string{"prog", ""}},
		&Thread{1, 100, "prog"},
		&Image{1, "/bin/prog", "abcd"},
		&Funcs{1, []Func{{0x100, 16, "a"}, {0x200, 0, "b"}}},
		&Range{1, 1, 64, 1000, 0xaaaa0000, 0x100, RangeExits},
		&Chunk{1, 7, 100, 0, 1 << 40, 3, bytesOf(EventWord(64, 0, 5), EventWord(65, 0, 6))},
		&Round{1 << 41},
		&Lost{1, 101, 9, 77},
		&Profile{1, 100, 79, []ProfileFunc{{1, 0x100, 3, 60, 50, 10, 30, []ProfileBucket{{4, 1}, {5, 2}}}}},
		&Mark{1, 0, 80, "tracing is off"},
		&Exit{1, 0, 256, 78},
		&End{2, 12, 1, 5, "exit"},
	}
	var file bytes.Buffer
	w, err := NewWriter(&file, MachineARM64)
	check(t, err,
		w.WriteMeta(*want[0].(*Meta)),
		w.WriteClock(*want[1].(*Clock)),
		w.WriteProcess(*want[2].(*Process)),
		w.WriteThread(*want[3].(*Thread)),
		w.WriteImage(*want[4].(*Image), []Func{{0x200, 0, "b"}, {0x100, 16, "a"}}),
		w.WriteRange(*want[6].(*Range)),
		w.WriteChunk(*want[7].(*Chunk)),
		w.WriteRound(1<<41),
		w.WriteLost(*want[9].(*Lost)),
		w.WriteProfile(*want[10].(*Profile)),
		w.WriteMark(*want[11].(*Mark)),
		w.WriteExit(*want[12].(*Exit)),
		w.Close(5, "exit"))
	if w.Stats().Bytes != int64(file.Len()) {
		t.Errorf("Stats says %d bytes, the file has %d", w.Stats().Bytes, file.Len())
	}
	got, r, err := readAll(&file)
	check(t, err)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if r.Truncated() {
		t.Error("a complete recording is called truncated")
	}
}

// fullDisk takes so many bytes and no more.
type fullDisk struct {
	bytes.Buffer
	room int
}

func (d *fullDisk) Write(p []byte) (int, error) {
	n := min(len(p), d.room-d.Len())
	d.Buffer.Write(p[:n])
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

// beginSize is the size of what beginFile writes.
func beginSize(t *testing.T) int {
	var file bytes.Buffer
	check(t, beginFile(t, &file).Flush())
	return file.Len()
}

// TestFullDisk: wherever the disk is full, what is there can be read, and what
// is not there is counted as lost.
func TestFullDisk(t *testing.T) {
	const events = 60
	begin := beginSize(t)
	for room := begin - 100; room < begin+2300; room += 31 {
		d := &fullDisk{room: room}
		w := beginFile(t, d)
		var err error
		for i := range uint64(events / 3) {
			e := w.WriteChunk(Chunk{Proc: 1, TID: 100, Lost: i % 2, Words: bytesOf(
				EventWord(funcIndex(1), 0, 3*i), EventWord(funcIndex(2), 0, 3*i+1), EventWord(funcIndex(3), 0, 3*i+2))})
			if i%4 == 3 {
				e = w.Flush()
			}
			if err == nil {
				err = e
			}
		}
		closing := w.Close(0, "")
		if err == nil {
			err = closing
		}
		got, rerr := collect(t, d.Bytes())
		check(t, rerr)
		entries := uint64(0)
		for _, e := range got {
			if e.kind == Entry {
				entries++
			}
		}
		s := w.Stats()
		if s.Events != entries || s.Bytes != int64(d.Len()) {
			t.Fatalf("room for %d bytes: %+v, but the file has %d bytes and %d events", room, s, d.Len(), entries)
		}
		if err == nil {
			if d.Len() == room || entries != events {
				t.Fatalf("room for %d bytes: no error", room)
			}
			continue
		}
		if !errors.Is(err, syscall.ENOSPC) || !errors.Is(closing, syscall.ENOSPC) {
			t.Fatalf("room for %d bytes: errors %v, %v", room, err, closing)
		}
	}
}

// TestFullDiskLoss: recorded plus lost is what happened.
func TestFullDiskLoss(t *testing.T) {
	d := &fullDisk{room: beginSize(t) + 30}
	w := beginFile(t, d)
	chunk := Chunk{Proc: 1, TID: 100, Lost: 2}
	for range 500 {
		chunk.Words = append(chunk.Words, bytesOf(EventWord(funcIndex(1), 0, 5))...)
	}
	check(t, w.Flush(), w.WriteChunk(chunk))
	if err := w.Sync(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if s := w.Stats(); s.Events != 0 || s.Lost != 502 || s.Chunks != 0 {
		t.Errorf("%+v", s)
	}
}
