package export

import (
	"google.golang.org/protobuf/encoding/protowire"

	"nopal/trace"
)

// The fields of Perfetto's messages that are written, by the names they have in
// protos/perfetto/trace/*.proto.
const (
	tracePacket = 1 // Trace.packet

	packetClockSnapshot = 6
	packetTimestamp     = 8
	packetSequence      = 10 // trusted_packet_sequence_id
	packetTrackEvent    = 11
	packetInterned      = 12
	packetFlags         = 13 // sequence_flags
	packetDefaults      = 59
	packetTrack         = 60 // track_descriptor
	packetFirst         = 87 // first_packet_on_sequence

	flagCleared = 1 // SEQ_INCREMENTAL_STATE_CLEARED
	flagNeeds   = 2 // SEQ_NEEDS_INCREMENTAL_STATE

	defaultsClock = 58 // timestamp_clock_id

	snapshotClocks  = 1
	snapshotPrimary = 2
	clockID         = 1
	clockTimestamp  = 2
	clockRealtime   = 1 // BuiltinClock
	clockMonotonic  = 3

	internedCategories = 1
	internedNames      = 2
	internedIID        = 1
	internedName       = 2

	trackUUID    = 1
	trackName    = 2
	trackProcess = 3
	trackThread  = 4
	trackParent  = 5
	processPID   = 1
	processCmd   = 2
	processName  = 6
	threadPID    = 1
	threadTID    = 2
	threadName   = 5

	eventCategory  = 3 // category_iids
	eventNote      = 4 // debug_annotations
	eventType      = 9
	eventNameIID   = 10
	eventTrack     = 11
	eventName      = 23
	sliceBegin     = 1
	sliceEnd       = 2
	instant        = 3
	noteBool       = 2
	noteUint       = 3
	noteString     = 6
	noteName       = 10
	perfettoWriter = 1 // our only packet sequence
)

// perfetto writes a Trace message: a packet an event. All are of one sequence,
// so that every name is written once. The messages are put together by hand: a
// packet is written for each event, and all but a few have the same form.
type perfetto struct {
	procs      map[uint32]uint64 // tracks of processes
	categories map[string]uint64
	names      uint64
	event      []byte // being built
	packet     []byte
	nested     []byte
}

func (p *perfetto) header(dst []byte, rec *trace.Recording) []byte {
	p.procs, p.categories = map[uint32]uint64{}, map[string]uint64{}
	c := &rec.Clock
	clock := func(dst []byte, id uint64, ns int64) []byte {
		p.nested = appendUint(appendUint(p.nested[:0], clockID, id), clockTimestamp, uint64(max(0, ns)))
		return appendMessage(dst, snapshotClocks, p.nested)
	}
	snapshot := appendUint(nil, snapshotPrimary, clockMonotonic)
	snapshot = clock(snapshot, clockMonotonic, c.Mono)
	if c.Real > 0 {
		snapshot = clock(snapshot, clockRealtime, c.Real)
	}
	b := appendMessage(p.packet[:0], packetClockSnapshot, snapshot)
	b = appendUint(b, packetSequence, perfettoWriter)
	b = appendUint(b, packetFlags, flagCleared)
	b = appendMessage(b, packetDefaults, appendUint(nil, defaultsClock, clockMonotonic))
	b = appendUint(b, packetFirst, 1)
	p.packet = b
	return appendMessage(dst, tracePacket, b)
}

func (p *perfetto) footer(dst []byte) []byte { return dst }

// site makes the fields of an event; its numbers are given when it is used first.
func (p *perfetto) site(*site) []byte { return nil }

// thread describes the thread's track, and its process' if it is new. Tracks of
// threads have odd numbers, those of processes even ones.
func (p *perfetto) thread(dst []byte, t *thread) []byte {
	prog := t.task.Program
	process, ok := p.procs[prog.Proc]
	if !ok {
		process = 2 * uint64(len(p.procs)+1)
		p.procs[prog.Proc] = process
		b := appendUint(nil, processPID, uint64(prog.PID))
		for _, word := range prog.Command {
			b = appendString(b, processCmd, clean(word))
		}
		b = appendString(b, processName, programName(prog))
		dst = p.track(dst, appendMessage(appendUint(nil, trackUUID, process), trackProcess, b))
	}
	uuid := 2*t.id + 1
	b := appendUint(nil, threadPID, uint64(prog.PID))
	b = appendUint(b, threadTID, uint64(t.tid))
	b = appendString(b, threadName, clean(t.task.Name))
	desc := appendUint(appendUint(nil, trackUUID, uuid), trackParent, process)
	t.text = appendUint(nil, eventTrack, uuid)
	return p.track(dst, appendMessage(desc, trackThread, b))
}

func (p *perfetto) track(dst, descriptor []byte) []byte {
	b := appendMessage(p.packet[:0], packetTrack, descriptor)
	p.packet = appendUint(b, packetSequence, perfettoWriter)
	return appendMessage(dst, tracePacket, p.packet)
}

// slice appends a packet with an event that has no strings. It is short, so
// that all lengths are one byte.
func slice(dst []byte, kind byte, t *thread, s *site, at int64) []byte {
	start := len(dst) + 2
	dst = append(dst, tracePacket<<3|byte(protowire.BytesType), 0, packetTimestamp<<3)
	dst = protowire.AppendVarint(dst, uint64(max(0, at)))
	fields := len(t.text) + 2
	if s != nil {
		fields += len(s.text)
	}
	dst = append(dst,
		packetSequence<<3, perfettoWriter,
		packetFlags<<3, flagNeeds,
		packetTrackEvent<<3|byte(protowire.BytesType), byte(fields),
		eventType<<3, kind)
	dst = append(dst, t.text...)
	if s != nil {
		dst = append(dst, s.text...)
	}
	dst[start-1] = byte(len(dst) - start)
	return dst
}

// intern gives the site's name and category numbers, in a packet before the
// first event that has them.
func (p *perfetto) intern(dst []byte, s *site) []byte {
	var data []byte
	category, ok := p.categories[s.object]
	if !ok {
		category = uint64(len(p.categories) + 1)
		p.categories[s.object] = category
		p.nested = appendString(appendUint(p.nested[:0], internedIID, category), internedName, s.object)
		data = appendMessage(data, internedCategories, p.nested)
	}
	p.names++
	s.iid = p.names
	p.nested = appendString(appendUint(p.nested[:0], internedIID, s.iid), internedName, s.name)
	data = appendMessage(data, internedNames, p.nested)
	s.text = appendUint(appendUint(nil, eventCategory, category), eventNameIID, s.iid)
	b := appendUint(p.packet[:0], packetSequence, perfettoWriter)
	b = appendUint(b, packetFlags, flagNeeds)
	p.packet = appendMessage(b, packetInterned, data)
	return appendMessage(dst, tracePacket, p.packet)
}

func (p *perfetto) begin(dst []byte, t *thread, s *site, at int64, d *details) []byte {
	return p.named(dst, sliceBegin, t, s, at, d)
}

// named writes the beginning of a slice, or an instant.
func (p *perfetto) named(dst []byte, kind byte, t *thread, s *site, at int64, d *details) []byte {
	if s.iid == 0 {
		dst = p.intern(dst, s)
	}
	if !d.values() {
		return slice(dst, kind, t, s, at)
	}
	b := append(append(appendUint(p.event[:0], eventType, uint64(kind)), t.text...), s.text...)
	return p.annotated(dst, p.notes(b, d), at)
}

// notes appends details to an event.
func (p *perfetto) notes(event []byte, d *details) []byte {
	if d.inferred {
		p.nested = appendUint(appendString(p.nested[:0], noteName, "inferred"), noteBool, 1)
		event = appendMessage(event, eventNote, p.nested)
	}
	d.each(func(name, value string) {
		p.nested = appendString(appendString(p.nested[:0], noteName, name), noteString, value)
		event = appendMessage(event, eventNote, p.nested)
	})
	return event
}

func (p *perfetto) end(dst []byte, t *thread, _ *site, at int64, d *details) []byte {
	if !d.any() {
		return slice(dst, sliceEnd, t, nil, at)
	}
	b := append(appendUint(p.event[:0], eventType, sliceEnd), t.text...)
	return p.annotated(dst, p.notes(b, d), at)
}

func (p *perfetto) leaf(dst []byte, t *thread, s *site, at, duration int64, d *details) []byte {
	if !d.any() {
		return p.end(p.begin(dst, t, s, at, d), t, s, at+duration, d)
	}
	dst = p.begin(dst, t, s, at, &details{args: d.args})
	return p.end(dst, t, s, at+duration, &details{inferred: d.inferred, ret: d.ret})
}

func (p *perfetto) instant(dst []byte, t *thread, s *site, at int64, d *details) []byte {
	return p.named(dst, instant, t, s, at, d)
}

func (p *perfetto) lost(dst []byte, t *thread, at int64, count uint64) []byte {
	p.nested = appendUint(appendString(p.nested[:0], noteName, "count"), noteUint, count)
	b := append(appendUint(p.event[:0], eventType, instant), t.text...)
	b = appendString(b, eventName, "events lost")
	return p.annotated(dst, appendMessage(b, eventNote, p.nested), at)
}

func (p *perfetto) mark(dst []byte, t *thread, at int64, text string) []byte {
	b := append(appendUint(p.event[:0], eventType, instant), t.text...)
	return p.annotated(dst, appendString(b, eventName, text), at)
}

// annotated appends a packet with any event.
func (p *perfetto) annotated(dst, event []byte, at int64) []byte {
	p.event = event
	b := appendUint(p.packet[:0], packetTimestamp, uint64(max(0, at)))
	b = appendUint(b, packetSequence, perfettoWriter)
	b = appendUint(b, packetFlags, flagNeeds)
	p.packet = appendMessage(b, packetTrackEvent, event)
	return appendMessage(dst, tracePacket, p.packet)
}

func appendUint(dst []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.VarintType), v)
}

func appendString(dst []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(dst, field, protowire.BytesType), s)
}

func appendMessage(dst []byte, field protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), m)
}
