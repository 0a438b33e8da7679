package export

import (
	"strconv"

	"nopal/trace"
)

// chrome writes the JSON Object Format of Chrome's trace events: a call as
// "B" and "E", one without calls in it as "X", an entry alone as "i". Times are
// in microseconds; three decimals keep the nanoseconds.
//
// "X" for all calls would make smaller files, but needs parents before their
// children where both begin at the same time: viewers sort by time only, and a
// parent ends, and would be written, last.
type chrome struct {
	procs  map[uint32]bool // those that have a name
	millis int64           // what clock shows
	clock  []byte          // milliseconds as text
}

func (c *chrome) header(dst []byte, rec *trace.Recording) []byte {
	c.procs, c.millis = map[uint32]bool{}, -1
	m := &rec.Meta
	dst = append(dst, `{"displayTimeUnit":"ns","otherData":{"tool":`...)
	dst = appendJSON(dst, "nopal "+clean(m.Version))
	dst = append(dst, `,"host":`...)
	dst = appendJSON(dst, clean(m.Host))
	dst = append(dst, `,"machine":`...)
	dst = appendJSON(dst, clean(m.Machine))
	return append(dst, `,"clock":"CLOCK_MONOTONIC"},"traceEvents":[`...)
}

func (c *chrome) footer(dst []byte) []byte { return append(dst, "\n]}\n"...) }

func (c *chrome) site(s *site) []byte {
	js := appendJSON([]byte(`,"cat":`), s.object)
	js = appendJSON(append(js, `,"name":`...), s.name)
	return append(js, '}')
}

func (c *chrome) thread(dst []byte, t *thread) []byte {
	p := t.task.Program
	ids := strconv.AppendUint([]byte(`,"pid":`), uint64(p.PID), 10)
	ids = strconv.AppendUint(append(ids, `,"tid":`...), uint64(t.tid), 10)
	if !c.procs[p.Proc] {
		// Threads come before their events, so this is where the list begins.
		if len(c.procs) > 0 {
			dst = append(dst, ',')
		}
		c.procs[p.Proc] = true
		dst = append(append(append(dst, "\n"+`{"ph":"M"`...), ids...), `,"name":"process_name","args":{"name":`...)
		dst = append(appendJSON(dst, programName(p)), "}}"...)
	}
	dst = append(append(append(dst, ",\n"+`{"ph":"M"`...), ids...), `,"name":"thread_name","args":{"name":`...)
	dst = append(appendJSON(dst, clean(t.task.Name)), "}}"...)
	t.text = append(ids, `,"ts":`...)
	return dst
}

func (c *chrome) begin(dst []byte, t *thread, s *site, at int64, d *details) []byte {
	dst = append(dst, ",\n"+`{"ph":"B"`...)
	dst = c.time(append(dst, t.text...), at)
	return d.chrome(append(dst, s.text...))
}

func (c *chrome) end(dst []byte, t *thread, _ *site, at int64, d *details) []byte {
	dst = append(dst, ",\n"+`{"ph":"E"`...)
	dst = c.time(append(dst, t.text...), at)
	return d.chrome(append(dst, '}'))
}

func (c *chrome) leaf(dst []byte, t *thread, s *site, at, duration int64, d *details) []byte {
	dst = append(dst, ",\n"+`{"ph":"X"`...)
	dst = c.time(append(dst, t.text...), at)
	dst = append(dst, `,"dur":`...)
	dst = appendMicros(dst, duration)
	return d.chrome(append(dst, s.text...))
}

func (c *chrome) instant(dst []byte, t *thread, s *site, at int64, d *details) []byte {
	dst = append(dst, ",\n"+`{"ph":"i","s":"t"`...)
	dst = c.time(append(dst, t.text...), at)
	return d.chrome(append(dst, s.text...))
}

func (c *chrome) lost(dst []byte, t *thread, at int64, count uint64) []byte {
	dst = append(dst, ",\n"+`{"ph":"i","s":"t"`...)
	dst = c.time(append(dst, t.text...), at)
	dst = append(dst, `,"cat":"nopal","name":"events lost","args":{"count":`...)
	return append(strconv.AppendUint(dst, count, 10), "}}"...)
}

func (c *chrome) mark(dst []byte, t *thread, at int64, text string) []byte {
	dst = append(dst, ",\n"+`{"ph":"i","s":"p"`...)
	dst = c.time(append(dst, t.text...), at)
	return append(appendJSON(append(dst, `,"cat":"nopal","name":`...), text), '}')
}

// chrome adds details to an event, which viewers show when it is selected; those
// of an "E" are added to those of its "B".
func (d *details) chrome(dst []byte) []byte {
	if !d.any() {
		return dst
	}
	dst = append(dst[:len(dst)-1], `,"args":{`...)
	if d.inferred {
		dst = append(dst, `"inferred":true,`...)
	}
	d.each(func(name, value string) {
		dst = append(appendJSON(append(appendJSON(dst, name), ':'), value), ',')
	})
	return append(dst[:len(dst)-1], "}}"...)
}

// time appends nanoseconds as microseconds. The digits down to milliseconds
// are the same for many events, and are kept.
func (c *chrome) time(dst []byte, ns int64) []byte {
	ns = max(0, ns)
	rest := ns - c.millis*1_000_000
	if rest < 0 || rest >= 1_000_000 || c.millis <= 0 {
		c.millis = ns / 1_000_000
		if c.millis == 0 {
			return appendMicros(dst, ns) // no leading zeros in JSON
		}
		rest = ns % 1_000_000
		c.clock = strconv.AppendInt(c.clock[:0], c.millis, 10)
	}
	dst = append(dst, c.clock...)
	hi, lo := uint32(rest)/1000, uint32(rest)%1000
	return append(dst,
		byte('0'+hi/100), byte('0'+hi/10%10), byte('0'+hi%10), '.',
		byte('0'+lo/100), byte('0'+lo/10%10), byte('0'+lo%10))
}

func appendMicros(dst []byte, ns int64) []byte {
	us, lo := ns/1000, uint32(ns%1000)
	if us < 10 {
		dst = append(dst, byte('0'+us))
	} else {
		dst = strconv.AppendInt(dst, us, 10)
	}
	return append(dst, '.', byte('0'+lo/100), byte('0'+lo/10%10), byte('0'+lo%10))
}
