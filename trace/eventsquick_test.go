package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// plainEvent is an Event without what is not compared.
func plainEvent(ev *Event) Event {
	c := *ev
	c.Program, c.Task, c.Site, c.Joined = nil, nil, nil, false
	c.Stack, c.Args, c.Ret = slices.Clone(ev.Stack), nil, nil
	// What cannot be compared becomes text.
	c.Text += string(ArgsText(nil, ev.Args))
	if ev.Ret != nil {
		c.Text += string(ev.Ret.AppendText([]byte(" = ")))
	}
	if ev.Regs != nil {
		c.Text += fmt.Sprint(ev.Regs)
	}
	c.Regs = nil
	return c
}

// eventsOf reads a file as quickly as possible or as slowly. It leaves out the
// exits of leaves, and returns how many there were.
func eventsOf(t testing.TB, file []byte, set func(*Events)) (all []Event, tids []uint32, sites []int, leaves int, end error) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, nil, nil, 0, err
	}
	e := NewEvents(r)
	for {
		set(e)
		ev, err := e.Next()
		if err != nil {
			return all, tids, sites, leaves, err
		}
		if ev.Joined && (!ev.Leaf || ev.Kind != Entry) {
			t.Fatalf("joined: %+v", ev)
		}
		if ev.Joined || ev.Kind == FuncExit && ev.Leaf {
			leaves++
		}
		if ev.Kind == FuncExit && ev.Leaf {
			continue
		}
		site := 0
		if ev.Site != nil {
			site = ev.Site.ID
		}
		all, tids, sites = append(all, plainEvent(ev)), append(tids, ev.Task.TID), append(sites, site)
	}
}

// sameQuick compares what is read in each way.
func sameQuick(t testing.TB, file []byte) {
	t.Helper()
	want, wantTIDs, wantSites, wantLeaves, wantErr := eventsOf(t, file, func(e *Events) { e.head.quick = false })
	for _, join := range []bool{false, true} {
		got, tids, sites, leaves, err := eventsOf(t, file, func(e *Events) { e.join = join })
		if len(got) != len(want) || leaves != wantLeaves || !slices.Equal(tids, wantTIDs) || !slices.Equal(sites, wantSites) {
			t.Fatalf("join %v: %d events and %d leaves, want %d and %d", join, len(got), leaves, len(want), wantLeaves)
		}
		if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
			t.Fatalf("join %v: %v, want %v", join, err, wantErr)
		}
		for i := range got {
			if !equalEvents(&got[i], &want[i]) {
				t.Fatalf("join %v: event %d is %+v, want %+v", join, i, got[i], want[i])
			}
		}
	}
}

func equalEvents(a, b *Event) bool {
	return a.Kind == b.Kind && a.Ticks == b.Ticks && a.Time == b.Time && a.Depth == b.Depth && a.Addr == b.Addr && a.IP == b.IP &&
		a.Count == b.Count && a.Text == b.Text && a.Duration == b.Duration && a.Leaf == b.Leaf && a.Inferred == b.Inferred && a.Resumed == b.Resumed && slices.Equal(a.Stack, b.Stack)
}

// TestQuick: events are the same in whatever way they are read, with threads
// that run at the same time, are left by exceptions, lose events and have
// stacks, marks in between.
func TestQuick(t *testing.T) {
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		var file bytes.Buffer
		begin := beginGraph
		if seed%4 == 3 {
			begin = beginFile
		}
		w := begin(t, &file)
		threads := []*machine{newMachine(seed), newMachine(seed + 100), newMachine(seed + 200)}
		for i, m := range threads {
			m.time = 1<<TimeBits - 5000 + uint64(i)
		}
		for range 30 {
			limit := uint64(0)
			for i, m := range threads {
				base := m.time
				m.words = m.words[:0]
				for range 1 + rnd.IntN(400) {
					m.step()
				}
				words := slices.Clone(m.words)
				if rnd.IntN(3) == 0 {
					words = slices.Insert(words, 0, bytesOf(
						ControlWord(WordRecord, RecordStack|4), EventWord(funcIndex(3), 0x100, base), 1, 0xaaaa00001010)...)
				}
				for k := 0; k < len(words); k += 8 {
					// The part of time in an event is too short for a thread of its own.
					if v := binary.LittleEndian.Uint64(words[k:]); v>>indexShift >= MinIndex && base>>TimeBits != m.time>>TimeBits && v&timeMask < base&timeMask {
						words = slices.Insert(words, k, bytesOf(ControlWord(WordTime, m.time>>TimeBits))...)
						break
					}
				}
				lost := uint64(0)
				if rnd.IntN(8) == 0 {
					lost = 7
				}
				check(t, w.WriteChunk(Chunk{Proc: 1, Stream: uint32(i), TID: 100 + uint32(i), Base: base, Lost: lost, Words: words}))
				limit = max(limit, m.time)
			}
			if rnd.IntN(4) == 0 {
				check(t, w.WriteMark(Mark{Proc: 1, TID: 101, Ticks: limit - 100, Text: "mark"}))
			}
			for _, m := range threads {
				m.time = max(m.time, limit-rnd.Uint64N(2000))
			}
			check(t, w.WriteRound(limit-2000))
		}
		check(t, w.Close(0, ""))
		all, _, _, leaves, err := eventsOf(t, file.Bytes(), func(*Events) {})
		if !errors.Is(err, io.EOF) || len(all) < 1000 || begin != nil && seed%4 != 3 && leaves < 100 {
			t.Fatalf("%d events, %d leaves, %v", len(all), leaves, err)
		}
		sameQuick(t, file.Bytes())
	}
}
