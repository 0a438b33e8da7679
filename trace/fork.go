package trace

import (
	"io"
	"maps"
)

// Fork returns a Writer that goes on behind a copy of the recording: of all that w
// has written by when Fork returns, which is flushed. The caller puts the copy into
// dst before using the Writer. What is written to one of them is not in the other.
func (w *Writer) Fork(dst io.Writer) (*Writer, error) {
	if err := w.Sync(); err != nil {
		return nil, err
	}
	f := &Writer{w: dst, buf: make([]byte, 0, flushAt+MaxPayload), seq: w.seq, stats: w.stats, placed: w.stats, flushed: w.stats}
	f.gather.ranges = maps.Clone(w.gather.ranges)
	return f, nil
}
