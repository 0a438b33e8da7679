package export

import (
	"bytes"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"nopal/internal/analyze"
	"nopal/trace"
)

// decode turns a Trace into text with protoc, which fails at what is no
// message and shows as numbers what is no field of it.
func decode(t *testing.T, pb []byte) string {
	t.Helper()
	needs(t, "protoc", "scripts/tools.sh")
	c := exec.Command("protoc", "--decode=perfetto.protos.Trace", "-Itestdata", "trace.proto")
	c.Stdin = bytes.NewReader(pb)
	var out, complaint bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaint
	if err := c.Run(); err != nil {
		t.Fatalf("%v: %s", err, complaint.String())
	}
	return out.String()
}

func TestPerfetto(t *testing.T) {
	pb, sum := export(t, sample(t), Options{Format: Perfetto})
	if sum.Lost != 7 || !sum.Graph {
		t.Errorf("%+v", sum)
	}
	golden(t, "sample.perfetto.txt", []byte(decode(t, pb)))
}

func TestPerfettoValues(t *testing.T) {
	pb, _ := export(t, valuesSample(t), Options{Format: Perfetto})
	kind, note := regexp.MustCompile(`type: TYPE_(\w+)`), regexp.MustCompile(`(?:string_value|bool_value|name): (.*)`)
	var got []string
	for _, packet := range strings.Split(decode(t, pb), "packet {") {
		if k := kind.FindStringSubmatch(packet); k != nil {
			line := k[1]
			for _, n := range note.FindAllStringSubmatch(packet, -1) {
				line += " " + n[1]
			}
			got = append(got, line)
		}
	}
	want := []string{
		`SLICE_BEGIN "1" "x"`, `SLICE_BEGIN "2" "x"`, `SLICE_END "3" "return value"`, `INSTANT "tail: delay 1ms"`, `SLICE_BEGIN "5" "x"`,
		`SLICE_END true "inferred"`, `SLICE_END "6" "return value"`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestPerfettoEntries(t *testing.T) {
	pb, _ := export(t, entries(t), Options{Format: Perfetto})
	if n := strings.Count(decode(t, pb), "TYPE_INSTANT"); n != 7 {
		t.Errorf("%d instant events, want 7", n)
	}
}

// message is a decoded message: the last value of each field.
type message map[protowire.Number]any

func parseMessage(t testing.TB, b []byte, each func(n protowire.Number, v any)) {
	t.Helper()
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			t.Fatal(protowire.ParseError(size))
		}
		b = b[size:]
		var v any
		switch kind {
		case protowire.VarintType:
			v, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			v, size = protowire.ConsumeBytes(b)
		default:
			t.Fatalf("field %d is of type %d", n, kind)
		}
		if size < 0 {
			t.Fatal(protowire.ParseError(size))
		}
		b = b[size:]
		each(n, v)
	}
}

func fields(t testing.TB, v any) message {
	t.Helper()
	m := message{}
	if v == nil {
		return m
	}
	parseMessage(t, v.([]byte), func(n protowire.Number, v any) { m[n] = v })
	return m
}

// spansOfPerfetto resolves numbers as trace_processor does, and checks that
// what is referred to has been written before.
func spansOfPerfetto(t testing.TB, pb []byte) []span {
	t.Helper()
	var list []span
	names, tracks := map[uint64]string{}, map[uint64]bool{}
	parseMessage(t, pb, func(_ protowire.Number, v any) {
		packet := fields(t, v)
		if packet[packetSequence] != uint64(perfettoWriter) {
			t.Errorf("packet of sequence %v", packet[packetSequence])
		}
		if d := fields(t, packet[packetTrack]); len(d) > 0 {
			tracks[d[trackUUID].(uint64)] = true
			if p := d[trackParent]; p != nil && !tracks[p.(uint64)] {
				t.Errorf("track %v is below %v, which is not there", d[trackUUID], p)
			}
		}
		if name := fields(t, fields(t, packet[packetInterned])[internedNames]); len(name) > 0 {
			names[name[internedIID].(uint64)] = string(name[internedName].([]byte))
		}
		event := fields(t, packet[packetTrackEvent])
		kind := event[eventType]
		if kind != uint64(sliceBegin) && kind != uint64(sliceEnd) {
			return
		}
		track := event[eventTrack].(uint64)
		if !tracks[track] {
			t.Errorf("event on track %d, which is not there", track)
		}
		s := span{thread: int(track), at: int64(packet[packetTimestamp].(uint64)), end: kind == uint64(sliceEnd)}
		if !s.end {
			if s.name = names[event[eventNameIID].(uint64)]; s.name == "" {
				t.Errorf("event with name %v, which is not there", event[eventNameIID])
			}
		}
		list = append(list, s)
	})
	return list
}

// TestTimelinesBalanced: whatever stands in a recording, viewers get calls that nest.
func TestTimelinesBalanced(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 30 {
		var file bytes.Buffer
		s := begin(t, &file, true)
		now := uint64(1000)
		for range 20 {
			s.thread(uint32(100 + rnd.IntN(3)))
			s.base = now
			s.lost = uint64(rnd.IntN(8) / 7)
			// Any function at any level, so that most exits fit no entry.
			for range rnd.IntN(30) {
				now += uint64(rnd.IntN(3))
				switch fn, level := rnd.IntN(functions), rnd.IntN(9); rnd.IntN(15) {
				case 0:
					s.add(uint32(9000+fn), level, now) // nobody knows what that is
				case 1, 2, 3, 4, 5, 6, 7:
					s.enter(fn, level, now)
				default:
					s.leave(fn, level, now)
				}
			}
			s.flush()
			check(t, s.w.WriteMark(trace.Mark{Proc: 1, Ticks: now, Text: "on"}), s.w.WriteRound(now))
		}
		s.close()
		for _, f := range []Format{Folded, Pprof, Speedscope} {
			out, _ := export(t, file.Bytes(), Options{Format: f})
			wellFormed(t, f, out)
		}
		for _, o := range []Options{
			{}, {Selection: analyze.Selection{Not: only{"leaf", "main"}}}, {Selection: analyze.Selection{TID: 101, MinTime: 5}},
		} {
			o.Format = Chrome
			js, _ := export(t, file.Bytes(), o)
			o.Format = Perfetto
			pb, _ := export(t, file.Bytes(), o)
			a, b := spansOfChrome(t, chromeEvents(t, js)), spansOfPerfetto(t, pb)
			balanced(t, a)
			balanced(t, b)
			if len(a) != len(b) {
				t.Errorf("chrome has %d beginnings and ends, perfetto %d", len(a), len(b))
			}
		}
		if t.Failed() {
			return
		}
	}
}
