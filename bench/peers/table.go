package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// writeTables prints the results as text.
func writeTables(w io.Writer, r *results) error {
	var out strings.Builder
	m := r.Machine
	virtual := ""
	if m.Hypervisor {
		virtual = ", virtual"
	}
	fmt.Fprintf(&out, "%s; %d processors: %s%s; Linux %s; load before %s, after %s\n", m.Date, m.Processors, m.Processor, virtual,
		m.Kernel, m.LoadBefore, m.LoadAfter)
	for _, name := range r.workloads() {
		fmt.Fprintf(&out, "\n%s\n\n", r.title(name))
		out.WriteString(layout(r.table(name)))
	}
	if len(r.Attach) > 0 {
		out.WriteString("\nattach: for how long a process of 100,000 functions stands still\n\n")
		out.WriteString(layout(r.attachTable()))
	}
	out.WriteString("\nAgainst what was to be reached\n\n")
	out.WriteString(layout(r.reached()))
	_, err := io.WriteString(w, out.String())
	return err
}

func (r *results) title(workload string) string {
	for _, w := range workloads(false) {
		if w.name == workload {
			return workload + ": " + w.what
		}
	}
	return workload
}

// table returns the rows of a workload, the heading first.
func (r *results) table(workload string) [][]string {
	plain := r.of(workload, "untraced")
	floors := []*measurement{nil, r.of(workload, "floor 1 rdtsc"), r.of(workload, "floor 2 rdtsc")}
	unit := "ms"
	if plain != nil && plain.Calls > 0 {
		unit = "ns/call"
	}
	rows := [][]string{{"", "CPU " + unit, "min..max", "x untraced", "x floor", "wall " + unit, "command s", "its CPU s", "instr./call", "bytes/event", "lost"}}
	for _, m := range r.Measured {
		if m.Workload != workload {
			continue
		}
		rows = append(rows, m.row(plain, floors[m.Stamps]))
	}
	return rows
}

// row describes a measurement; one that failed says why. The floor is that of as many time stamps.
func (m *measurement) row(plain, floor *measurement) []string {
	if m.Error != "" {
		return []string{m.Peer, m.refusal()}
	}
	cost, ok := m.cost()
	if !ok {
		return []string{m.Peer, "not measured"}
	}
	row := []string{m.Peer, figure(cost.median), figure(cost.least) + ".." + figure(cost.most)}
	for _, other := range []*measurement{plain, floor} {
		cell := ""
		if x, ok := m.ratio(other); ok {
			cell = figure(x)
		}
		row = append(row, cell)
	}
	for _, f := range []struct {
		of []float64
		by float64
	}{{m.Wall, m.unit()}, {m.Whole, 1}, {m.AllCPU, 1}} {
		s, ok := spreadOf(f.of, f.by)
		cell := ""
		if ok {
			cell = figure(s.median)
		}
		row = append(row, cell)
	}
	steps := ""
	if m.Instructions.Median > 0 {
		steps = fmt.Sprintf("%.0f, mean %.1f", m.Instructions.Median, m.Instructions.Mean)
	}
	if m.StepError != "" {
		steps = "not counted"
	}
	return append(row, steps, m.each(), m.losses())
}

// refusal is how an error is shown: what nopal refuses is a mode to come.
func (m *measurement) refusal() string {
	if m.Nopal {
		return "not there yet: " + m.Error
	}
	return "refused: " + m.Error
}

// each is the size of an event on disk.
func (m *measurement) each() string {
	if m.Events < 1000 { // what is around the events would be most of it
		return m.Note
	}
	return figure(float64(m.Bytes) / float64(m.Events))
}

// losses adds up the runs.
func (m *measurement) losses() string {
	if len(m.Lost) == 0 {
		return ""
	}
	var total uint64
	for _, n := range m.Lost {
		total += n
	}
	if total == 0 {
		return "0"
	}
	share := float64(total) / float64(len(m.Lost)) / max(1, float64(m.Events)+float64(m.Lost[len(m.Lost)-1]))
	return fmt.Sprintf("%d in %d runs, %.1f%%", total, len(m.Lost), 100*share)
}

// figure writes a number with three digits that matter.
func figure(f float64) string {
	switch {
	case f >= 100:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case f >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	default:
		return strconv.FormatFloat(f, 'f', 2, 64)
	}
}

// layout aligns rows in columns, the first to the left, the others to the right. A row of two cells is a name and a remark, which
// may be as long as it wants.
func layout(rows [][]string) string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if len(row) != 2 || i == 0 {
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	var out strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell)))
			switch {
			case i == 0:
				line.WriteString(cell + pad)
			case len(row) == 2:
				line.WriteString("  " + cell)
			default:
				line.WriteString("  " + pad + cell)
			}
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return out.String()
}
