package trace

import "encoding/binary"

// An event word, from the top: 27 bits of code position, 12 bits of stack
// pointer in units of 16 bytes, 25 bits of time. A position below MinIndex
// marks a control word instead, whose lower 37 bits are its payload. A word
// of 0 was reserved but never written.
const (
	TimeBits = 25
	SPBits   = 12

	timeMask   = 1<<TimeBits - 1
	spMask     = 1<<SPBits - 1
	indexShift = TimeBits + SPBits

	// MinIndex and MaxIndex bound code positions.
	MinIndex = 64
	MaxIndex = 1<<27 - 1
)

// Control words.
const (
	WordTime     = 1 // the payload is the time's bits above TimeBits from here on
	WordPad      = 2 // the payload is the number of words to skip, this one included
	WordReserved = 3 // an abandoned record: payload's low 16 bits as in WordPad
	WordRecord   = 4 // low 16 bits: words of the record, this one included; flags above
)

// A record is its control word, an event word, and what the flags say.
const (
	RecordRegs  = 1 << 16 // the registers of the machine
	RecordStack = 1 << 17 // a count, and that many return addresses
	RecordArgs  = 1 << 18 // what the probe of the number above the flags has put there

	probeShift = 19
	probeBits  = indexShift - probeShift

	payloadMask = 1<<indexShift - 1
	lengthMask  = 1<<16 - 1
)

// EventWord builds the word of a plain event.
func EventWord(index uint32, sp, ticks uint64) uint64 {
	return uint64(index)<<indexShift | (sp>>4&spMask)<<TimeBits | ticks&timeMask
}

// ControlWord builds a control word.
func ControlWord(kind uint32, payload uint64) uint64 {
	return uint64(kind)<<indexShift | payload&payloadMask
}

// CountEvents counts the events in the words of a chunk. What it cannot make
// sense of ends the count.
func CountEvents(words []byte) uint64 { return scanWords(words).events }

// scan is what is known of words without decoding them.
type scan struct {
	events uint64
	high   uint64 // the time's high bits at the end, if
	timed  bool   // there was a TIME word
	whole  bool   // other words may follow: nothing is skipped beyond the end
}

func scanWords(words []byte) scan {
	var s scan
	for i := 0; i+8 <= len(words); {
		w := binary.LittleEndian.Uint64(words[i:])
		i += 8
		if w >= MinIndex<<indexShift {
			s.events++
			continue
		}
		skip := 1
		switch w >> indexShift {
		case 0:
			if w != 0 {
				return s
			}
		case WordTime:
			s.high, s.timed = w&payloadMask, true
		case WordPad:
			skip = int(min(w&payloadMask, MaxChunk))
		case WordReserved:
			skip = int(w & lengthMask)
		case WordRecord:
			skip = int(w & lengthMask)
			if !isSide(w) && i+8 <= len(words) && binary.LittleEndian.Uint64(words[i:]) >= MinIndex<<indexShift {
				s.events++
			}
		default:
			return s
		}
		if skip == 0 {
			return s
		}
		if i += 8 * (skip - 1); i > len(words) {
			return s
		}
	}
	s.whole = true
	return s
}
