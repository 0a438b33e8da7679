package image

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// Limits of .gnu_debugdata: unpacked size and dictionary.
const (
	maxMiniDebug  = 256 << 20
	maxDictionary = 64 << 20
)

// readMiniDebug reads the symbol tables of .gnu_debugdata, an xz-packed ELF file
// with the names of a distribution's stripped programs (GDB manual,
// "MiniDebugInfo"). What cannot be read has no names.
func readMiniDebug(f *elf.File) []symbolTable {
	s := f.Section(".gnu_debugdata")
	if s == nil {
		return nil
	}
	packed, err := readSection(s)
	if err != nil {
		return nil
	}
	data, err := unpackXZ(packed, maxMiniDebug)
	if err != nil {
		return nil
	}
	inner, err := newELF(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	tables, err := readSymbolTables(inner)
	if err != nil {
		return nil
	}
	return tables
}

var errXZ = errors.New("malformed xz data")

// unpackXZ reads an .xz stream (The .xz File Format, version 1.2.1, sections 2
// and 3), of which only the container is done here: the xz package allocates any
// dictionary that a file asks for, up to 4 GiB. Checksums are not compared: what
// is inside is checked as a file is.
func unpackXZ(packed []byte, limit int) ([]byte, error) {
	const streamHeader = 12
	if len(packed) < streamHeader || string(packed[:6]) != "\xfd7zXZ\x00" {
		return nil, errXZ
	}
	check := xzCheckSize(packed[7] & 0xf)
	r := bytes.NewReader(packed)
	if _, err := r.Seek(streamHeader, io.SeekStart); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for {
		size, err := r.ReadByte()
		if err != nil {
			return nil, errXZ
		}
		if size == 0 { // the index: no more blocks
			return out.Bytes(), nil
		}
		header := make([]byte, int(size)*4+3)
		if _, err := io.ReadFull(r, header); err != nil {
			return nil, errXZ
		}
		dict, err := xzDictionary(header)
		if err != nil {
			return nil, err
		}
		block, err := lzma.Reader2Config{DictCap: dict}.NewReader2(r)
		if err != nil {
			return nil, fmt.Errorf("unpack xz: %w", err)
		}
		n, err := io.Copy(&out, io.LimitReader(block, int64(limit-out.Len())+1))
		if err != nil {
			return nil, fmt.Errorf("unpack xz: %w", err)
		}
		if out.Len() > limit || n == 0 {
			return nil, errXZ
		}
		done := int64(len(packed) - r.Len())
		if _, err := r.Seek((done+3)/4*4+check, io.SeekStart); err != nil {
			return nil, err
		}
	}
}

// xzCheckSize gives the size of the checksum after each block (section 2.1.1.2).
func xzCheckSize(kind byte) int64 {
	if kind == 0 {
		return 0
	}
	return 4 << ((kind - 1) / 3)
}

// xzDictionary takes the size of the dictionary from a block header without its
// first byte (section 3.1), where LZMA2 has to be the only filter.
func xzDictionary(header []byte) (int, error) {
	const (
		hasPacked, hasUnpacked = 0x40, 0x80
		filterLZMA2            = 0x21
	)
	flags, filters := header[0], header[1:]
	for _, bit := range []byte{hasPacked, hasUnpacked} {
		if flags&bit != 0 {
			var ok bool
			if _, filters, ok = uleb(filters); !ok {
				return 0, errXZ
			}
		}
	}
	if flags&3 != 0 || len(filters) < 3 || filters[0] != filterLZMA2 || filters[1] != 1 {
		return 0, errors.New("unpack xz: not plain LZMA2")
	}
	size, err := lzma.DecodeDictCap(filters[2])
	if err != nil || size > maxDictionary {
		return 0, fmt.Errorf("unpack xz: dictionary of %d bytes", size)
	}
	return int(max(size, lzma.MinDictCap)), nil
}
