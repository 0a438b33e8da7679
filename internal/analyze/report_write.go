package analyze

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// writeAll writes a text that was made in memory.
func writeAll(w io.Writer, text []byte) error {
	if _, err := w.Write(text); err != nil {
		return &WriteError{err}
	}
	return nil
}

// WriteText writes the table, and what is to be known about it. A limit other
// than 0 is the number of rows at most.
func (r *Report) WriteText(w io.Writer, limit int) error {
	height := 0
	if limit > 0 {
		height = limit + 1
	}
	var b strings.Builder
	for _, l := range r.Lines(0, height) {
		b.WriteString(l)
		b.WriteByte('\n')
	}
	if n := r.notes(); len(n) > 0 {
		b.WriteString("\n# " + strings.Join(n, "\n# ") + "\n")
	}
	return writeAll(w, []byte(b.String()))
}

// notes say how far the numbers can be trusted.
func (r *Report) notes() []string {
	var n []string
	if r.Lost > 0 {
		n = append(n, fmt.Sprintf("%d events were lost while recording: calls are missing", r.Lost))
	}
	if r.Inferred > 0 {
		n = append(n, fmt.Sprintf("%s of the calls have no recorded exit; they are taken to last until the next event outside of them", percent(r.Inferred, r.Calls)))
	}
	if r.NoEntry > 0 {
		n = append(n, fmt.Sprintf("%s of the calls began before the recording; their times are not counted", percent(r.NoEntry, r.Calls)))
	}
	if r.Profile {
		n = append(n, "a profile: the total of a function that calls itself has all of its levels; percentiles are from steps of doubled time")
	}
	if r.CountOnly && r.Calls > 0 {
		n = append(n, "no times: the recording has entries only (record --graph has exits, too)")
	}
	return n
}

// percent writes a share that is not 0 as one that is not 0.
func percent(part, whole uint64) string {
	p := 100 * float64(part) / float64(max(whole, 1))
	if p < 0.1 {
		return "less than 0.1 %"
	}
	return strconv.FormatFloat(p, 'f', 1, 64) + " %"
}

// durationKeys are the columns of durations.
var durationKeys = []Key{KeyTotal, KeySelf, KeyAvg, KeyMin, KeyMax, KeyP50, KeyP99}

// appendJSONRow writes what a row is about, and its numbers.
func (t *Table) appendJSONRow(dst []byte, r *Row) []byte {
	dst = append(dst, `{"name":`...)
	dst = appendJSON(dst, r.Name)
	switch t.Heading {
	case headings[ByFunction]:
		dst = append(dst, `,"object":`...)
		dst = appendJSON(dst, r.Object)
	case headings[ByThread]:
		dst = fmt.Appendf(dst, `,"pid":%d,"tid":%d`, r.PID, r.TID)
	}
	dst = fmt.Appendf(dst, `,"calls":%d`, r.Calls)
	for _, k := range durationKeys {
		dst = fmt.Appendf(dst, `,%q:`, string(k))
		if v := r.value(k); v == Unknown {
			dst = append(dst, "null"...)
		} else {
			dst = strconv.AppendInt(dst, v, 10)
		}
	}
	return append(dst, '}')
}

// WriteJSON writes the report as one object; durations are nanoseconds.
func (r *Report) WriteJSON(w io.Writer, limit int) error {
	b := fmt.Appendf(nil, `{"by":%q,"calls":%d,"inferred":%d,"without_entry":%d,"lost":%d,"rows":[`,
		strings.ToLower(r.Heading), r.Calls, r.Inferred, r.NoEntry, r.Lost)
	for i := range r.top(limit) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '\n')
		b = r.appendJSONRow(b, &r.Rows[i])
	}
	return writeAll(w, append(b, "\n]}\n"...))
}

func (t *Table) top(limit int) []Row {
	if limit > 0 && limit < len(t.Rows) {
		return t.Rows[:limit]
	}
	return t.Rows
}

// WriteCSV writes a line a row; durations are nanoseconds, or empty.
func (r *Report) WriteCSV(w io.Writer, limit int) error {
	head := []string{"name"}
	switch r.Heading {
	case headings[ByFunction]:
		head = append(head, "object")
	case headings[ByThread]:
		head = append(head, "pid", "tid")
	}
	head = append(head, "calls")
	for _, k := range durationKeys {
		head = append(head, string(k))
	}
	lines := [][]string{head}
	for i := range r.top(limit) {
		row := &r.Rows[i]
		line := []string{printable(row.Name)}
		switch r.Heading {
		case headings[ByFunction]:
			line = append(line, printable(row.Object))
		case headings[ByThread]:
			line = append(line, strconv.FormatUint(uint64(row.PID), 10), strconv.FormatUint(uint64(row.TID), 10))
		}
		line = append(line, strconv.FormatUint(row.Calls, 10))
		for _, k := range durationKeys {
			cell := ""
			if v := row.value(k); v != Unknown {
				cell = strconv.FormatInt(v, 10)
			}
			line = append(line, cell)
		}
		lines = append(lines, line)
	}
	return writeCSV(w, lines)
}

func writeCSV(w io.Writer, lines [][]string) error {
	if err := csv.NewWriter(w).WriteAll(lines); err != nil {
		return &WriteError{err}
	}
	return nil
}
