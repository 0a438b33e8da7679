package livepatch

import (
	"debug/elf"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"nopal/internal/image"
)

// BuildOptions says what to make a patch of.
type BuildOptions struct {
	Name      string   // of the patch
	Target    string   // the file of the object to be patched
	Objects   []string // the new code: relocatable files
	Functions []string // what to replace; empty: all that has changed
	Source    string   // the source file that the objects stand for, where they are not compiled from one of that name
	Replace   bool     // the patch supersedes all others of its target
}

// Report tells what a patch does, for the person who builds it. Names are as in
// the source.
type Report struct {
	Replaced  []string // functions
	Along     []string // new functions that these need
	Data      []string // new variables
	Imports   []string // what is looked for in other objects when the patch is applied
	Unchanged int      // functions that are the same in the target
	Notes     []string
}

// builder is what is needed while a patch is built.
type builder struct {
	BuildOptions
	old     *original
	objects []*objectFile
	globals map[string]*symbol // what the objects define for one another
	report  Report
	checked map[*unit]bool // by same: whether a function is as in the target

	sections map[comparedSection]bool // by sameData
	doubts   []doubt
	work     []*unit // live units whose references are still to be looked at
	fixups   []fixup // references of live units
	entries  []made  // the global offset table
	veneers  []made
	gates    []*section
	table    *section   // where that begins
	frames   []*section // records of call frame information, in order
	live     []*section
}

// Build makes a patch.
func Build(opts BuildOptions) (p *Patch, report *Report, err error) {
	old, err := openOriginal(opts.Target)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, old.close()) }()
	b := &builder{BuildOptions: opts, old: old, globals: make(map[string]*symbol), checked: make(map[*unit]bool), sections: make(map[comparedSection]bool)}
	b.table = newSection(".got", 0, 0)
	b.table.align = pageUnit
	for _, path := range opts.Objects {
		o, err := openObject(path)
		if err != nil {
			return nil, nil, err
		}
		for _, y := range o.symbols {
			if opts.Source != "" && y.typ != elf.STT_FILE {
				y.file, y.sourced = opts.Source, true
			}
		}
		b.objects = append(b.objects, o)
	}
	steps := []func() error{b.define, b.match, b.choose, b.collect, b.makeGates, b.noteInlined}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, nil, err
		}
	}
	p, err = b.layout()
	if err != nil {
		return nil, nil, err
	}
	return p, &b.report, nil
}

// define finds what the objects define for one another, as a static linker does.
func (b *builder) define() error {
	groups := make(map[string]*objectFile)
	for _, o := range b.objects {
		for _, s := range o.sections {
			if s == nil || s.signed == "" {
				continue
			}
			if first := groups[s.signed]; first == nil {
				groups[s.signed] = o
			} else if first != o {
				s.comdat = true
			}
		}
	}
	for _, o := range b.objects {
		for _, y := range o.symbols {
			if y.local() || y.index == elf.SHN_UNDEF || y.name == "" || y.sec != nil && y.sec.comdat {
				continue
			}
			other := b.globals[y.name]
			switch {
			case other == nil, y.rank() > other.rank():
				b.globals[y.name] = y
			case y.rank() == other.rank() && y.rank() == strongest:
				return fmt.Errorf("link patch: %s is defined in %s and in %s", shown(y.name), other.obj.path, o.path)
			}
		}
	}
	for _, o := range b.objects {
		for _, s := range o.sections {
			if s != nil && s.name == ".eh_frame" {
				if err := b.readFrames(s); err != nil {
					return fmt.Errorf("%s: %w", s, err)
				}
			}
		}
	}
	for _, y := range b.globals {
		if y.index == elf.SHN_COMMON {
			if err := y.allocate(); err != nil {
				return err
			}
		}
	}
	return nil
}

const strongest = 2

// rank orders definitions of one name: what is common or weak gives way.
func (s *symbol) rank() int {
	switch {
	case s.index == elf.SHN_COMMON:
		return 1
	case s.bind == elf.STB_WEAK:
		return 0
	}
	return strongest
}

// allocate gives a common symbol a place, as -fno-common does.
func (s *symbol) allocate() error {
	if s.value > 1<<16 || s.value&(s.value-1) != 0 || s.size > maxObject {
		return fmt.Errorf("read object %s: symbol %s is malformed", s.obj.path, s.name)
	}
	sec := &section{obj: s.obj, name: ".bss." + s.name, flags: elf.SHF_ALLOC | elf.SHF_WRITE, align: max(s.value, 1), size: s.size}
	sec.units = []*unit{{sec: sec, size: s.size}}
	s.obj.sections = append(s.obj.sections, sec)
	s.sec, s.value, s.index = sec, 0, elf.SectionIndex(len(s.obj.sections)-1)
	return nil
}

// The functions by which a patch has a say.
const (
	prePatch    = "nopal_pre_patch"
	postPatch   = "nopal_post_patch"
	preUnpatch  = "nopal_pre_unpatch"
	postUnpatch = "nopal_post_unpatch"
)

func isCallback(name string) bool {
	return name == prePatch || name == postPatch || name == preUnpatch || name == postUnpatch
}

// functions gives all functions of the objects.
func (b *builder) functions() []*unit {
	var all []*unit
	for _, o := range b.objects {
		for _, s := range o.sections {
			if s == nil || s.comdat {
				continue
			}
			for _, u := range s.units {
				if u.fn != nil {
					all = append(all, u)
				}
			}
		}
	}
	return all
}

// choose decides which functions are replaced.
func (b *builder) choose() error {
	if err := b.constructors(); err != nil {
		return err
	}
	wanted := make(map[*unit]bool)
	for _, name := range b.Functions {
		u, err := b.named(name)
		if err != nil {
			return err
		}
		wanted[u] = true
	}
	// What is the same is decided before anything is changed by the decision.
	same := make(map[*unit]bool)
	for _, u := range b.functions() {
		if u.fate == replaces {
			same[u] = b.same(u)
		}
	}
	for _, u := range b.functions() {
		if u.fate != replaces || wanted[u] {
			continue
		}
		name := shown(u.fn.name)
		switch {
		case same[u]:
			u.fate = unchanged
			b.report.Unchanged++
		case len(wanted) > 0 && (u.fn.local() || isClone(u.fn.name)):
			// Its callers were compiled together with it and may rely on it.
			u.fate, u.old = along, nil
		case len(wanted) > 0:
			u.fate = kept
			b.note("%s is changed, too, but was not asked for", name)
		case u.fn.name == "main":
			u.fate = kept
			b.note("main is changed, but left out: it is on the stack as long as the program runs (--function main replaces it all the same)")
		}
	}
	count := 0
	for _, u := range b.functions() {
		if u.fate != replaces {
			continue
		}
		count++
		if err := b.replaceable(u); err != nil {
			return err
		}
	}
	if count == 0 && b.old.stripped {
		return fmt.Errorf("build patch: %s has no symbol table, so its functions are not known by name: give the file as it was before it was stripped, which has the same build-id", b.Target)
	}
	if count == 0 {
		return fmt.Errorf("build patch: nothing to replace: no function of %s differs from that of the same name in %s", strings.Join(b.Objects, ", "), b.Target)
	}
	return nil
}

func (b *builder) note(format string, args ...any) {
	b.report.Notes = append(b.report.Notes, fmt.Sprintf(format, args...))
}

// isClone reports whether a function is one that the compiler derived from
// another, with parameters of its own choice.
func isClone(name string) bool {
	return strings.Contains(name, ".constprop.") || strings.Contains(name, ".isra.") || strings.Contains(name, ".part.")
}

// named finds the function that a user names.
func (b *builder) named(name string) (*unit, error) {
	var found []*unit
	for _, u := range b.functions() {
		if u.fn.name == name || shown(u.fn.name) == name || strings.HasPrefix(shown(u.fn.name), name+"(") {
			found = append(found, u)
		}
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("replace %s: none of the objects defines a function of that name", name)
	case len(found) > 1:
		return nil, fmt.Errorf("replace %s: %d functions have that name: give the symbol of one", name, len(found))
	case found[0].old == nil:
		return nil, fmt.Errorf("replace %s: %s has no function of that name: it was inlined into its callers or left out by the compiler; replace its callers", name, b.Target)
	}
	return found[0], nil
}

// replaceable checks that the entry of the old function can be redirected.
func (b *builder) replaceable(u *unit) error {
	old := u.old
	if _, found := b.old.sites[old.va]; found {
		if old.size == 0 {
			return fmt.Errorf("replace %s: its symbol in %s has no size", shown(u.fn.name), b.Target)
		}
		return nil
	}
	reason := "it does not begin with two NOPs: compile it with -fpatchable-function-entry=2"
	if r, known := b.old.reasons[old.va]; known {
		reason = r
	}
	return fmt.Errorf("replace %s: the old one at %#x in %s cannot be patched: %s (--function chooses which functions are replaced)", shown(u.fn.name), old.va, b.Target, reason)
}

// constructors refuses what would have to run when the patch is loaded, but for
// what ran already when the target was.
func (b *builder) constructors() error {
	for _, o := range b.objects {
		for _, s := range o.sections {
			if s == nil || s.comdat || !isConstructors(s.name) {
				continue
			}
			for _, r := range s.relocs {
				if r.sym.sec != nil && r.sym.sec.executable() {
					u := r.sym.sec.unitAt(r.sym.value + uint64(r.addend))
					if u != nil && u.old != nil && b.same(u) {
						continue
					}
				}
				return fmt.Errorf("build patch: %s: patches cannot have constructors or destructors; do it in %s or %s", s, prePatch, postUnpatch)
			}
		}
	}
	return nil
}

func isConstructors(name string) bool {
	for _, prefix := range []string{".init_array", ".fini_array", ".preinit_array", ".ctors", ".dtors"} {
		if name == prefix || strings.HasPrefix(name, prefix+".") {
			return true
		}
	}
	return false
}

// shown is a name as it is in the source.
func shown(name string) string { return image.Demangle(name) }

// unique names a function that is replaced so that no other has the name.
func (b *builder) unique(u *unit) string {
	if u.fate != replaces {
		return u.fn.name
	}
	for _, other := range b.functions() {
		if other != u && other.fate == replaces && other.fn.name == u.fn.name {
			return fmt.Sprintf("%s@%#x", u.fn.name, u.old.va)
		}
	}
	return u.fn.name
}

// describe fills what the patch says of itself.
func (b *builder) describe(p *Patch) error {
	path, err := filepath.Abs(b.Target)
	if err != nil {
		return fmt.Errorf("build patch: %w", err)
	}
	p.Name, p.Replace = b.Name, b.Replace
	p.Target = Target{Path: path, Soname: b.old.soname, BuildID: b.old.im.BuildID}
	for _, u := range b.functions() {
		if u.fate != replaces {
			continue
		}
		f := Func{Name: b.unique(u), OldVA: u.old.va, OldSize: u.old.size, SiteVA: b.old.sites[u.old.va].Addr}
		if f.OldHash, err = b.old.hash(u.old); err != nil {
			return fmt.Errorf("replace %s: %w", shown(f.Name), err)
		}
		for _, y := range b.old.pieces(u.fn.name) {
			f.Extra = append(f.Extra, [2]uint64{y.va, y.va + y.size})
		}
		p.funcs = append(p.funcs, f)
		b.report.Replaced = append(b.report.Replaced, shown(f.Name))
	}
	slices.SortFunc(p.funcs, func(a, b Func) int { return compareAddress(a.OldVA, b.OldVA) })
	for i := 1; i < len(p.funcs); i++ {
		if p.funcs[i].OldVA == p.funcs[i-1].OldVA {
			return fmt.Errorf("build patch: %s and %s are one function in %s: the linker or compiler folded them", shown(p.funcs[i-1].Name), shown(p.funcs[i].Name), b.Target)
		}
	}
	return nil
}
