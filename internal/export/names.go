package export

import (
	"encoding/json"
	"strings"
	"unicode"

	"nopal/internal/analyze"
	"nopal/trace"
)

// site is what the formats need of a traced function, made once.
type site struct {
	only   bool   // asked for
	not    bool   // left out
	name   string // demangled
	raw    string
	object string // last part of the path
	in     *trace.Object
	va     uint64

	text []byte // as the format writes it
	iid  uint64 // perfetto: number of the name; 0: not written yet
}

// sites keeps the sites of a recording.
type sites struct {
	selection *analyze.Selection
	render    func(*site) []byte // makes text
	known     []*site            // by trace.Site.ID
	others    map[int]*site      // those with an ID below 0
}

func (t *sites) of(s *trace.Site) *site {
	if uint(s.ID) < uint(len(t.known)) {
		if k := t.known[s.ID]; k != nil {
			return k
		}
	}
	if k := t.others[s.ID]; k != nil {
		return k
	}
	return t.add(s)
}

func (t *sites) add(s *trace.Site) *site {
	raw := s.Name()
	k := &site{name: clean(analyze.Demangle(raw)), raw: clean(raw), object: clean(s.Object.Base()), in: s.Object, va: s.VA}
	k.only, k.not = t.selection.Verdict(raw, k.name, s.Object.Path)
	if t.render != nil {
		k.text = t.render(k)
	}
	if s.ID < 0 {
		if t.others == nil {
			t.others = map[int]*site{}
		}
		t.others[s.ID] = k
		return k
	}
	for len(t.known) <= s.ID {
		t.known = append(t.known, nil)
	}
	t.known[s.ID] = k
	return k
}

// clean makes a name from a file, which may hold anything, one that JSON and
// protocol buffers can carry and that keeps to its line.
func clean(s string) string {
	ok := true
	for _, r := range s {
		if r == unicode.ReplacementChar || unicode.IsControl(r) {
			ok = false
			break
		}
	}
	if ok {
		return s
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// appendJSON appends a string as JSON.
func appendJSON(dst []byte, s string) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	// A string can always be encoded, and a Builder always be written to.
	_ = e.Encode(s)
	return append(dst, strings.TrimSuffix(b.String(), "\n")...)
}

// programName is what a process is called.
func programName(p *trace.Program) string {
	if len(p.Command) == 0 {
		return "?"
	}
	return clean(p.Command[0])
}
