package analyze

import (
	"math"
	"strconv"

	"nopal/trace"
)

// durationWidth is that of a duration in text: a mark, a number and its unit.
const (
	durationWidth = 17
	noDuration    = "                 "
	zeroDuration  = "         0.000 us"
	treeBar       = "  |  "
)

// durationMarks are those of the kernel's function graph tracer
// (trace_print_graph_duration), for durations above so many ns.
var durationMarks = []struct {
	above int64
	mark  byte
	color string
}{
	{1_000_000_000, '$', "\x1b[1;31m"},
	{100_000_000, '@', "\x1b[31m"},
	{10_000_000, '*', "\x1b[31m"},
	{1_000_000, '#', "\x1b[33m"},
	{100_000, '!', "\x1b[33m"},
	{10_000, '+', ""},
	{math.MinInt64, ' ', ""},
}

// appendDuration writes a duration in microseconds, as the kernel does, with
// a mark that makes the long ones stand out.
func appendDuration(dst []byte, ns int64, color bool) []byte {
	if ns < 10_000 && ns >= 0 {
		// Most calls are short.
		dst = append(dst, zeroDuration...)
		putDuration(dst[len(dst)-durationWidth:], uint32(ns))
		return dst
	}
	i := 0
	for ns <= durationMarks[i].above {
		i++
	}
	m := &durationMarks[i]
	color = color && m.color != ""
	if color {
		dst = append(dst, m.color...)
	}
	// The digits from the right; int64 has 19, and the point is one.
	var digits [24]byte
	n := len(digits)
	for k, u := 0, uint64(max(ns, 0)); k < 4 || u > 0; k++ {
		if k == 3 {
			n--
			digits[n] = '.'
		}
		n--
		digits[n] = byte('0' + u%10)
		u /= 10
	}
	dst = append(dst, m.mark)
	number := digits[n:]
	dst = append(dst, spaces[:max(0, durationWidth-4-len(number))]...)
	dst = append(dst, number...)
	dst = append(dst, " us"...)
	if color {
		dst = append(dst, colorName...)
	}
	return dst
}

// treeView writes the calls of each thread as a program of nested blocks, as
// the kernel's function graph tracer does.
type treeView struct {
	textView
	current *trace.Task
}

func (v *treeView) header(dst []byte) []byte {
	return append(dst, "#              TASK-TID        SECONDS             DURATION  |  FUNCTION\n"...)
}

// taskChange separates what one thread did from what another does.
func (v *treeView) taskChange(dst []byte, t *trace.Task) []byte {
	if last := v.current; last != nil && (last.TID != t.TID || last.Program != t.Program) {
		// A pager begins each line without colour.
		const line = " ------------------------------------------"
		dst = append(v.plain(append(v.dim(dst), line...)), '\n')
		dst = append(v.dim(dst), ' ')
		dst = v.switched.of(last, dst)
		dst = append(dst, "  =>  "...)
		dst = append(v.plain(v.switched.of(t, dst)), '\n')
		dst = append(v.plain(append(v.dim(dst), line...)), '\n')
	}
	v.current = t
	return dst
}

func (v *treeView) entry(dst []byte, s *siteText, ev *trace.Event) []byte {
	if ev.Task != v.current {
		dst = v.taskChange(dst, ev.Task)
	}
	if !ev.Leaf {
		dst = indent(v.begin(dst, lineOpen, ev), ev.Depth)
		if hasValues(ev) {
			dst = v.call(dst, s, ev)
		} else {
			dst = appendShort(dst, s.open)
		}
	} else {
		dst = indent(v.timed(dst, ev), ev.Depth)
		switch {
		case hasValues(ev):
			dst = v.call(dst, s, ev)
		case ev.Inferred:
			dst = append(dst, s.leaf...)
			dst = appendComment(dst[:len(dst)-1], "inferred", v.color)
		default:
			dst = appendShort(dst, s.leaf)
		}
	}
	if ev.Regs != nil || ev.Stack != nil {
		dst = v.extras(dst, ev)
	}
	return dst
}

func (v *treeView) lost(dst []byte, ev *trace.Event) []byte {
	return v.textView.lost(v.taskChange(dst, ev.Task), ev)
}

func (v *treeView) exit(dst []byte, s *siteText, ev *trace.Event) []byte {
	if ev.Leaf {
		return dst // a line with its entry
	}
	if ev.Task != v.current {
		dst = v.taskChange(dst, ev.Task)
	}
	dst = indent(v.timed(dst, ev), ev.Depth)
	if hasValues(ev) {
		return v.closing(dst, s, ev)
	}
	if note := exitNote(ev); note != "" {
		return appendComment(append(dst, '}'), string(s.text)+", "+note, v.color)
	}
	return appendShort(dst, s.closed)
}

// exitNote is what is to be known about the time of an exit.
func exitNote(ev *trace.Event) string {
	switch {
	case ev.Inferred:
		return "inferred"
	case ev.Duration < 0:
		return "entry not recorded"
	case ev.Resumed:
		return "not over before"
	}
	return ""
}

// appendComment ends a line with a remark.
func appendComment(dst []byte, text string, color bool) []byte {
	if color {
		return append(dst, " "+colorDim+"/* "+text+" */"+colorName+"\n"...)
	}
	return append(dst, " /* "+text+" */\n"...)
}

// flatView writes a line an event, of recordings with exits.
type flatView struct{ textView }

func newFlatView(n *names, color bool) *flatView {
	v := &flatView{newTextView(n, color)}
	v.opens, v.closes = "  -> ", "  <- "
	return v
}

func (v *flatView) header(dst []byte) []byte {
	return append(dst, "#              TASK-TID        SECONDS             DURATION      FUNCTION\n"...)
}

func (v *flatView) entry(dst []byte, s *siteText, ev *trace.Event) []byte {
	dst = indent(v.begin(dst, lineOpen, ev), ev.Depth)
	dst = v.function(dst, s, ev)
	dst = append(dst, '\n')
	if ev.Regs != nil || ev.Stack != nil {
		dst = v.extras(dst, ev)
	}
	return dst
}

func (v *flatView) exit(dst []byte, s *siteText, ev *trace.Event) []byte {
	dst = indent(v.timed(dst, ev), ev.Depth)
	dst = appendResult(appendShort(dst, s.text), ev.Ret)
	if note := exitNote(ev); note != "" {
		return appendComment(dst, note, v.color)
	}
	return append(dst, '\n')
}

// taskLabel is a thread as it is shown.
func taskLabel(t *trace.Task) string {
	return printable(t.Name) + "-" + strconv.FormatUint(uint64(t.TID), 10)
}
