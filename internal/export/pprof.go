package export

import (
	"io"
	"strings"

	"github.com/google/pprof/profile"

	"nopal/trace"
)

// writePprof writes a profile for pprof: calls and time of a calling context,
// with the thread as a label.
func writePprof(w io.Writer, s *sums, _ Options) error {
	b := pprofBuilder{s: s, locations: map[*site]*profile.Location{}}
	m := &s.rec.Meta
	p := &b.profile
	p.SampleType = []*profile.ValueType{{Type: "calls", Unit: "count"}}
	p.DefaultSampleType = "calls"
	if s.graph {
		p.SampleType = append(p.SampleType, &profile.ValueType{Type: "time", Unit: "nanoseconds"})
		p.DefaultSampleType = "time"
	}
	p.TimeNanos = m.Started
	if s.rec.End != nil {
		p.DurationNanos = s.rec.End.Duration
	}
	if len(m.Command) > 0 {
		p.Comments = []string{clean(strings.Join(m.Command, " "))}
	}
	b.objects()
	var stack []*site
	for _, c := range s.list() {
		if c.calls == 0 && c.self == 0 {
			continue
		}
		stack = s.appendStack(stack[:0], c)
		b.sample(c, stack)
	}
	return p.Write(w)
}

type pprofBuilder struct {
	s         *sums
	profile   profile.Profile
	mappings  map[*trace.Object]*profile.Mapping
	locations map[*site]*profile.Location
}

// pageAlign separates objects in the profile's address space.
const pageAlign = 1 << 16

// objects places the objects one behind the other. Where they were in the
// process is not told: one object may be at several places, in several
// processes. Relative to their start addresses are those of the object's file,
// which is what looking up source lines needs.
func (b *pprofBuilder) objects() {
	b.mappings = map[*trace.Object]*profile.Mapping{}
	next := uint64(pageAlign)
	for _, o := range b.s.rec.Objects() {
		size := uint64(pageAlign)
		if n := len(o.Funcs); n > 0 {
			last := &o.Funcs[n-1]
			if end := last.VA + last.Size + 1; end > last.VA {
				size = max(size, end)
			}
		}
		size = (size + pageAlign - 1) &^ (pageAlign - 1)
		if size == 0 || next+size < next {
			continue // addresses of a file that is not to be believed
		}
		m := &profile.Mapping{
			ID: uint64(len(b.profile.Mapping) + 1), Start: next, Limit: next + size,
			File: clean(o.Path), BuildID: clean(o.BuildID), HasFunctions: true,
		}
		b.mappings[o] = m
		b.profile.Mapping = append(b.profile.Mapping, m)
		next += size
	}
}

func (b *pprofBuilder) sample(c *context, stack []*site) {
	sample := &profile.Sample{
		Location: make([]*profile.Location, len(stack)),
		Value:    []int64{int64(c.calls)},
		Label:    map[string][]string{"thread": {c.thread.name}, "process": {c.thread.program}},
		NumLabel: map[string][]int64{"tid": {int64(c.thread.tid)}, "pid": {int64(c.thread.pid)}},
	}
	if b.s.graph {
		sample.Value = append(sample.Value, b.s.rec.NanosecondsOf(c.self))
	}
	for i, s := range stack {
		sample.Location[i] = b.location(s)
	}
	b.profile.Sample = append(b.profile.Sample, sample)
}

func (b *pprofBuilder) location(s *site) *profile.Location {
	l := b.locations[s]
	if l != nil {
		return l
	}
	p := &b.profile
	f := &profile.Function{ID: uint64(len(p.Function) + 1), Name: s.name, SystemName: s.raw}
	p.Function = append(p.Function, f)
	l = &profile.Location{ID: uint64(len(p.Location) + 1), Line: []profile.Line{{Function: f}}}
	if m := b.mappings[s.in]; m != nil && s.va < m.Limit-m.Start {
		l.Mapping, l.Address = m, m.Start+s.va
	}
	p.Location = append(p.Location, l)
	b.locations[s] = l
	return l
}
