// Package analyze turns recordings into what people and programs read: the
// call trace (Replay) and the facts about a recording (Inspect).
//
// It exists so that the recording's format knows nothing of names as people
// want them, of filters and of layouts, and the command line nothing of
// events. Everything here streams: output begins before the file has been
// read, and memory follows the number of functions and threads.
package analyze

import (
	"errors"
	"fmt"
	"io"

	"nopal/trace"
)

// Format is a way of writing events.
type Format string

// The formats of Replay.
const (
	Text  Format = "text"
	JSONL Format = "jsonl"
)

// Matcher selects functions, by raw and demangled name and by the path of the
// object they are in.
type Matcher interface {
	Match(raw, demangled, object string) bool
}

// Options shape what Replay writes.
type Options struct {
	Selection
	Format Format
	Flat   bool // a line an event, not a tree of calls
	Color  bool
}

// Summary is what Replay has seen, whether it was written or not.
type Summary struct {
	Events    uint64 // entries, exits that were recorded, and injections
	Shown     uint64 // entries, exits and injections that were written
	Lost      uint64
	Truncated bool // the recording lacks its end
	Recording *trace.Recording
}

// flushAt is the number of bytes that are written in one call.
const flushAt = 64 << 10

// view writes events in one format.
type view interface {
	header(dst []byte) []byte
	entry(dst []byte, s *siteText, ev *trace.Event) []byte
	exit(dst []byte, s *siteText, ev *trace.Event) []byte
	lost(dst []byte, ev *trace.Event) []byte
	mark(dst []byte, ev *trace.Event) []byte
	inject(dst []byte, s *siteText, ev *trace.Event) []byte
}

// WriteError is a failure to write, as opposed to one to read the recording.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return fmt.Sprintf("write events: %v", e.Err) }

// Unwrap returns the writer's error.
func (e *WriteError) Unwrap() error { return e.Err }

// player is a Replay that is going on.
type player struct {
	o      Options
	events *trace.Events
	names  *names
	view   view
	pick   *picker // nil if all is selected
	sum    Summary
	buf    []byte
}

// Replay writes the events of a recording in the order of time. When the
// recording is damaged, the events before the damage are written, and the
// summary is valid along with the error.
func Replay(r io.Reader, w io.Writer, o Options) (Summary, error) {
	if o.Format != Text && o.Format != JSONL && o.Format != "" {
		return Summary{}, fmt.Errorf("replay recording: unknown format %q", o.Format)
	}
	rd, err := trace.NewReader(r)
	if err != nil {
		return Summary{}, err
	}
	events := trace.NewEvents(rd)
	p := &player{o: o, events: events, buf: make([]byte, 0, flushAt+4096)}
	p.sum.Recording = events.Recording()
	for {
		ev, rerr := events.Next()
		if p.view == nil {
			p.begin()
		}
		if rerr == nil {
			p.event(ev)
		} else if p.pick != nil {
			p.pick.end()
		}
		if rerr != nil || len(p.buf) >= flushAt {
			if _, err := w.Write(p.buf); err != nil {
				return p.sum, &WriteError{err}
			}
			p.buf = p.buf[:0]
		}
		if rerr != nil {
			p.sum.Truncated = rd.Truncated()
			if errors.Is(rerr, io.EOF) {
				rerr = nil
			}
			return p.sum, rerr
		}
	}
}

// begin chooses the view. Whether there are exits is known when the first
// event is: ranges come before what lies in them.
func (p *player) begin() {
	exits := p.sum.Recording.HasExits()
	p.names = newNames(&p.o.Selection)
	p.names.regs = p.sum.Recording.Machine.Registers()
	tree := false
	switch {
	case p.o.Format == JSONL:
		p.view = newJSONView(p.names)
	case !exits:
		v := newTextView(p.names, p.o.Color)
		p.view = &v
	case p.o.Flat:
		p.view = newFlatView(p.names, p.o.Color)
	default:
		p.view, tree = &treeView{textView: newTextView(p.names, p.o.Color)}, true
	}
	p.buf = p.view.header(p.buf)
	s := &p.o.Selection
	if !s.All() {
		p.pick = newPicker(s, p.names, exits, p.write)
		p.pick.rebase, p.pick.join, p.pick.minimum = tree, tree && (s.nested() || s.MinTime > 0), s.MinTime
	} else if tree {
		p.events.JoinLeaves() // they are one line
	}
}

func (p *player) event(ev *trace.Event) {
	switch {
	case ev.Kind == trace.LostCount:
		p.sum.Lost += ev.Count
	case ev.Joined:
		p.sum.Events += 2
		p.sum.Shown++
	case ev.Kind == trace.Entry, ev.Kind == trace.Injection, ev.Kind == trace.FuncExit && !ev.Inferred:
		p.sum.Events++
	}
	if p.pick != nil {
		p.pick.event(ev)
		return
	}
	p.write(ev)
}

func (p *player) write(ev *trace.Event) {
	switch ev.Kind {
	case trace.Entry:
		p.sum.Shown++
		p.buf = p.view.entry(p.buf, p.names.site(ev.Site), ev)
	case trace.FuncExit:
		p.sum.Shown++
		p.buf = p.view.exit(p.buf, p.names.site(ev.Site), ev)
	case trace.LostCount:
		p.buf = p.view.lost(p.buf, ev)
	case trace.MarkText:
		p.buf = p.view.mark(p.buf, ev)
	case trace.Injection:
		p.sum.Shown++
		p.buf = p.view.inject(p.buf, p.names.site(ev.Site), ev)
	}
}
