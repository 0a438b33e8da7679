package analyze

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Key is a column of a Table.
type Key string

// The columns, in the order in which they are shown.
const (
	KeyCalls Key = "calls"
	KeyTotal Key = "total"
	KeySelf  Key = "self"
	KeyAvg   Key = "avg"
	KeyMin   Key = "min"
	KeyMax   Key = "max"
	KeyP50   Key = "p50"
	KeyP99   Key = "p99"
	KeyName  Key = "name"
)

// Keys are all columns.
var Keys = []Key{KeyCalls, KeyTotal, KeySelf, KeyAvg, KeyMin, KeyMax, KeyP50, KeyP99, KeyName}

// ParseKeys reads a list of columns to sort by, separated by commas.
func ParseKeys(s string) ([]Key, error) {
	var keys []Key
	for part := range strings.SplitSeq(s, ",") {
		k := Key(strings.TrimSpace(part))
		if !slices.Contains(Keys, k) {
			return nil, fmt.Errorf("there is no column %q to sort by: it is one of %s", part, joinKeys(Keys))
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func joinKeys(keys []Key) string {
	s := make([]string, len(keys))
	for i, k := range keys {
		s[i] = string(k)
	}
	return strings.Join(s, ", ")
}

// Unknown is a duration that the recording does not tell.
const Unknown = -1

// Row is what is known about the calls of one function, or of all functions
// of a thread or object. Durations are nanoseconds, or Unknown.
type Row struct {
	Label  string // as it is shown: printable
	Name   string // demangled function, name of the thread, or path of the object
	Object string // path of a function's object
	PID    uint32 // of a thread
	TID    uint32

	Calls uint64
	Total int64 // outermost calls only: recursion is counted once
	Self  int64
	Avg   int64
	Min   int64
	Max   int64
	P50   int64
	P99   int64
}

// value is what a column of durations shows.
func (r *Row) value(k Key) int64 {
	switch k {
	case KeyTotal:
		return r.Total
	case KeySelf:
		return r.Self
	case KeyAvg:
		return r.Avg
	case KeyMin:
		return r.Min
	case KeyMax:
		return r.Max
	case KeyP50:
		return r.P50
	}
	return r.P99
}

// compare orders rows by a column: large numbers first, names ascending.
func (r *Row) compare(o *Row, k Key) int {
	switch k {
	case KeyName:
		return cmp.Compare(r.Label, o.Label)
	case KeyCalls:
		return cmp.Compare(o.Calls, r.Calls)
	}
	return cmp.Compare(o.value(k), r.value(k))
}

// Table is a list of rows and how to show it.
type Table struct {
	Heading string // of the last column
	Columns []Key  // those before the last; nil: all
	Rows    []Row
}

// Sort orders the rows by the columns given, then by calls and name, so that
// equal rows do not change places between two looks.
func (t *Table) Sort(keys []Key) {
	slices.SortStableFunc(t.Rows, func(a, b Row) int {
		for _, k := range keys {
			if c := a.compare(&b, k); c != 0 {
				return c
			}
		}
		return cmp.Or(a.compare(&b, KeyCalls), cmp.Compare(a.Label, b.Label), cmp.Compare(a.Object, b.Object),
			cmp.Compare(a.PID, b.PID), cmp.Compare(a.TID, b.TID))
	})
}

const (
	cellWidth = 11 // of a column, and a space before it
	nameRoom  = 24 // what the last column should have at least
)

// dropped are the columns that go first where the lines are narrow.
var dropped = []Key{KeyMin, KeyP50, KeyAvg, KeyP99, KeyMax, KeySelf}

// Layout chooses the columns for lines of a width; 0 is any width.
func (t *Table) layout(width int) []Key {
	columns := t.Columns
	if columns == nil {
		columns = Keys[:len(Keys)-1]
	}
	for _, k := range dropped {
		if width == 0 || len(columns)*(cellWidth+1)+nameRoom <= width {
			break
		}
		if i := slices.Index(columns, k); i >= 0 {
			columns = slices.Delete(slices.Clone(columns), i, i+1)
		}
	}
	return columns
}

// Lines renders the table: a heading and a line a row, without line ends. A
// width other than 0 leaves out columns and cuts names to fit; a height other
// than 0 is the number of lines at most, the heading's included.
func (t *Table) Lines(width, height int) []string {
	columns := t.layout(width)
	lines := make([]string, 0, 1+len(t.Rows))
	var b []byte
	for _, k := range columns {
		b = appendRight(b, strings.ToUpper(string(k)), cellWidth+1)
	}
	b = append(b, "  "...)
	b = append(b, t.Heading...)
	lines = append(lines, cut(string(b), width))
	for i := range t.Rows {
		if height > 0 && len(lines) >= height {
			break
		}
		r := &t.Rows[i]
		b = b[:0]
		for _, k := range columns {
			b = r.appendCell(append(b, ' '), k)
		}
		b = append(b, "  "...)
		b = append(b, r.Label...)
		lines = append(lines, cut(string(b), width))
	}
	return lines
}

func (r *Row) appendCell(dst []byte, k Key) []byte {
	if k == KeyCalls {
		return appendRight(dst, strconv.FormatUint(r.Calls, 10), cellWidth)
	}
	return appendRight(dst, FormatDuration(r.value(k)), cellWidth)
}

// appendRight appends s, with spaces before it up to a width.
func appendRight(dst []byte, s string, width int) []byte {
	for n := utf8.RuneCountInString(s); n < width; n++ {
		dst = append(dst, ' ')
	}
	return append(dst, s...)
}

// cut shortens a line to a width, by runes.
func cut(line string, width int) string {
	if width <= 0 || len(line) <= width || utf8.RuneCountInString(line) <= width {
		return line
	}
	n := 0
	for i := range line {
		if n++; n == width {
			return line[:i] + "…"
		}
	}
	return line
}

// FormatDuration writes nanoseconds with three decimals of a unit that leaves
// three digits before them; seconds have as many as they need. Unknown is "-".
func FormatDuration(ns int64) string {
	switch {
	case ns == Unknown:
		return "-"
	case ns < 0:
		return "-" + strings.TrimLeft(FormatDuration(-ns), " ")
	case ns < 1_000_000:
		return decimals(ns) + " us"
	case ns < 1_000_000_000:
		return decimals(ns/1000) + " ms"
	}
	return decimals(ns/1_000_000) + " s "
}

func decimals(thousandths int64) string {
	f := strconv.FormatInt(1000+thousandths%1000, 10)
	return strconv.FormatInt(thousandths/1000, 10) + "." + f[1:]
}
