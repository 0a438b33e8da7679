package export

import (
	"errors"
	"io"
	"strconv"

	"nopal/trace"
)

// maxEvented is up to how many calls each is written. Speedscope reads a file
// as a whole, and this is one of 70 MB; more calls are summed up by context.
const maxEvented = 1 << 20

// writeSpeedscope writes a profile for each thread: "evented", with each call,
// when there are few enough of them and the input can be read twice, otherwise
// "sampled", with the time of each calling context.
func writeSpeedscope(r io.Reader, w io.Writer, o Options) (Summary, error) {
	rd, err := trace.NewReader(r)
	if err != nil {
		return Summary{}, err
	}
	s := newSums(rd, &o)
	rerr := s.read()
	if errors.Is(rerr, errContexts) {
		return s.sum, rerr
	}
	s.sum.Truncated = rd.Truncated()
	f := &speedscope{w: output{w}, index: map[*site]int{}}
	if again, ok := r.(io.Seeker); ok && s.graph && s.sum.Events <= maxEvented && len(s.rec.Profiles()) == 0 {
		if _, err := again.Seek(0, io.SeekStart); err == nil {
			return f.evented(r, o)
		}
	}
	if err := f.sampled(s); err != nil {
		return s.sum, err
	}
	s.sum.Summed = true
	return s.sum, rerr
}

// speedscope writes speedscope's file format.
type speedscope struct {
	w       io.Writer
	buf     []byte
	frames  []*site
	index   map[*site]int
	threads []*evented
	of      map[*thread]*evented
}

// evented is a thread with all of its calls.
type evented struct {
	name   string
	events []moment
}

// moment is the beginning of a call, or its end.
type moment struct {
	at    int64
	frame int32
	end   bool
}

func (f *speedscope) flush(limit int) error {
	if len(f.buf) < limit {
		return nil
	}
	_, err := f.w.Write(f.buf)
	f.buf = f.buf[:0]
	return err
}

func (f *speedscope) frame(s *site) int {
	n, ok := f.index[s]
	if !ok {
		n = len(f.frames)
		f.index[s] = n
		f.frames = append(f.frames, s)
	}
	return n
}

// begin writes all that precedes the profiles, end what follows them.
func (f *speedscope) begin(rec *trace.Recording) {
	f.buf = append(f.buf, `{"$schema":"https://www.speedscope.app/file-format-schema.json","exporter":`...)
	f.buf = appendJSON(f.buf, "nopal "+clean(rec.Meta.Version))
	if c := rec.Meta.Command; len(c) > 0 {
		f.buf = appendJSON(append(f.buf, `,"name":`...), clean(c[len(c)-1]))
	}
	f.buf = append(f.buf, `,"activeProfileIndex":0,"profiles":[`...)
}

func (f *speedscope) end() error {
	f.buf = append(f.buf, `],"shared":{"frames":[`...)
	for i, s := range f.frames {
		if i > 0 {
			f.buf = append(f.buf, ',')
		}
		f.buf = appendJSON(append(f.buf, "\n"+`{"name":`...), s.name)
		if s.object != "" {
			f.buf = appendJSON(append(f.buf, `,"file":`...), s.object)
		}
		f.buf = append(f.buf, '}')
		if err := f.flush(flushAt); err != nil {
			return err
		}
	}
	f.buf = append(f.buf, "\n]}}\n"...)
	return f.flush(0)
}

// profile begins a profile.
func (f *speedscope) profile(first bool, kind, name, unit string, start, end int64) {
	if !first {
		f.buf = append(f.buf, ',')
	}
	f.buf = append(append(append(f.buf, "\n"+`{"type":"`...), kind...), `","name":`...)
	f.buf = appendJSON(f.buf, name)
	f.buf = append(append(append(f.buf, `,"unit":"`...), unit...), `","startValue":`...)
	f.buf = strconv.AppendInt(f.buf, start, 10)
	f.buf = strconv.AppendInt(append(f.buf, `,"endValue":`...), end, 10)
}

// sampled writes the contexts of each thread.
func (f *speedscope) sampled(s *sums) error {
	f.begin(s.rec)
	list := s.list()
	unit, weight := "none", func(c *context) int64 { return int64(c.calls) }
	if s.graph {
		unit, weight = "nanoseconds", func(c *context) int64 { return s.rec.NanosecondsOf(c.self) }
	}
	var stack []*site
	for first := true; len(list) > 0; first = false {
		t, n, total := list[0].thread, 0, int64(0)
		for n < len(list) && list[n].thread == t {
			total += weight(list[n])
			n++
		}
		f.profile(first, "sampled", title(t.name, t.tid), unit, 0, total)
		f.buf = append(f.buf, `,"samples":[`...)
		for i, c := range list[:n] {
			if i > 0 {
				f.buf = append(f.buf, ',')
			}
			stack = s.appendStack(stack[:0], c)
			f.buf = append(f.buf, "\n["...)
			for j := len(stack) - 1; j >= 0; j-- {
				f.buf = strconv.AppendInt(f.buf, int64(f.frame(stack[j])), 10)
				if j > 0 {
					f.buf = append(f.buf, ',')
				}
			}
			f.buf = append(f.buf, ']')
			if err := f.flush(flushAt); err != nil {
				return err
			}
		}
		f.buf = append(f.buf, `],"weights":[`...)
		for i, c := range list[:n] {
			if i > 0 {
				f.buf = append(f.buf, ',')
			}
			f.buf = strconv.AppendInt(f.buf, weight(c), 10)
		}
		f.buf = append(f.buf, "]}"...)
		list = list[n:]
	}
	return f.end()
}

func title(name string, tid uint32) string {
	return name + " (" + strconv.FormatUint(uint64(tid), 10) + ")"
}

// evented reads the recording once more, and writes each call.
func (f *speedscope) evented(r io.Reader, o Options) (Summary, error) {
	rd, err := trace.NewReader(r)
	if err != nil {
		return Summary{}, err
	}
	f.of = map[*thread]*evented{}
	s := newSpans(o, collector{f})
	rerr := s.read(rd, func() error { return nil })
	f.begin(s.sum.Recording)
	first := true
	for _, t := range f.threads {
		if len(t.events) == 0 {
			continue
		}
		f.profile(first, "evented", t.name, "nanoseconds", t.events[0].at, t.events[len(t.events)-1].at)
		first = false
		f.buf = append(f.buf, `,"events":[`...)
		for i, m := range t.events {
			if i > 0 {
				f.buf = append(f.buf, ',')
			}
			kind := "\n" + `{"type":"O","frame":`
			if m.end {
				kind = "\n" + `{"type":"C","frame":`
			}
			f.buf = strconv.AppendInt(append(f.buf, kind...), int64(m.frame), 10)
			f.buf = strconv.AppendInt(append(f.buf, `,"at":`...), m.at, 10)
			f.buf = append(f.buf, '}')
			if err := f.flush(flushAt); err != nil {
				return s.sum, err
			}
		}
		f.buf = append(f.buf, "]}"...)
	}
	if err := f.end(); err != nil {
		return s.sum, err
	}
	return s.sum, rerr
}

// collector is a timeline that keeps the calls.
type collector struct{ f *speedscope }

func (c collector) header(dst []byte, _ *trace.Recording) []byte { return dst }
func (c collector) footer(dst []byte) []byte                     { return dst }
func (c collector) site(*site) []byte                            { return nil }

func (c collector) thread(dst []byte, t *thread) []byte {
	e := c.f.of[t]
	if e == nil {
		e = new(evented)
		c.f.of[t] = e
		c.f.threads = append(c.f.threads, e)
	}
	e.name = title(clean(t.task.Name), t.tid)
	return dst
}

func (c collector) add(t *thread, s *site, at int64, end bool) {
	e := c.f.of[t]
	e.events = append(e.events, moment{at, int32(c.f.frame(s)), end})
}

func (c collector) begin(dst []byte, t *thread, s *site, at int64, _ *details) []byte {
	c.add(t, s, at, false)
	return dst
}

func (c collector) end(dst []byte, t *thread, s *site, at int64, _ *details) []byte {
	c.add(t, s, at, true)
	return dst
}

func (c collector) leaf(dst []byte, t *thread, s *site, at, duration int64, _ *details) []byte {
	c.add(t, s, at, false)
	c.add(t, s, at+duration, true)
	return dst
}

// Speedscope shows calls only.
func (c collector) instant(dst []byte, _ *thread, _ *site, _ int64, _ *details) []byte { return dst }
func (c collector) lost(dst []byte, _ *thread, _ int64, _ uint64) []byte               { return dst }
func (c collector) mark(dst []byte, _ *thread, _ int64, _ string) []byte               { return dst }
