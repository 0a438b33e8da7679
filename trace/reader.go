package trace

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// CorruptError says where a recording is not one.
type CorruptError struct {
	Offset int64 // of the block
	What   string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("read recording: offset %#x: %s", e.Offset, e.What)
}

// ErrNotRecording is returned for a file that is not a recording at all.
var ErrNotRecording = errors.New("not a nopal recording")

// Reader reads the blocks of a recording in the order of the file. It holds
// one block at a time.
type Reader struct {
	r         io.Reader
	machine   Machine
	header    [blockHeader]byte
	payload   []byte
	chunk     Chunk
	decoder   wordDecoder
	words     []byte // of chunk, if it was encoded
	off       int64  // of the next block
	block0    int64  // of the last one
	seq       uint32
	ended     bool
	truncated bool
	err       error
}

// NewReader reads the header of a recording.
func NewReader(r io.Reader) (*Reader, error) {
	var h [HeaderSize]byte
	if n, err := io.ReadFull(r, h[:]); err != nil {
		if n >= len(magic) && string(h[:len(magic)]) == magic {
			return nil, &CorruptError{0, "the file ends within its header"}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("read recording: %w", ErrNotRecording)
		}
		return nil, fmt.Errorf("read recording: %w", err)
	}
	if !bytes.HasPrefix(h[:], []byte(magic)) {
		return nil, fmt.Errorf("read recording: %w", ErrNotRecording)
	}
	if sum := crc32.Checksum(h[:HeaderSize-4], castagnoli); sum != binary.LittleEndian.Uint32(h[HeaderSize-4:]) {
		return nil, &CorruptError{0, "the header's checksum is wrong"}
	}
	if v := binary.LittleEndian.Uint16(h[8:]); v != Version {
		return nil, fmt.Errorf("read recording: its format has version %d, this nopal reads version %d", v, Version)
	}
	m := Machine(binary.LittleEndian.Uint16(h[10:]))
	if machines[m] == nil {
		return nil, fmt.Errorf("read recording: it is of ELF machine %d, this nopal reads %d (arm64) and %d (x86-64)", m, MachineARM64, MachineAMD64)
	}
	// Small chunks would make two system calls each.
	return &Reader{machine: m, r: bufio.NewReaderSize(r, 256<<10), off: HeaderSize}, nil
}

// Machine is the machine that was traced.
func (r *Reader) Machine() Machine { return r.machine }

// Next returns the next block that this version knows. A Chunk and its words
// are valid until the next call; other blocks are the caller's. At the end of
// the recording, regular or not, the error is io.EOF; see Truncated.
func (r *Reader) Next() (Block, error) {
	for {
		t, payload, err := r.next(r.reuse)
		if err != nil {
			return nil, err
		}
		if t == TypeChunk {
			if err := r.chunk.decode(payload); err != nil {
				return nil, r.corrupt(err.Error())
			}
			if r.chunk.Flags&chunkEncoded != 0 {
				if r.words, err = r.decoder.decode(&r.chunk, r.words[:0]); err != nil {
					return nil, r.corrupt("CHUNK block: " + err.Error())
				}
				r.chunk.Words, r.chunk.Flags = r.words, 0
			}
			return &r.chunk, nil
		}
		b, err := r.block(t, payload)
		if err != nil {
			return nil, r.corrupt(err.Error())
		}
		if b != nil {
			return b, nil
		}
	}
}

// block decodes a block other than a chunk. It is nil for a type that this
// version does not know.
func (r *Reader) block(t Type, payload []byte) (Block, error) {
	b := newBlock(t)
	if b == nil {
		return nil, nil
	}
	if err := decodeBlock(b, payload); err != nil {
		return nil, fmt.Errorf("%v block: %w", t, err)
	}
	r.ended = t == TypeEnd
	return b, nil
}

// reuse is the memory that Next reads into.
func (r *Reader) reuse(n int) []byte {
	if cap(r.payload) < n {
		r.payload = make([]byte, max(n, 128<<10))
	}
	return r.payload
}

// next reads a block into memory for n bytes that alloc gives.
func (r *Reader) next(alloc func(n int) []byte) (Type, []byte, error) {
	if r.err != nil {
		return 0, nil, r.err
	}
	r.block0 = r.off
	h := &r.header
	if n, err := io.ReadFull(r.r, h[:]); err != nil {
		r.truncated = n > 0 || !r.ended
		return 0, nil, r.fail(err)
	}
	if r.ended {
		return 0, nil, r.corrupt("there is more after the END block")
	}
	if *h == [blockHeader]byte{} {
		// Some file systems leave zeros where data had not reached the disk.
		r.truncated = true
		return 0, nil, r.fail(io.EOF)
	}
	t := Type(binary.LittleEndian.Uint32(h[:]))
	n := binary.LittleEndian.Uint32(h[4:])
	if n > MaxPayload {
		return 0, nil, r.corrupt(fmt.Sprintf("a block of %d bytes is larger than %d", n, MaxPayload))
	}
	padded := (int(n) + blockAlign - 1) &^ (blockAlign - 1)
	buf := alloc(padded)[:padded]
	if _, err := io.ReadFull(r.r, buf); err != nil {
		r.truncated = true
		return 0, nil, r.fail(err)
	}
	if blockSum(h[:12], buf[:n]) != binary.LittleEndian.Uint32(h[12:]) {
		return 0, nil, r.corrupt("the block's checksum is wrong")
	}
	if seq := binary.LittleEndian.Uint32(h[8:]); seq != r.seq {
		return 0, nil, r.corrupt(fmt.Sprintf("block %d stands where block %d should", seq, r.seq))
	}
	r.seq++
	r.off += int64(blockHeader + padded)
	return t, buf[:n], nil
}

func (r *Reader) fail(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		r.err = io.EOF
	} else {
		r.err = fmt.Errorf("read recording: %w", err)
	}
	return r.err
}

func (r *Reader) corrupt(what string) error {
	r.err = &CorruptError{r.block0, what}
	return r.err
}

// Truncated says, after io.EOF, that the recording lacks its end: the
// recorder was killed, or the disk was full. What was read is sound.
func (r *Reader) Truncated() bool { return r.truncated }

// Offset is where in the file the next block begins: what is before it has
// been read, and found whole.
func (r *Reader) Offset() int64 { return r.off }

func (c *Chunk) decode(p []byte) error {
	if len(p) < chunkHeaderSize {
		return fmt.Errorf("CHUNK block of %d bytes", len(p))
	}
	c.Proc = binary.LittleEndian.Uint32(p)
	c.Stream = binary.LittleEndian.Uint32(p[4:])
	c.TID = binary.LittleEndian.Uint32(p[8:])
	c.Flags = binary.LittleEndian.Uint32(p[12:])
	c.Base = binary.LittleEndian.Uint64(p[16:])
	c.Lost = binary.LittleEndian.Uint64(p[24:])
	c.Words = p[chunkHeaderSize:]
	switch {
	case c.Base >= maxTicks:
		return errors.New("CHUNK block from the end of time")
	case c.Flags&^chunkEncoded != 0:
		return fmt.Errorf("CHUNK block with unknown flags %#x", c.Flags)
	case c.Flags&chunkEncoded == 0 && len(p)%8 != 0:
		return fmt.Errorf("CHUNK block of %d bytes", len(p))
	}
	return nil
}
