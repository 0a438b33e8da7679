package livepatch

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// frame is a record of call frame information.
type frame struct {
	sec *section
	cie *frame // what a description of a function has in common with others
}

// readFrames finds the call frame information of each function (DWARF 5, 6.4.1,
// in the form of .eh_frame in the LSB).
func (b *builder) readFrames(s *section) error {
	cies := make(map[uint64]*frame)
	le := binary.LittleEndian
	for at := uint64(0); at+4 <= uint64(len(s.data)); {
		length := uint64(le.Uint32(s.data[at:]))
		if length == 0 {
			at += 4
			continue
		}
		end := at + 4 + length
		if length < 4 || length >= 0xfffffff0 || end > uint64(len(s.data)) {
			return errors.New("malformed call frame information")
		}
		f := &frame{sec: &section{obj: s.obj, name: s.name, flags: s.flags, align: 4, size: end - at, data: slices.Clone(s.data[at:end])}}
		f.sec.units = []*unit{{sec: f.sec, size: f.sec.size, live: true}}
		for _, r := range s.relocsIn(at, end) {
			r.off -= at
			f.sec.relocs = append(f.sec.relocs, r)
		}
		if back := uint64(le.Uint32(s.data[at+4:])); back == 0 {
			cies[at] = f
		} else if f.cie = cies[at+4-back]; f.cie == nil {
			return errors.New("malformed call frame information")
		} else if begin := f.sec.relocsIn(8, 9); len(begin) == 1 && begin[0].sym.sec != nil && begin[0].sym.sec.executable() {
			y := begin[0].sym
			if u := y.sec.unitAt(y.value + uint64(begin[0].addend)); u != nil {
				u.frames = append(u.frames, f)
			}
		}
		at = end
	}
	return nil
}

// pageUnit is the unit of ADRP; the base of a patch is a multiple of it.
const pageUnit = 1 << 12

// segmentUnit is the largest page of any kernel for arm64.
const segmentUnit = 1 << 16

func align(v, to uint64) uint64 { return (v + to - 1) &^ (to - 1) }

// layout gives everything its place, resolves what does not depend on where the
// patch is loaded, and writes down the rest.
func (b *builder) layout() (*Patch, error) {
	var text, fixed, variable []*section
	for _, s := range b.live {
		switch {
		case s.executable():
			text = append(text, s)
		case s.variable():
			variable = append(variable, s)
		default:
			fixed = append(fixed, s)
		}
	}
	for _, v := range b.veneers {
		text = append(text, v.sec)
	}
	text = append(text, b.gates...)
	fixed = append(fixed, b.table)
	for _, e := range b.entries {
		fixed = append(fixed, e.sec)
	}
	frames := b.unwinding()
	fixed = append(fixed, frames...)
	slices.SortStableFunc(variable, func(a, b *section) int { return cmp.Compare(min(len(b.data), 1), min(len(a.data), 1)) })

	p := &Patch{callbacks: make(map[string]uint64)}
	at := uint64(0)
	for _, part := range []struct {
		prot     Prot
		sections []*section
	}{{ProtRead | ProtExec, text}, {ProtRead, fixed}, {ProtRead | ProtWrite, variable}} {
		at = align(at, segmentUnit)
		s := segment{Prot: part.prot, Offset: at}
		for _, sec := range part.sections {
			at = align(at, sec.align)
			sec.out, sec.placed = at, true
			if sec.data != nil {
				s.data = append(s.data, make([]byte, at-s.Offset-uint64(len(s.data)))...)
				s.data = append(s.data, sec.alive()...)
			}
			at += sec.size
		}
		if s.Size = at - s.Offset; s.Size > 0 {
			p.segments = append(p.segments, s)
		}
	}
	if at > maxImage {
		return nil, fmt.Errorf("build patch: it has %d bytes, more than the %d that can be near what it patches", at, uint64(maxImage))
	}
	if len(frames) > 1 {
		last := frames[len(frames)-1]
		p.ehFrame = span{frames[0].out, last.out + last.size - frames[0].out}
	}
	b.linkFrames(p)
	if err := b.fix(p); err != nil {
		return nil, err
	}
	b.listSymbols(p)
	return p, b.describe(p)
}

// alive gives what a section holds, with zeros (undefined instructions) for what
// does not come along.
func (s *section) alive() []byte {
	data := slices.Clone(s.data)
	for _, u := range s.units {
		if !u.live {
			clear(data[u.off:u.end()])
		}
	}
	return data
}

// unwinding gives the call frame information in order, with its end.
func (b *builder) unwinding() []*section {
	if len(b.frames) == 0 {
		return nil
	}
	end := newSection(".eh_frame", 0, 4)
	end.align = 4
	b.frames[0].align = 8
	return append(b.frames, end)
}

// linkFrames writes the distances from descriptions to what they share.
func (b *builder) linkFrames(p *Patch) {
	for _, u := range b.units() {
		for _, f := range u.frames {
			if f.sec.placed {
				binary.LittleEndian.PutUint32(p.at(f.sec.out+4), uint32(f.sec.out+4-f.cie.sec.out))
			}
		}
	}
}

// units gives all units of the objects.
func (b *builder) units() []*unit {
	var all []*unit
	for _, o := range b.objects {
		for _, s := range o.sections {
			if s != nil {
				all = append(all, s.units...)
			}
		}
	}
	return all
}

// at gives what the patch stores at an offset; nil for what begins as zero.
func (p *Patch) at(off uint64) []byte {
	for _, s := range p.segments {
		if off >= s.Offset && off-s.Offset < uint64(len(s.data)) {
			return s.data[off-s.Offset:]
		}
	}
	return nil
}

// fix resolves the references.
func (b *builder) fix(p *Patch) error {
	index := make(map[ref]uint32)
	for _, f := range b.fixups {
		off := f.sec.out + f.off
		word := p.at(off)
		if f.insn != 0 {
			binary.LittleEndian.PutUint32(word, f.insn)
		}
		if f.typ == elf.R_AARCH64_NONE {
			continue
		}
		if f.typ == elf.R_AARCH64_LD64_GOTPAGE_LO15 {
			distance := f.to.sec.out - b.table.out
			if distance >= 1<<15 {
				return fmt.Errorf("refer to %s: too many references for -fpic: compile it with -fPIC", shown(f.to.name))
			}
			w := binary.LittleEndian.Uint32(word)
			binary.LittleEndian.PutUint32(word, w&^(0xfff<<10)|uint32(distance>>3)<<10)
			continue
		}
		to := f.to
		if to.kind == inPatch {
			s := to.sec.out + to.off + uint64(f.addend)
			if howtos[f.typ].value != absolute {
				if err := relocate(word, f.typ, s, off); err != nil {
					return fmt.Errorf("refer to %s: %w", shown(to.name), err)
				}
				continue
			}
			to = ref{kind: inPatch}
			f.addend = int64(s)
		}
		to.weak = to.weak && to.kind == byName
		n, known := index[to]
		if !known {
			n = uint32(len(p.targets))
			index[to] = n
			p.targets = append(p.targets, to.target())
		}
		r := relocation{Offset: uint32(off), Type: uint16(f.typ), Target: n, Addend: f.addend}
		if f.via != nil {
			r.Via = uint32(f.via.out)
			r.Flags |= hasVia
		}
		if f.to.mayBeIndirect() && (f.via != nil || f.sec.name == ".veneer") {
			r.Flags |= finds
		}
		p.relocs = append(p.relocs, r)
	}
	slices.SortStableFunc(p.relocs, func(a, b relocation) int { return cmp.Compare(a.Offset, b.Offset) })
	return nil
}

// target is what a patch writes down of a reference.
func (r ref) target() target {
	t := target{Kind: r.kind, Name: r.name, VA: r.va, Func: r.fn, Weak: r.weak, Unpadded: !r.padded && r.kind == inTarget}
	t.Data, t.Call, t.Stub, t.Thread = r.slots.data, r.slots.call, r.slots.plt, r.slots.tls
	return t
}

// listSymbols names the functions that came along.
func (b *builder) listSymbols(p *Patch) {
	for _, u := range b.units() {
		if u.fn == nil || !u.live {
			continue
		}
		s := funcSymbol{Name: b.unique(u), span: span{u.sec.out + u.off, u.size}, New: u.fate == replaces}
		if s.New {
			s.Enter = u.enterAt()
		}
		p.symbols = append(p.symbols, s)
		if isCallback(s.Name) {
			p.callbacks[s.Name] = s.Offset
		}
	}
	slices.SortStableFunc(p.symbols, func(a, b funcSymbol) int { return cmp.Compare(a.Offset, b.Offset) })
}
