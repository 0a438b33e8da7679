package unwind

import (
	"encoding/binary"
)

// reader reads the encodings of DWARF. What is not there is 0 and sets failed.
type reader struct {
	data   []byte
	at     uint64
	addr   uint64 // of data, in the process
	failed bool
}

func (r *reader) more() bool { return !r.failed && r.at < uint64(len(r.data)) }

func (r *reader) take(n uint64) []byte {
	if r.failed || n > uint64(len(r.data))-r.at {
		r.failed = true
		return nil
	}
	b := r.data[r.at : r.at+n]
	r.at += n
	return b
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// uleb reads an unsigned LEB128 number (DWARF 5, 7.6) of 64 bits.
func (r *reader) uleb() uint64 {
	var v uint64
	for shift := uint(0); ; shift += 7 {
		b := r.u8()
		low := uint64(b & 0x7f)
		if shift > 63 && low != 0 || shift == 63 && low > 1 || r.failed {
			r.failed = true
			return 0
		}
		v |= low << min(shift, 63)
		if b&0x80 == 0 {
			return v
		}
	}
}

// sleb reads a signed one.
func (r *reader) sleb() int64 {
	var v uint64
	for shift := uint(0); shift < 70; shift += 7 {
		b := r.u8()
		v |= uint64(b&0x7f) << min(shift, 63)
		if r.failed {
			return 0
		}
		if b&0x80 == 0 {
			if b&0x40 != 0 && shift+7 < 64 {
				v |= ^uint64(0) << (shift + 7)
			}
			return int64(v)
		}
	}
	r.failed = true
	return 0
}

// block reads a length and as many bytes.
func (r *reader) block() []byte { return r.take(r.uleb()) }

// text reads a string with a 0 behind it.
func (r *reader) text() string {
	from := r.at
	for r.u8() != 0 {
	}
	if r.failed {
		return ""
	}
	return string(r.data[from : r.at-1])
}

// Encodings of pointers (LSB Core, "DWARF Exception Header Encoding").
const (
	encOmit     = 0xff
	encAbsolute = 0x00
	encRelative = 0x10 // to where it stands
	encData     = 0x30 // relative to the header of .eh_frame_hdr
	encIndirect = 0x80
)

// pointer reads an encoded pointer; data is what encData is relative to.
func (r *reader) pointer(encoding uint8, data uint64) uint64 {
	here := r.addr + r.at
	var v uint64
	switch encoding & 0x0f {
	case 0x0, 0x4, 0xc:
		v = r.u64()
	case 0x1:
		v = r.uleb()
	case 0x2:
		v = uint64(r.u16())
	case 0x3:
		v = uint64(r.u32())
	case 0x9:
		v = uint64(r.sleb())
	case 0xa:
		v = uint64(int16(r.u16()))
	case 0xb:
		v = uint64(int32(r.u32()))
	default:
		r.failed = true
	}
	switch encoding &^ 0x0f &^ encIndirect {
	case encAbsolute:
	case encRelative:
		v += here
	case encData:
		v += data
	default:
		r.failed = true
	}
	return v
}

// registers is a set of x0 to x30 and sp (31).
type registers uint32

func (s registers) has(n uint64) bool { return n < 32 && s>>n&1 != 0 }
