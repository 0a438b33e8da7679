package livepatch

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// ref is what a reference means.
type ref struct {
	kind kind
	name string // of what is the target's or another object's

	sec *section // inPatch: where, and at which offset
	off uint64

	va     uint64 // inTarget: the address; ofThread: the offset from the thread pointer
	slots  imported
	fn     bool
	weak   bool
	padded bool // an indirect branch may go there
	anchor bool // it is a section, in which code may mean any place
}

// kind says where something is that code refers to.
type kind uint8

const (
	inPatch  kind = iota // it came along
	inTarget             // it is the patched object's
	byName               // it is another object's, found when the patch is applied
	ofThread             // it is a thread-local variable of the target
)

// offsetKnown reports whether a thread-local variable has a known distance from
// the thread pointer.
func (r ref) offsetKnown() bool {
	return r.kind == ofThread && r.slots.tls == 0 && r.slots.descriptor == 0
}

// tableName is the symbol for the beginning of the global offset table.
const tableName = "_GLOBAL_OFFSET_TABLE_"

// fixup is a reference of something that comes along.
type fixup struct {
	sec    *section
	off    uint64
	typ    elf.R_AARCH64
	to     ref
	addend int64
	via    *section // the veneer by which a branch goes where it does not reach itself
	insn   uint32   // not 0: what the instruction is to be
}

// made is something small that the patch needs for a reference: a word of the
// global offset table, or code that branches where another branch does not reach.
type made struct {
	to     ref
	addend int64
	tls    bool // the word is an offset from the thread pointer
	sec    *section
}

// resolve finds out what a relocation refers to. With the addend it says where
// in the patch, since what lies there decides.
func (b *builder) resolve(r reloc) (to ref, addend int64, err error) {
	y := r.sym
	if !y.defined() || y.sec != nil && y.sec.comdat {
		def := b.globals[y.name]
		if y.name == "" && y.index == elf.SHN_UNDEF { // symbol 0: an absolute value
			return to, 0, fmt.Errorf("relocation %v without a symbol is not supported", r.typ)
		}
		if y.local() || y.defined() && def == nil {
			return to, 0, fmt.Errorf("refer to %s: it is in a section that another object has, too", shown(y.name))
		}
		if def == nil {
			to, err = b.undefined(y)
			return to, r.addend, err
		}
		y = def
	}
	switch {
	case y.sec == nil:
		return to, 0, fmt.Errorf("refer to %s: it is an absolute symbol or in a section that is not loaded", shown(y.name))
	case y.typ == elf.STT_GNU_IFUNC:
		return to, 0, fmt.Errorf("refer to %s: patches cannot have indirect functions (ifunc)", shown(y.name))
	case y.typ == elf.STT_TLS, y.sec.flags&elf.SHF_TLS != 0:
		return b.ownThread(y, r.addend)
	case y.sec.executable():
		return b.code(y, r.addend)
	}
	if isAnchor(y) && y.sec.variable() {
		whole, err := b.asBlock(y.sec)
		if err != nil {
			return to, 0, err
		}
		if whole.delta != 0 {
			return ref{kind: inTarget, name: y.sec.name, va: whole.delta + y.value, padded: true}, r.addend, nil
		}
	} else if !isAnchor(y) {
		old, err := b.variable(y)
		if err != nil {
			return to, 0, err
		}
		if old != nil {
			return b.oldRef(old), r.addend, nil
		}
	}
	return ref{kind: inPatch, name: y.name, sec: y.sec, off: y.value, anchor: isAnchor(y)}, r.addend, nil
}

// code refers to a function, or to a place in one.
func (b *builder) code(y *symbol, addend int64) (ref, int64, error) {
	at := y.value
	if y.typ == elf.STT_SECTION { // the assembler refers to static functions so
		at += uint64(addend)
		addend = 0
	}
	u := y.sec.unitAt(at)
	if u == nil {
		return ref{}, 0, fmt.Errorf("refer to %s%+#x: it lies outside of its section", shown(y.name), addend)
	}
	if at == u.off && addend == 0 && u.old != nil && u.fate != piece && u.fate != along {
		old := *u.old
		if !isAnchor(y) { // a constructor, for one, has two names
			old.name, old.bind = y.name, y.bind
		}
		return b.oldRef(&old), 0, nil
	}
	return ref{kind: inPatch, name: u.name(), sec: y.sec, off: at, fn: at == u.off, padded: true}, addend, nil
}

// oldRef refers to a function or variable of the target, in the way in which
// the target does, since another object's may stand before it.
func (b *builder) oldRef(old *oldSymbol) ref {
	to := ref{kind: inTarget, name: old.name, va: old.va, fn: old.isFunc(), padded: true}
	if to.fn {
		to.padded = b.old.padded(old.va)
	}
	if i := b.old.imports[old.name]; i != nil && old.bind != elf.STB_LOCAL {
		to.slots = *i
	}
	return to
}

// undefined refers to what no object defines.
func (b *builder) undefined(y *symbol) (ref, error) {
	old, err := b.old.find(y, func(*oldSymbol) bool { return true })
	if err != nil {
		return ref{}, fmt.Errorf("refer to %s: %w", shown(y.name), err)
	}
	i := b.old.imports[y.name]
	to := ref{kind: byName, name: y.name, fn: y.typ == elf.STT_FUNC, weak: y.bind == elf.STB_WEAK, padded: true}
	switch {
	case old != nil && old.typ == elf.STT_TLS:
		return b.oldThread(old)
	case old != nil && old.typ == elf.STT_GNU_IFUNC:
		to.fn = true
		if i != nil {
			to.slots = *i
		} else {
			slot := b.old.indirect[old.va]
			to.slots = imported{call: slot, plt: b.old.stub(slot)}
		}
		if to.slots.call == 0 && to.slots.data == 0 {
			return ref{}, fmt.Errorf("refer to %s: it is an indirect function (ifunc) that %s itself does not call", shown(y.name), b.Target)
		}
		return to, nil
	case old != nil:
		return b.oldRef(old), nil
	case i != nil && i.canonical != 0:
		return ref{kind: inTarget, name: y.name, va: i.canonical, fn: true, padded: true}, nil
	case i != nil:
		to.slots = *i
	case y.name == tableName:
		return ref{kind: inPatch, name: y.name, sec: b.table}, nil
	case y.bind == elf.STB_WEAK && b.old.im.Static:
	case b.old.im.Static:
		return ref{}, fmt.Errorf("refer to %s: the program is static and has nothing of that name%s", shown(y.name), b.old.suggest(y.name))
	}
	return to, nil
}

func (o *original) stub(slot uint64) uint64 {
	for stub, s := range o.stubs {
		if s == slot && slot != 0 {
			return stub
		}
	}
	return 0
}

// suggest gives a name that is nearly the one asked for.
func (o *original) suggest(name string) string {
	best, bestAt := "", max(len(name)/3, 1)+1
	for other := range o.symbols {
		if d := distance(name, other, bestAt+1); d < bestAt || d == bestAt && best != "" && other < best {
			best, bestAt = other, d
		}
	}
	if best == "" {
		return "; what it needs has to be among the objects"
	}
	return "; did you mean " + shown(best) + "?"
}

// distance is how many letters have to be changed to come from a to b, or limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d++
			}
			diagonal = row[j+1]
			row[j+1] = min(d, row[j]+1, row[j+1]+1)
		}
		if slices.Min(row) >= limit {
			return limit
		}
	}
	return min(row[len(b)], limit)
}

// ownThread refers to a thread-local variable that an object defines, which has
// to be the target's.
func (b *builder) ownThread(y *symbol, addend int64) (ref, int64, error) {
	old, err := b.threadVariable(y)
	if err != nil {
		return ref{}, 0, err
	}
	name := y.name
	if old == nil {
		for _, other := range y.obj.symbols { // an anchor lies where a variable does
			if other.sec == y.sec && other.value == y.value && other != y && !isAnchor(other) && !isMapping(other.name) {
				name = other.name
				if old, err = b.threadVariable(other); err != nil {
					return ref{}, 0, err
				}
			}
		}
		if isAnchor(y) && old != nil {
			if err := b.threadBlock(y, old); err != nil {
				return ref{}, 0, err
			}
		}
	}
	if old == nil {
		return ref{}, 0, fmt.Errorf("refer to %s: it is a new thread-local variable: the threads that run have no place for it", shown(name))
	}
	to, err := b.oldThread(old)
	return to, addend, err
}

func isAnchor(y *symbol) bool { return y.typ == elf.STT_SECTION || strings.HasPrefix(y.name, ".L") }

// threadBlock checks that the variables around an anchor lie in the target as
// they do here.
func (b *builder) threadBlock(anchor *symbol, first *oldSymbol) error {
	for _, y := range anchor.obj.symbols {
		if y.sec != anchor.sec || y.typ != elf.STT_TLS || isAnchor(y) || isMapping(y.name) {
			continue
		}
		old, err := b.threadVariable(y)
		if err != nil {
			return err
		}
		if old == nil || old.va-y.value != first.va-anchor.value {
			return fmt.Errorf("refer to %s: the thread-local variables of %s do not lie as in %s, and code refers to several from one address: compile it with -fno-section-anchors", shown(y.name), anchor.sec, b.Target)
		}
	}
	return nil
}

// threadVariable finds the target's own thread-local variable; nil if it is new.
func (b *builder) threadVariable(y *symbol) (*oldSymbol, error) {
	if isAnchor(y) {
		return nil, nil
	}
	old, err := b.old.find(y, func(s *oldSymbol) bool { return s.typ == elf.STT_TLS })
	switch {
	case err != nil:
		return nil, fmt.Errorf("refer to %s: %w", shown(y.name), err)
	case old != nil && old.size != y.size:
		return nil, fmt.Errorf("refer to %s: it has %d bytes in %s and %d in %s: a patch cannot change the layout of data that is in use", shown(y.name), old.size, b.Target, y.size, y.obj.path)
	}
	return old, nil
}

func (b *builder) oldThread(old *oldSymbol) (ref, error) {
	to := ref{kind: ofThread, name: old.name, padded: true}
	if at, ok := b.old.threadOffset(old); ok {
		to.va = at
		return to, nil
	}
	to.slots.tls, to.slots.descriptor = b.old.tprels[old.va], b.old.descriptors[old.va]
	if to.slots.tls != 0 {
		to.slots.descriptor = 0
	}
	if to.slots == (imported{}) {
		return ref{}, fmt.Errorf("refer to %s: %s has no way of its own to find this thread-local variable, by which the patch could", shown(old.name), b.Target)
	}
	return to, nil
}

// collect finds everything that comes along: what the new functions refer to,
// and what that refers to.
func (b *builder) collect() error {
	for _, u := range b.functions() {
		if u.fate == replaces || isCallback(u.fn.name) {
			b.visit(u)
		}
	}
	cies := make(map[*frame]bool)
	for len(b.work) > 0 {
		u := b.work[0]
		b.work = b.work[1:]
		if err := b.scan(u); err != nil {
			return fmt.Errorf("patch %s: %w", shown(u.name()), err)
		}
		for _, f := range u.frames {
			if !cies[f.cie] {
				cies[f.cie] = true
				b.frames = append(b.frames, f.cie.sec)
				if err := b.scan(f.cie.sec.units[0]); err != nil {
					return fmt.Errorf("unwind %s: %w", shown(u.name()), err)
				}
			}
			b.frames = append(b.frames, f.sec)
			if err := b.scan(f.sec.units[0]); err != nil {
				return fmt.Errorf("unwind %s: %w", shown(u.name()), err)
			}
		}
	}
	return nil
}

// visit makes a unit come along.
func (b *builder) visit(u *unit) {
	if u.live {
		return
	}
	u.live = true
	b.work = append(b.work, u)
	if !slices.Contains(b.live, u.sec) {
		b.live = append(b.live, u.sec)
	}
	switch {
	case u.fn != nil && u.fate != replaces && u.fate != piece && !isCallback(u.fn.name):
		b.report.Along = append(b.report.Along, shown(u.fn.name))
	case u.sec.variable():
		for _, y := range u.sec.obj.symbols {
			if y.sec == u.sec && y.typ == elf.STT_OBJECT && y.old == nil && !strings.HasPrefix(y.name, "DW.ref.") {
				b.report.Data = append(b.report.Data, shown(y.name))
			}
		}
	}
}

// scan notes all references of a unit.
func (b *builder) scan(u *unit) error {
	relocs := slices.Clone(u.sec.relocsIn(u.off, u.end()))
	if u.sec.executable() {
		relocs = append(relocs, u.branches()...)
	}
	for _, r := range relocs {
		to, addend, err := b.resolve(r)
		if err != nil {
			return err
		}
		biased := !u.sec.executable() && howtos[r.typ].value == relative && r.sym.typ == elf.STT_SECTION
		if r.sym.sec != nil && r.sym.sec.executable() && (biased || u.sec.name == ".eh_frame") {
			// Call frame information describes the new function, and in a table of
			// distances the addend is not an offset in the section: it says as well
			// how far from its beginning the table's word is.
			to = ref{kind: inPatch, name: to.name, sec: r.sym.sec, off: r.sym.value}
			addend = r.addend
		}
		if err := b.refer(u.sec, r, to, addend); err != nil {
			return err
		}
	}
	return nil
}

// branches finds what the assembler has resolved already: branches from one
// function to another of its section.
func (u *unit) branches() []reloc {
	var found []reloc
	for off := (u.off + 3) &^ 3; off+4 <= u.end(); off += 4 {
		if !u.sec.isCode(off) || len(u.sec.relocsIn(off, off+4)) > 0 {
			continue
		}
		word := u.sec.data[off : off+4]
		typ, ok := directReference(binary.LittleEndian.Uint32(word))
		if !ok {
			continue
		}
		target := off + referred(word, howtos[typ])
		inside := target >= u.off && target < u.end()
		if inside && (target != u.off || typ != elf.R_AARCH64_CALL26) || target >= u.sec.size {
			continue
		}
		sym := &symbol{obj: u.sec.obj, name: u.sec.name, typ: elf.STT_SECTION, sec: u.sec, index: 1}
		found = append(found, reloc{off, typ, sym, int64(target)})
	}
	return found
}

// directReference gives the relocation that an instruction which refers to
// somewhere near would have (Arm ARM, C4.1).
func directReference(w uint32) (typ elf.R_AARCH64, ok bool) {
	switch {
	case w&0xfc000000 == 0x14000000:
		return elf.R_AARCH64_JUMP26, true
	case w&0xfc000000 == 0x94000000:
		return elf.R_AARCH64_CALL26, true
	case w&0xff000000 == 0x54000000, w&0x7e000000 == 0x34000000:
		return elf.R_AARCH64_CONDBR19, true
	case w&0x7e000000 == 0x36000000:
		return elf.R_AARCH64_TSTBR14, true
	case w&0x9f000000 == 0x10000000:
		return elf.R_AARCH64_ADR_PREL_LO21, true
	case w&0x3b000000 == 0x18000000:
		return elf.R_AARCH64_LD_PREL_LO19, true
	}
	return 0, false
}

// refer notes a reference, and makes come along what it needs.
func (b *builder) refer(sec *section, r reloc, to ref, addend int64) error {
	if to.kind == inPatch {
		at := to.off
		if to.sec.executable() {
			at += uint64(addend)
		}
		u := to.sec.unitAt(at)
		if u == nil && len(to.sec.units) > 0 && !to.sec.executable() {
			u = to.sec.units[0] // an address before or behind a variable
		}
		if u == nil {
			return fmt.Errorf("refer to %s%+#x: it lies outside of its section", shown(to.name), addend)
		}
		b.visit(u)
	}
	if to.kind == byName && to.slots == (imported{}) && !slices.Contains(b.report.Imports, to.name) {
		b.report.Imports = append(b.report.Imports, to.name)
	}
	f := fixup{sec: sec, off: r.off, typ: r.typ, to: to, addend: addend}
	switch r.typ {
	case elf.R_AARCH64_ADR_GOT_PAGE:
		f = b.throughTable(f, elf.R_AARCH64_ADR_PREL_PG_HI21, false)
	case elf.R_AARCH64_LD64_GOT_LO12_NC:
		f = b.throughTable(f, elf.R_AARCH64_LDST64_ABS_LO12_NC, false)
	case elf.R_AARCH64_LD64_GOTPAGE_LO15:
		f = b.throughTable(f, r.typ, false)
	case elf.R_AARCH64_GOT_LD_PREL19:
		f = b.throughTable(f, elf.R_AARCH64_LD_PREL_LO19, false)
	case elf.R_AARCH64_TLSIE_ADR_GOTTPREL_PAGE21:
		f = b.throughTable(f, elf.R_AARCH64_ADR_PREL_PG_HI21, true)
	case elf.R_AARCH64_TLSIE_LD64_GOTTPREL_LO12_NC:
		f = b.throughTable(f, elf.R_AARCH64_LDST64_ABS_LO12_NC, true)
	case elf.R_AARCH64_TLSIE_LD_GOTTPREL_PREL19:
		f = b.throughTable(f, elf.R_AARCH64_LD_PREL_LO19, true)
	case elf.R_AARCH64_TLSDESC_ADR_PAGE21, elf.R_AARCH64_TLSDESC_LD64_LO12_NC, elf.R_AARCH64_TLSDESC_ADD_LO12_NC, elf.R_AARCH64_TLSDESC_CALL:
		return b.describeThread(f)
	case elf.R_AARCH64_CALL26, elf.R_AARCH64_JUMP26:
		if to.kind != inPatch {
			f.via = b.veneer(to)
		}
	case elf.R_AARCH64_TSTBR14, elf.R_AARCH64_CONDBR19:
		if to.kind != inPatch { // they reach 1 MiB at most
			f.to = b.veneerRef(to)
		}
	default:
		if isDescriptor(r.typ) {
			return fmt.Errorf("refer to %s: relocation %v is not supported", shown(to.name), r.typ)
		}
		if _, known := howtos[r.typ]; !known {
			return fmt.Errorf("refer to %s: relocation %v is not supported", shown(to.name), r.typ)
		}
		if to.kind == ofThread && to.slots.descriptor != 0 || to.kind == ofThread != isThreadOffset(r.typ) {
			return fmt.Errorf("refer to %s: relocation %v does not fit it", shown(to.name), r.typ)
		}
		if to.kind == byName && to.weak && howtos[r.typ].value != absolute {
			return fmt.Errorf("refer to %s: the address of a weak symbol has to come from a table: compile %s with -fPIC", shown(to.name), sec.obj.path)
		}
		f.to = b.pointer(to)
		if to.kind == byName && sec.executable() && howtos[r.typ].value != absolute {
			f.via = b.veneer(to) // code that is not position-independent refers so to functions
		}
	}
	b.fixups = append(b.fixups, f)
	return nil
}

func isThreadOffset(typ elf.R_AARCH64) bool {
	return typ >= elf.R_AARCH64_TLSLE_MOVW_TPREL_G2 && typ <= tlsLELoad(3)+1
}

// pointer gives what the address of something is: where code of the target
// must not be branched to indirectly, that of code in the patch that goes there.
func (b *builder) pointer(to ref) ref {
	if to.kind == inTarget && to.fn && !to.padded {
		return b.veneerRef(to)
	}
	return to
}

func (b *builder) veneerRef(to ref) ref {
	return ref{kind: inPatch, name: to.name, sec: b.veneer(to), fn: true, padded: true}
}

// throughTable makes a reference go through an entry of the table.
func (b *builder) throughTable(f fixup, typ elf.R_AARCH64, tls bool) fixup {
	to := f.to
	if !tls {
		to = b.pointer(to)
	}
	at := slices.IndexFunc(b.entries, func(e made) bool { return e.to == to && e.addend == f.addend && e.tls == tls })
	if at < 0 {
		at = len(b.entries)
		e := made{to: to, addend: f.addend, tls: tls, sec: newSection(".got", 0, 8)}
		b.entries = append(b.entries, e)
		b.fixups = append(b.fixups, fixup{sec: e.sec, typ: elf.R_AARCH64_ABS64, to: to, addend: f.addend})
	}
	return fixup{sec: f.sec, off: f.off, typ: typ, to: ref{kind: inPatch, name: to.name, sec: b.entries[at].sec}}
}

// describeThread makes a call that finds a thread-local variable go through the
// descriptor that the target has for it, or gives its offset where that is known,
// as static linkers do. The four instructions are:
//
//	adrp x0, descriptor            movz x0, #offset, lsl 16    adrp x0, entry
//	ldr  x1, [x0, descriptor]  ->  movk x0, #offset        or  ldr  x0, [x0, entry]
//	add  x0, x0, descriptor        nop                         nop
//	blr  x1                        nop                         nop
func (b *builder) describeThread(f fixup) error {
	to := f.to
	switch {
	case to.kind != ofThread:
		return fmt.Errorf("refer to %s: it is not a thread-local variable of %s", shown(to.name), b.Target)
	case to.offsetKnown():
		f.insn = offsetPart(f.typ, to.va+uint64(f.addend))
		f.typ = elf.R_AARCH64_NONE
	case to.slots.descriptor != 0 && f.addend != 0:
		return fmt.Errorf("refer to %s%+d: only the beginning of a thread-local variable can be found in %s", shown(to.name), f.addend, b.Target)
	case to.slots.descriptor != 0:
		if f.typ == elf.R_AARCH64_TLSDESC_CALL {
			return nil
		}
		f.typ, f.to = direct(f.typ), ref{kind: inTarget, name: to.name, va: to.slots.descriptor, padded: true}
	case f.typ == elf.R_AARCH64_TLSDESC_ADR_PAGE21:
		f = b.throughTable(f, elf.R_AARCH64_ADR_PREL_PG_HI21, true)
	case f.typ == elf.R_AARCH64_TLSDESC_LD64_LO12_NC:
		f = b.throughTable(f, elf.R_AARCH64_LDST64_ABS_LO12_NC, true)
		f.insn = 0xf9400000 // ldr x0, [x0]
	default:
		f.insn, f.typ = nop, elf.R_AARCH64_NONE
	}
	b.fixups = append(b.fixups, f)
	return nil
}
