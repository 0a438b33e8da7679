package analyze

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"nopal/trace"
)

// Grouping is what the rows of a report stand for.
type Grouping string

// The groupings of a report.
const (
	ByFunction Grouping = "function"
	ByThread   Grouping = "thread"
	ByObject   Grouping = "object"
)

// ReportOptions shape a report. A Range with elapsed times needs First, as
// calls are not read in the order of time.
type ReportOptions struct {
	Selection
	By    Grouping
	First int64 // time of the first event
}

// Report sums up the calls of a recording.
type Report struct {
	Table
	Calls     uint64 // that were selected
	Inferred  uint64 // of them, those whose end follows from a later event
	NoEntry   uint64 // of them, those whose beginning was not recorded
	Events    uint64 // calls in the recording
	Lost      uint64
	Profile   bool // there are no events, the target has counted
	CountOnly bool // there are no exits, so no durations
	Truncated bool
	Recording *trace.Recording
}

// reporter collects a Report.
type reporter struct {
	o        ReportOptions
	calls    *trace.Calls
	names    *names
	contexts *contexts // nil if calls are selected by themselves
	from, to int64
	all      bool // every call is selected, and counted for its function
	sums     sums
	report   *Report
}

// NewReport reads a recording. When it is damaged, the report is of what
// precedes the damage, and comes along with the error.
func NewReport(r io.Reader, o ReportOptions) (*Report, error) {
	if o.By == "" {
		o.By = ByFunction
	}
	if !slices.Contains([]Grouping{ByFunction, ByThread, ByObject}, o.By) {
		return nil, fmt.Errorf("report recording: unknown grouping %q", o.By)
	}
	rd, err := trace.NewReader(r)
	if err != nil {
		return nil, err
	}
	p := &reporter{o: o, report: new(Report)}
	p.names = newNames(&p.o.Selection)
	nodes := o.nested() || o.By == ByObject
	p.calls = trace.NewCalls(rd, trace.CallsOptions{Nodes: nodes})
	p.report.Recording = p.calls.Recording()
	if nodes {
		p.contexts = &contexts{sel: &p.o.Selection, names: p.names, calls: p.calls}
	}
	p.from, p.to = o.Range.Between(o.First)
	p.all = o.By == ByFunction && o.All()
	p.sums = sums{by: o.By, rec: p.report.Recording, names: p.names}
	for {
		b, err := p.calls.Next()
		if err != nil {
			p.finish()
			p.report.Truncated = rd.Truncated()
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return p.report, err
		}
		p.report.Lost += b.Lost
		p.report.Events += uint64(len(b.Calls))
		switch {
		case p.all:
			p.everything(b)
		case o.TID == 0 || b.Task.TID == o.TID:
			p.selected(b)
		}
	}
}

// everything counts calls for their functions. It is what the report of a
// large recording takes its time for.
func (p *reporter) everything(b *trace.Batch) {
	inferred := uint64(0)
	for i := range b.Calls {
		c := &b.Calls[i]
		if uint(c.Site) < uint(len(p.sums.sites)) && c.Flags&(trace.CallNoEntry|trace.CallCountOnly) == 0 {
			inferred += uint64(c.Flags & trace.CallInferred)
			p.sums.sites[c.Site].add(c.Total, c.Self, c.Flags&trace.CallRecursive != 0)
			continue
		}
		p.count(p.sums.site(c.Site), c, c.Flags&trace.CallRecursive != 0)
	}
	p.report.Inferred += inferred
}

// selected counts the calls that are selected for what they belong to.
func (p *reporter) selected(b *trace.Batch) {
	rec := p.report.Recording
	for i := range b.Calls {
		c := &b.Calls[i]
		known := c.Flags&(trace.CallNoEntry|trace.CallCountOnly) == 0
		if p.o.MinTime > 0 && known && rec.NanosecondsOf(c.Total) < p.o.MinTime {
			continue
		}
		if p.o.Range != (Range{}) {
			if at := rec.Nanoseconds(c.Start); at < p.from || at >= p.to {
				continue
			}
		}
		x := context{recursive: c.Flags&trace.CallRecursive != 0, outer: c.Parent == -1}
		if p.contexts != nil {
			if x = p.contexts.of(c); !x.selected {
				continue
			}
		}
		switch p.o.By {
		case ByThread:
			p.count(p.sums.thread(b.Task), c, !x.outer)
		case ByObject:
			p.count(p.sums.object(c.Site), c, x.inside)
		default:
			p.count(p.sums.site(c.Site), c, x.recursive)
		}
	}
}

// count counts one call, whose times may not be known.
func (p *reporter) count(s *stats, c *trace.Call, nested bool) {
	switch {
	case c.Flags&trace.CallCountOnly != 0:
		s.bare++
	case c.Flags&trace.CallNoEntry != 0:
		s.bare++
		p.report.NoEntry++
	default:
		p.report.Inferred += uint64(c.Flags & trace.CallInferred)
		s.add(c.Total, c.Self, nested)
	}
}

func (p *reporter) finish() {
	rep := p.report
	rep.CountOnly = !rep.Recording.HasExits()
	if profiles := rep.Recording.Profiles(); len(profiles) > 0 && rep.Events == 0 {
		rep.Profile, rep.CountOnly = true, false
		rep.Table = profileTable(profiles, &p.sums, &p.o.Selection)
	} else {
		rep.Table = p.sums.table()
	}
	for i := range rep.Rows {
		rep.Calls += rep.Rows[i].Calls
	}
}

// FirstEvent returns the time of a recording's first event, for Range.
func FirstEvent(r io.Reader) (int64, error) {
	rd, err := trace.NewReader(r)
	if err != nil {
		return 0, err
	}
	ev, err := trace.NewEvents(rd).Next()
	if errors.Is(err, io.EOF) {
		return math.MaxInt64, nil
	}
	if err != nil {
		return 0, err
	}
	return ev.Time, nil
}
