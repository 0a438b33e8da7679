package ftrace

import (
	"strings"
	"unicode/utf8"
)

// glob is a compiled pattern of the kind that the kernel's lib/glob.c knows, which is what set_ftrace_filter takes: `*` any
// text, `?` any character, `[a-z_]` and `[!a-z_]` (or `[^...]`) one of a class, `\` takes the next character as it is.
// Braces are ordinary characters: demangled names are full of {lambda()#1}.
type glob struct {
	segments []segment // the text between the stars, so one more than there are stars
}

// segment is a run of elements without a star in it.
type segment struct {
	literal  string // the whole segment, when elements is nil
	elements []element
	runes    int
}

type element struct {
	any    bool
	char   rune
	ranges []runeRange // non-nil: a class
	negate bool
}

type runeRange struct{ low, high rune }

type globError struct {
	offset  int
	problem string
}

func (e *globError) Error() string { return e.problem }

func compileGlob(text string) (*glob, error) {
	g := &glob{}
	var current []element
	end := func() {
		g.segments = append(g.segments, newSegment(current))
		current = nil
	}
	for i := 0; i < len(text); {
		char, size := utf8.DecodeRuneInString(text[i:])
		switch char {
		case '*':
			end()
		case '?':
			current = append(current, element{any: true})
		case '\\':
			if i+1 == len(text) {
				return nil, &globError{i, `the \ at the end has nothing to quote`}
			}
			char, next := utf8.DecodeRuneInString(text[i+1:])
			current = append(current, element{char: char})
			size += next
		case '[':
			// operator[] is a name that people write; an empty class would match nothing anyway.
			if strings.HasPrefix(text[i:], "[]") && !strings.Contains(text[i+2:], "]") {
				current = append(current, element{char: '['}, element{char: ']'})
				size = 2
				break
			}
			class, n, err := compileClass(text, i)
			if err != nil {
				return nil, err
			}
			current = append(current, class)
			size = n
		default:
			current = append(current, element{char: char})
		}
		i += size
	}
	end()
	return g, nil
}

// compileClass reads the class whose `[` is at text[start] and returns its length. As in sh and in the kernel, a `]` that comes
// first is a member.
func compileClass(text string, start int) (element, int, error) {
	class := element{ranges: []runeRange{}}
	i := start + 1
	if i < len(text) && (text[i] == '!' || text[i] == '^') {
		class.negate = true
		i++
	}
	member := func() (rune, bool) {
		if i < len(text) && text[i] == '\\' {
			i++
		}
		if i >= len(text) {
			return 0, false
		}
		char, size := utf8.DecodeRuneInString(text[i:])
		i += size
		return char, true
	}
	unclosed := &globError{start, `this [ has no ] (write \[ for the character itself)`}
	for first := true; ; first = false {
		if i >= len(text) {
			return class, 0, unclosed
		}
		if text[i] == ']' && !first {
			return class, i + 1 - start, nil
		}
		from := i
		low, ok := member()
		if !ok {
			return class, 0, unclosed
		}
		high := low
		if i+1 < len(text) && text[i] == '-' && text[i+1] != ']' {
			i++
			if high, ok = member(); !ok {
				return class, 0, unclosed
			}
			if high < low {
				return class, 0, &globError{from, "this range is the wrong way round"}
			}
		}
		class.ranges = append(class.ranges, runeRange{low, high})
	}
}

func newSegment(elements []element) segment {
	var literal strings.Builder
	for _, e := range elements {
		if e.any || e.ranges != nil {
			return segment{elements: elements, runes: len(elements)}
		}
		literal.WriteRune(e.char)
	}
	return segment{literal: literal.String()}
}

// match reports whether the whole of s fits. Segments between stars are placed at the first place that they fit, which is enough:
// a later place leaves less text for what follows.
func (g *glob) match(s string) bool {
	n, ok := g.segments[0].matchAt(s)
	if !ok {
		return false
	}
	s = s[n:]
	last := len(g.segments) - 1
	if last == 0 {
		return s == ""
	}
	for i := 1; i < last; i++ {
		end := g.segments[i].find(s)
		if end < 0 {
			return false
		}
		s = s[end:]
	}
	return g.segments[last].matchEnd(s)
}

// matchAt matches at the beginning of s and returns how much of it was used.
func (g *segment) matchAt(s string) (int, bool) {
	if g.elements == nil {
		return len(g.literal), strings.HasPrefix(s, g.literal)
	}
	at := 0
	for i := range g.elements {
		if at == len(s) {
			return 0, false
		}
		char, size := rune(s[at]), 1
		if char >= utf8.RuneSelf {
			char, size = utf8.DecodeRuneInString(s[at:])
		}
		if !g.elements[i].matches(char) {
			return 0, false
		}
		at += size
	}
	return at, true
}

// find returns where the segment's first occurrence in s ends, or -1.
func (g *segment) find(s string) int {
	if g.elements == nil {
		at := strings.Index(s, g.literal)
		if at < 0 {
			return -1
		}
		return at + len(g.literal)
	}
	for at := 0; at < len(s); {
		if n, ok := g.matchAt(s[at:]); ok {
			return at + n
		}
		_, size := utf8.DecodeRuneInString(s[at:])
		at += size
	}
	return -1
}

func (g *segment) matchEnd(s string) bool {
	if g.elements == nil {
		return strings.HasSuffix(s, g.literal)
	}
	at := len(s)
	for range g.runes {
		if at == 0 {
			return false
		}
		_, size := utf8.DecodeLastRuneInString(s[:at])
		at -= size
	}
	n, ok := g.matchAt(s[at:])
	return ok && at+n == len(s)
}

func (e *element) matches(char rune) bool {
	if e.any {
		return true
	}
	if e.ranges == nil {
		return e.char == char
	}
	for _, r := range e.ranges {
		if r.low <= char && char <= r.high {
			return !e.negate
		}
	}
	return e.negate
}

// text returns the pattern's characters without its wildcards, and whether it is open at its beginning and end: what is left to
// compare with when looking for near names.
func (g *glob) text() (text string, openStart, openEnd bool) {
	var b strings.Builder
	for _, s := range g.segments {
		b.WriteString(s.literal)
		for _, e := range s.elements {
			if !e.any && e.ranges == nil {
				b.WriteRune(e.char)
			}
		}
	}
	empty := func(s segment) bool { return s.literal == "" && s.elements == nil }
	return b.String(), empty(g.segments[0]), empty(g.segments[len(g.segments)-1])
}
