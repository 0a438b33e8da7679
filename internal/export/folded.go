package export

import (
	"bytes"
	"io"
	"slices"
	"strconv"
	"strings"
)

// writeFolded writes a line a calling context: its functions from the outside
// in, and its weight. It is what flamegraph.pl, inferno and speedscope read.
// The same context in several threads is one line.
func writeFolded(w io.Writer, s *sums, o Options) error {
	byTime := s.graph && o.Weight != Calls
	list := s.list()
	// Threads are the first order of the list; here they are none.
	slices.SortStableFunc(list, func(a, b *context) int { return int(a.node) - int(b.node) })
	var (
		buf, line, last []byte
		stack           []*site
		total           uint64 // of last
	)
	end := func() {
		if total > 0 {
			buf = append(append(buf, last...), ' ')
			buf = append(strconv.AppendUint(buf, total, 10), '\n')
		}
		total = 0
	}
	for i := 0; i < len(list); {
		c, weight := list[i], uint64(0)
		for ; i < len(list) && list[i].node == c.node && list[i].site == c.site; i++ {
			if byTime {
				weight += uint64(s.rec.NanosecondsOf(list[i].self))
			} else {
				weight += list[i].calls
			}
		}
		stack = s.appendStack(stack[:0], c)
		line = line[:0]
		for j := len(stack) - 1; j >= 0; j-- {
			// Semicolons separate functions; the last space ends the stack.
			line = append(line, strings.ReplaceAll(stack[j].name, ";", ":")...)
			if j > 0 {
				line = append(line, ';')
			}
		}
		// Deep recursions are the same when their middle is left out.
		if !bytes.Equal(line, last) {
			end()
			last, line = line, last
		}
		total += weight
		if len(buf) >= flushAt {
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	end()
	_, err := w.Write(buf)
	return err
}
