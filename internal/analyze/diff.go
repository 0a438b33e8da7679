package analyze

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Diff compares two reports.
type Diff struct {
	heading string
	rows    []diffRow
}

// diffRow is a row that at least one of the reports has.
type diffRow struct {
	label         string
	before, after *Row
}

// diffKeys are the columns that are compared.
var diffKeys = []Key{KeyTotal, KeySelf, KeyCalls}

// NewDiff compares before with after. Rows are the same if function and file
// name of the object are, or those of thread or object: ids and directories
// differ from one run to the next. What changed most by the first key is first.
func NewDiff(before, after *Report, keys []Key) *Diff {
	d := &Diff{heading: after.Heading}
	index := map[string]int{}
	for _, side := range []struct {
		rows []Row
		set  func(*diffRow, *Row)
	}{
		{after.Rows, func(d *diffRow, r *Row) { d.after = sum(d.after, r) }},
		{before.Rows, func(d *diffRow, r *Row) { d.before = sum(d.before, r) }},
	} {
		for i := range side.rows {
			r := &side.rows[i]
			id := r.Name + "\x00" + filepath.Base(r.Object)
			n, ok := index[id]
			if !ok {
				n = len(d.rows)
				index[id] = n
				label := r.Label
				if r.TID != 0 {
					label = printable(r.Name)
				}
				d.rows = append(d.rows, diffRow{label: label})
			}
			side.set(&d.rows[n], r)
		}
	}
	slices.SortStableFunc(d.rows, func(a, b diffRow) int {
		for _, k := range keys {
			if k == KeyName {
				return cmp.Compare(a.label, b.label)
			}
			if c := cmp.Compare(magnitude(b.change(k)), magnitude(a.change(k))); c != 0 {
				return c
			}
		}
		return cmp.Compare(a.label, b.label)
	})
	return d
}

// sum adds the rows of threads of one name.
func sum(a, b *Row) *Row {
	if a == nil {
		return b
	}
	s := *a
	s.Calls += b.Calls
	s.Total, s.Self = addKnown(a.Total, b.Total), addKnown(a.Self, b.Self)
	return &s
}

func addKnown(a, b int64) int64 {
	switch {
	case a == Unknown:
		return b
	case b == Unknown:
		return a
	}
	return a + b
}

func magnitude(n int64) int64 { return max(n, -n) }

// number is what a row has in a column; a row that is missing has nothing.
func number(r *Row, k Key) (n int64, known bool) {
	switch {
	case r == nil:
		return 0, true
	case k == KeyCalls:
		return int64(r.Calls), true
	}
	n = r.value(k)
	return n, n != Unknown
}

func (d *diffRow) change(k Key) int64 {
	before, ok1 := number(d.before, k)
	after, ok2 := number(d.after, k)
	if !ok1 || !ok2 {
		return 0
	}
	return after - before
}

// relative is the change in percent of what was there before.
func (d *diffRow) relative(k Key) string {
	before, ok := number(d.before, k)
	switch {
	case d.before == nil:
		return "new"
	case d.after == nil:
		return "gone"
	case !ok || before == 0:
		return "-"
	}
	return strconv.FormatFloat(100*float64(d.change(k))/float64(before), 'f', 1, 64) + "%"
}

// cell formats what is compared.
func cell(n int64, k Key) string {
	if k == KeyCalls {
		return strconv.FormatInt(n, 10)
	}
	return FormatDuration(n)
}

func (d *diffRow) changeCell(k Key) string {
	n := d.change(k)
	switch {
	case n > 0:
		return "+" + cell(n, k)
	case n == Unknown && k != KeyCalls:
		return "-0.001 us" // not Unknown here
	}
	return cell(n, k)
}

const percentWidth = 9

// WriteText writes the values of after, and for each how it changed.
func (d *Diff) WriteText(w io.Writer, limit int) error {
	var b []byte
	for _, k := range diffKeys {
		b = appendRight(b, strings.ToUpper(string(k)), cellWidth+1)
		b = appendRight(b, "CHANGE", cellWidth+2)
		b = appendRight(b, "%", percentWidth)
	}
	b = append(b, "  "+d.heading+"\n"...)
	for i := range d.top(limit) {
		r := &d.rows[i]
		for _, k := range diffKeys {
			text := "-"
			if n, ok := number(r.after, k); ok && r.after != nil {
				text = cell(n, k)
			}
			b = appendRight(b, text, cellWidth+1)
			b = appendRight(b, r.changeCell(k), cellWidth+2)
			b = appendRight(b, r.relative(k), percentWidth)
		}
		b = append(b, "  "+r.label+"\n"...)
	}
	return writeAll(w, b)
}

func (d *Diff) top(limit int) []diffRow {
	if limit > 0 && limit < len(d.rows) {
		return d.rows[:limit]
	}
	return d.rows
}

// WriteJSON writes the rows of both reports side by side.
func (d *Diff) WriteJSON(w io.Writer, limit int) error {
	t := Table{Heading: d.heading}
	b := []byte(`{"rows":[`)
	for i := range d.top(limit) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, "\n{"...)
		for j, side := range []*Row{d.rows[i].before, d.rows[i].after} {
			b = fmt.Appendf(b, "%s%q:", [2]string{"", ","}[j], [2]string{"before", "after"}[j])
			if side == nil {
				b = append(b, "null"...)
			} else {
				b = t.appendJSONRow(b, side)
			}
		}
		b = append(b, '}')
	}
	return writeAll(w, append(b, "\n]}\n"...))
}

// WriteCSV writes a line a row: the values before and after.
func (d *Diff) WriteCSV(w io.Writer, limit int) error {
	head := []string{"name", "object"}
	for _, k := range diffKeys {
		head = append(head, string(k)+"_before", string(k)+"_after")
	}
	lines := [][]string{head}
	for i := range d.top(limit) {
		r := &d.rows[i]
		some := cmp.Or(r.after, r.before)
		line := []string{printable(some.Name), printable(some.Object)}
		for _, k := range diffKeys {
			for _, side := range []*Row{r.before, r.after} {
				text := ""
				if n, ok := number(side, k); ok && side != nil {
					text = strconv.FormatInt(n, 10)
				}
				line = append(line, text)
			}
		}
		lines = append(lines, line)
	}
	return writeCSV(w, lines)
}
