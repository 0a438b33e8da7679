package args

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"nopal/internal/ftrace"
	"nopal/internal/image"
	"nopal/internal/probe"
	"nopal/trace"
)

// Set is what is wanted of which functions: -A, -R, -a, and the conditions of -F.
type Set struct {
	entries, exits []request
	where          []restriction
	auto           bool
}

// request is one -A or -R: functions, and what is taken there.
type request struct {
	functions *ftrace.Filter
	specs     []spec // empty: what DWARF says
	what      string
	text      string
}

// restriction is one -F: functions, and which of their calls.
type restriction struct {
	functions *ftrace.Filter
	condition *Condition // nil: all of them
}

// Parse reads lists of arguments (`glob@arg1/i32,arg2/s`) and of results (`glob@ret/i32`), each of which may hold several, with
// semicolons between; a glob alone takes all that DWARF tells about. auto takes arguments and results from DWARF where there is none by hand.
func Parse(entries, exits []string, auto bool) (*Set, error) {
	s := &Set{auto: auto}
	var err error
	if s.entries, err = parseRequests("-A", entries, false); err != nil {
		return nil, err
	}
	if s.exits, err = parseRequests("-R", exits, true); err != nil {
		return nil, err
	}
	return s, nil
}

func parseRequests(what string, texts []string, exit bool) ([]request, error) {
	var list []request
	for _, all := range texts {
		for text := range strings.SplitSeq(all, ";") {
			if strings.TrimSpace(text) == "" {
				continue
			}
			r, err := parseRequest(what, text, exit)
			if err != nil {
				return nil, err
			}
			list = append(list, r)
		}
	}
	return list, nil
}

func parseRequest(what, text string, exit bool) (request, error) {
	text = strings.TrimSpace(text)
	glob, _, found := Split(text)
	r := request{what: what, text: text}
	var err error
	if found {
		if r.specs, err = readSpecs(what, text, len(glob)+1, exit); err != nil {
			return r, err
		}
	}
	r.functions, err = functions(what, glob)
	return r, err
}

// functions compiles one glob.
func functions(what, glob string) (*ftrace.Filter, error) {
	f, err := ftrace.NewFilter([]string{glob}, nil)
	var bad *ftrace.PatternError
	if errors.As(err, &bad) {
		bad.Flag = what
	}
	if err == nil && !f.Positive() {
		err = fmt.Errorf("read %s %q: ! leaves functions out, and has nothing to say here", what, glob)
	}
	if err == nil {
		f.From(what)
	}
	return f, err
}

// Where restricts the functions that glob selects to the calls for which c holds, nil: to all of them. Where several globs select a
// function, one of the conditions has to hold.
func (s *Set) Where(glob string, c *Condition) error {
	f, err := functions("-F", glob)
	if err == nil {
		s.where = append(s.where, restriction{f, c})
	}
	return err
}

// Empty reports that nothing is wanted anywhere.
func (s *Set) Empty() bool {
	return s == nil || len(s.entries)+len(s.exits) == 0 && !s.Conditional() && !s.auto
}

// Auto reports whether what DWARF tells of is wanted of all functions.
func (s *Set) Auto() bool { return s != nil && s.auto }

// Conditional reports whether there are conditions.
func (s *Set) Conditional() bool {
	if s == nil {
		return false
	}
	for _, w := range s.where {
		if w.condition != nil {
			return true
		}
	}
	return false
}

// NeedsExits reports whether something is only known when functions return: a result by hand, or a condition on one.
func (s *Set) NeedsExits() bool {
	if s == nil {
		return false
	}
	for _, w := range s.where {
		if w.condition != nil && w.condition.UsesResult() {
			return true
		}
	}
	return len(s.exits) > 0
}

// NoMatch is a request that no function was found for, with the filter that tells which names were near.
type NoMatch struct {
	What    string // -A or -R
	Text    string
	Pattern *ftrace.Pattern
}

// Unmatched returns the requests by hand that For was asked about no function of.
func (s *Set) Unmatched() []NoMatch {
	if s == nil {
		return nil
	}
	var list []NoMatch
	for _, requests := range [][]request{s.entries, s.exits} {
		for _, r := range requests {
			for _, p := range r.functions.Unmatched() {
				list = append(list, NoMatch{r.what, r.text, p})
			}
		}
	}
	return list
}

// Wanted is what is done at a function. A program is nil where there is nothing to do; one with a condition and without fields
// only decides. The numbers of the programs, and of the layouts what says where they are, are for the caller to fill in.
type Wanted struct {
	Entry, Exit             *probe.Program
	EntryLayout, ExitLayout *trace.Probe // nil: there are no fields
}

// For says what is wanted at a function of a machine, nil if that is nothing. object is the path of its file; sig is asked for what DWARF knows of
// it only where that matters.
func (s *Set) For(m trace.Machine, raw, demangled, object string, sig func() (*image.Signature, error)) (*Wanted, error) {
	if s.Empty() {
		return nil, nil
	}
	f := forOne{machine: m, name: raw, ask: sig}
	entries, byHand := f.requested(s.entries, false, raw, demangled, object)
	exits, exitsByHand := f.requested(s.exits, true, raw, demangled, object)
	if f.err != nil {
		return nil, f.err
	}
	if s.auto && (!byHand || !exitsByHand) {
		autoEntries, autoExits := f.auto()
		if !byHand {
			entries = autoEntries
		}
		if !exitsByHand {
			exits = autoExits
		}
	}
	entryCond, exitCond, err := f.restricted(s.where, raw, demangled, object)
	if err != nil {
		return nil, err
	}
	w := &Wanted{}
	w.Entry, w.EntryLayout = assemble(entries, entryCond, trace.ProbeEntry)
	w.Exit, w.ExitLayout = assemble(exits, exitCond, trace.ProbeExit)
	if needsX8(exits) {
		if w.Entry == nil {
			w.Entry = &probe.Program{}
		}
		w.Entry.SaveX8 = true
	}
	if w.Entry == nil && w.Exit == nil {
		return nil, nil
	}
	return w, nil
}

func assemble(fields []field, cond probe.Cond, kind uint32) (*probe.Program, *trace.Probe) {
	if len(fields) == 0 && cond == nil {
		return nil, nil
	}
	p := &probe.Program{Cond: cond}
	if len(fields) == 0 {
		return p, nil
	}
	for _, f := range fields {
		p.Fields = append(p.Fields, f.run)
	}
	l := &trace.Probe{Kind: kind}
	l.Fields, l.Types = layout(fields)
	return p, l
}

// forOne is the work of [Set.For].
type forOne struct {
	machine trace.Machine
	name    string
	ask     func() (*image.Signature, error)
	asked   bool
	sig     *image.Signature
	sigErr  error
	err     error
}

// signature asks once.
func (f *forOne) signature() *image.Signature {
	if !f.asked {
		f.asked = true
		f.sigErr = image.ErrNoDWARF
		if f.ask != nil {
			f.sig, f.sigErr = f.ask()
		}
		if f.sigErr != nil {
			f.sig = nil
		}
	}
	return f.sig
}

func (f *forOne) auto() (entries, exits []field) {
	if sig := f.signature(); sig != nil {
		return fromSignature(sig)
	}
	return nil, nil
}

// all are the fields of all parameters, or of the result.
func (f *forOne) all(exit bool) ([]field, error) {
	sig := f.signature()
	if sig == nil {
		return nil, fmt.Errorf("%w: say what to record, as %s@arg1/i32", f.sigErr, f.name)
	}
	entries, exits := fromSignature(sig)
	if exit {
		return exits, nil
	}
	return entries, nil
}

// requested are the fields that requests ask for at the function; found says that there is a request at all.
func (f *forOne) requested(requests []request, exit bool, raw, demangled, object string) (fields []field, found bool) {
	have := map[spec]bool{}
	for i := range requests {
		r := &requests[i]
		if !r.functions.Match(raw, demangled, object) {
			continue
		}
		found = true
		if len(r.specs) == 0 {
			list, err := f.all(exit)
			if err != nil {
				f.err = errors.Join(f.err, fmt.Errorf("%s %q at %s: %w", r.what, r.text, f.name, err))
			}
			for _, one := range list {
				if !slices.ContainsFunc(fields, func(have field) bool { return have.name == one.name }) {
					fields = append(fields, one)
				}
			}
		}
		for _, s := range r.specs {
			one, err := f.field(&s)
			if err != nil {
				f.err = errors.Join(f.err, fmt.Errorf("%s %q at %s: %w", r.what, r.text, f.name, err))
				continue
			}
			s.offset = 0
			if !have[s] {
				have[s] = true
				fields = append(fields, one)
			}
		}
	}
	return fields, found
}

// field is what records a value, by its format or, without one, by its type in DWARF.
func (f *forOne) field(s *spec) (field, error) {
	if s.from != fromName && (s.format.kind != 0 || s.place != "") {
		return s.field(f.machine)
	}
	param := s.param(f.machine, f.signature())
	switch {
	case param == nil && s.from == fromName && s.place == "":
		return field{}, noParam(s.name, f.sig, f.sigErr)
	case param == nil:
		return s.field(f.machine)
	case s.format.kind != 0:
		place := param.Place
		if len(place.Pieces) == 0 || place.Pieces[0].At != 0 {
			return field{}, fmt.Errorf("%s is not in a register or on the stack", s.name)
		}
		return s.fieldAt(operandOf(place.Pieces[0])), nil
	}
	if one, ok := paramField(param, param == f.sig.Result); ok {
		one.name = s.name
		return one, nil
	}
	if s.from == fromName {
		return field{}, fmt.Errorf("%s: how it is passed is not known", s.name)
	}
	return s.field(f.machine)
}

// restricted joins the conditions of the globs that select the function.
func (f *forOne) restricted(where []restriction, raw, demangled, object string) (entry, exit probe.Cond, err error) {
	var conditions []*Condition
	always := false
	for _, w := range where {
		if w.functions.Match(raw, demangled, object) {
			always = always || w.condition == nil
			conditions = append(conditions, w.condition)
		}
	}
	if always || len(conditions) == 0 {
		return nil, nil, nil
	}
	for i, c := range conditions {
		a, b, err := c.Compile(f.machine, f.signature(), f.sigErr)
		if err != nil {
			return nil, nil, fmt.Errorf("condition at %s: %w", f.name, err)
		}
		if i == 0 {
			entry, exit = a, b
			continue
		}
		if exit != nil || b != nil {
			return nil, nil, fmt.Errorf("condition at %s: several conditions, and one is on the result: write one with ||", f.name)
		}
		entry = probe.Or{A: entry, B: a}
	}
	return entry, exit, nil
}
