package livepatch

import (
	"debug/dwarf"
	"debug/elf"
	"slices"
	"strings"
)

// noteInlined warns of copies of replaced functions that the compiler has put
// into functions which are not among the objects: there the old code stays.
// Where the target has no DWARF it says nothing, since nothing is known.
func (b *builder) noteInlined() error {
	f, err := elf.NewFile(b.old.file)
	if err != nil || f.Section(".debug_info") == nil && f.Section(".zdebug_info") == nil {
		return err
	}
	data, err := f.DWARF()
	if err != nil {
		b.note("the DWARF of %s cannot be read, so copies of functions that were inlined are not known: %v", b.Target, err)
		return nil
	}
	replaced, defined := make(map[string]bool), make(map[string]bool)
	for _, u := range b.functions() {
		defined[u.fn.name] = true
		if u.fate == replaces {
			replaced[u.fn.name] = true
		}
	}
	in := make(map[string][]string) // where a function was inlined
	names := inlinedNames{data: data, known: make(map[dwarf.Offset]string)}
	var outer []string // names of the subprograms that are open, by depth
	for r := data.Reader(); ; {
		e, err := r.Next()
		if err != nil || e == nil {
			break
		}
		if e.Tag == 0 {
			if len(outer) > 0 {
				outer = outer[:len(outer)-1]
			}
			continue
		}
		function := ""
		if len(outer) > 0 {
			function = outer[len(outer)-1]
		}
		switch e.Tag {
		case dwarf.TagSubprogram:
			function = names.of(e, 0)
		case dwarf.TagInlinedSubroutine:
			if name := names.of(e, 0); replaced[name] && function != "" && !defined[function] && !slices.Contains(in[name], function) {
				in[name] = append(in[name], function)
			}
		}
		if e.Children {
			outer = append(outer, function)
		}
	}
	for _, u := range b.functions() {
		if places := in[u.fn.name]; u.fate == replaces && len(places) > 0 {
			for i := range places {
				places[i] = shown(places[i])
			}
			b.note("%s was also inlined into %s, where the old code stays: the object with these functions is missing", shown(u.fn.name), strings.Join(places, ", "))
		}
	}
	return nil
}

// inlinedNames finds the names of subprograms.
type inlinedNames struct {
	data  *dwarf.Data
	known map[dwarf.Offset]string
}

// of gives the symbol of an entry, which may refer to another for it.
func (n inlinedNames) of(e *dwarf.Entry, depth int) string {
	for _, attr := range []dwarf.Attr{dwarf.AttrLinkageName, dwarf.AttrName} {
		if name, ok := e.Val(attr).(string); ok && (attr == dwarf.AttrLinkageName || e.Val(dwarf.AttrSpecification) == nil) {
			return name
		}
	}
	for _, attr := range []dwarf.Attr{dwarf.AttrAbstractOrigin, dwarf.AttrSpecification} {
		at, ok := e.Val(attr).(dwarf.Offset)
		if !ok || depth > 4 {
			continue
		}
		if name, done := n.known[at]; done {
			return name
		}
		r := n.data.Reader()
		r.Seek(at)
		if other, err := r.Next(); err == nil && other != nil {
			n.known[at] = n.of(other, depth+1)
			return n.known[at]
		}
	}
	return ""
}
