package livepatch

import (
	"debug/elf"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// block is a section of variables all of which the target has, at the same
// distances from one another.
type block struct {
	delta uint64 // link-time address in the target of offset 0
	err   error  // why the section is none
}

// match finds for all functions and variables of the objects those of the target.
func (b *builder) match() error {
	for _, u := range b.functions() {
		if u.fate == piece || isCallback(u.fn.name) {
			continue
		}
		old, err := b.old.find(u.fn, (*oldSymbol).isFunc)
		var several *ambiguousError
		if errors.As(err, &several) {
			b.doubts = append(b.doubts, doubt{u, several})
		}
		if old != nil && old.typ == elf.STT_GNU_IFUNC {
			return fmt.Errorf("replace %s: %s chooses it when it starts (ifunc): replace the functions that it chooses from", shown(u.fn.name), b.Target)
		}
		if old != nil {
			u.old, u.fate = old, replaces
		}
	}
	for _, u := range b.functions() { // parts belong to whom they were moved out of
		if of, ok := pieceOf(u.fn.name); ok && u.fate == piece {
			for _, other := range b.functions() {
				if other.fn.name == of && other.sec.obj == u.sec.obj && other.old != nil {
					u.old = b.old.pieceLike(u.fn.name, other.old)
				}
			}
		}
	}
	return b.settle()
}

// doubt is a function of which the target has several.
type doubt struct {
	u   *unit
	err *ambiguousError
}

// settle finds the one that is the same among functions of one name: a change to
// none of them is what is most likely. A decision may be what another needs.
func (b *builder) settle() error {
	for settled := true; settled; {
		settled = false
		b.doubts = slices.DeleteFunc(b.doubts, func(d doubt) bool {
			d.u.fate = replaces
			var same []*oldSymbol
			for _, s := range d.err.found {
				d.u.old = s
				clear(b.checked)
				clear(b.sections)
				if b.same(d.u) {
					same = append(same, s)
				}
			}
			clear(b.checked)
			clear(b.sections)
			if len(same) != 1 {
				d.u.old, d.u.fate = nil, along
				return false
			}
			d.u.old = same[0]
			settled = true
			return true
		})
	}
	if len(b.doubts) > 0 {
		return fmt.Errorf("replace %s: %w", shown(b.doubts[0].u.fn.name), b.doubts[0].err)
	}
	return nil
}

// pieceLike finds the part of a function, if it is the only one of that name.
func (o *original) pieceLike(name string, of *oldSymbol) *oldSymbol {
	var found *oldSymbol
	for _, y := range o.symbols[name] {
		if y.file != of.file && of.bind == elf.STB_LOCAL {
			continue
		}
		if found != nil {
			return nil
		}
		found = y
	}
	return found
}

// find finds what the target has of the name of a symbol, among what is right;
// nil if there is nothing.
func (o *original) find(y *symbol, right func(*oldSymbol) bool) (*oldSymbol, error) {
	var global, local, same []*oldSymbol
	for _, s := range o.symbols[y.name] {
		switch {
		case !right(s):
		case s.bind != elf.STB_LOCAL:
			global = append(global, s)
		default:
			local = append(local, s)
			if s.file == y.file {
				same = append(same, s)
			}
		}
	}
	if y.local() && len(same) == 0 && len(local) == 1 && y.sourced && local[0].file != "" {
		local = nil // another file's
	}
	order := [][]*oldSymbol{global, same, local}
	if y.local() {
		order = [][]*oldSymbol{same, local, global}
	}
	for _, found := range order {
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return nil, o.ambiguous(y.name, found)
		}
	}
	return nil, nil
}

// ambiguousError says that the target has several things of one name.
type ambiguousError struct {
	target, name string
	found        []*oldSymbol
}

func (e *ambiguousError) Error() string {
	var where []string
	for _, s := range e.found {
		where = append(where, fmt.Sprintf("%#x (%s)", s.va, s.file))
	}
	return fmt.Sprintf("%s has %d of the name %s, at %s, and which is meant is not known: --source says which source file the objects stand for", e.target, len(e.found), shown(e.name), strings.Join(where, " and "))
}

func (o *original) ambiguous(name string, found []*oldSymbol) error {
	return &ambiguousError{o.im.Path, name, found}
}

func (s *oldSymbol) isVariable() bool {
	return s.write && (s.typ == elf.STT_OBJECT || s.typ == elf.STT_NOTYPE)
}

// isRTTI reports whether a symbol is a C++ table by whose address objects and
// types are told apart.
func isRTTI(name string) bool {
	for _, prefix := range []string{"_ZTV", "_ZTI", "_ZTS", "_ZTT", "_ZTC"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// variable finds the target's own variable for one that an object defines; nil
// if it is new.
func (b *builder) variable(y *symbol) (*oldSymbol, error) {
	if y.old != nil {
		return y.old, nil
	}
	var old *oldSymbol
	var err error
	switch {
	case isRTTI(y.name):
		old, err = b.old.find(y, func(s *oldSymbol) bool { return s.typ == elf.STT_OBJECT })
	case y.sec.variable() && y.local() && stem(y.name) != y.name:
		old, err = b.numbered(y)
	case y.sec.variable():
		old, err = b.old.find(y, (*oldSymbol).isVariable)
	default: // what is only read may be another now
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("refer to %s: %w", shown(y.name), err)
	}
	if old != nil && old.size != y.size && y.size != 0 && old.size != 0 {
		return nil, fmt.Errorf("refer to %s: it has %d bytes in %s and %d in %s: a patch cannot change the layout of data that is in use", shown(y.name), old.size, b.Target, y.size, y.obj.path)
	}
	y.old = old
	return old, nil
}

// numbered finds a static variable of a function, to whose name the compiler
// has appended a number that another compilation may change.
func (b *builder) numbered(y *symbol) (*oldSymbol, error) {
	var old, same []*oldSymbol
	for _, s := range b.old.stems[stem(y.name)] {
		if s.isVariable() && stem(s.name) != s.name {
			old = append(old, s)
			if s.file == y.file {
				same = append(same, s)
			}
		}
	}
	if len(same) > 0 {
		old = same
	}
	mine := 0
	for _, s := range y.obj.symbols {
		if s.sec != nil && s.local() && s.typ == y.typ && s.sec.variable() && stem(s.name) != s.name && stem(s.name) == stem(y.name) {
			mine++
		}
	}
	switch {
	case len(old) == 0:
		return nil, nil
	case len(old) == 1 && mine == 1:
		return old[0], nil
	}
	// Several functions have such a variable. Where all are still there their
	// numbers are, too.
	if len(old) == mine {
		for _, s := range old {
			if s.name == y.name {
				return s, nil
			}
		}
	}
	return nil, b.old.ambiguous(stem(y.name), old)
}

// asBlock finds out what a reference to a section, not to a variable in it,
// means. Compilers address variables of one section from an anchor, so it has
// to be the target's memory as a whole, or the patch's own.
func (b *builder) asBlock(s *section) (*block, error) {
	if s.original == nil {
		s.original = b.findBlock(s)
	}
	return s.original, s.original.err
}

func (b *builder) findBlock(s *section) *block {
	var first, other *symbol // the target's, not the target's
	for _, y := range s.obj.symbols {
		if y.sec != s || y.typ != elf.STT_OBJECT && y.typ != elf.STT_NOTYPE || y.name == "" || isMapping(y.name) || isAnchor(y) {
			continue
		}
		old, err := b.variable(y)
		if err != nil {
			return &block{err: err}
		}
		switch {
		case old == nil:
			other = y
		case first == nil:
			first = y
		case old.va-y.value != first.old.va-first.value:
			return &block{err: fmt.Errorf("%s: %s and %s do not lie as in %s, and code may refer to both from one address: compile it with -fdata-sections (clang: and -mno-global-merge)", s, shown(first.name), shown(y.name), b.Target)}
		}
	}
	switch {
	case first == nil:
		return &block{}
	case other != nil:
		return &block{err: fmt.Errorf("%s: %s is new and %s is the target's, and code may refer to both from one address: compile it with -fdata-sections (clang: and -mno-global-merge)", s, shown(other.name), shown(first.name))}
	}
	return &block{delta: first.old.va - first.value}
}
