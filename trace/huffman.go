package trace

import (
	"encoding/binary"
	"errors"

	"github.com/klauspost/compress/huff0"
)

// Times repeat themselves rarely, and looking for where they do is most of the
// work both of compressing and of expanding them. So their frames of Zstandard
// are made here, of blocks that have literals only (RFC 8878, 3.1.1.3.1): one
// Huffman code a block, no sequences.
const (
	zstdMagic = 0xfd2fb528

	// singleSegment is a frame header with a content size of 4 bytes, which
	// is the window's size as well.
	singleSegment = 2<<6 | 1<<5

	zstdBlock      = 128 << 10
	zstdRaw        = 0
	zstdRepeat     = 1
	zstdCompressed = 2

	// huffmanLiterals is the header of literals with a Huffman code, four
	// streams, and sizes of 18 bits.
	huffmanLiterals = 2 | 3<<2
	literalsHeader  = 5
)

// appendHuffman appends a frame with the bytes of src to dst.
func appendHuffman(dst, src []byte, s *huff0.Scratch) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, zstdMagic)
	dst = append(dst, singleSegment)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(src)))
	for len(src) > 0 {
		block := src[:min(len(src), zstdBlock)]
		src = src[len(block):]
		last := uint32(0)
		if len(src) == 0 {
			last = 1
		}
		s.Reuse = huff0.ReusePolicyNone
		out, _, err := huff0.Compress4X(block, s)
		n := literalsHeader + len(out) + 1
		if errors.Is(err, huff0.ErrUseRLE) {
			dst = appendBits(dst, uint64(last|zstdRepeat<<1)|uint64(len(block))<<3, 3)
			dst = append(dst, block[0])
			continue
		}
		if err != nil || n >= len(block) {
			dst = appendBits(dst, uint64(last|zstdRaw<<1)|uint64(len(block))<<3, 3)
			dst = append(dst, block...)
			continue
		}
		dst = appendBits(dst, uint64(last|zstdCompressed<<1)|uint64(n)<<3, 3)
		dst = appendBits(dst, huffmanLiterals|uint64(len(block))<<4|uint64(len(out))<<22, literalsHeader)
		dst = append(dst, out...)
		dst = append(dst, 0) // number of sequences
	}
	return dst
}

// appendBits appends the low bytes of v.
func appendBits(dst []byte, v uint64, n int) []byte {
	for range n {
		dst = append(dst, byte(v))
		v >>= 8
	}
	return dst
}
