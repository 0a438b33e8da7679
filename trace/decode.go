package trace

import "encoding/binary"

// wordDecoder turns encoded chunks back into words.
type wordDecoder struct {
	expander
	defs  []definition
	stack []uint64 // exit words of the open functions, without their times
}

// decode returns the words of an encoded chunk, in the memory of dst if that
// has room.
func (d *wordDecoder) decode(c *Chunk, dst []byte) ([]byte, error) {
	p, err := d.expand(c.Words, true)
	if err != nil {
		return dst, err
	}
	if cap(dst) < 8*p.words {
		dst = make([]byte, 8*p.words)
	}
	words, ok := d.run(p, c.Base, dst[:0:8*p.words])
	if !ok || len(words) != 8*p.words {
		return dst, errEncoding
	}
	return words, nil
}

// run reports whether the planes are sound. It stops at the capacity of dst.
func (d *wordDecoder) run(p *planes, base uint64, dst []byte) ([]byte, bool) {
	d.defs, d.stack = d.defs[:0], d.stack[:0]
	tokens, times, literals, values := p.plane[planeTokens], p.plane[planeTimes], p.plane[planeLiterals], p.plane[planeValues]
	end := len(times)
	times = times[:end+planePad]
	defs := defReader{b: p.plane[planeDefs]}
	time, at, hole := base, 0, 0
	for i := 0; i < len(tokens); i++ {
		tok, leaf := tokens[i], false
		var def definition
		switch {
		case tok >= tokenEnter:
			n := int(tok) - tokenEnter
			if tok >= tokenLeaf {
				n, leaf, i = farNumber(tokens, i)
			}
			if n >= len(d.defs) {
				return nil, false
			}
			def = d.defs[n]
		case tok == tokenDefine:
			var ok bool
			if def, ok = defs.next(); !ok {
				return nil, false
			}
			if len(d.defs) < maxDefs {
				d.defs = append(d.defs, def)
			}
		case tok == tokenLiteral, tok == tokenEvent:
			n := uint64(1)
			if tok == tokenLiteral {
				if n = defs.uvarint(); n == 0 {
					if hole != 0 {
						return nil, false
					}
					var ok bool
					if dst, values, hole, ok = defs.record(dst, values); !ok {
						return nil, false
					}
					continue
				}
			} else {
				d.stack = d.stack[:0]
			}
			if n > uint64(len(literals)/8) || len(dst)+8*int(n) > cap(dst) {
				return nil, false
			}
			dst = append(dst, literals[:8*n]...)
			if literals = literals[8*n:]; tok == tokenEvent {
				time = binary.LittleEndian.Uint64(dst[len(dst)-8:])
				if hole != 0 {
					dst, hole = fill(dst, hole), 0
				}
			}
			continue
		default:
			top := len(d.stack) - 1
			if top < 0 {
				return nil, false
			}
			w := d.stack[top]
			d.stack = d.stack[:top]
			if tok == tokenDrop {
				continue
			}
			if w < MinIndex<<indexShift || at >= end || len(dst)+8 > cap(dst) {
				return nil, false
			}
			var diff uint64
			diff, at = nextTime(times, at)
			time += diff
			dst = binary.LittleEndian.AppendUint64(dst, w|time&timeMask)
			if hole != 0 {
				dst, hole = fill(dst, hole), 0
			}
			continue
		}
		if at >= end || len(dst)+16 > cap(dst) && (leaf || len(dst)+8 > cap(dst)) {
			return nil, false
		}
		var diff uint64
		diff, at = nextTime(times, at)
		time += diff
		sp := def.sp
		if top := len(d.stack) - 1; top >= 0 {
			sp += d.stack[top]
		}
		sp &= spBits
		dst = binary.LittleEndian.AppendUint64(dst, def.entry|sp|time&timeMask)
		if hole != 0 {
			dst, hole = fill(dst, hole), 0
		}
		if !leaf {
			d.stack = append(d.stack, def.exit|sp)
			continue
		}
		if def.exit < MinIndex<<indexShift || at >= end {
			return nil, false
		}
		diff, at = nextTime(times, at)
		time += diff
		dst = binary.LittleEndian.AppendUint64(dst, def.exit|sp|time&timeMask)
	}
	return dst, hole == 0 && !defs.bad && at == end && len(literals) == 0 && len(values) == 0 && len(defs.b) == 0
}

// record appends a record, or all of it but its event: then hole is where that
// is missing.
func (r *defReader) record(dst, values []byte) (all, rest []byte, hole int, ok bool) {
	n, more := r.uvarint(), r.uvarint()
	if n == 0 {
		if more > uint64(len(values)/8) || len(dst)+8*int(more) > cap(dst) || !sideRecord(values[:8*more]) {
			return dst, values, 0, false
		}
		return append(dst, values[:8*more]...), values[8*more:], 0, true
	}
	n--
	if n > lengthMask-2 || more > payloadMask>>recordFlags || n > uint64(len(values)/8) || len(dst)+8+8*int(n) > cap(dst) {
		return dst, values, 0, false
	}
	dst = binary.LittleEndian.AppendUint64(dst, ControlWord(WordRecord, more<<recordFlags|n+2))
	return append(dst, values[:8*n]...), values[8*n:], len(dst), true
}

// fill moves the last word to the offset where a record lacks its event.
func fill(dst []byte, hole int) []byte {
	var event [8]byte
	copy(event[:], dst[len(dst)-8:])
	copy(dst[hole+8:], dst[hole:len(dst)-8])
	copy(dst[hole:], event[:])
	return dst
}

// farNumber returns the number in the token at i, from tokenLeaf on, whether
// it is of a leaf, and where the token ends. A number that is cut off is none
// that was defined.
func farNumber(tokens []byte, i int) (n int, leaf bool, last int) {
	tok := tokens[i]
	if tok < tokenFarEnter {
		return int(tok) - tokenLeaf, true, i
	}
	if i++; i >= len(tokens) {
		return maxDefs, false, i
	}
	if tok < tokenFarLeaf {
		return numEnter + int(tok-tokenFarEnter)<<8 + int(tokens[i]), false, i
	}
	return numLeaf + int(tok-tokenFarLeaf)<<8 + int(tokens[i]), true, i
}
