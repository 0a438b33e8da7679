package livepatch

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"

	"nopal/internal/arch/arm64"
)

// same reports whether a function is as the target has it: whether linking it to
// where the old one is would give the old one's bytes. A wrong no only replaces
// more than is needed; linkers that rewrite instructions lead to it.
func (b *builder) same(u *unit) bool {
	if known, done := b.checked[u]; done {
		return known // a function and its parts refer to each other
	}
	b.checked[u] = true
	b.checked[u] = b.compare(u)
	return b.checked[u]
}

// comparison is one function beside the old one.
type comparison struct {
	b     *builder
	u     *unit
	old   []byte
	at    map[uint64]uint64 // where its instructions are in the old one, by offset
	table uint64            // the page of the old global offset table
	pages map[reloc]uint64  // what ADRPs of the old one refer to
}

const nop = arm64.Nop

// entryNops counts the NOPs that functions begin with to be patched, and the
// bytes of the landing pad before them.
func entryNops(code []byte) (pad, nops uint64) {
	le := binary.LittleEndian
	if len(code) >= 4 && le.Uint32(code) == arm64.BtiC {
		pad = 4
	}
	for nops < 8 && pad+nops+4 <= uint64(len(code)) && le.Uint32(code[pad+nops:]) == nop {
		nops += 4
	}
	return pad, nops
}

func (b *builder) compare(u *unit) bool {
	if u.old == nil || u.sec.data == nil || u.size == 0 {
		return false
	}
	old, err := b.old.bytes(u.old.va, u.old.size)
	if err != nil {
		return false
	}
	c := &comparison{b: b, u: u, old: old, pages: make(map[reloc]uint64)}
	relocs := append(append([]reloc(nil), u.sec.relocsIn(u.off, u.end())...), u.branches()...)
	if !c.pair(relocs) {
		return false
	}
	for _, r := range relocs {
		if howtos[direct(r.typ)].value == pages && !isDescriptor(r.typ) {
			c.page(r)
		}
	}
	for _, r := range relocs {
		to, addend, err := b.resolve(r)
		if err != nil || !c.relaxed(r, to, addend) && !c.reference(r, to, addend) {
			return false
		}
	}
	return b.sameHandlers(u)
}

// direct gives the relocation that works on an entry of the global offset table
// as another does on the entry's contents.
func direct(typ elf.R_AARCH64) elf.R_AARCH64 {
	switch typ {
	case elf.R_AARCH64_ADR_GOT_PAGE, elf.R_AARCH64_TLSIE_ADR_GOTTPREL_PAGE21, elf.R_AARCH64_TLSDESC_ADR_PAGE21:
		return elf.R_AARCH64_ADR_PREL_PG_HI21
	case elf.R_AARCH64_LD64_GOT_LO12_NC, elf.R_AARCH64_LD64_GOTPAGE_LO15, elf.R_AARCH64_TLSIE_LD64_GOTTPREL_LO12_NC, elf.R_AARCH64_TLSDESC_LD64_LO12_NC:
		return elf.R_AARCH64_LDST64_ABS_LO12_NC
	case elf.R_AARCH64_TLSDESC_ADD_LO12_NC:
		return elf.R_AARCH64_ADD_ABS_LO12_NC
	case elf.R_AARCH64_GOT_LD_PREL19:
		return elf.R_AARCH64_LD_PREL_LO19
	}
	return typ
}

// word gives what the old function has at a relocation, and its address. The
// instruction has to be the same but for what is relocated.
func (c *comparison) word(r reloc) (word []byte, at uint64, ok bool) {
	off := c.at[r.off-c.u.off]
	h := howtos[direct(r.typ)]
	if off+h.size() > uint64(len(c.old)) {
		return nil, 0, false
	}
	word = c.old[off : off+h.size()]
	blank := bytes.Clone(word)
	mine := bytes.Clone(c.u.sec.data[r.off : r.off+h.size()])
	h.clear(blank)
	h.clear(mine)
	return word, c.u.old.va + off, bytes.Equal(blank, mine)
}

// clear makes the relocated bits 0.
func (h howto) clear(word []byte) {
	switch h.place {
	case data16, data32, data64:
		clear(word)
		return
	case immAdr:
		w := binary.LittleEndian.Uint32(word)
		binary.LittleEndian.PutUint32(word, w&^(3<<29|1<<24-1<<5))
		return
	}
	lsb, width := h.field()
	w := binary.LittleEndian.Uint32(word)
	binary.LittleEndian.PutUint32(word, w&^(uint32(1<<width-1)<<lsb))
}

// completed is what an ADRP and the instructions that complete its address have in
// common.
func completed(r reloc) reloc {
	through := direct(r.typ) != r.typ
	r.off, r.typ = 0, elf.R_AARCH64_NONE
	if through {
		r.typ = elf.R_AARCH64_ADR_GOT_PAGE
	}
	return r
}

// page notes what page an ADRP of the old function refers to. Where two that are
// the same in the new one differ, nothing is the same.
func (c *comparison) page(r reloc) {
	word, at, ok := c.word(r)
	if !ok {
		return
	}
	page := at&^0xfff + referred(word, howtos[direct(r.typ)])<<12
	if known, seen := c.pages[completed(r)]; seen && known != page {
		page = 1 // no page
	}
	c.pages[completed(r)] = page
	if r.sym.name == tableName {
		c.table = page
	}
}

// relaxed recognises instructions that linkers put in the place of others
// because the address turned out to be near or known (aaelf64, 5.7.14, and the
// like for thread-local variables).
func (c *comparison) relaxed(r reloc, to ref, addend int64) bool {
	le := binary.LittleEndian
	off := c.at[r.off-c.u.off]
	old, mine, at := le.Uint32(c.old[off:]), le.Uint32(c.u.sec.data[r.off:]), c.u.old.va+off
	const registers = 0x3ff // Rn and Rd
	var address uint64
	switch r.typ {
	case elf.R_AARCH64_ADR_PREL_PG_HI21, elf.R_AARCH64_ADR_GOT_PAGE:
		return old == nop // what completes the address is one instruction now
	case elf.R_AARCH64_ADD_ABS_LO12_NC, elf.R_AARCH64_LD64_GOT_LO12_NC:
		switch {
		case old&0x9f00001f == 0x10000000|mine&0x1f: // adr
			address = at + referred(c.old[off:], howtos[elf.R_AARCH64_ADR_PREL_LO21])
		case r.typ == elf.R_AARCH64_LD64_GOT_LO12_NC && old&0xffc00000|registers&mine == 0x91000000|registers&old: // add
			address = c.pages[completed(r)] + uint64(old>>10&0xfff)
		default:
			return false
		}
		return c.b.sameAt(to, addend, address, 0)
	case elf.R_AARCH64_TLSIE_ADR_GOTTPREL_PAGE21, elf.R_AARCH64_TLSIE_LD64_GOTTPREL_LO12_NC:
		return to.offsetKnown() && old == offsetPart(r.typ, to.va+uint64(addend))|mine&0x1f
	}
	if r.typ == elf.R_AARCH64_CALL26 || r.typ == elf.R_AARCH64_JUMP26 { // to a weak function that is not there
		return old == nop && to.kind == byName && to.weak && c.b.old.im.Static
	}
	if !isDescriptor(r.typ) || to.kind != ofThread {
		return false
	}
	if to.offsetKnown() {
		return old == offsetPart(r.typ, to.va+uint64(addend))
	}
	if r.typ == elf.R_AARCH64_TLSDESC_CALL {
		return old == mine
	}
	h := howtos[direct(r.typ)]
	_, _, ok := c.word(r)
	return ok && to.slots.descriptor != 0 && addend == 0 && referred(c.old[off:], h) == truncated(h, to.slots.descriptor, at)
}

// truncated is what an immediate holds of an address.
func truncated(h howto, s, p uint64) uint64 { return h.of(s, p) >> h.shift << h.shift }

// isDescriptor reports whether a relocation is part of a call that finds a
// thread-local variable.
func isDescriptor(typ elf.R_AARCH64) bool {
	return typ >= elf.R_AARCH64_TLSDESC_LD_PREL19 && typ <= elf.R_AARCH64_TLSDESC_CALL
}

// offsetPart is the instruction that a static linker makes of one that finds out
// the offset of a thread-local variable, for x0.
func offsetPart(typ elf.R_AARCH64, offset uint64) uint32 {
	switch typ {
	case elf.R_AARCH64_TLSDESC_ADR_PAGE21, elf.R_AARCH64_TLSIE_ADR_GOTTPREL_PAGE21:
		return 0xd2a00000 | uint32(offset>>16&0xffff)<<5 // movz x0, #, lsl 16
	case elf.R_AARCH64_TLSDESC_LD64_LO12_NC, elf.R_AARCH64_TLSIE_LD64_GOTTPREL_LO12_NC:
		return 0xf2800000 | uint32(offset&0xffff)<<5 // movk x0, #
	}
	return nop
}

// reference reports whether the old function refers to the same.
func (c *comparison) reference(r reloc, to ref, addend int64) bool {
	word, at, ok := c.word(r)
	if !ok {
		return false
	}
	h := howtos[direct(r.typ)]
	v := referred(word, h)
	switch h.value {
	case relative:
		v += at
	case pages:
		return true // the address is complete at another instruction
	case low12:
		if to.kind == ofThread {
			return to.offsetKnown() && v>>h.shift == (to.va+uint64(addend))&0xfff>>h.shift
		}
		page, seen := c.pages[completed(r)]
		if r.typ == elf.R_AARCH64_LD64_GOTPAGE_LO15 {
			page, seen = c.table, true
		}
		if !seen {
			return false
		}
		v += page
	case absolute:
		if to.kind == ofThread {
			return to.offsetKnown() && v == (to.va+uint64(addend))&(1<<(12+h.shift)-1)>>h.shift<<h.shift
		}
		if h.place != data64 {
			return false
		}
		if relocated, ok := c.b.old.addends[at]; ok {
			v = relocated
		}
	}
	if direct(r.typ) != r.typ {
		return c.b.sameEntry(to, addend, v)
	}
	return c.b.sameAt(to, addend, v, 0)
}

// sameEntry reports whether a word of the target's global offset table holds the
// address of something.
func (b *builder) sameEntry(to ref, addend int64, slot uint64) bool {
	if to.kind != inPatch && addend == 0 && b.old.leadsTo(slot, to) {
		return true
	}
	name, named := b.old.slots[slot]
	if named {
		return name == to.name && addend == 0 && to.kind == inPatch && slices.ContainsFunc(b.old.symbols[name], func(s *oldSymbol) bool { return b.sameAt(to, 0, s.va, 0) })
	}
	if to.kind == ofThread {
		return slot == to.slots.tls && addend == 0
	}
	at, ok := b.old.pointer(slot)
	return ok && b.sameAt(to, addend, at, 0)
}

// leadsTo reports whether a slot is for something: by its name, or by another
// name of it.
func (o *original) leadsTo(slot uint64, to ref) bool {
	name, named := o.slots[slot]
	if !named {
		return slot != 0 && slot == to.slots.call
	}
	return name == to.name || to.kind == inTarget && slices.ContainsFunc(o.symbols[name], func(s *oldSymbol) bool { return s.va == to.va })
}

// pointer gives the link-time address that a word of the target holds when it is
// loaded.
func (o *original) pointer(va uint64) (uint64, bool) {
	if at, ok := o.addends[va]; ok {
		return at, true
	}
	if _, ok := o.slots[va]; ok || o.im.PIE || o.im.Shared {
		return 0, false
	}
	p, err := o.bytes(va, 8)
	if err != nil {
		return 0, false
	}
	return binary.LittleEndian.Uint64(p), true
}

// maxDepth bounds how far pointers in data are followed.
const maxDepth = 8

// sameAt reports whether what is at an address of the target is what a reference
// means.
func (b *builder) sameAt(to ref, addend int64, at uint64, depth int) bool {
	switch to.kind {
	case inTarget:
		if at == to.va+uint64(addend) {
			return true
		}
		fallthrough
	case byName:
		if at == 0 && to.weak && b.old.im.Static {
			return true
		}
		slot, isStub := b.old.stubs[at]
		return isStub && addend == 0 && b.old.leadsTo(slot, to)
	case ofThread:
		return false
	}
	if to.sec.executable() {
		off := to.off + uint64(addend)
		u := to.sec.unitAt(off)
		if u == nil || u.old == nil || u.fate == along {
			return false
		}
		_, oldNops := b.oldNops(u)
		_, nops := entryNops(u.sec.data[u.off:u.end()])
		return at == u.old.va+off-u.off+oldNops-nops && (u.fate != piece || b.same(u))
	}
	return depth < maxDepth && b.sameData(to.sec, to.off+uint64(addend), at, to.anchor, depth)
}

func (b *builder) oldNops(u *unit) (pad, nops uint64) {
	code, err := b.old.bytes(u.old.va, min(u.old.size, 12))
	if err != nil {
		return 0, 0
	}
	return entryNops(code)
}

// comparedSection is a section and where the target may have it.
type comparedSection struct {
	s  *section
	at uint64
}

// sameData compares data that is only read.
func (b *builder) sameData(s *section, off, at uint64, anchor bool, depth int) (same bool) {
	if off >= s.size || s.data == nil {
		return false
	}
	if s.variable() {
		return s.isPointer(off) && b.sameRange(s, off, off+8, at, depth)
	}
	end := s.extent(off)
	if anchor && s.obj.anchors && s.flags&elf.SHF_MERGE == 0 {
		// From one address code may go on to everything in the section.
		off, at, end = 0, at-off, s.size
		k := comparedSection{s, at}
		if known, done := b.sections[k]; done {
			return known
		}
		b.sections[k] = true // it may refer to itself
		defer func() { b.sections[k] = same }()
	}
	return b.sameRange(s, off, end, at, depth)
}

// sameRange compares [off, end) of a section with what the target has at an
// address.
func (b *builder) sameRange(s *section, off, end, at uint64, depth int) bool {
	old, err := b.old.bytes(at, end-off)
	if err != nil {
		return false
	}
	changed := make([]bool, end-off)
	for _, r := range s.relocsIn(off, end) {
		h, known := howtos[r.typ]
		if !known || h.size() > end-r.off {
			return false
		}
		place := at + r.off - off
		v := referred(old[r.off-off:], h)
		to, addend, err := b.resolve(r)
		if err != nil {
			return false
		}
		for i := range h.size() {
			changed[r.off-off+i] = true
		}
		switch {
		case h.place == data64 && addend == 0 && to.kind != inPatch && b.old.leadsTo(place, to):
			continue
		case h.value == relative:
			v += place
		case h.place == data64:
			if v, known = b.old.pointer(place); !known {
				return false
			}
		default:
			return false
		}
		// In a table of distances the addend may say as well how far from its
		// beginning the word is.
		distance := r.off - off
		if !b.sameAt(to, addend, v, depth+1) && (h.value != relative || !b.sameAt(to, addend-int64(distance), v-distance, depth+1)) {
			return false
		}
	}
	for i := range old {
		if !changed[i] && old[i] != s.data[off+uint64(i)] {
			return false
		}
	}
	return true
}

// isPointer reports whether there is a pointer without a name, as clang makes
// them for tables of handlers.
func (s *section) isPointer(off uint64) bool {
	if r := s.relocsIn(off, off+8); len(r) != 1 || r[0].off != off || r[0].typ != elf.R_AARCH64_ABS64 {
		return false
	}
	return !slices.ContainsFunc(s.obj.symbols, func(y *symbol) bool {
		return y.sec == s && !isAnchor(y) && !isMapping(y.name) && y.value <= off && off < y.value+max(y.size, 1)
	})
}

// extent gives how far what begins at an offset may reach.
func (s *section) extent(off uint64) uint64 {
	if s.flags&elf.SHF_MERGE != 0 && s.flags&elf.SHF_STRINGS != 0 && s.entsize == 1 {
		if n := bytes.IndexByte(s.data[off:], 0); n >= 0 {
			return off + uint64(n) + 1
		}
	}
	if s.flags&elf.SHF_MERGE != 0 && s.entsize > 0 && s.entsize <= s.size-off {
		return off + s.entsize - off%s.entsize
	}
	end := s.size
	for _, y := range s.obj.symbols {
		if y.sec != s || y.typ != elf.STT_OBJECT {
			continue
		}
		if y.value <= off && off < y.value+y.size {
			return min(y.value+y.size, s.size)
		}
		if y.value > off {
			end = min(end, y.value)
		}
	}
	return end
}
