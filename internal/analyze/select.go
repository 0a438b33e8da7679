package analyze

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"nopal/trace"
)

// Selection says which calls of a recording are looked at. In a recording of
// entries and exits, Only stands for the functions and all that is called
// within them, and Not for the functions and all that is called within those;
// in one of entries alone, where the end of a call is not known, each is for
// the functions themselves.
type Selection struct {
	Only    Matcher // nil: all
	Not     Matcher // matches what is left out; nil: nothing
	TID     uint32  // 0: all threads
	Depth   int     // levels of calls, counted from the functions of Only; 0: all
	MinTime int64   // ns; shorter calls are left out
	Range   Range
}

// nested reports that what is selected depends on the calls around it.
func (s *Selection) nested() bool { return s.Only != nil || s.Not != nil || s.Depth > 0 }

// verdicts are what a Selection says of a function by its names.
type verdict struct {
	only bool // matches Only, or there is none
	not  bool
}

func (s *Selection) verdict(raw, demangled, object string) verdict {
	// Both are asked: a pattern that matches something is one that is used.
	return verdict{
		only: s.Only == nil || s.Only.Match(raw, demangled, object),
		not:  s.Not != nil && s.Not.Match(raw, demangled, object),
	}
}

// Range is a range of time. The end does not belong to it.
type Range struct{ From, To Bound }

// Bound is one end of a Range; the zero value is none.
type Bound struct {
	Set     bool
	Elapsed bool  // since the first event, rather than CLOCK_MONOTONIC
	Time    int64 // ns
}

// Elapsed reports that the range depends on when the recording began.
func (r Range) Elapsed() bool { return r.From.Elapsed || r.To.Elapsed }

// Between returns the range as times, given that of the first event.
func (r Range) Between(first int64) (from, to int64) {
	return r.From.at(first, math.MinInt64), r.To.at(first, math.MaxInt64)
}

func (b Bound) at(first, none int64) int64 {
	switch {
	case !b.Set:
		return none
	case b.Elapsed:
		return first + b.Time
	}
	return b.Time
}

// ParseRange reads FROM~TO. Each of them may be missing, is a time in seconds
// as replay prints it, or, with a unit, what has passed since the first event.
func ParseRange(s string) (Range, error) {
	from, to, ok := strings.Cut(s, "~")
	if !ok || from == "" && to == "" {
		return Range{}, fmt.Errorf("a range is FROM~TO, with seconds as they are printed or, with a unit, since the first event: 10ms~1.5s")
	}
	var r Range
	for _, end := range []struct {
		text string
		to   *Bound
	}{{from, &r.From}, {to, &r.To}} {
		b, err := parseBound(strings.TrimSpace(end.text))
		if err != nil {
			return Range{}, err
		}
		*end.to = b
	}
	if r.From.Set && r.To.Set && r.From.Elapsed == r.To.Elapsed && r.From.Time >= r.To.Time {
		return Range{}, fmt.Errorf("the range %s ends before it begins", s)
	}
	return r, nil
}

func parseBound(s string) (Bound, error) {
	if s == "" {
		return Bound{}, nil
	}
	if ns, ok := parseSeconds(s); ok {
		return Bound{Set: true, Time: ns}, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return Bound{}, fmt.Errorf("%q is not a time: write seconds, or a number with ns, us, ms, s, m or h", s)
	}
	return Bound{Set: true, Elapsed: true, Time: int64(d)}, nil
}

// parseSeconds reads digits and up to nine decimals exactly, which floating
// point does not after 104 days.
func parseSeconds(s string) (ns int64, ok bool) {
	whole, frac, _ := strings.Cut(s, ".")
	if len(frac) > 9 || whole == "" || strings.Trim(whole+frac, "0123456789") != "" {
		return 0, false
	}
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || sec > math.MaxInt64/1_000_000_000-1 {
		return 0, false
	}
	// Nothing but digits, and at most nine of them.
	nanos, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
	return sec*1_000_000_000 + nanos, true
}

// position is where in a thread's calls its events stand, as far as Only, Not
// and Depth need it. It goes by depth alone, so calls whose end is missing
// cannot lead it astray for long: the next event at their depth ends them.
type position struct {
	only, not         int // depth of the call within which all is shown, or left out; -1: none
	onlySite, notSite *trace.Site
}

func newPosition() position { return position{only: -1, not: -1} }

// leave forgets the calls at or below a depth.
func (p *position) leave(depth int) {
	if depth <= p.only {
		p.only, p.onlySite = -1, nil
	}
	if depth <= p.not {
		p.not, p.notSite = -1, nil
	}
}

// enter follows an entry and reports whether it is selected, and at which
// depth its base is.
func (p *position) enter(s *Selection, v verdict, site *trace.Site, depth int) (base int, selected bool) {
	p.leave(depth)
	if v.not && p.not < 0 {
		p.not, p.notSite = depth, site
	}
	if s.Only != nil && v.only && p.only < 0 && p.not < 0 {
		p.only, p.onlySite = depth, site
	}
	return p.selected(s, depth)
}

// exit follows an exit, which is selected if its entry was.
func (p *position) exit(s *Selection, site *trace.Site, depth int) (base int, selected bool) {
	p.leave(depth + 1)
	base, selected = p.selected(s, depth)
	if depth == p.only && site == p.onlySite || depth == p.not && site == p.notSite {
		p.leave(depth)
	}
	return base, selected
}

func (p *position) selected(s *Selection, depth int) (base int, selected bool) {
	if p.not >= 0 || s.Only != nil && p.only < 0 {
		return 0, false
	}
	base = max(0, p.only)
	return base, s.Depth == 0 || depth-base < s.Depth
}
