package ftrace

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
)

// Filter says which functions are wanted. It is compiled from the lists that the user gives as -F and -N, each pattern
// being `[object:]glob`:
//
//   - a function is wanted when a -F pattern matches it, or when there is no -F pattern;
//   - it is left out when a -N pattern matches it, or a -F pattern that begins with `!`, whatever else matches: as with
//     set_ftrace_notrace, leaving out wins.
//
// A nil Filter wants everything. Match may be called from several goroutines.
type Filter struct {
	patterns []*Pattern
	positive bool // there is at least one pattern that selects
}

// Pattern is one compiled -F or -N pattern.
type Pattern struct {
	text   string
	flag   string
	object *glob // nil: any object
	name   *glob
	exact  string // the name's text as it was written, for names that are no good globs: f[abi:cxx11]
	remove bool
	hits   atomic.Uint64
}

// NewFilter compiles the patterns of -F (only) and -N (not). A pattern that is not a good glob is a *PatternError.
// Without any pattern the filter is nil.
func NewFilter(only, not []string) (*Filter, error) {
	if len(only)+len(not) == 0 {
		return nil, nil
	}
	f := &Filter{}
	for _, text := range only {
		p, err := newPattern("-F", text)
		if err != nil {
			return nil, err
		}
		f.positive = f.positive || !p.remove
		f.patterns = append(f.patterns, p)
	}
	for _, text := range not {
		p, err := newPattern("-N", text)
		if err != nil {
			return nil, err
		}
		f.patterns = append(f.patterns, p)
	}
	return f, nil
}

// From says which flag the patterns were given with, for messages.
func (f *Filter) From(flag string) {
	for _, p := range f.patterns {
		p.flag = flag
	}
}

func newPattern(flag, text string) (*Pattern, error) {
	p := &Pattern{text: text, flag: flag, remove: flag == "-N"}
	start := 0
	if flag == "-F" && strings.HasPrefix(text, "!") {
		p.remove = true
		start = 1
	}
	if colon := objectColon(text[start:]); colon >= 0 {
		colon += start
		if colon == start {
			return nil, &PatternError{Flag: flag, Pattern: text, Offset: colon, Problem: "nothing before the colon: write object:function"}
		}
		object, err := compileGlob(text[start:colon])
		if err != nil {
			return nil, patternError(flag, text, start, err)
		}
		p.object = object
		start = colon + 1
	}
	if start == len(text) {
		return nil, &PatternError{Flag: flag, Pattern: text, Offset: start, Problem: "no function name here: * stands for all"}
	}
	name, err := compileGlob(text[start:])
	if err != nil {
		return nil, patternError(flag, text, start, err)
	}
	p.name = name
	p.exact = text[start:]
	return p, nil
}

// objectColon finds the colon that ends the object's name, or -1. C++ and Rust names are full of `::`, so only a colon
// that has no partner counts, and none inside of brackets: `f[abi:cxx11]` is one name.
func objectColon(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '<', '(', '[', '{':
			depth++
		case '>', ')', ']', '}':
			depth = max(depth-1, 0)
		case ':':
			run := 1
			for i+run < len(s) && s[i+run] == ':' {
				run++
			}
			// An odd run is the separator followed by a `::`: libx.so:::f is f in the global namespace.
			if depth == 0 && run%2 == 1 {
				return i
			}
			i += run - 1
		}
	}
	return -1
}

// String returns the pattern as the user wrote it.
func (p *Pattern) String() string { return p.text }

// HasObject reports whether the pattern is limited to objects by name. Such a pattern may name an object that is loaded later.
func (p *Pattern) HasObject() bool { return p.object != nil }

// Hits returns how many functions the pattern has matched so far.
func (p *Pattern) Hits() uint64 { return p.hits.Load() }

func (p *Pattern) matchObject(object string) bool {
	if p.object == nil || p.object.match(object) {
		return true
	}
	slash := strings.LastIndexByte(object, '/')
	return slash >= 0 && p.object.match(object[slash+1:])
}

func (p *Pattern) matchName(raw string, d *demangledName) bool {
	if p.name.match(raw) || raw == p.exact {
		return true
	}
	for _, name := range d.forms[:d.n] {
		if p.name.match(name) || name == p.exact {
			return true
		}
	}
	return false
}

// Match reports whether a function is wanted. The globs see the raw symbol, the demangled name, and that without its
// parameters and return type; object is the path of the file that the function is in.
func (f *Filter) Match(raw, demangled, object string) bool {
	if f == nil {
		return true
	}
	chosen, removed := f.Classify(raw, demangled, object)
	return (chosen || !f.positive) && !removed
}

// Positive reports whether there is a pattern that chooses functions.
func (f *Filter) Positive() bool { return f != nil && f.positive }

// Classify reports whether a pattern chooses a function and whether one leaves it out.
func (f *Filter) Classify(raw, demangled, object string) (chosen, removed bool) {
	if f == nil {
		return false, false
	}
	var d demangledName
	if demangled != raw {
		d = newDemangledName(demangled)
	}
	// Every pattern is tried, also when the answer is known: each one's count of hits must be right, or a pattern that
	// another one covers would be reported as matching nothing.
	for _, p := range f.patterns {
		if !p.matchObject(object) || !p.matchName(raw, &d) {
			continue
		}
		p.hits.Add(1)
		if p.remove {
			removed = true
		} else {
			chosen = true
		}
	}
	return chosen, removed
}

// Patterns returns the patterns in the order they were given, -F first.
func (f *Filter) Patterns() []*Pattern {
	if f == nil {
		return nil
	}
	return f.patterns
}

// Unmatched returns the patterns that have not matched any function yet.
func (f *Filter) Unmatched() []*Pattern {
	var u []*Pattern
	for _, p := range f.Patterns() {
		if p.Hits() == 0 {
			u = append(u, p)
		}
	}
	return u
}

// PatternError is a pattern that cannot be understood; its message shows the place.
type PatternError struct {
	Flag    string // -F or -N
	Pattern string
	Offset  int // in bytes, into Pattern
	Problem string
}

func (e *PatternError) Error() string {
	// The caret stands under a terminal's column, so it is moved by runes, not bytes.
	column := len([]rune(e.Pattern[:min(e.Offset, len(e.Pattern))]))
	return fmt.Sprintf("read pattern of %s: %s\n    %s\n    %s^", e.Flag, e.Problem, e.Pattern, strings.Repeat(" ", column))
}

func patternError(flag, text string, start int, err error) error {
	var g *globError
	if errors.As(err, &g) {
		return &PatternError{Flag: flag, Pattern: text, Offset: start + g.offset, Problem: g.problem}
	}
	return fmt.Errorf("read pattern %s %q: %w", flag, text, err)
}
