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
	Filter Matcher // nil: all functions
	TID    uint32  // 0: all threads
	Format Format
	Color  bool
}

// Summary is what Replay has seen, whether it was written or not.
type Summary struct {
	Events    uint64
	Shown     uint64
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
	lost(dst []byte, ev *trace.Event) []byte
}

// WriteError is a failure to write, as opposed to one to read the recording.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return fmt.Sprintf("write events: %v", e.Err) }

// Unwrap returns the writer's error.
func (e *WriteError) Unwrap() error { return e.Err }

// Replay writes the events of a recording in the order of time. When the
// recording is damaged, the events before the damage are written, and the
// summary is valid along with the error.
func Replay(r io.Reader, w io.Writer, o Options) (Summary, error) {
	rd, err := trace.NewReader(r)
	if err != nil {
		return Summary{}, err
	}
	events := trace.NewEvents(rd)
	sum := Summary{Recording: events.Recording()}
	names := newNames(o.Filter)
	var v view
	switch o.Format {
	case Text, "":
		v = newTextView(names, o.Color)
	case JSONL:
		v = newJSONView(names)
	default:
		return sum, fmt.Errorf("replay recording: unknown format %q", o.Format)
	}
	buf := v.header(make([]byte, 0, flushAt+4096))
	for {
		ev, rerr := events.Next()
		if rerr != nil || len(buf) >= flushAt {
			if _, err := w.Write(buf); err != nil {
				return sum, &WriteError{err}
			}
			buf = buf[:0]
		}
		if rerr != nil {
			sum.Truncated = rd.Truncated()
			if errors.Is(rerr, io.EOF) {
				rerr = nil
			}
			return sum, rerr
		}
		if ev.Kind == trace.LostCount {
			sum.Lost += ev.Count
			if o.TID == 0 || o.TID == ev.Task.TID {
				buf = v.lost(buf, ev)
			}
			continue
		}
		sum.Events++
		if o.TID != 0 && o.TID != ev.Task.TID {
			continue
		}
		s := names.site(ev.Site)
		if !s.shown {
			continue
		}
		sum.Shown++
		buf = v.entry(buf, s, ev)
	}
}
