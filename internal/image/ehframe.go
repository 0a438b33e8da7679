package image

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"slices"
	"sort"
	"strings"
)

// frameRange is what a frame description entry of .eh_frame (LSB Core, "Exception
// Frames") says about a piece of code. The section survives strip, so that
// functions without symbols have bounds. GCC's begin after the patch area.
type frameRange struct {
	start, end uint64
	lsda       uint64 // where its landing pads are listed; 0: nowhere
	framed     bool   // there is a frame before its first instruction: it is the part of a function
}

// frames is the call frame information of an object.
type frames struct {
	ranges []frameRange // sorted, disjoint
	except []part       // .gcc_except_table
	left   int          // landing pads that may still be read
}

// maxPads bounds the work that ranges make which share one list of landing pads.
const maxPads = 1 << 22

// at gives the index of the range that an address lies in.
func (f *frames) at(va uint64) (int, bool) {
	i := sort.Search(len(f.ranges), func(i int) bool { return f.ranges[i].end > va })
	return i, i < len(f.ranges) && f.ranges[i].start <= va
}

// readFrames reads what there is; code without call frame information is usual,
// so what is malformed is left out.
func readFrames(f *elf.File) *frames {
	all := frames{left: maxPads}
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 || s.Type == elf.SHT_NOBITS {
			continue
		}
		isFrame := s.Name == ".eh_frame"
		if !isFrame && !strings.HasPrefix(s.Name, ".gcc_except_table") {
			continue
		}
		data, err := readSection(s)
		if err != nil {
			continue
		}
		if isFrame {
			all.readSection(data, s.Addr)
		} else {
			all.except = append(all.except, part{s.Addr, data})
		}
	}
	slices.SortFunc(all.ranges, func(a, b frameRange) int { return cmp.Compare(a.start, b.start) })
	disjoint := all.ranges[:0]
	for _, r := range all.ranges {
		if n := len(disjoint); n == 0 || disjoint[n-1].end <= r.start {
			disjoint = append(disjoint, r)
		}
	}
	all.ranges = disjoint
	return &all
}

// cie is what entries have in common.
type cie struct {
	augmented  bool
	code, lsda byte // encodings
	ok         bool
}

// readSection reads the entries of a section that is loaded at va.
func (f *frames) readSection(section []byte, va uint64) {
	common := make(map[uint64]cie)
	for at := uint64(0); at+8 <= uint64(len(section)); {
		length := uint64(binary.LittleEndian.Uint32(section[at:]))
		const extended = 0xffffffff // of 64-bit lengths, which nobody needs
		if length < 4 || length == extended || length > uint64(len(section))-at-4 {
			return
		}
		id := at + 4
		end := id + length
		r := pointers{data: section[:end], at: id + 4, va: va}
		if back := uint64(binary.LittleEndian.Uint32(section[id:])); back == 0 {
			common[at] = r.cie()
		} else if c := common[id-back]; c.ok {
			f.entry(&r, c)
		}
		at = end
	}
}

func (f *frames) entry(r *pointers, c cie) {
	var e frameRange
	e.start = r.pointer(c.code)
	e.end = e.start + r.pointer(c.code&0x0f)
	if c.augmented {
		size := r.uleb()
		next := r.at + size
		if c.lsda != omitted {
			e.lsda = r.pointer(c.lsda)
		}
		r.at = next
	}
	if r.failed || e.end <= e.start {
		return
	}
	// DW_CFA_nop and the forms of DW_CFA_advance_loc; all others say that
	// something is not as it is at a function's entry.
	switch op := r.byte(); {
	case op == 0, op>>6 == 1, op >= 2 && op <= 4, r.failed:
	default:
		e.framed = true
	}
	f.ranges = append(f.ranges, e)
}

// pads gives the landing pads that the call site table of a range names.
func (f *frames) pads(e frameRange, into []uint64) []uint64 {
	for _, p := range f.except {
		if e.lsda < p.va || e.lsda-p.va >= uint64(len(p.data)) {
			continue
		}
		r := pointers{data: p.data, at: e.lsda - p.va, va: p.va}
		base := e.start
		if enc := r.byte(); enc != omitted {
			base = r.pointer(enc)
		}
		if enc := r.byte(); enc != omitted {
			r.uleb()
		}
		enc := r.byte()
		size := r.uleb()
		end := r.at + size
		for ; !r.failed && r.at < end && f.left > 0; f.left-- {
			r.pointer(enc)
			r.pointer(enc)
			pad := r.pointer(enc)
			r.uleb()
			if pad != 0 && !r.failed {
				into = append(into, base+pad)
			}
		}
	}
	return into
}

// omitted is DW_EH_PE_omit.
const omitted = 0xff

// pointers reads the encodings of .eh_frame and .gcc_except_table (LSB Core,
// "DWARF Exception Header Encoding").
type pointers struct {
	data   []byte
	at     uint64
	va     uint64 // of data
	failed bool
}

// cie reads a common information entry behind its id.
func (r *pointers) cie() cie {
	c := cie{lsda: omitted}
	version := r.byte()
	var augmentation []byte
	for b := r.byte(); b != 0 && !r.failed; b = r.byte() {
		augmentation = append(augmentation, b)
	}
	r.uleb() // code alignment
	r.uleb() // data alignment: signed, of the same length
	if version == 1 {
		r.byte() // return address register
	} else {
		r.uleb()
	}
	for i, a := range augmentation {
		switch {
		case a == 'z' && i == 0:
			c.augmented = true
			r.uleb()
		case a == 'R':
			c.code = r.byte()
		case a == 'L':
			c.lsda = r.byte()
		case a == 'P':
			r.pointer(r.byte())
		case a == 'S', a == 'B', a == 'G':
		default:
			return c
		}
	}
	c.ok = !r.failed
	return c
}

func (r *pointers) bytes(n uint64) []byte {
	if r.failed || r.at > uint64(len(r.data)) || n > uint64(len(r.data))-r.at {
		r.failed = true
		return make([]byte, n)
	}
	b := r.data[r.at : r.at+n]
	r.at += n
	return b
}

func (r *pointers) byte() byte { return r.bytes(1)[0] }

func (r *pointers) uleb() uint64 {
	if r.at > uint64(len(r.data)) {
		r.failed = true
		return 0
	}
	value, rest, ok := uleb(r.data[r.at:])
	if !ok {
		r.failed = true
		return 0
	}
	r.at = uint64(len(r.data) - len(rest))
	return value
}

// pointer reads a value; what is only known in the running program fails.
func (r *pointers) pointer(encoding byte) uint64 {
	here := r.va + r.at
	var v uint64
	switch encoding & 0x0f {
	case 0x0, 0x4, 0xc:
		v = binary.LittleEndian.Uint64(r.bytes(8))
	case 0x1:
		v = r.uleb()
	case 0x2:
		v = uint64(binary.LittleEndian.Uint16(r.bytes(2)))
	case 0x3:
		v = uint64(binary.LittleEndian.Uint32(r.bytes(4)))
	case 0xa:
		v = uint64(int16(binary.LittleEndian.Uint16(r.bytes(2))))
	case 0xb:
		v = uint64(int32(binary.LittleEndian.Uint32(r.bytes(4))))
	default:
		r.failed = true
	}
	switch encoding & 0xf0 {
	case 0x00:
	case 0x10: // relative to itself; 0 means none
		if v != 0 {
			v += here
		}
	case 0x90: // where the pointer is: of personality routines, which nobody asks for
	default:
		r.failed = true
	}
	return v
}
