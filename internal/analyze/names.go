package analyze

import (
	"bytes"
	"encoding/json"
	"iter"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ianlancetaylor/demangle"

	"nopal/trace"
)

// demangleLimit bounds demangled names to 2^16 bytes: a short mangled name can
// stand for a very long one.
const demangleLimit = 16

// Demangle returns the name of a C++ or Rust symbol as it is in the source,
// and any other as it is.
func Demangle(raw string) string {
	if len(raw) < 3 || raw[0] != '_' || len(raw) > 1<<demangleLimit {
		return raw
	}
	return demangle.Filter(raw, demangle.MaxLength(demangleLimit))
}

// siteText is what is written for a site, made once.
type siteText struct {
	done bool
	verdict
	text []byte // name and, for libraries, object
	json []byte // from the name to behind the address, for this one
	addr uint64

	// Lines of a tree of calls: an entry, an exit, and both in one. A C++ name
	// has its parameters already.
	open, closed, leaf []byte

	// The parts of a call whose arguments are known: the name alone, the name
	// with parentheses, and the object.
	name, call, object []byte
}

// names keeps the texts of sites.
type names struct {
	sel     *Selection
	color   bool
	regs    []string   // names of registers
	sites   []siteText // by Site.ID
	unknown siteText
	plain   map[string]string // demangled names of callers
	json    map[string][]byte // strings as JSON
}

// maxCached bounds the names that are kept of callers, which are not as few
// as sites.
const maxCached = 1 << 16

// demangled is Demangle with a memory.
func (n *names) demangled(raw string) string {
	s, ok := n.plain[raw]
	if !ok {
		if n.plain == nil || len(n.plain) >= maxCached {
			n.plain = map[string]string{}
		}
		s = Demangle(raw)
		n.plain[raw] = s
	}
	return s
}

// quoted is a string as JSON.
func (n *names) quoted(s string) []byte {
	q, ok := n.json[s]
	if !ok {
		if n.json == nil || len(n.json) >= maxCached {
			n.json = map[string][]byte{}
		}
		q = appendJSON(nil, s)
		n.json[s] = q
	}
	return q
}

func newNames(sel *Selection) *names { return &names{sel: sel} }

// jsonAt is what JSON says of a site. It is another in each process, but few
// recordings have more than one.
func (t *siteText) jsonAt(addr uint64) []byte {
	if addr != t.addr {
		i := bytes.LastIndexByte(t.json, 'x') + 1
		t.json = append(strconv.AppendUint(t.json[:i], addr, 16), '"')
		t.addr = addr
	}
	return t.json
}

func (n *names) site(s *trace.Site) *siteText {
	if uint(s.ID) < uint(len(n.sites)) {
		if t := &n.sites[s.ID]; t.done {
			return t
		}
	}
	return n.render(s)
}

func (n *names) render(s *trace.Site) *siteText {
	t := &n.unknown // for IDs below 0, made anew each time
	if s.ID >= 0 {
		for len(n.sites) <= s.ID {
			n.sites = append(n.sites, siteText{})
		}
		t = &n.sites[s.ID]
	}
	raw := s.Name()
	name := Demangle(raw)
	path := s.Object.Path
	text, call, object := printable(name), "()", ""
	bare := text
	if strings.HasSuffix(text, ")") {
		call = ""
	}
	if base := filepath.Base(path); s.Func != nil && strings.Contains(base, ".so") {
		object = " [" + printable(base) + "]"
		text += object
	}
	js := []byte(`,"name":`)
	js = appendJSON(js, name)
	js = append(js, `,"object":`...)
	js = appendJSON(js, path)
	js = append(js, `,"addr":"0x0"`...)
	*t = siteText{
		done:    true,
		verdict: n.sel.verdict(raw, name, path),
		text:    roomy(text),
		json:    js,
		open:    roomy(text + call + " {\n"),
		closed:  appendComment(roomy("}"), text, n.color),
		leaf:    roomy(text + call + ";\n"),
		name:    []byte(bare[:parameters(bare)]),
		call:    []byte(bare + call),
		object:  []byte(object),
	}
	return t
}

// printable replaces what could steer a terminal: names come from files that
// anybody may have made.
func printable(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			q := strconv.Quote(s)
			return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
		}
	}
	return s
}

func appendJSON(dst []byte, s string) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	// A string can always be encoded, and a Builder always be written to.
	_ = e.Encode(s)
	return append(dst, strings.TrimSuffix(b.String(), "\n")...)
}

// Function is a function that a recording knows, called or not.
type Function struct {
	Raw, Demangled, Object string
}

// Functions lists the functions of all objects of a recording.
func Functions(rec *trace.Recording) iter.Seq[Function] {
	return func(yield func(Function) bool) {
		for _, o := range rec.Objects() {
			for i := range o.Funcs {
				raw := o.Funcs[i].Name
				if !yield(Function{raw, Demangle(raw), o.Path}) {
					return
				}
			}
		}
	}
}
