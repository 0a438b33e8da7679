package analyze

import (
	"slices"
	"strconv"

	"nopal/trace"
)

// A line begins with task and time, most go on with a duration, an
// indentation and the name of a function. All this is the same from line to
// line but for a few digits. So the beginnings are kept, and copied by sizes
// that the compiler knows: a call of memmove takes longer than the copy.
const (
	lineBare  = iota // task and time
	lineOpen         // no duration
	lineTimed        // a duration below 10 us
	numLines

	// numHeads is for how many threads that run at the same time lines are
	// kept, if their ids are as favourable as they mostly are.
	numHeads = 16

	longText  = 64
	shortText = 32
)

// lineHeads are the beginnings of lines of a task within a second.
type lineHeads struct {
	task   *trace.Task
	second int64 // when it begins, ns
	micros int   // where the six digits of a time are
	text   [numLines][]byte
}

// digitPairs are the numbers below 100.
var digitPairs = func() (d [100][2]byte) {
	for i := range d {
		d[i] = [2]byte{byte('0' + i/10), byte('0' + i%10)}
	}
	return d
}()

// begin begins a line with task and time.
func (v *textView) begin(dst []byte, kind int, ev *trace.Event) []byte {
	h := v.last
	since := ev.Time - h.second
	if ev.Task != h.task || uint64(since) >= 1e9 {
		h, since = v.turn(ev)
	}
	n := len(dst) + h.micros
	dst = appendLong(dst, h.text[kind])
	micros := uint32(since) / 1000
	p, rest := dst[n:n+6:n+6], micros%10_000
	a, b, c := &digitPairs[micros/10_000], &digitPairs[rest/100], &digitPairs[rest%100]
	p[0], p[1], p[2], p[3], p[4], p[5] = a[0], a[1], b[0], b[1], c[0], c[1]
	return dst
}

// turn finds or makes the beginnings for another task or second, and returns
// them with the time since the second.
func (v *textView) turn(ev *trace.Event) (*lineHeads, int64) {
	h := &v.heads[ev.Task.TID%numHeads]
	v.last = h
	if since := ev.Time - h.second; ev.Task == h.task && uint64(since) < 1e9 {
		return h, since
	}
	since := max(ev.Time, 0) // before the machine was started: 0
	second := since / 1e9
	since -= 1e9 * second
	h.task, h.second = ev.Task, 1e9*second
	s := strconv.FormatInt(second, 10)
	for i := range h.text {
		h.text[i] = slices.Grow(h.text[i][:0], 2*longText)
	}
	bare := v.tasks.of(ev.Task, h.text[lineBare])
	bare = append(append(bare, spaces[:max(0, 6-len(s))]...), s...)
	bare = append(bare, '.')
	h.micros = len(bare)
	bare = v.plain(append(bare, "000000:  "...))
	h.text[lineBare] = bare
	h.text[lineOpen] = append(append(append(h.text[lineOpen], bare...), noDuration...), v.opens...)
	h.text[lineTimed] = append(append(append(h.text[lineTimed], bare...), zeroDuration...), v.closes...)
	return h, since
}

// timed begins a line with a duration.
func (v *textView) timed(dst []byte, ev *trace.Event) []byte {
	if uint64(ev.Duration) < 10_000 {
		dst = v.begin(dst, lineTimed, ev)
		n := len(dst) - len(v.closes)
		putDuration(dst[n-durationWidth:n], uint32(ev.Duration))
		return dst
	}
	dst = v.begin(dst, lineBare, ev)
	if ev.Duration < 0 && ev.Kind == trace.FuncExit {
		dst = append(dst, noDuration...)
	} else {
		dst = appendDuration(dst, ev.Duration, v.color)
	}
	return append(dst, v.closes...)
}

// putDuration puts a duration below 10 us into zeroDuration.
func putDuration(p []byte, ns uint32) {
	us, rest := ns/1000, ns%1000
	d := &digitPairs[rest%100]
	p[9], p[11], p[12], p[13] = byte('0'+us), byte('0'+rest/100), d[0], d[1]
}

// appendLong appends a text that is rather long. What it writes behind the
// text is overwritten.
func appendLong(dst, text []byte) []byte {
	n := len(dst)
	if len(text) > longText || cap(text) < longText || cap(dst)-n < longText {
		return append(dst, text...)
	}
	*(*[longText]byte)(dst[n : n+longText]) = *(*[longText]byte)(text[:longText])
	return dst[:n+len(text)]
}

// appendShort likewise appends a text that is rather short.
func appendShort(dst, text []byte) []byte {
	n := len(dst)
	if len(text) > shortText || cap(text) < shortText || cap(dst)-n < shortText {
		return append(dst, text...)
	}
	*(*[shortText]byte)(dst[n : n+shortText]) = *(*[shortText]byte)(text[:shortText])
	return dst[:n+len(text)]
}

// roomy returns a text in memory that appendShort likes.
func roomy(text string) []byte { return append(make([]byte, 0, max(len(text), shortText)), text...) }

// blanks are the spaces for appendShort.
var blanks = []byte(spaces[:shortText])

// indent appends the indentation of a call.
func indent(dst []byte, depth int) []byte {
	if depth <= shortText/2 {
		return appendShort(dst, blanks[:2*depth])
	}
	if depth <= maxIndent {
		return append(dst, spaces[:2*depth]...)
	}
	dst = append(dst, spaces[:2*maxIndent]...)
	dst = append(dst, '(')
	dst = strconv.AppendInt(dst, int64(depth), 10)
	return append(dst, ") "...)
}
