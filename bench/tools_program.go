package main

import (
	"encoding/binary"
	"math/rand/v2"

	"nopal/trace"
)

// Shape of the program whose calls are generated. Its functions have bodies: calls in a certain order,
// most of which are made always, some under conditions, some in loops. As in recordings of Lua and SQLite,
// that leaves about half a byte of information in an event.
const (
	graphFunctions = 300
	graphLevels    = 12 // functions call those of levels below their own

	// Threads take turns, as on one processor.
	turnTicks  = 62_500      // 1 ms
	roundTicks = 50 * 62_500 // as the drainer writes them
)

// callSite is where a function calls another.
type callSite struct {
	callee int
	chance uint32 // of 64: how often it is reached
	least  int    // how often it is called then,
	more   int    // and at most in addition
	ticks  uint64 // since the event before
}

type function struct {
	sites []callSite
	frame uint64
	ticks uint64 // from the last event to the exit
}

// program makes the functions. The first is the main loop.
func program() []function {
	random := rand.New(rand.NewPCG(1, 2))
	all := make([]function, graphFunctions)
	perLevel := graphFunctions / graphLevels
	for i := range all {
		f := &all[i]
		f.frame = 32 + 16*random.Uint64N(12)
		f.ticks = 2 + random.Uint64N(4)
		level := i / perLevel
		if level == graphLevels-1 {
			continue
		}
		sites := random.IntN(5) // two on average: main has some thousand calls within it
		if i == 0 {
			sites = 20
		}
		for range sites {
			below := min(level+1+random.IntN(4), graphLevels-1)
			s := callSite{callee: below*perLevel + random.IntN(perLevel), chance: 64, least: 1, ticks: 2 + random.Uint64N(6)}
			switch random.IntN(10) {
			case 0:
				s.chance = 2
			case 1, 2:
				s.chance = 60
			case 3:
				s.chance = 32
			}
			switch random.IntN(12) {
			case 0:
				s.least = 2 + random.IntN(6)
			case 1:
				s.more = 6
			}
			f.sites = append(f.sites, s)
		}
	}
	return all
}

// walker makes the events of one thread.
type walker struct {
	random *rand.Rand
	code   []function
	stack  []activation
	ticks  uint64
	high   uint64
	words  []byte
}

// activation is a call that has not ended.
type activation struct {
	function int
	site     int // that is reached next
	left     int // calls from the one before
	sp       uint64
}

// next returns the code position, stack pointer and time of the next event.
func (w *walker) next() (index uint32, sp, ticks uint64) {
	if len(w.stack) == 0 {
		return w.enter(0, 0xfff0, 20)
	}
	a := &w.stack[len(w.stack)-1]
	f := &w.code[a.function]
	for {
		if a.left > 0 {
			a.left--
			s := &f.sites[a.site-1]
			return w.enter(s.callee, a.sp-f.frame, s.ticks)
		}
		if a.site == len(f.sites) {
			break
		}
		s := &f.sites[a.site]
		a.site++
		if s.chance == 64 || w.random.Uint32N(64) < s.chance {
			if a.left = s.least; s.more > 0 {
				a.left += w.random.IntN(s.more + 1)
			}
		}
	}
	w.stack = w.stack[:len(w.stack)-1]
	w.tick(f.ticks)
	return uint32(firstIndex + (graphFunctions+a.function)*functionSize/4 + 2), a.sp, w.ticks
}

func (w *walker) enter(n int, sp, ticks uint64) (uint32, uint64, uint64) {
	w.stack = append(w.stack, activation{function: n, sp: sp})
	w.tick(ticks)
	return uint32(firstIndex + n*functionSize/4 + 2), sp, w.ticks
}

// tick lets time pass: nearly always about as long, sometimes much longer.
func (w *walker) tick(ticks uint64) {
	switch r := w.random.Uint32N(1024); {
	case r < 2:
		ticks += w.random.Uint64N(2000) // the kernel was there
	case r < 50:
		ticks += w.random.Uint64N(30) // something was not in the cache
	case r < 300:
		ticks++
	}
	w.ticks += ticks
}

// turn adds the events of a turn to the recording.
func (w *walker) turn(out *trace.Writer, thread uint32, until uint64) (events int, err error) {
	const page = 508 // words
	for w.ticks < until {
		w.words = w.words[:0]
		base := w.ticks
		w.high = base >> trace.TimeBits
		for len(w.words) < 8*(page-1) && w.ticks < until {
			index, sp, ticks := w.next()
			if high := ticks >> trace.TimeBits; high != w.high {
				w.high = high
				w.words = binary.LittleEndian.AppendUint64(w.words, trace.ControlWord(trace.WordTime, high))
			}
			w.words = binary.LittleEndian.AppendUint64(w.words, trace.EventWord(index, sp, ticks))
			events++
		}
		if err := out.WriteChunk(trace.Chunk{Proc: 1, Stream: thread, TID: 1000 + thread, Base: base, Words: w.words}); err != nil {
			return events, err
		}
	}
	return events, nil
}

// writeGraph writes a recording with entries and exits as a drainer would. The threads take turns, or all run
// at the same time.
func writeGraph(name string, events int, parallel bool) error {
	return writeRecording(name, func(w *trace.Writer) error { return graphEvents(w, events, parallel) })
}

// graphEvents writes what is in it.
func graphEvents(w *trace.Writer, events int, parallel bool) error {
	const positions = graphFunctions * functionSize / 4
	entries := trace.Range{Proc: 1, Image: 1, Index: firstIndex, Count: positions, Addr: textAddr, VA: textAddr}
	exits := entries
	exits.Index, exits.Kind = firstIndex+positions, trace.RangeExits
	if err := introduceProgram(w, graphFunctions, entries, exits); err != nil {
		return err
	}
	code := program()
	var walkers [threads]*walker
	for i := range walkers {
		walkers[i] = &walker{random: rand.New(rand.NewPCG(uint64(i), 3)), code: code, ticks: 1 << 30}
	}
	now, round := uint64(1<<30), uint64(1<<30)
	for n := 0; n < events; {
		for i, walk := range walkers {
			if !parallel {
				walk.ticks = now
			}
			more, err := walk.turn(w, uint32(i), now+turnTicks)
			if err != nil {
				return err
			}
			n += more
			if !parallel {
				now = walk.ticks
			}
		}
		if parallel {
			now += turnTicks
		}
		if now-round >= roundTicks {
			round = now
			if err := w.WriteRound(now); err != nil {
				return err
			}
		}
	}
	return nil
}
