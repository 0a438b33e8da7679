package export

import (
	"errors"
	"fmt"
	"io"

	"nopal/internal/analyze"
	"nopal/trace"
)

// Format is a tool's format.
type Format string

// The formats.
const (
	Chrome     Format = "chrome"
	Perfetto   Format = "perfetto"
	Folded     Format = "folded"
	Pprof      Format = "pprof"
	Speedscope Format = "speedscope"
)

// Weight is what the contexts of folded are weighed by.
type Weight string

// The weights. Time is that of the function itself, in nanoseconds; without
// exits it is not known, and calls are counted instead.
const (
	Time  Weight = "time"
	Calls Weight = "calls"
)

// Options shape what is written.
type Options struct {
	analyze.Selection
	First  int64 // time of the first event, for a Range with elapsed times
	Format Format
	Weight Weight // of folded; default: Time
}

// Summary is what was read and written.
type Summary struct {
	Events    uint64 // entries, exits and injections, or calls, that were read
	Shown     uint64 // of those, what is in the output
	Lost      uint64
	Truncated bool // the recording lacks its end
	Graph     bool // it has durations
	Summed    bool // the output has contexts, where the format could have had each call
	Recording *trace.Recording
}

// ErrNoEvents says that a recording holds sums only, where a timeline was asked for.
var ErrNoEvents = errors.New("it was made with --profile and has no single calls, which a timeline needs (folded, pprof and speedscope need none)")

// DamageError says that a recording is damaged. What stands before the damage
// has been written, as a complete file.
type DamageError struct{ Err error }

func (e *DamageError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *DamageError) Unwrap() error { return e.Err }

// ended turns the error that reading ended with into that of Write.
func ended(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	return &DamageError{err}
}

// flushAt is the number of bytes that are written in one call.
const flushAt = 256 << 10

// Write reads a recording and writes it in another format. The summary is valid
// along with a DamageError.
func Write(r io.Reader, w io.Writer, o Options) (Summary, error) {
	switch o.Format {
	case Chrome:
		return writeTimeline(r, w, o, new(chrome))
	case Perfetto:
		return writeTimeline(r, w, o, new(perfetto))
	case Folded:
		return writeSums(r, w, o, writeFolded)
	case Pprof:
		return writeSums(r, w, o, writePprof)
	case Speedscope:
		return writeSpeedscope(r, w, o)
	}
	return Summary{}, fmt.Errorf("export recording: unknown format %q", o.Format)
}

// output is a writer whose errors are told from those of the recording.
type output struct{ w io.Writer }

func (o output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil {
		err = &analyze.WriteError{Err: err}
	}
	return n, err
}
