package unwind

import (
	"cmp"
	"slices"
	"sort"
)

// cie is a common information entry (DWARF 5, 6.4.1; LSB Core, "The CIE
// Structure").
type cie struct {
	program   []byte
	addr      uint64 // of the program
	codeAlign uint64
	dataAlign int64
	ra        uint64 // the column of the return address
	encoding  uint8  // of addresses in its entries
	lsda      uint8  // of where landing pads are listed
	augmented bool
	signal    bool // its frames are made by the kernel for a signal
}

// fde is a frame description entry: how to unwind from [start, end).
type fde struct {
	*cie
	start, end uint64
	program    []byte
	addr       uint64 // of the program
	lsda       uint64 // where its landing pads are listed; 0: nowhere
}

// parseCIE reads an entry behind its id. The section's kind decides how an
// address is written where the entry does not say.
func parseCIE(r *reader) (*cie, string) {
	c := &cie{lsda: encOmit}
	version := r.u8()
	if version != 1 && version != 3 && version != 4 {
		return nil, "its call frame information has a version that nopal does not know"
	}
	augmentation := r.text()
	if version == 4 {
		if size, segment := r.u8(), r.u8(); size != 8 || segment != 0 {
			return nil, "its call frame information is for addresses of another size"
		}
	}
	c.codeAlign, c.dataAlign = r.uleb(), r.sleb()
	if version == 1 {
		c.ra = uint64(r.u8())
	} else {
		c.ra = r.uleb()
	}
	var data []byte
	end := r.at
	for i, a := range augmentation {
		switch {
		case a == 'z' && i == 0:
			c.augmented = true
			size := r.uleb()
			at := r.at
			data = r.take(size)
			end, r.at = r.at, at
		case a == 'R':
			c.encoding = r.u8()
		case a == 'L':
			c.lsda = r.u8()
		case a == 'P':
			r.pointer(r.u8(), 0)
		case a == 'S':
			c.signal = true
		case a == 'B', a == 'G': // the key of signed addresses; tagged frames
		default:
			return nil, "its call frame information is augmented by what nopal does not know: " + augmentation
		}
	}
	if data != nil || c.augmented {
		r.at = end
	}
	c.addr = r.addr + r.at
	if !r.failed {
		c.program = r.data[r.at:]
	}
	if r.failed || c.ra > spColumn {
		return nil, malformed
	}
	return c, ""
}

const malformed = "its call frame information is malformed"

// parseFDE reads an entry behind the pointer to its common one. bias is added to
// addresses that stand in it as they were linked.
func parseFDE(r *reader, c *cie, bias uint64) (fde, bool) {
	f := fde{cie: c}
	f.start = r.pointer(c.encoding, 0) + bias
	f.end = f.start + r.pointer(c.encoding&0x0f, 0)
	if c.augmented {
		size := r.uleb()
		next := r.at + size
		if c.lsda != encOmit && size > 0 {
			at := r.at
			if f.lsda = r.pointer(c.lsda, 0); f.lsda == r.addr+at {
				f.lsda = 0 // nothing, relative to where it stands
			}
		}
		if r.at > next || next > uint64(len(r.data)) {
			r.failed = true
		}
		r.at = next
	}
	f.addr = r.addr + r.at
	if r.failed || f.end < f.start || c.encoding&encIndirect != 0 {
		return fde{}, false
	}
	f.program = r.data[r.at:]
	return f, true
}

// section is a whole .eh_frame or .debug_frame.
type section struct {
	data  []byte
	addr  uint64 // of data in the process; 0 for .debug_frame, whose addresses are
	bias  uint64 // as they were linked
	debug bool
}

// entry finds where the entry at off ends and what its id is.
func (s *section) entry(off uint64) (r reader, id uint64, ok bool) {
	r = reader{data: s.data, at: off, addr: s.addr}
	length := uint64(r.u32())
	if length == 0xffffffff {
		length = r.u64()
		if s.debug {
			r.failed = r.failed || length < 8
		}
		end := r.at + length
		if r.failed || length > uint64(len(s.data))-r.at {
			return r, 0, false
		}
		r.data = s.data[:end]
		if s.debug {
			id = r.u64()
		} else {
			id = uint64(r.u32())
		}
		return r, id, !r.failed
	}
	if r.failed || length < 4 || length > uint64(len(s.data))-r.at {
		return r, 0, false
	}
	r.data = s.data[:r.at+length]
	id = uint64(r.u32())
	if s.debug && id == 0xffffffff {
		id = ^uint64(0)
	}
	return r, id, true
}

// index reads all entries, sorted by address. Entries that cannot be read are left
// out: code without any is code that cannot be unwound from, which is said then.
func (s *section) index() []fde {
	var all []fde
	common := map[uint64]*cie{}
	for off := uint64(0); off < uint64(len(s.data)); {
		r, id, ok := s.entry(off)
		if !ok {
			break // the terminator, or malformed
		}
		idAt := r.at - 4
		off = uint64(len(r.data))
		from, isCIE := idAt-id, id == 0
		if s.debug {
			from, isCIE = id, id == ^uint64(0)
		}
		if isCIE {
			continue
		}
		c, known := common[from]
		if !known && from < uint64(len(s.data)) {
			if cr, _, ok := s.entry(from); ok {
				c, _ = parseCIE(&cr)
			}
			common[from] = c
		}
		if c == nil {
			continue
		}
		if f, ok := parseFDE(&r, c, s.bias); ok && f.start < f.end {
			all = append(all, f)
		}
	}
	slices.SortStableFunc(all, func(a, b fde) int { return cmp.Compare(a.start, b.start) })
	return all
}

// find looks for the entry that covers pc in a sorted index.
func find(all []fde, pc uint64) (*fde, bool) {
	i := sort.Search(len(all), func(i int) bool { return all[i].start > pc }) - 1
	if i < 0 || pc >= all[i].end {
		return nil, false
	}
	return &all[i], true
}

// maxLSDA is how much of a list of landing pads is looked at.
const maxLSDA = 1 << 16

// pads gives the landing pads of a function (LSB Core does not describe the list; it is
// what gcc/except.cc, output_one_function_exception_table, writes).
func (f *fde) pads(mem Memory) []uint64 {
	if f.lsda == 0 || f.lsda == f.start {
		return nil
	}
	b := make([]byte, maxLSDA)
	n, _ := mem.ReadAt(b, int64(f.lsda))
	r := reader{data: b[:n], addr: f.lsda}
	base := f.start
	if enc := r.u8(); enc != encOmit {
		base = r.pointer(enc, 0)
	}
	if enc := r.u8(); enc != encOmit {
		r.uleb()
	}
	enc := r.u8()
	size := r.uleb()
	end := r.at + size
	var found []uint64
	for !r.failed && r.at < end {
		r.pointer(enc, 0)
		r.pointer(enc, 0)
		pad := r.pointer(enc, 0)
		r.uleb()
		if at := base + pad; !r.failed && pad != 0 && at >= f.start && at < f.end {
			found = append(found, at)
		}
	}
	return found
}
