package unwind

import (
	"encoding/binary"
	"slices"

	"nopal/internal/arch/arm64"
)

// Code without call frame information, as musl and the vDSO are, is followed from
// where its functions are entered. A call within the object and a symbol say so
// for certain; an address that is computed or that data holds does only where
// no code is that belongs to the function before it.
type entryPoints struct {
	sure, maybe []uint64 // sorted
	jumps       [][2]uint64
	sizes       map[uint64]uint64
}

// maxText is how much code is searched for calls.
const maxText = 64 << 20

func (o *object) entryPoints() *entryPoints {
	if o.entries != nil {
		return o.entries
	}
	e := &entryPoints{sizes: map[uint64]uint64{}}
	o.entries = e
	if im, err := o.image(); err == nil {
		for _, f := range im.Funcs() {
			e.sure = append(e.sure, f.Addr+o.bias)
			e.sizes[f.Addr+o.bias] = f.Size
		}
		if im.EntryVA != 0 {
			e.sure = append(e.sure, im.EntryVA+o.bias)
			e.sure = append(e.sure, o.startTarget(im.EntryVA+o.bias)...)
		}
	}
	for _, c := range o.code {
		if c[1]-c[0] > maxText {
			continue
		}
		e.scan(c[0], o.textOf(c[0], c[1]), o.has)
	}
	e.maybe = append(e.maybe, o.pointers()...)
	slices.Sort(e.sure)
	e.sure = slices.Compact(e.sure)
	for _, j := range e.jumps {
		// From what is another function for certain.
		if e.before(j[0]) != e.before(j[1]) {
			e.maybe = append(e.maybe, j[1])
		}
	}
	e.jumps = nil
	slices.Sort(e.maybe)
	e.maybe = slices.Compact(e.maybe)
	return e
}

// before gives the index of the last entry that is certain and not behind an address, or -1.
func (e *entryPoints) before(pc uint64) int {
	i, found := slices.BinarySearch(e.sure, pc)
	if !found {
		i--
	}
	return i
}

// scan looks for calls, jumps and computed addresses.
func (e *entryPoints) scan(start uint64, code []uint32, inside func(uint64) bool) {
	var page [32]uint64
	for i, insn := range code {
		pc := start + uint64(i)*insnSize
		switch arm64.Classify(insn) {
		case arm64.KindBL:
			if to, _ := arm64.BranchTarget(pc, insn); inside(to) {
				e.sure = append(e.sure, to)
			}
			continue
		case arm64.KindB:
			if to, _ := arm64.BranchTarget(pc, insn); inside(to) {
				e.jumps = append(e.jumps, [2]uint64{pc, to})
			}
			continue
		case arm64.KindADRP:
			imm := int64(int32(insn<<8)>>13)<<2 | int64(insn>>29&3)
			page[insn&31] = pc&^0xfff + uint64(imm)<<12
			continue
		}
		const addMask, add = 0xffc00000, 0x91000000
		if insn&addMask == add {
			if to := page[insn>>5&31] + uint64(insn>>10&0xfff); to%insnSize == 0 && inside(to) {
				e.maybe = append(e.maybe, to)
			}
		}
	}
}

// startTarget gives where a program's first instructions lead to. A C library's are written
// in assembly and go on in C.
func (o *object) startTarget(start uint64) []uint64 {
	const enough = 16
	for i, insn := range o.textOf(start, start+enough*insnSize) {
		if arm64.Classify(insn) == arm64.KindB {
			to, _ := arm64.BranchTarget(start+uint64(i)*insnSize, insn)
			return []uint64{to}
		}
	}
	return nil
}

// pointers gives the addresses in the code that the object's data holds.
func (o *object) pointers() []uint64 {
	var found []uint64
	for _, s := range o.loads {
		if o.has(s.VA) || s.Filesz > maxText {
			continue
		}
		start := (s.VA + 7) &^ 7
		data := make([]byte, s.Filesz-min(s.Filesz, start-s.VA))
		n, _ := o.u.mem.ReadAt(data, int64(start))
		for data = data[:n]; len(data) >= 8; data = data[8:] {
			if v := binary.LittleEndian.Uint64(data); v%insnSize == 0 && o.has(v) {
				found = append(found, v)
			}
		}
	}
	return found
}

// flowWithout follows the function that pc lies in where no call frame information
// says which that is.
func (o *object) flowWithout(pc uint64) *flow {
	e := o.entryPoints()
	i := e.before(pc)
	if i < 0 || !o.has(e.sure[i]) {
		return nil
	}
	start, end := e.sure[i], uint64(0)
	for _, c := range o.code {
		if c[0] <= start && start < c[1] {
			end = c[1]
		}
	}
	if i+1 < len(e.sure) {
		end = min(end, e.sure[i+1])
	}
	size := e.sizes[start]
	if size != 0 && pc < start+size {
		return o.flowFrom(start, min(end, start+size), true)
	}
	f := o.flowFrom(start, end, false)
	if f == nil || f.reaches(pc) || f.broken {
		return f
	}
	// Not of that function: behind it are others that are only called by a pointer, or
	// jumped to. Where the first of them is not known, one behind it is not reached by it.
	at, _ := slices.BinarySearch(e.maybe, start+max(size, insnSize))
	flows := []*flow{f}
	for ; at < len(e.maybe) && e.maybe[at] <= pc; at++ {
		if slices.ContainsFunc(flows, func(f *flow) bool { return f.reaches(e.maybe[at]) }) {
			continue
		}
		g := o.flowFrom(e.maybe[at], end, false)
		if g == nil {
			return f
		}
		if g.reaches(pc) {
			return g
		}
		flows = append(flows, g)
	}
	return f
}

// flowFrom follows code from one entry. whole: all of it belongs to one function.
func (o *object) flowFrom(start, end uint64, whole bool) *flow {
	key := start
	if whole {
		key++ // what is behind it is left out
	}
	if f, ok := o.flows[key]; ok {
		return f
	}
	var f *flow
	if code := o.text(start, min(end, start+maxFlow*insnSize)); code != nil {
		f = newFlow(start, code, entryState(), nil)
		f.fill(whole)
	}
	if len(o.flows) >= maxFlows {
		clear(o.flows)
	}
	o.flows[key] = f
	return f
}
