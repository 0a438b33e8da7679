package analyze

import (
	"strconv"

	"nopal/trace"
)

const (
	// maxIndent is how many levels are shown by indentation; the depth of
	// deeper calls is written out. A recursion of a million calls would
	// otherwise make lines of two megabytes.
	maxIndent = 50

	spaces = "                                                                                                    "

	colorDim  = "\x1b[2m"
	colorRed  = "\x1b[1;31m"
	colorName = "\x1b[0m"
)

// textView writes a line an event, as ftrace does, indented by depth.
type textView struct {
	names    *names
	tasks    prefixes
	switched prefixes
	color    bool
	heads    [numHeads]lineHeads // by thread id
	last     *lineHeads
	opens    string // behind the place of a duration in the line of an entry,
	closes   string // and behind a duration
}

func newTextView(n *names, color bool) textView {
	n.color = color
	v := textView{names: n, color: color, last: new(lineHeads), opens: treeBar, closes: treeBar}
	v.switched.make = func(t *trace.Task) []byte { return []byte(taskLabel(t)) }
	v.tasks.make = func(t *trace.Task) []byte {
		s := taskLabel(t)
		p := []byte(spaces[:max(0, 23-len(s))] + s)
		if color {
			p = append([]byte(colorDim), p...)
		}
		return append(p, "  "...)
	}
	return v
}

func (v *textView) header(dst []byte) []byte {
	return append(dst, "#              TASK-TID        SECONDS  FUNCTION\n"...)
}

// prefix appends task and time.
func (v *textView) prefix(dst []byte, ev *trace.Event) []byte {
	return v.begin(dst, lineBare, ev)
}

func (v *textView) entry(dst []byte, s *siteText, ev *trace.Event) []byte {
	dst = v.prefix(dst, ev)
	dst = v.function(indent(dst, ev.Depth), s, ev)
	dst = append(dst, '\n')
	if ev.Regs != nil || ev.Stack != nil {
		dst = v.extras(dst, ev)
	}
	return dst
}

// function writes a function, as a call if its arguments are known.
func (v *textView) function(dst []byte, s *siteText, ev *trace.Event) []byte {
	if len(ev.Args) > 0 {
		return s.appendCall(dst, ev.Args, nil)
	}
	return appendShort(dst, s.text)
}

// exit is not called for recordings of entries alone.
func (v *textView) exit(dst []byte, _ *siteText, _ *trace.Event) []byte { return dst }

// dim and plain switch colours where there are any.
func (v *textView) dim(dst []byte) []byte {
	if v.color {
		dst = append(dst, colorDim...)
	}
	return dst
}

func (v *textView) plain(dst []byte) []byte {
	if v.color {
		dst = append(dst, colorName...)
	}
	return dst
}

// mark writes what happened to the recording while it was made.
func (v *textView) mark(dst []byte, ev *trace.Event) []byte {
	dst = v.prefix(dst, ev)
	dst = append(v.dim(dst), "/* "+printable(ev.Text)+" */"...)
	return append(v.plain(dst), '\n')
}

// extras writes the registers and the stack of an entry.
func (v *textView) extras(dst []byte, ev *trace.Event) []byte {
	if ev.Regs != nil {
		dst = v.names.appendRegs(dst, ev.Regs)
	}
	for _, addr := range ev.Stack {
		dst = append(dst, spaces[:25]...)
		dst = append(dst, " => "...)
		dst = v.names.appendSymbol(dst, ev.Program, addr)
		dst = append(dst, '\n')
	}
	return dst
}

func (n *names) appendRegs(dst []byte, regs []uint64) []byte {
	width := 0
	for _, name := range n.regs {
		width = max(width, len(name))
	}
	for i, r := range regs {
		if i%4 == 0 {
			dst = append(dst, spaces[:25]...)
		}
		dst = append(dst, spaces[:1+width-len(n.regs[i])]...)
		dst = append(dst, n.regs[i]...)
		dst = append(dst, ' ')
		for shift := 60; shift >= 0; shift -= 4 {
			dst = append(dst, "0123456789abcdef"[r>>shift&15])
		}
		if i%4 == 3 || i == len(regs)-1 {
			dst = append(dst, '\n')
		}
	}
	return dst
}

func (v *textView) lost(dst []byte, ev *trace.Event) []byte {
	dst = v.prefix(dst, ev)
	if v.color {
		dst = append(dst, colorRed...)
	}
	dst = append(dst, "LOST "...)
	dst = strconv.AppendUint(dst, ev.Count, 10)
	dst = append(dst, " events"...)
	if v.color {
		dst = append(dst, colorName...)
	}
	return append(dst, '\n')
}

// appendSymbol appends a return address as text.
func (n *names) appendSymbol(dst []byte, p *trace.Program, addr uint64) []byte {
	s := p.Symbol(addr)
	switch {
	case s.Object == nil:
		dst = append(dst, "0x"...)
		return strconv.AppendUint(dst, addr, 16)
	case s.Func == nil:
		return append(dst, printable(s.String())...)
	}
	dst = append(dst, printable(n.demangled(s.Func.Name))...)
	dst = append(dst, "+0x"...)
	dst = strconv.AppendUint(dst, s.Offset, 16)
	dst = append(dst, " ("...)
	dst = append(dst, printable(s.Object.Base())...)
	return append(dst, ')')
}

// maxPrefixes bounds the memory for threads that have long ended.
const maxPrefixes = 1 << 14

// prefixes keeps what is written of a task. Events of one thread come in
// runs, and those of a few threads alternate, so these are looked at first.
type prefixes struct {
	make   func(*trace.Task) []byte
	recent [numHeads]prefix // by thread id
	all    map[*trace.Task][]byte
}

type prefix struct {
	task *trace.Task
	text []byte
}

// of appends what is written of t.
func (p *prefixes) of(t *trace.Task, dst []byte) []byte {
	r := &p.recent[t.TID%numHeads]
	if t != r.task {
		r.task, r.text = t, p.find(t)
	}
	return append(dst, r.text...)
}

func (p *prefixes) find(t *trace.Task) []byte {
	text, ok := p.all[t]
	if !ok {
		if p.all == nil || len(p.all) >= maxPrefixes {
			p.all = map[*trace.Task][]byte{}
		}
		text = p.make(t)
		p.all[t] = text
	}
	return text
}
