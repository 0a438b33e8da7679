package analyze

import (
	"strings"

	"nopal/trace"
)

// appendJSONArgs writes a call's arguments.
func (v *jsonView) appendArgs(dst []byte, args []trace.Arg) []byte {
	dst = append(dst, `,"args":[`...)
	for i := range args {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"name":`...)
		dst = append(dst, v.names.quoted(args[i].Name)...)
		dst = append(dst, `,"value":`...)
		dst = args[i].Value.AppendJSON(dst)
		if args[i].Value.Truncated() {
			dst = append(dst, `,"truncated":true`...)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// appendJSONRet writes a call's result.
func appendJSONRet(dst []byte, ret *trace.Value) []byte {
	dst = append(dst, `,"ret":`...)
	dst = ret.AppendJSON(dst)
	if ret.Truncated() {
		dst = append(dst, `,"ret_truncated":true`...)
	}
	return dst
}

// inject writes what was done to a call.
func (v *jsonView) inject(dst []byte, s *siteText, ev *trace.Event) []byte {
	dst = v.start(dst, `{"type":"inject","time":`, s, ev)
	dst = append(dst, `,"rule":`...)
	dst = append(dst, v.names.quoted(ev.Text)...)
	if len(ev.Args) > 0 {
		dst = v.appendArgs(dst, ev.Args)
	}
	return append(dst, "}\n"...)
}

// appendCall writes a call as it stands in a program: with the arguments, if
// they are known, in the place of what a demangled name has there. The result
// and the object follow.
func (t *siteText) appendCall(dst []byte, args []trace.Arg, ret *trace.Value) []byte {
	if len(args) > 0 {
		dst = append(append(dst, t.name...), '(')
		dst = append(trace.ArgsText(dst, args), ')')
	} else {
		dst = append(dst, t.call...)
	}
	dst = appendResult(dst, ret)
	return append(dst, t.object...)
}

func appendResult(dst []byte, ret *trace.Value) []byte {
	if ret == nil {
		return dst
	}
	return ret.AppendText(append(dst, " = "...))
}

// hasValues reports that there are arguments or a result to be shown.
func hasValues(ev *trace.Event) bool { return len(ev.Args) > 0 || ev.Ret != nil }

// parameters is where the parameters begin in a demangled name, or its length:
// behind them may stand what qualifies the function.
func parameters(name string) int {
	end := strings.LastIndexByte(name, ')')
	if end < 0 || strings.ContainsAny(name[end:], "}>:") {
		return len(name)
	}
	depth := 0
	for i := end; i >= 0; i-- {
		switch name[i] {
		case ')':
			depth++
		case '(':
			if depth--; depth > 0 {
				continue
			}
			if i == 0 || strings.HasSuffix(name[:i], "operator") {
				return len(name)
			}
			return i
		}
	}
	return len(name)
}

// inject writes what was done to a call.
func (v *textView) inject(dst []byte, s *siteText, ev *trace.Event) []byte {
	return v.injected(v.prefix(dst, ev), s, ev)
}

func (v *textView) injected(dst []byte, s *siteText, ev *trace.Event) []byte {
	dst = append(v.dim(indent(dst, ev.Depth)), "/* "...)
	dst = append(append(dst, s.name...), ": "...)
	dst = append(dst, printable(ev.Text)...)
	for i := range ev.Args {
		dst = append(dst, ", "...)
		dst = append(append(dst, printable(ev.Args[i].Name)...), '=')
		dst = ev.Args[i].Value.AppendText(dst)
	}
	return append(v.plain(append(dst, " */"...)), '\n')
}

func (v *treeView) inject(dst []byte, s *siteText, ev *trace.Event) []byte {
	if ev.Task != v.current {
		dst = v.taskChange(dst, ev.Task)
	}
	return v.injected(append(v.prefix(dst, ev), noDuration+treeBar...), s, ev)
}

func (v *flatView) inject(dst []byte, s *siteText, ev *trace.Event) []byte {
	return v.injected(append(v.prefix(dst, ev), noDuration+"     "...), s, ev)
}

// call writes a line of a tree, from the name on: an entry, or an entry and
// its exit in one.
func (v *treeView) call(dst []byte, s *siteText, ev *trace.Event) []byte {
	if !ev.Leaf {
		return append(s.appendCall(dst, ev.Args, nil), " {\n"...)
	}
	dst = append(s.appendCall(dst, ev.Args, ev.Ret), ';')
	if ev.Inferred {
		return appendComment(dst, "inferred", v.color)
	}
	return append(dst, '\n')
}

// closing writes a line of a tree, from the brace on, with a result.
func (v *treeView) closing(dst []byte, s *siteText, ev *trace.Event) []byte {
	dst = append(appendResult(append(dst, '}'), ev.Ret), ';')
	text := string(s.text)
	for i := range ev.Args {
		text += ", " + printable(ev.Args[i].Name) + "=" + string(ev.Args[i].Value.AppendText(nil))
	}
	if note := exitNote(ev); note != "" {
		text += ", " + note
	}
	return appendComment(dst, text, v.color)
}
