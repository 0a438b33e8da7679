package trace

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// An encoded chunk stands for the same words, bit for bit. It describes them
// as a walk over a call tree: a token enters a function, another leaves the
// one that was entered last, which needs neither a code position nor a stack
// pointer. Stack pointers are relative to the caller's, so that calls of one
// function from another are the same token at any depth, and times are
// relative to the event before. Tokens, times, definitions of functions, and
// words that are no plain events stand in planes of their own, since each
// compresses better alone.
const (
	chunkEncoded = 1 << 0 // in Chunk.Flags

	// Fixed fields before the planes: flags, events, words, and for each
	// plane its size and how many bytes of the payload it takes.
	planeFlags  = 0
	planeEvents = 4
	planeWords  = 8
	planeSizes  = 12
	planeHeader = planeSizes + 8*(numPlanes-1) // and 8 more with planeValued
)

// Flags of an encoded chunk.
const (
	planePlain  = 1 << 0 // the literal words are TIME words and holes only
	planeValued = 1 << 1 // there is a plane of values
)

// recordEvent returns the event in a literal that is a whole record, or 0. The
// event follows as any other does. The record's other words are in the plane
// of values, but for the control word: its bits from recordFlags on are in the
// definitions, behind the number of values plus one and the 0 in front of that.
func recordEvent(words []byte) uint64 {
	w := binary.LittleEndian.Uint64(words)
	if w>>indexShift != WordRecord || isSide(w) || w&lengthMask < 2 || 8*(w&lengthMask) != uint64(len(words)) {
		return 0
	}
	if event := binary.LittleEndian.Uint64(words[8:]); event >= MinIndex<<indexShift {
		return event
	}
	return 0
}

// sideRecord reports that words are a record that is no event. It is in the
// plane of values as it is; in the definitions there are two zeros and the
// number of its words.
func sideRecord(words []byte) bool {
	if len(words) == 0 {
		return false
	}
	w := binary.LittleEndian.Uint64(words)
	return w>>indexShift == WordRecord && isSide(w) && w&lengthMask >= 2 && 8*(w&lengthMask) == uint64(len(words))
}

// recordFlags is the lowest bit of a record's control word above its length.
const recordFlags = 16

const (
	planeTokens = iota
	planeTimes
	planeDefs
	planeLiterals
	planeValues // last, so that it can be left out, and left alone
	numPlanes
)

// Tokens. Each event has a time in the plane of times. The numbers of
// definitions above the range of a token are in it and the next byte.
const (
	tokenExit     = 0   // the innermost function is left
	tokenDrop     = 1   // no event: the innermost function is over
	tokenDefine   = 2   // a function is entered that is defined here
	tokenLiteral  = 3   // a number of literal words, which is in the definitions; see recordEvent
	tokenEvent    = 4   // one literal word, an event; no function is open after it
	tokenEnter    = 5   // the function of the number token-tokenEnter is entered
	tokenLeaf     = 128 // two events: likewise, and left at once
	tokenFarEnter = 224
	tokenFarLeaf  = 240

	numEnter = tokenLeaf - tokenEnter
	numLeaf  = tokenFarEnter - tokenLeaf

	// maxDefs is how many definitions can be referred to. Those above are
	// used but once.
	maxDefs = numLeaf + (256-tokenFarLeaf)<<8
)

// Times are differences modulo 2^25, in 1 to 5 bytes.
const (
	timeFar  = 0xf8 // 1 + 1 bytes: the low 2 bits of the first are above the second's
	time16   = 0xfc // 1 + 2 bytes
	time32   = 0xfd // 1 + 4 bytes
	farTimes = timeFar + 4<<8
)

// minEncoded is the number of words below which a chunk is not encoded.
const minEncoded = 64

// maxWords is the number of words that a chunk may have.
const maxWords = MaxChunk / 8

var errEncoding = errors.New("a chunk whose encoding is damaged")

// planes is an encoded chunk with its planes expanded.
type planes struct {
	plain  bool
	events int
	words  int
	plane  [numPlanes][]byte
}

// encodedWords is the number of words that an encoded chunk says it has.
func encodedWords(b []byte) int {
	if len(b) < planeHeader {
		return 0
	}
	return int(binary.LittleEndian.Uint32(b[planeWords:]))
}

// expander takes the planes out of encoded chunks. What it returns is valid
// until its next use.
type expander struct {
	zstd *zstd.Decoder
	buf  []byte
	p    planes
}

// expand expects what follows the header of an encoded chunk. It leaves values
// alone if they are not wanted.
func (x *expander) expand(b []byte, values bool) (*planes, error) {
	if len(b) < planeHeader {
		return nil, errEncoding
	}
	p := &x.p
	flags := binary.LittleEndian.Uint32(b[planeFlags:])
	p.plain, p.plane[planeValues] = flags&planePlain != 0, nil
	header, wanted := planeHeader, p.plane[:numPlanes-1]
	if flags&planeValued != 0 {
		if header += 8; len(b) < header {
			return nil, errEncoding
		}
		if values {
			wanted = p.plane[:]
		}
	}
	p.events = int(binary.LittleEndian.Uint32(b[planeEvents:]))
	p.words = int(binary.LittleEndian.Uint32(b[planeWords:]))
	if p.words > maxWords || p.events > p.words {
		return nil, errEncoding
	}
	total := 0
	for i := range wanted {
		n := binary.LittleEndian.Uint32(b[planeSizes+8*i:])
		if n > maxPlane(i, p.words) {
			return nil, errEncoding
		}
		total += int(n) + planePad
	}
	if cap(x.buf) < total {
		x.buf = make([]byte, max(total, 256<<10))
	}
	buf, rest := x.buf[:total], b[header:]
	for i := range wanted {
		n := int(binary.LittleEndian.Uint32(b[planeSizes+8*i:]))
		stored := int(binary.LittleEndian.Uint32(b[planeSizes+8*i+4:]))
		if stored > len(rest) || stored > n {
			return nil, errEncoding
		}
		p.plane[i] = buf[: n : n+planePad]
		buf = buf[n+planePad:]
		if stored == n {
			copy(p.plane[i], rest)
		} else if err := x.decompress(p.plane[i], rest[:stored]); err != nil {
			return nil, err
		}
		rest = rest[stored:]
	}
	return p, nil
}

// maxPlane bounds the size of a plane of a chunk of so many words. A function
// that is entered is dropped once at most.
func maxPlane(i, words int) uint32 {
	return uint32([numPlanes]int{3 * words, 5 * words, 16 * words, 8 * words, 8 * words}[i])
}

func (x *expander) decompress(dst, src []byte) error {
	if x.zstd == nil {
		var err error
		x.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true),
			zstd.WithDecoderMaxMemory(16*MaxChunk))
		if err != nil {
			return fmt.Errorf("make decompressor: %w", err)
		}
	}
	got, err := x.zstd.DecodeAll(src, dst[:0:len(dst)])
	if err != nil || len(got) != len(dst) {
		return errEncoding
	}
	return nil
}

// definition is a function as it is entered from a certain distance in stack.
// Its fields are in the bits that they have in an event word.
type definition struct {
	entry uint64
	exit  uint64
	sp    uint64 // less the caller's
}

// noExit stands for the exit of a function that has none. It is no code
// position.
const noExit = 1

const spBits = spMask << TimeBits

// defReader reads the plane of definitions.
type defReader struct {
	b           []byte
	index, exit int64 // of the definition before
	bad         bool
}

func (r *defReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *defReader) varint() int64 {
	v := r.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// skipRecord reads what is said of a record behind the 0: its values are not
// looked at, and its event follows, if it has one.
func (r *defReader) skipRecord() {
	r.uvarint()
	r.uvarint()
}

// next reads a definition and reports whether it is sound.
func (r *defReader) next() (definition, bool) {
	r.index += r.varint()
	r.exit += r.varint()
	sp := r.uvarint()
	exit := r.index + r.exit
	if r.exit == 0 {
		exit = noExit
	} else if exit < MinIndex {
		r.bad = true
	}
	if r.bad || r.index < MinIndex || r.index > MaxIndex || exit > MaxIndex || sp > spMask {
		r.bad = true
		return definition{}, false
	}
	return definition{uint64(r.index) << indexShift, uint64(exit) << indexShift, sp << TimeBits}, true
}

// planePad is how many bytes may be read behind a plane, so that reading a
// time needs no check of how long it is.
const planePad = 8

// nextTime reads a difference of times at m[i], of which there are at least
// planePad bytes, and returns where the next one is.
func nextTime(m []byte, i int) (uint64, int) {
	switch b := m[i]; {
	case b < timeFar:
		return uint64(b), i + 1
	case b < time16:
		return timeFar + uint64(b-timeFar)<<8 + uint64(m[i+1]), i + 2
	case b == time16:
		return uint64(m[i+1]) | uint64(m[i+2])<<8, i + 3
	default:
		return uint64(binary.LittleEndian.Uint32(m[i+1:])), i + 5
	}
}

// appendTime is the reverse of nextTime.
func appendTime(m []byte, d uint64) []byte {
	switch {
	case d < timeFar:
		return append(m, byte(d))
	case d < farTimes:
		d -= timeFar
		return append(m, timeFar+byte(d>>8), byte(d))
	case d < 1<<16:
		return append(m, time16, byte(d), byte(d>>8))
	default:
		return append(m, time32, byte(d), byte(d>>8), byte(d>>16), byte(d>>24))
	}
}
