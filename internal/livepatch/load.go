package livepatch

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"nopal/internal/image"
)

// Mapped is an object as a process has it.
type Mapped struct {
	Image *image.Image // its file, which stays open as long as Link runs
	Bias  uint64       // what is added to its link-time addresses
}

// World is what Link needs to know of a process.
type World interface {
	// Objects gives the objects of the process in the order in which the dynamic
	// linker searches them: the program first.
	Objects() []Mapped
	// Place gives the address of a free range of size bytes, at the beginning of a
	// page, from which direct branches reach all of [lo, hi) if there is one.
	Place(size, lo, hi uint64) (uint64, error)
	// Read reads the memory of the process.
	Read(addr uint64, p []byte) error
}

// Prot says what a process may do with memory, in the bits of mmap(2).
type Prot uint8

// Memory of a patch is never both writable and executable.
const (
	ProtRead  Prot = 1
	ProtWrite Prot = 2
	ProtExec  Prot = 4
)

// Segment is a piece of memory to be mapped for a patch. Its pages begin and end
// at multiples of 64 KiB from the patch's own address, so that it can be mapped
// whatever the page size is.
type Segment struct {
	Addr, Size uint64
	Data       []byte // what it begins with; the rest is zero
	Prot       Prot
}

// Range is a piece of a process's memory.
type Range struct{ Addr, Size uint64 }

// Callbacks are the addresses of the functions by which a patch has a say; 0
// where it has none.
type Callbacks struct {
	PrePatch, PostPatch, PreUnpatch, PostUnpatch uint64
}

// Image is a patch laid out and relocated for one process.
type Image struct {
	Range                     // all of it, one free range of addresses
	Segments []Segment        // in the order of their addresses
	Target   Mapped           // the object that is patched
	New      map[string]Range // the new functions, by Func.Name
	Funcs    []NamedRange     // all functions in Segments by address, those that merely came along included
	Callbacks
	EHFrame Range // the call frame information of the new functions; empty if there is none
}

// NamedRange is where a function is.
type NamedRange struct {
	Name string
	Range
}

// ErrNoTarget is returned if a process does not have the object of a patch.
var ErrNoTarget = errors.New("the process does not have the object that the patch is for")

// Link lays the patch out for a process and resolves its references. It only
// reads: nothing in the process is changed.
func (p *Patch) Link(w World) (*Image, error) {
	im, err := p.link(w)
	if err != nil {
		return nil, fmt.Errorf("link patch %s: %w", p.Name, err)
	}
	return im, nil
}

func (p *Patch) link(w World) (*Image, error) {
	l := &loading{p: p, w: w, objects: w.Objects()}
	if err := l.findTarget(); err != nil {
		return nil, err
	}
	if err := l.checkOld(); err != nil {
		return nil, err
	}
	if err := l.findNames(); err != nil {
		return nil, err
	}
	lo, hi, err := l.target.reach()
	if err != nil {
		return nil, err
	}
	last := p.segments[len(p.segments)-1]
	size := align(last.Offset+last.Size, segmentUnit)
	if l.base, err = w.Place(size, lo, hi); err != nil {
		return nil, fmt.Errorf("find room near %s: %w", l.target.Image.Path, err)
	}
	if l.base%pageUnit != 0 || l.base+size < l.base {
		return nil, fmt.Errorf("find room near %s: got %#x, which is not the beginning of a page", l.target.Image.Path, l.base)
	}
	im := &Image{Range: Range{l.base, size}, Target: l.target, New: make(map[string]Range)}
	for _, s := range p.segments {
		im.Segments = append(im.Segments, Segment{l.base + s.Offset, align(s.Size, segmentUnit), slices.Clone(s.data), s.Prot})
	}
	for _, r := range p.relocs {
		if err := l.relocate(im, r); err != nil {
			return nil, err
		}
	}
	for _, s := range p.symbols {
		at := Range{l.base + s.Offset, s.Size}
		im.Funcs = append(im.Funcs, NamedRange{s.Name, at})
		if s.New {
			im.New[s.Name] = at
			if s.Enter != s.Offset {
				im.Funcs[len(im.Funcs)-1].Name += gated
				im.New[s.Name] = Range{l.base + s.Enter, uint64(len(gate) * 4)}
			}
		}
	}
	if p.ehFrame.Size > 0 {
		im.EHFrame = Range{l.base + p.ehFrame.Offset, p.ehFrame.Size}
	}
	for name, at := range map[string]*uint64{prePatch: &im.PrePatch, postPatch: &im.PostPatch, preUnpatch: &im.PreUnpatch, postUnpatch: &im.PostUnpatch} {
		if off, has := p.callbacks[name]; has {
			*at = l.base + off
		}
	}
	return im, nil
}

// loading is what is needed while a patch is linked.
type loading struct {
	p       *Patch
	w       World
	objects []Mapped
	target  Mapped
	base    uint64
	names   map[string]named
}

// named is where another object has something.
type named struct {
	in      Mapped
	exports *exports
	exported
}

func (l *loading) findTarget() error {
	var similar []string
	for _, m := range l.objects {
		if m.Image.BuildID == l.p.Target.BuildID {
			l.target = m
			return nil
		}
		if baseName(m.Image.Path) == baseName(l.p.Target.Path) {
			similar = append(similar, fmt.Sprintf("%s has build-id %s", m.Image.Path, m.Image.BuildID))
		}
	}
	for _, s := range similar {
		return fmt.Errorf("%w: it is for build-id %s of %s, and %s", ErrNoTarget, l.p.Target.BuildID, l.p.Target.Path, s)
	}
	return fmt.Errorf("%w: %s with build-id %s", ErrNoTarget, l.p.Target.Path, l.p.Target.BuildID)
}

// checkOld compares the old functions with those that the patch was built against.
func (l *loading) checkOld() error {
	for _, f := range l.p.funcs {
		if f.OldSize > maxImage {
			return fmt.Errorf("function %s: too large", f.Name)
		}
		old := make([]byte, f.OldSize)
		if _, err := l.target.Image.ReadVA(old, f.OldVA); err != nil {
			return fmt.Errorf("function %s: %w", f.Name, err)
		}
		if sha256.Sum256(old) != f.OldHash {
			return fmt.Errorf("function %s: its code at %#x in %s is not what the patch was built against, although the build-id is", f.Name, f.OldVA, l.target.Image.Path)
		}
	}
	return nil
}

// findNames finds what the patch refers to by name, in the first object that has
// it, as the dynamic linker does.
func (l *loading) findNames() error {
	l.names = make(map[string]named)
	missing := make(map[string]bool)
	for _, t := range l.p.targets {
		if t.Kind == byName {
			missing[t.Name] = true
		}
	}
	for _, m := range l.objects {
		if len(missing) == 0 {
			break
		}
		e, err := readExports(m.Image)
		if err != nil {
			return fmt.Errorf("read symbols of %s: %w", m.Image.Path, err)
		}
		found, err := e.find(missing)
		if err != nil {
			return fmt.Errorf("read symbols of %s: %w", m.Image.Path, err)
		}
		for name, x := range found {
			l.names[name] = named{m, e, x}
			delete(missing, name)
		}
	}
	return nil
}

// slot reads a word of the target's global offset table.
func (l *loading) slot(m Mapped, va uint64) (uint64, error) {
	var word [8]byte
	if err := l.w.Read(m.Bias+va, word[:]); err != nil {
		return 0, fmt.Errorf("read the global offset table of %s: %w", m.Image.Path, err)
	}
	return binary.LittleEndian.Uint64(word[:]), nil
}

// address finds out where something is. What the target itself refers to is
// found as the target does, since that settles versions, what stands before
// what, and which indirect function was chosen.
func (l *loading) address(t target) (uint64, error) {
	switch t.Kind {
	case inPatch:
		return l.base, nil
	case ofThread:
		if t.Thread != 0 {
			return l.slot(l.target, t.Thread)
		}
		return t.VA, nil
	}
	if t.Data != 0 {
		at, err := l.slot(l.target, t.Data)
		if err != nil || at != 0 || t.Weak {
			return at, err
		}
	}
	if t.Kind == inTarget {
		return l.target.Bias + t.VA, nil
	}
	if t.Call != 0 {
		at, err := l.slot(l.target, t.Call)
		if err != nil {
			return 0, err
		}
		// Before the first call it leads back into the target.
		if at != 0 && (l.target.Image.Static || !l.target.covers(at)) {
			return at, nil
		}
	}
	n, found := l.names[t.Name]
	switch {
	case !found && t.Stub != 0:
		return l.target.Bias + t.Stub, nil
	case !found && t.Weak:
		return 0, nil
	case !found:
		return 0, fmt.Errorf("refer to %s: no object of the process has it", shown(t.Name))
	case n.typ == elf.STT_TLS:
		return 0, fmt.Errorf("refer to %s: it is a thread-local variable of %s", shown(t.Name), n.in.Image.Path)
	case n.typ == elf.STT_GNU_IFUNC:
		return l.chosen(t, n)
	}
	return n.in.Bias + n.va, nil
}

// chosen finds which function an indirect one of another object stands for:
// from the object's own calls of it.
func (l *loading) chosen(t target, n named) (uint64, error) {
	if slot, ok := n.exports.chosen(n.va); ok {
		at, err := l.slot(n.in, slot)
		if err != nil {
			return 0, err
		}
		if n.in.covers(at) {
			return at, nil
		}
	}
	if t.Stub != 0 {
		return l.target.Bias + t.Stub, nil
	}
	return n.in.Bias + n.va, fmt.Errorf("refer to %s: %w of %s, and neither that nor %s has a known choice", shown(t.Name), errIndirect, n.in.Image.Path, l.target.Image.Path)
}

// errIndirect comes with the address of a resolver.
var errIndirect = errors.New("it is an indirect function (ifunc)")

// relocate resolves one reference.
func (l *loading) relocate(im *Image, r relocation) error {
	t := l.p.targets[r.Target]
	typ := elf.R_AARCH64(r.Type)
	at := l.base + uint64(r.Offset)
	var word []byte
	for i, s := range l.p.segments {
		if off := uint64(r.Offset); off >= s.Offset && off-s.Offset < uint64(len(s.data)) {
			word = im.Segments[i].Data[off-s.Offset:]
		}
	}
	isBranch := typ == elf.R_AARCH64_CALL26 || typ == elf.R_AARCH64_JUMP26
	var to uint64
	var err error
	if isBranch && t.Stub != 0 {
		to = l.target.Bias + t.Stub
	} else if to, err = l.address(t); errors.Is(err, errIndirect) && r.Flags&finds != 0 {
		if r.Flags&hasVia != 0 {
			to, r.Addend = l.base+uint64(r.Via)+finderAt, 0
		}
	} else if err != nil {
		return err
	}
	if isBranch && to == 0 && t.Weak { // it is not there, so nobody gets here: go on behind it
		to, r.Addend = at+4, 0
	}
	if !isBranch && r.Flags&hasVia != 0 && l.isFunc(t) && far(to, l.base) {
		to, r.Addend = l.base+uint64(r.Via), 0
	}
	to += uint64(r.Addend)
	if isBranch && !howtos[typ].reaches(to, at) && r.Flags&hasVia != 0 {
		if t.Unpadded {
			return fmt.Errorf("refer to %s: it is out of reach of a direct branch, and has no landing pad (bti c) for another", shown(t.Name))
		}
		to = l.base + uint64(r.Via)
	}
	if err := relocate(word, typ, to, at); err != nil {
		return fmt.Errorf("refer to %s: %w (code compiled with -fPIC reaches everything)", shown(t.Name), err)
	}
	return nil
}

// isFunc reports whether a reference is to code.
func (l *loading) isFunc(t target) bool {
	return t.Func || t.Stub != 0 || l.names[t.Name].typ == elf.STT_FUNC || l.names[t.Name].typ == elf.STT_GNU_IFUNC
}

// far reports whether ADRP in a patch at base may not reach an address: the
// instruction that completes the address has to come to the same answer.
func far(addr, base uint64) bool { return addr-base+1<<31 >= 1<<32 }

func baseName(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[i+1:]
		}
	}
	return path
}
