package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

const (
	chunkHeaderSize = 32
	chunkFlags      = 12 // offset of the flags in it

	// MaxChunk is the largest number of bytes of event words in a chunk.
	MaxChunk = MaxPayload - chunkHeaderSize

	// flushAt is the number of buffered bytes that are written in one call.
	flushAt = 512 << 10

	// funcsAt is the size at which a FUNCS block is ended and another begun.
	funcsAt = 256 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Writer writes a recording. It is for one goroutine at a time. Its errors
// stick: after one, every call returns it, and what was written before is a
// readable recording.
//
// Events are gathered into large chunks, which are encoded by goroutines of
// their own (gather.go); all blocks are written in the order of the calls.
type Writer struct {
	w     io.Writer
	buf   []byte
	start int // of the block being built, in buf
	seq   uint32
	err   error
	stats Stats // of what was given to the Writer

	placed  Stats // of what is in the file or in buf
	flushed Stats // of what is in the file
	gather  gatherer
}

// Stats are totals of a recording.
type Stats struct {
	Events uint64 // in all chunks
	Lost   uint64 // counted by chunks and LOST blocks
	Chunks uint64
	Bytes  int64 // of the file, without the events that are being encoded
}

// NewWriter begins a recording of programs for a machine.
func NewWriter(w io.Writer, m Machine) (*Writer, error) {
	wr := &Writer{w: w, buf: make([]byte, 0, flushAt+MaxPayload)}
	wr.buf = append(wr.buf, magic...)
	wr.buf = binary.LittleEndian.AppendUint16(wr.buf, Version)
	wr.buf = binary.LittleEndian.AppendUint16(wr.buf, uint16(m))
	wr.buf = append(wr.buf, make([]byte, HeaderSize-4-len(wr.buf))...)
	wr.buf = binary.LittleEndian.AppendUint32(wr.buf, crc32.Checksum(wr.buf, castagnoli))
	wr.stats.Bytes = HeaderSize
	if _, err := w.Write(wr.buf); err != nil {
		return nil, fmt.Errorf("write recording: %w", err)
	}
	wr.buf, wr.placed, wr.flushed = wr.buf[:0], wr.stats, wr.stats
	return wr, nil
}

func (w *Writer) begin() {
	w.start = len(w.buf)
	w.buf = append(w.buf, make([]byte, blockHeader)...)
}

// end completes the block being built. The checksum is taken of the buffer,
// never of the caller's memory: that may be shared with the target, which may
// be writing to it.
func (w *Writer) end(t Type) error {
	payload := len(w.buf) - w.start - blockHeader
	if payload > MaxPayload {
		w.buf = w.buf[:w.start]
		return tooLarge(t, payload)
	}
	w.seal(w.buf[w.start:], t)
	for len(w.buf)%blockAlign != w.start%blockAlign {
		w.buf = append(w.buf, 0)
	}
	w.stats.Bytes += int64(len(w.buf) - w.start)
	w.placed.Bytes = w.stats.Bytes
	if len(w.buf) >= flushAt {
		return w.flush()
	}
	return nil
}

// seal fills in the header of a block.
func (w *Writer) seal(b []byte, t Type) {
	binary.LittleEndian.PutUint32(b, uint32(t))
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-blockHeader))
	binary.LittleEndian.PutUint32(b[8:], w.seq)
	binary.LittleEndian.PutUint32(b[12:], blockSum(b[:12], b[blockHeader:]))
	w.seq++
}

func tooLarge(t Type, n int) error {
	return fmt.Errorf("write %v block: %d bytes are more than %d", t, n, MaxPayload)
}

// blockSum is the checksum of a block: of its header before the checksum, and
// of its payload.
func blockSum(header, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(header, castagnoli), castagnoli, payload)
}

func (w *Writer) write(b Block) error {
	if w.err != nil {
		return w.err
	}
	if err := w.submitAll(); err != nil {
		return err
	}
	if len(w.gather.queue) == 0 {
		w.begin()
		w.buf = appendBlock(w.buf, b)
		return w.end(b.blockType())
	}
	q := &queued{typ: b.blockType(), payload: appendBlock(nil, b)}
	if len(q.payload) > MaxPayload {
		return tooLarge(q.typ, len(q.payload))
	}
	return w.enqueue(q)
}

// WriteMeta writes what is known at the start. It comes first.
func (w *Writer) WriteMeta(m Meta) error { return w.write(&m) }

// WriteClock relates ticks to time. It comes before the first chunk.
func (w *Writer) WriteClock(c Clock) error {
	if c.Frequency == 0 {
		return errors.New("write CLOCK block: frequency is 0")
	}
	return w.write(&c)
}

// WriteProcess introduces a process. It comes before everything that names
// its number.
func (w *Writer) WriteProcess(p Process) error { return w.write(&p) }

// WriteThread names a thread.
func (w *Writer) WriteThread(t Thread) error { return w.write(&t) }

// WriteImage introduces an object with its functions, in any order.
func (w *Writer) WriteImage(im Image, funcs []Func) error {
	if err := w.write(&im); err != nil {
		return err
	}
	byVA := func(a, b Func) int {
		if a.VA < b.VA {
			return -1
		}
		return int(min(a.VA-b.VA, 1))
	}
	if !slices.IsSortedFunc(funcs, byVA) {
		funcs = slices.Clone(funcs)
		slices.SortFunc(funcs, byVA)
	}
	for len(funcs) > 0 {
		n, size := 0, 0
		for n < len(funcs) && size < funcsAt {
			size += 20 + len(funcs[n].Name)
			n++
		}
		if err := w.write(&Funcs{Image: im.ID, Funcs: funcs[:n]}); err != nil {
			return err
		}
		funcs = funcs[n:]
	}
	return nil
}

// maxRangeKind is the highest kind of range there is.
const maxRangeKind = RangeExits

// WriteRange places a segment of an object in a process. It comes before the
// first chunk with an event from there.
func (w *Writer) WriteRange(r Range) error {
	if r.Index < MinIndex || uint64(r.Index)+uint64(r.Count) > MaxIndex+1 {
		return fmt.Errorf("write RANGE block: positions %d+%d are outside %d..%d", r.Index, r.Count, MinIndex, MaxIndex)
	}
	if r.Kind > maxRangeKind {
		return fmt.Errorf("write RANGE block: unknown kind %d", r.Kind)
	}
	if err := w.write(&r); err != nil {
		return err
	}
	w.gather.addRange(r)
	return nil
}

// WriteRound promises that every event before ticks has been written, save
// those that their threads were just writing: they come before the next round.
func (w *Writer) WriteRound(ticks uint64) error { return w.write(&Round{ticks}) }

// WriteLost counts lost events that no chunk accounts for.
func (w *Writer) WriteLost(l Lost) error {
	w.stats.Lost += l.Count
	return w.write(&l)
}

// profileFuncs is how many functions a PROFILE block has at most: with full
// histograms it is still below MaxPayload.
const profileFuncs = 1024

// WriteProfile replaces what is known of the calls of a thread to the
// functions given.
func (w *Writer) WriteProfile(p Profile) error {
	for funcs := range slices.Chunk(p.Funcs, profileFuncs) {
		p.Funcs = funcs
		if err := w.write(&p); err != nil {
			return err
		}
	}
	return nil
}

// WriteMark notes something that happened.
func (w *Writer) WriteMark(m Mark) error { return w.write(&m) }

// WriteExit says that a thread or a process has ended and that nothing of it
// follows. Readers forget the state of its streams.
func (w *Writer) WriteExit(e Exit) error { return w.write(&e) }

// Stats returns the totals so far. After a failure to write they are those of
// what is in the file, and what did not get there counts as lost.
func (w *Writer) Stats() Stats { return w.stats }

// Flush hands what was given to the Writer to the underlying one, save events
// that are being encoded and what comes after them: nobody waits for those.
func (w *Writer) Flush() error { return w.drain(maxJobs) }

// Sync hands everything that was given to the Writer to the underlying one.
func (w *Writer) Sync() error { return w.drain(0) }

// drain writes out everything but so many chunks that are being encoded, and
// what is behind them.
func (w *Writer) drain(jobs int) error {
	if w.err != nil {
		return w.err
	}
	if err := w.submitAll(); err != nil {
		return err
	}
	if err := w.collect(jobs); err != nil {
		return err
	}
	return w.flush()
}

// flush writes what is buffered.
func (w *Writer) flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	b := w.buf
	w.buf = w.buf[:0]
	return w.out(b)
}

// out writes whole blocks.
func (w *Writer) out(b []byte) error {
	if n, err := w.w.Write(b); err != nil {
		w.err = fmt.Errorf("write recording: %w", err)
		w.settle(b[:max(0, min(n, len(b)))])
		return w.err
	}
	w.flushed = w.placed
	return nil
}

// settle makes the totals those of the file when only a part of the buffer
// was written to it: events that did not get there are lost.
func (w *Writer) settle(part []byte) {
	all := w.stats
	w.stats = w.flushed
	w.stats.Bytes += int64(len(part))
	for len(part) >= blockHeader {
		n := int(binary.LittleEndian.Uint32(part[4:]))
		if len(part)-blockHeader < n {
			break
		}
		if Type(binary.LittleEndian.Uint32(part)) == TypeChunk {
			w.stats.Events += chunkEvents(part[blockHeader : blockHeader+n])
			w.stats.Chunks++
		}
		part = part[min(len(part), blockHeader+(n+blockAlign-1)&^(blockAlign-1)):]
	}
	w.stats.Lost = all.Lost + all.Events - w.stats.Events
	w.buf, w.gather = nil, gatherer{}
}

// chunkEvents counts the events in the payload of a CHUNK block.
func chunkEvents(p []byte) uint64 {
	if binary.LittleEndian.Uint32(p[chunkFlags:])&chunkEncoded != 0 {
		return uint64(binary.LittleEndian.Uint32(p[chunkHeaderSize+planeEvents:]))
	}
	return CountEvents(p[chunkHeaderSize:])
}

// Close writes the END block, with totals of the writer's own, and flushes.
// It does not close the underlying writer.
func (w *Writer) Close(duration int64, reason string) error {
	if w.err != nil {
		return w.err
	}
	if err := w.submitAll(); err != nil {
		return err
	}
	err := w.write(&End{
		Events: w.stats.Events, Lost: w.stats.Lost, Chunks: w.stats.Chunks,
		Duration: duration, Reason: reason,
	})
	if err != nil {
		return err
	}
	if err := w.drain(0); err != nil {
		return err
	}
	w.err = errors.New("write recording: it is closed")
	return nil
}
