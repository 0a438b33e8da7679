package ftrace

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"
)

// Candidate is a function that a pattern could have matched.
type Candidate struct {
	Raw, Demangled, Object string
}

// NoMatchError is a pattern that matches no function. Going on would trace nothing, or (a -N with a typing error) too much.
type NoMatchError struct {
	Flag, Pattern string
	Near          []string // names that are nearly what was asked for, best first
	Objects       []string // non-nil: no object has the name asked for; these are there
}

func (e *NoMatchError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q matches no function", e.Flag, e.Pattern)
	switch {
	case e.Objects != nil:
		b.WriteString(": no object has that name; there are ")
		b.WriteString(listed(e.Objects))
	case len(e.Near) > 0:
		b.WriteString("; did you mean ")
		for i, name := range e.Near {
			switch {
			case i > 0 && i == len(e.Near)-1:
				b.WriteString(" or ")
			case i > 0:
				b.WriteString(", ")
			}
			b.WriteString(name)
		}
		b.WriteString("?")
	default:
		b.WriteString(", and no name is near it (`nopal sites` lists them)")
	}
	return b.String()
}

const (
	maxNear    = 4
	maxObjects = 8
)

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	if len(names) > maxObjects {
		return strings.Join(names[:maxObjects], ", ") + fmt.Sprintf(" and %d more", len(names)-maxObjects)
	}
	return strings.Join(names, ", ")
}

// Check returns a *NoMatchError for the first of the patterns that has matched nothing, with suggestions out of the candidates, which
// are the functions that Match was asked about. Without such a pattern the candidates are not looked at.
func (f *Filter) Check(candidates iter.Seq[Candidate]) error {
	unmatched := f.Unmatched()
	if len(unmatched) == 0 {
		return nil
	}
	return unmatched[0].Explain(candidates)
}

// Explain says why the pattern matches none of the candidates.
func (p *Pattern) Explain(candidates iter.Seq[Candidate]) *NoMatchError {
	want, openStart, openEnd := p.name.text()
	// Only what is nearer than this looks like a typing error; further away the list is noise.
	limit := max(1, utf8.RuneCountInString(want)/3)
	finder := distance{want: []rune(strings.ToLower(want)), openStart: openStart, openEnd: openEnd}

	type scored struct {
		name  string
		score int
	}
	var near []scored
	var objects []string
	object, objectMatches, anyObject := "", false, false
	for c := range candidates {
		if c.Object != object || len(objects) == 0 {
			object = c.Object
			objectMatches = p.matchObject(object)
			anyObject = anyObject || objectMatches
			base := object[strings.LastIndexByte(object, '/')+1:]
			if !slices.Contains(objects, base) {
				objects = append(objects, base)
			}
		}
		if !objectMatches || want == "" {
			continue
		}
		name := c.Raw
		if c.Demangled != "" {
			start, end := coreName(c.Demangled)
			name = c.Demangled[start:end]
		}
		score := finder.to(name, limit)
		// What a user remembers of a long C++ name is its last part.
		if i := strings.LastIndex(name, "::"); i >= 0 && score > 0 {
			score = min(score, finder.to(name[i+2:], limit))
		}
		if score > limit {
			continue
		}
		near = append(near, scored{name, score})
	}
	e := &NoMatchError{Flag: p.flag, Pattern: p.text}
	if p.object != nil && !anyObject {
		e.Objects = append([]string{}, objects...)
		return e
	}
	slices.SortStableFunc(near, func(a, b scored) int {
		if a.score != b.score {
			return a.score - b.score
		}
		return len(a.name) - len(b.name)
	})
	for _, n := range near {
		if !slices.Contains(e.Near, n.name) {
			e.Near = append(e.Near, n.name)
		}
		if len(e.Near) == maxNear {
			break
		}
	}
	return e
}

// distance measures how many letters have to be changed, added, left out or swapped with their neighbour to get from one word to
// others (optimal string alignment). At an open end, where the pattern had a star, the other word's letters are free.
type distance struct {
	want               []rune
	openStart, openEnd bool
	rows               [3][]int
}

// to returns the distance, or anything above limit when it is above.
func (d *distance) to(name string, limit int) int {
	longer := len(name) - len(d.want)
	if (longer > limit && !d.openStart && !d.openEnd) || -longer > limit {
		return limit + 1
	}
	width := len(d.want) + 1
	for i := range d.rows {
		if cap(d.rows[i]) < width {
			d.rows[i] = make([]int, width)
		}
		d.rows[i] = d.rows[i][:width]
	}
	before, last, row := d.rows[0], d.rows[1], d.rows[2]
	for j := range last {
		last[j] = j
	}
	best := last[width-1]
	var previous rune
	n := 0
	for _, char := range name {
		if char >= 'A' && char <= 'Z' {
			char += 'a' - 'A'
		}
		n++
		row[0] = n
		if d.openStart {
			row[0] = 0
		}
		least := row[0]
		for j := 1; j < width; j++ {
			change := last[j-1]
			if d.want[j-1] != char {
				change++
			}
			row[j] = min(change, last[j]+1, row[j-1]+1)
			if n > 1 && j > 1 && d.want[j-1] == previous && d.want[j-2] == char {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		best = min(best, row[width-1])
		// A swap reaches back two rows, so one row above the limit is not yet the end.
		if least > limit+1 && !d.openStart {
			last[width-1] = limit + 1
			break
		}
		before, last, row = last, row, before
		previous = char
	}
	if d.openEnd {
		return best
	}
	return last[width-1]
}
