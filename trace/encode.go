package trace

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/klauspost/compress/huff0"
	"github.com/klauspost/compress/zstd"
)

// exitRange is a range of exits as the encoder needs it.
type exitRange struct {
	index, count uint32
	entries      uint32 // index of the range of entries, or 0
}

// encoder encodes chunks.
type encoder struct {
	zstd    *zstd.Encoder
	huffman huff0.Scratch
	plane   [numPlanes][]byte
	stack   []openCall
	table   defTable
	exits   []exitRange // ascending
	index   int64       // of the last definition
	exit    int64       // likewise
	plain   bool
	out     []byte // for who uses it
}

// openCall is a function that has been entered: the word of its exit without
// the time. The stack pointer is in it.
type openCall = uint64

func newEncoder() (*encoder, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(256<<10))
	if err != nil {
		return nil, fmt.Errorf("make compressor: %w", err)
	}
	return &encoder{zstd: z}, nil
}

// encode appends the encoding of words, which hold so many events, to dst.
func (e *encoder) encode(dst, words []byte, base, events uint64, exits []exitRange) []byte {
	for i := range e.plane {
		e.plane[i] = e.plane[i][:0]
	}
	e.stack, e.exits, e.plain = e.stack[:0], exits, true
	e.index, e.exit = 0, 0
	e.table.reset()
	e.walk(words, base)
	flags, used := uint32(0), e.plane[:planeValues]
	if e.plain {
		flags = planePlain
	}
	if len(e.plane[planeValues]) > 0 {
		flags, used = flags|planeValued, e.plane[:]
	}
	dst = binary.LittleEndian.AppendUint32(dst, flags)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(events))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(words)/8))
	sizes := len(dst)
	dst = append(dst, make([]byte, 8*len(used))...)
	for i, p := range used {
		n := len(dst)
		switch {
		case len(p) < minEncoded:
		case i == planeTimes:
			dst = appendHuffman(dst, p, &e.huffman)
		default:
			dst = e.zstd.EncodeAll(p, dst)
		}
		if len(dst)-n >= len(p) || len(p) < minEncoded {
			dst = append(dst[:n], p...)
		}
		binary.LittleEndian.PutUint32(dst[sizes+8*i:], uint32(len(p)))
		binary.LittleEndian.PutUint32(dst[sizes+8*i+4:], uint32(len(dst)-n))
	}
	return dst
}

// walk splits words into planes.
func (e *encoder) walk(words []byte, base uint64) {
	// Room for all plain events, so that the loop appends without looking.
	tokens := slices.Grow(e.plane[planeTokens], 3*len(words)/8+8)
	times := slices.Grow(e.plane[planeTimes], 5*len(words)/8+8)
	stack := e.stack
	time := base
	for i := 0; i < len(words); {
		w := binary.LittleEndian.Uint64(words[i:])
		if w < MinIndex<<indexShift {
			n := literal(words[i:])
			tokens = append(tokens, tokenLiteral)
			list, d := words[i:i+n], e.plane[planeDefs]
			i += n
			event := recordEvent(list)
			switch {
			case event != 0:
				d = binary.AppendUvarint(append(d, 0), uint64(n/8-1))
				e.plane[planeDefs] = binary.AppendUvarint(d, w&payloadMask>>recordFlags)
				e.plane[planeValues] = append(e.plane[planeValues], list[16:]...)
				w, i = event, i-8
			case sideRecord(list):
				e.plane[planeDefs] = binary.AppendUvarint(append(d, 0, 0), uint64(n/8))
				e.plane[planeValues] = append(e.plane[planeValues], list...)
				continue
			default:
				e.plain = e.plain && n == 8 && (w == 0 || w>>indexShift == WordTime)
				e.plane[planeDefs] = binary.AppendUvarint(d, uint64(n/8))
				e.plane[planeLiterals] = append(e.plane[planeLiterals], list...)
				continue
			}
		}
		i += 8
		top, depth := uint64(0), len(stack)
		if depth > 0 {
			top = stack[depth-1]
			if (w^top)>>TimeBits == 0 {
				stack = stack[:depth-1]
				tokens = append(tokens, tokenExit)
				times = appendTime(times, (w-time)&timeMask)
				time = w
				continue
			}
			for leaves(uint16(top>>TimeBits), uint16(w>>TimeBits)) {
				top = 0
				if depth--; depth == 0 {
					break
				}
				top = stack[depth-1]
			}
		}
		index := uint32(w >> indexShift)
		key := defKey(index, w, top)
		n := e.table.lookup(key)
		exit := uint64(0)
		if n < 0 {
			// Only entries are in the table, so this may be an exit.
			var isExit bool
			if exit, isExit = e.exitOf(index); isExit {
				if depth = findExit(stack, w); depth < 0 {
					tokens = append(tokens, tokenEvent)
					e.plane[planeLiterals] = binary.LittleEndian.AppendUint64(e.plane[planeLiterals], w)
					stack, time = stack[:0], w
					continue
				}
				tokens = appendDrops(tokens, len(stack)-1-depth)
				tokens = append(tokens, tokenExit)
				times = appendTime(times, (w-time)&timeMask)
				stack, time = stack[:depth], w
				continue
			}
		}
		tokens = appendDrops(tokens, len(stack)-depth)
		times = appendTime(times, (w-time)&timeMask)
		time = w
		stack = stack[:depth]
		if n < 0 {
			tokens = append(tokens, tokenDefine)
			e.define(index, exit, key)
			stack = append(stack, exit|w&spBits)
			continue
		}
		exit = e.table.exit[n] | w&spBits
		if i < len(words) {
			next := binary.LittleEndian.Uint64(words[i:])
			if (next^exit)>>TimeBits == 0 && next >= MinIndex<<indexShift {
				tokens = appendNumber(tokens, n, tokenLeaf, numLeaf, tokenFarLeaf)
				times = appendTime(times, (next-time)&timeMask)
				time = next
				i += 8
				continue
			}
		}
		tokens = appendNumber(tokens, n, tokenEnter, numEnter, tokenFarEnter)
		stack = append(stack, exit)
	}
	e.plane[planeTokens], e.plane[planeTimes], e.stack = tokens, times, stack
}

func appendDrops(tokens []byte, n int) []byte {
	for range n {
		tokens = append(tokens, tokenDrop)
	}
	return tokens
}

// appendNumber appends the token near with a number that is below limit, or
// far with a larger one.
func appendNumber(tokens []byte, n int, near byte, limit int, far byte) []byte {
	if n < limit {
		return append(tokens, near+byte(n))
	}
	n -= limit
	return append(tokens, far+byte(n>>8), byte(n))
}

// findExit finds the open function whose exit w is. It looks no further than
// readers do at least, so that both come to the same result.
func findExit(stack []openCall, w uint64) int {
	for i := len(stack) - 1; i >= max(0, len(stack)-minSearch); i-- {
		if (stack[i]^w)>>TimeBits == 0 {
			return i
		}
	}
	return -1
}

// literal returns the number of bytes from the beginning of words that are no
// plain event.
func literal(words []byte) int {
	w := binary.LittleEndian.Uint64(words)
	n := uint64(1)
	switch w >> indexShift {
	case WordPad:
		n = w & payloadMask
	case WordReserved, WordRecord:
		n = w & lengthMask
	}
	return 8 * int(min(max(n, 1), uint64(len(words)/8)))
}

// exitOf returns the position of the exit of the function that is entered at
// a code position, shifted as in an event word, or says that the position is
// one of an exit itself.
func (e *encoder) exitOf(index uint32) (uint64, bool) {
	exit := uint32(noExit)
	for i := range e.exits {
		r := &e.exits[i]
		if index-r.index < r.count {
			return 0, true
		}
		if r.entries != 0 && index-r.entries < r.count {
			exit = r.index + (index - r.entries)
		}
	}
	return uint64(exit) << indexShift, false
}

// define writes a definition.
func (e *encoder) define(index uint32, exit, key uint64) {
	diff := int64(0)
	if exit != noExit<<indexShift {
		diff = int64(exit>>indexShift) - int64(index)
	}
	d := e.plane[planeDefs]
	d = binary.AppendVarint(d, int64(index)-e.index)
	d = binary.AppendVarint(d, diff-e.exit)
	d = binary.AppendUvarint(d, key&spMask)
	e.plane[planeDefs] = d
	e.index, e.exit = int64(index), diff
	if len(e.table.exit) < maxDefs {
		e.table.insert(key, exit)
	}
}

// defKey is what a definition is found by: its code position, and its stack
// pointer less its caller's. It is never 0.
func defKey(index uint32, w, top uint64) uint64 {
	return uint64(index)<<SPBits | (w-top)&spBits>>TimeBits
}

// defTable is a hash table of definitions.
type defTable struct {
	slots []defSlot // a power of two, at most half used
	exit  []uint64  // by number
	shift uint
	era   uint64 // of the slots that count
}

type defSlot struct {
	key uint64 // with the era above
	n   int
}

const eraShift = 27 + SPBits

// reset empties the table: what it has belongs to another era.
func (t *defTable) reset() {
	t.exit = t.exit[:0]
	if t.era++; t.era >= 1<<(64-eraShift) || t.slots == nil {
		t.era = 1
		t.alloc(1024)
	}
}

func (t *defTable) alloc(n int) {
	t.slots = make([]defSlot, n)
	t.shift = uint(64 - bits.TrailingZeros(uint(n)))
}

func (t *defTable) slot(key uint64) int { return int(key * 0x9e3779b97f4a7c15 >> (t.shift & 63)) }

// lookup returns the number of a definition, or -1.
func (t *defTable) lookup(key uint64) int {
	key |= t.era << eraShift
	for i := t.slot(key); ; i++ {
		s := &t.slots[i&(len(t.slots)-1)]
		if s.key == key {
			return s.n
		}
		if s.key>>eraShift != t.era {
			return -1
		}
	}
}

func (t *defTable) insert(key, exit uint64) {
	if 2*len(t.exit) >= len(t.slots) {
		old := t.slots
		t.alloc(2 * len(old))
		for _, s := range old {
			if s.key>>eraShift == t.era {
				t.put(s)
			}
		}
	}
	t.put(defSlot{key | t.era<<eraShift, len(t.exit)})
	t.exit = append(t.exit, exit)
}

func (t *defTable) put(s defSlot) {
	i := t.slot(s.key)
	for ; t.slots[i&(len(t.slots)-1)].key>>eraShift == t.era; i++ {
	}
	t.slots[i&(len(t.slots)-1)] = s
}
