package export

import (
	"cmp"
	"io"
	"maps"
	"math"
	"slices"

	"nopal/internal/analyze"
	"nopal/trace"
)

// timeline is a format that shows when things happened. All methods append to
// dst. Times are of CLOCK_MONOTONIC, in nanoseconds, and do not go back within a
// thread; begin and end are balanced.
type timeline interface {
	header(dst []byte, rec *trace.Recording) []byte
	site(s *site) []byte // site.text
	thread(dst []byte, t *thread) []byte
	begin(dst []byte, t *thread, s *site, at int64, d *details) []byte
	end(dst []byte, t *thread, s *site, at int64, d *details) []byte
	leaf(dst []byte, t *thread, s *site, at, duration int64, d *details) []byte
	instant(dst []byte, t *thread, s *site, at int64, d *details) []byte
	lost(dst []byte, t *thread, at int64, count uint64) []byte
	mark(dst []byte, t *thread, at int64, text string) []byte
	footer(dst []byte) []byte
}

// details are what only some events have.
type details struct {
	inferred bool // the end follows from what comes later
	args     []trace.Arg
	ret      *trace.Value
}

// Most events have none, or these.
var (
	plain    = new(details)
	inferred = &details{inferred: true}
)

func (d *details) any() bool { return d.inferred || d.values() }

func (d *details) values() bool { return len(d.args) > 0 || d.ret != nil }

// each calls f for arguments and the result, as people read them: a viewer does
// no more than show them.
func (d *details) each(f func(name, value string)) {
	for i := range d.args {
		f(clean(d.args[i].Name), clean(string(d.args[i].Value.AppendText(nil))))
	}
	if d.ret != nil {
		f("return value", clean(string(d.ret.AppendText(nil))))
	}
}

// thread is a thread of the timeline.
type thread struct {
	task *trace.Task
	tid  uint32
	id   uint64 // unique, from 1
	last int64  // the time of what was written last
	open []frame
	text []byte // as the format writes it
}

// frame is a call that has begun.
type frame struct {
	site  *site
	depth int
}

type threadKey struct{ proc, tid uint32 }

// maxThreads bounds the memory for threads that have long ended: a recording
// may have as many as it has pages.
const maxThreads = 1 << 16

// spans turns events into what a timeline can show. Viewers want spans that
// nest; a program that switches stacks has calls that do not. What is no span
// any more by what follows it is ended there.
type spans struct {
	o       Options
	out     timeline
	pick    *analyze.Selector // nil if all is selected
	sites   sites
	threads map[threadKey]*thread
	recent  [64]*thread // by thread id
	ids     uint64
	detail  details // of the event that is being written, if it has values
	buf     []byte
	sum     Summary
}

func newSpans(o Options, format timeline) *spans {
	return &spans{out: format, o: o, threads: map[threadKey]*thread{}, sites: sites{selection: &o.Selection, render: format.site}}
}

func writeTimeline(r io.Reader, w io.Writer, o Options, format timeline) (Summary, error) {
	rd, err := trace.NewReader(r)
	if err != nil {
		return Summary{}, err
	}
	s := newSpans(o, format)
	dst := output{w}
	err = s.read(rd, func() error {
		_, err := dst.Write(s.buf)
		s.buf = s.buf[:0]
		return err
	})
	return s.sum, err
}

// read turns a recording into s.buf, and calls flush when that is long enough.
func (s *spans) read(rd *trace.Reader, flush func() error) error {
	events := trace.NewEvents(rd)
	rec := events.Recording()
	s.sum.Recording = rec
	for started := false; ; {
		ev, rerr := events.Next()
		if !started {
			// Ranges precede what happens in them, so that this is known by now.
			started, s.sum.Graph = true, rec.HasExits()
			s.buf = s.out.header(s.buf, rec)
			if !s.o.All() {
				s.pick = analyze.NewSelector(&s.o.Selection, rec, s.event)
			}
		}
		if rerr != nil {
			if s.pick != nil {
				s.pick.End()
			}
			s.closeAll()
			s.buf = s.out.footer(s.buf)
		}
		if rerr != nil || len(s.buf) >= flushAt {
			if err := flush(); err != nil {
				return err
			}
		}
		if rerr == nil {
			s.count(ev)
			if s.pick != nil {
				s.pick.Event(ev)
			} else {
				s.event(ev)
			}
			continue
		}
		s.sum.Truncated = rd.Truncated()
		if err := ended(rerr); err != nil {
			return err
		}
		if s.sum.Events == 0 && len(rec.Profiles()) > 0 {
			return ErrNoEvents
		}
		return nil
	}
}

func (s *spans) count(ev *trace.Event) {
	switch ev.Kind {
	case trace.Entry, trace.FuncExit, trace.Injection:
		s.sum.Events++
	case trace.LostCount:
		s.sum.Lost += ev.Count
	}
}

// event writes an event that is selected.
func (s *spans) event(ev *trace.Event) {
	t := s.thread(ev.Task)
	t.last = max(t.last, ev.Time)
	switch ev.Kind {
	case trace.Entry:
		s.entry(t, ev)
	case trace.FuncExit:
		s.leave(t, ev)
	case trace.LostCount:
		s.buf = s.out.lost(s.buf, t, t.last, ev.Count)
	case trace.MarkText:
		s.buf = s.out.mark(s.buf, t, t.last, clean(ev.Text))
	case trace.Injection:
		s.sum.Shown++
		s.buf = s.out.mark(s.buf, t, t.last, s.sites.of(ev.Site).name+": "+clean(ev.Text))
	}
}

func (s *spans) entry(t *thread, ev *trace.Event) {
	site := s.sites.of(ev.Site)
	s.sum.Shown++
	if !s.sum.Graph {
		s.buf = s.out.instant(s.buf, t, site, t.last, s.details(ev))
		return
	}
	s.close(t, ev.Depth)
	if ev.Leaf {
		d := max(0, ev.Duration)
		s.buf = s.out.leaf(s.buf, t, site, t.last, d, s.details(ev))
		// Conversion rounds: what follows must not begin before this has ended.
		t.last += d
		s.sum.Shown++
		return
	}
	t.open = append(t.open, frame{site, ev.Depth})
	s.buf = s.out.begin(s.buf, t, site, t.last, s.details(ev))
}

func (s *spans) details(ev *trace.Event) *details {
	switch {
	case len(ev.Args) > 0 || ev.Ret != nil:
		s.detail = details{ev.Inferred, ev.Args, ev.Ret}
		return &s.detail
	case ev.Inferred:
		return inferred
	}
	return plain
}

func (s *spans) leave(t *thread, ev *trace.Event) {
	if ev.Leaf {
		return // written with its entry
	}
	site := s.sites.of(ev.Site)
	s.close(t, ev.Depth+1)
	n := len(t.open) - 1
	if n < 0 || t.open[n].depth != ev.Depth || t.open[n].site != site {
		return // its entry was not seen
	}
	t.open = t.open[:n]
	s.sum.Shown++
	s.buf = s.out.end(s.buf, t, site, t.last, s.details(ev))
}

// close ends the calls of this depth and deeper.
func (s *spans) close(t *thread, depth int) {
	n := len(t.open)
	for n > 0 && t.open[n-1].depth >= depth {
		n--
		s.buf = s.out.end(s.buf, t, t.open[n].site, t.last, inferred)
	}
	t.open = t.open[:n]
}

func (s *spans) closeAll() {
	byID := func(a, b *thread) int { return cmp.Compare(a.id, b.id) }
	for _, t := range slices.SortedFunc(maps.Values(s.threads), byID) {
		s.close(t, 0)
	}
}

func (s *spans) thread(task *trace.Task) *thread {
	if t := s.recent[task.TID%uint32(len(s.recent))]; t != nil && t.task == task {
		return t
	}
	return s.find(task)
}

func (s *spans) find(task *trace.Task) *thread {
	key := threadKey{task.Program.Proc, task.TID}
	if task.TID == 0 {
		// What belongs to the process is shown with its first thread.
		key.tid = task.Program.PID
		if t := s.threads[key]; t != nil {
			return t
		}
	}
	t := s.threads[key]
	if t == nil {
		if len(s.threads) >= maxThreads {
			s.closeAll()
			clear(s.threads)
			clear(s.recent[:])
		}
		s.ids++
		t = &thread{id: s.ids, tid: key.tid, last: math.MinInt64}
		s.threads[key] = t
	}
	if t.task != task {
		t.task = task // a new thread, or one under a new name
		s.buf = s.out.thread(s.buf, t)
	}
	s.recent[task.TID%uint32(len(s.recent))] = t
	return t
}
