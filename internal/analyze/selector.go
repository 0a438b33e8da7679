package analyze

import "nopal/trace"

// Selector lets through the events that a Selection selects.
type Selector struct{ pick *picker }

// NewSelector makes a Selector for the events of a recording, whose first one
// has been read. What is let through is given to emit, which may keep it until
// it returns.
func NewSelector(s *Selection, rec *trace.Recording, emit func(*trace.Event)) *Selector {
	p := newPicker(s, newNames(s), rec.HasExits(), emit)
	p.minimum, p.join = s.MinTime, s.nested() || s.MinTime > 0
	return &Selector{p}
}

// Event takes the next event of the recording.
func (s *Selector) Event(ev *trace.Event) { s.pick.event(ev) }

// End lets through what still waits.
func (s *Selector) End() { s.pick.end() }

// All reports that nothing is left out.
func (s *Selection) All() bool {
	return !s.nested() && s.TID == 0 && s.MinTime == 0 && s.Range == Range{}
}

// Verdict says whether a function is one of Only, or there are none, and
// whether it is one of Not.
func (s *Selection) Verdict(raw, demangled, object string) (only, not bool) {
	v := s.verdict(raw, demangled, object)
	return v.only, v.not
}
