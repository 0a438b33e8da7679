package analyze

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// WriteText writes the ways to the function, if the graph is about one, and
// the tree of calls with what each took and its share of the whole.
func (g *CallGraph) WriteText(w io.Writer) error {
	var b []byte
	if g.options.Function != nil && len(g.Roots) > 0 {
		b = append(b, "# callers\n"...)
		for i := range g.Backtraces {
			b = g.appendBacktrace(b, i)
		}
		if g.Dropped > 0 {
			b = fmt.Appendf(b, "\nand %d more\n", g.Dropped)
		}
		b = append(b, "\n# calls\n"...)
	}
	b = appendRight(b, "CALLS", cellWidth+1)
	b = appendRight(b, "TOTAL", cellWidth+1)
	b = appendRight(b, "SELF", cellWidth+1)
	b = appendRight(b, "SHARE", shareWidth)
	b = append(b, "  FUNCTION\n"...)
	for _, n := range g.Roots {
		b = g.appendNode(b, n, "", "")
	}
	if notes := g.notes(); len(notes) > 0 {
		b = append(b, "\n# "+strings.Join(notes, "\n# ")+"\n"...)
	}
	return writeAll(w, b)
}

const shareWidth = 8

func (g *CallGraph) notes() []string {
	r := Report{Calls: g.Calls, Inferred: g.Inferred, Lost: g.Lost, CountOnly: g.CountOnly}
	notes := r.notes()
	if g.TooDeep {
		notes = append(notes, fmt.Sprintf("there are more than %d levels; the times of those are in the last", maxLevels))
	}
	return notes
}

// share is a part of the whole in percent, or nothing without times.
func (g *CallGraph) share(total int64) string {
	if g.CountOnly || g.Total == 0 {
		return "-"
	}
	return strconv.FormatFloat(100*float64(total)/float64(g.Total), 'f', 1, 64) + "%"
}

func (g *CallGraph) appendBacktrace(dst []byte, i int) []byte {
	t := &g.Backtraces[i]
	dst = fmt.Appendf(dst, "\n%d calls", t.Calls)
	if t.Calls == 1 {
		dst = dst[:len(dst)-1]
	}
	if t.Total != Unknown {
		dst = fmt.Appendf(dst, ", %s (%s)", strings.TrimSpace(FormatDuration(t.Total)), g.share(t.Total))
	}
	dst = append(dst, ":\n"...)
	for j, f := range t.Frames {
		arrow := "    "
		if j > 0 {
			arrow = " <- "
		}
		dst = append(dst, "  "+arrow+f.Label+"\n"...)
	}
	return dst
}

// appendNode writes a line a function. The first line of a node begins with
// lead, those of what it calls with follow.
func (g *CallGraph) appendNode(dst []byte, n *GraphNode, lead, follow string) []byte {
	if n.Calls == 0 {
		dst = appendRight(dst, "-", cellWidth+1)
	} else {
		dst = appendRight(dst, strconv.FormatUint(n.Calls, 10), cellWidth+1)
	}
	dst = appendRight(dst, FormatDuration(n.Total), cellWidth+1)
	dst = appendRight(dst, FormatDuration(n.Self), cellWidth+1)
	dst = appendRight(dst, g.share(n.Total), shareWidth)
	dst = append(dst, "  "...)
	if n.level > maxIndent {
		dst = append(dst, follow...)
		dst = fmt.Appendf(dst, "(%d) ", n.level)
	} else {
		dst = append(dst, lead...)
	}
	dst = append(dst, n.Label...)
	dst = append(dst, '\n')
	for i, c := range n.Children {
		switch {
		case n.level >= maxIndent:
			dst = g.appendNode(dst, c, "", follow)
		case i < len(n.Children)-1:
			dst = g.appendNode(dst, c, follow+"+- ", follow+"|  ")
		default:
			dst = g.appendNode(dst, c, follow+"+- ", follow+"   ")
		}
	}
	return dst
}

// WriteJSON writes the graph as one object; times are nanoseconds, and null
// where they are not known.
func (g *CallGraph) WriteJSON(w io.Writer) error {
	b := fmt.Appendf(nil, `{"calls":%d,"inferred":%d,"lost":%d,"total":%s,`, g.Calls, g.Inferred, g.Lost, g.jsonTime(g.Total))
	if g.options.Function != nil {
		b = append(b, `"backtraces":[`...)
		for i := range g.Backtraces {
			t := &g.Backtraces[i]
			b = fmt.Appendf(b, "%s\n"+`{"calls":%d,"total":%s,"frames":[`, comma(i), t.Calls, g.jsonTime(t.Total))
			for j, f := range t.Frames {
				b = append(b, comma(j)...)
				b = append(b, '{')
				b = append(f.appendNames(b), '}')
			}
			b = append(b, "]}"...)
		}
		b = append(b, "],\n"...)
	}
	b = append(b, `"roots":`...)
	b = g.appendJSONNodes(b, g.Roots)
	return writeAll(w, append(b, "}\n"...))
}

func comma(i int) string {
	if i == 0 {
		return ""
	}
	return ","
}

func (g *CallGraph) jsonTime(ns int64) string {
	if g.CountOnly || ns == Unknown {
		return "null"
	}
	return strconv.FormatInt(ns, 10)
}

func (n *GraphNode) appendNames(dst []byte) []byte {
	dst = append(dst, `"name":`...)
	dst = appendJSON(dst, n.Name)
	dst = append(dst, `,"object":`...)
	return appendJSON(dst, n.Object)
}

func (g *CallGraph) appendJSONNodes(dst []byte, list []*GraphNode) []byte {
	dst = append(dst, '[')
	for i, n := range list {
		dst = append(dst, comma(i)+"\n{"...)
		dst = n.appendNames(dst)
		dst = fmt.Appendf(dst, `,"calls":%d,"total":%s,"self":%s`, n.Calls, g.jsonTime(n.Total), g.jsonTime(n.Self))
		if len(n.Children) > 0 {
			dst = append(dst, `,"children":`...)
			dst = g.appendJSONNodes(dst, n.Children)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}
