package trace

import "io"

// Fork returns a Writer that goes on behind a copy of the recording: of all that w
// has written by when Fork returns, which is flushed. The caller puts the copy into
// dst before using the Writer. What is written to one of them is not in the other.
func (w *Writer) Fork(dst io.Writer) (*Writer, error) {
	if err := w.Flush(); err != nil {
		return nil, err
	}
	return &Writer{w: dst, buf: make([]byte, 0, flushAt+MaxPayload), seq: w.seq, stats: w.stats, flushed: w.stats}, nil
}
