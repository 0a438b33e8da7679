package analyze

import (
	"strconv"

	"nopal/trace"
)

// jsonView writes a JSON object an event. FORMAT.md describes them.
type jsonView struct {
	names *names
	tasks prefixes
}

func newJSONView(n *names) *jsonView {
	v := &jsonView{names: n}
	v.tasks.make = func(t *trace.Task) []byte {
		p := append([]byte(`,"pid":`), strconv.FormatUint(uint64(t.Program.PID), 10)...)
		p = append(p, `,"tid":`...)
		return strconv.AppendUint(p, uint64(t.TID), 10)
	}
	return v
}

func (v *jsonView) header(dst []byte) []byte { return dst }

// start writes what all events of functions have.
func (v *jsonView) start(dst []byte, head string, s *siteText, ev *trace.Event) []byte {
	dst = append(dst, head...)
	dst = strconv.AppendInt(dst, ev.Time, 10)
	dst = v.tasks.of(ev.Task, dst)
	dst = append(dst, s.jsonAt(ev.Addr)...)
	dst = append(dst, `,"depth":`...)
	return strconv.AppendUint(dst, uint64(ev.Depth), 10)
}

func (v *jsonView) entry(dst []byte, s *siteText, ev *trace.Event) []byte {
	dst = v.start(dst, `{"type":"entry","time":`, s, ev)
	if ev.Regs != nil {
		dst = v.appendRegs(dst, ev.Regs)
	}
	if ev.Stack != nil {
		dst = v.appendStack(dst, ev)
	}
	if len(ev.Args) > 0 {
		dst = v.appendArgs(dst, ev.Args)
	}
	return append(dst, "}\n"...)
}

func (v *jsonView) appendRegs(dst []byte, regs []uint64) []byte {
	sep := `,"regs":{"`
	for i, r := range regs {
		dst = append(dst, sep...)
		dst = append(dst, v.names.regs[i]...)
		dst = append(dst, `":"0x`...)
		dst = strconv.AppendUint(dst, r, 16)
		sep = `","`
	}
	return append(dst, `"}`...)
}

func (v *jsonView) appendStack(dst []byte, ev *trace.Event) []byte {
	dst = append(dst, `,"stack":[`...)
	for i, addr := range ev.Stack {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"addr":"0x`...)
		dst = strconv.AppendUint(dst, addr, 16)
		dst = append(dst, '"')
		if s := ev.Program.Symbol(addr); s.Object != nil {
			if s.Func != nil {
				dst = append(dst, `,"name":`...)
				dst = append(dst, v.names.quoted(v.names.demangled(s.Func.Name))...)
			}
			dst = append(dst, `,"offset":`...)
			dst = strconv.AppendUint(dst, s.Offset, 10)
			dst = append(dst, `,"object":`...)
			dst = append(dst, v.names.quoted(s.Object.Path)...)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func (v *jsonView) exit(dst []byte, s *siteText, ev *trace.Event) []byte {
	dst = v.start(dst, `{"type":"exit","time":`, s, ev)
	if ev.Duration >= 0 {
		dst = append(dst, `,"duration":`...)
		dst = strconv.AppendInt(dst, ev.Duration, 10)
	}
	if ev.Inferred {
		dst = append(dst, `,"inferred":true`...)
	}
	if ev.Resumed {
		dst = append(dst, `,"resumed":true`...)
	}
	if len(ev.Args) > 0 {
		dst = v.appendArgs(dst, ev.Args)
	}
	if ev.Ret != nil {
		dst = appendJSONRet(dst, ev.Ret)
	}
	return append(dst, "}\n"...)
}

func (v *jsonView) mark(dst []byte, ev *trace.Event) []byte {
	dst = append(dst, `{"type":"mark","time":`...)
	dst = strconv.AppendInt(dst, ev.Time, 10)
	dst = v.tasks.of(ev.Task, dst)
	dst = append(dst, `,"text":`...)
	dst = appendJSON(dst, ev.Text)
	return append(dst, "}\n"...)
}

func (v *jsonView) lost(dst []byte, ev *trace.Event) []byte {
	dst = append(dst, `{"type":"lost","count":`...)
	dst = strconv.AppendUint(dst, ev.Count, 10)
	dst = append(dst, `,"tid":`...)
	dst = strconv.AppendUint(dst, uint64(ev.Task.TID), 10)
	dst = append(dst, `,"pid":`...)
	dst = strconv.AppendUint(dst, uint64(ev.Program.PID), 10)
	dst = append(dst, `,"time":`...)
	dst = strconv.AppendInt(dst, ev.Time, 10)
	return append(dst, "}\n"...)
}
