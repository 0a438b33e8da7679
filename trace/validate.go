package trace

import (
	"errors"
	"fmt"
	"io"
)

// Totals are what Validate has counted.
type Totals struct {
	Events uint64
	Lost   uint64
	Chunks uint64
	Backs  uint64 // how often a thread's time went back a little
	Late   uint64 // events from before the last ROUND but one
}

// maxBack is how far back a thread's time may go. A signal handler in the
// middle of a slow record puts later events before it, by as long as it runs;
// but half of what the time bits of a word can tell is rather a mistake in the
// bits above.
const maxBack = 1 << (TimeBits - 1)

// Validate checks a recording against all rules of the format, those included
// that readers forgive because a recording is worth reading even so: every
// block comes after what it refers to, nothing follows an exit, the totals are
// right, and there is an end. The first breach is the error. What a thread can
// cause that is interrupted at the wrong moment is not a breach, but counted.
// Tests run it over whatever the tracer has written.
func Validate(r io.Reader) (Totals, error) {
	rd, err := NewReader(r)
	if err != nil {
		return Totals{}, err
	}
	v := validator{
		procs:   map[uint32]bool{},
		ended:   map[uint32]bool{},
		images:  map[uint32]bool{},
		threads: map[[2]uint32]bool{},
		probes:  map[[2]uint32]bool{},
		last:    map[[2]uint32]uint64{},
		rec:     NewRecording(rd.Machine()),
	}
	for {
		at := rd.Offset()
		b, err := rd.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return v.totals, err
		}
		if err := v.block(b); err != nil {
			return v.totals, fmt.Errorf("validate recording: offset %#x: %v block: %w", at, TypeOf(b), err)
		}
	}
	if rd.Truncated() {
		return v.totals, errors.New("validate recording: it has no END block, or not all of it")
	}
	return v.totals, nil
}

type validator struct {
	rec     *Recording
	procs   map[uint32]bool
	ended   map[uint32]bool
	images  map[uint32]bool
	threads map[[2]uint32]bool   // that have ended
	probes  map[[2]uint32]bool   // by process and number
	last    map[[2]uint32]uint64 // ticks, by process and stream
	totals  Totals
	blocks  int
	clock   bool
	round   uint64
	before  uint64 // the round before
}

func (v *validator) block(b Block) error {
	v.blocks++
	if (v.blocks == 1) != (TypeOf(b) == TypeMeta) {
		return errors.New("META is not the first block, or not the only one")
	}
	if err := v.refers(b); err != nil {
		return err
	}
	switch b := b.(type) {
	case *Clock:
		if v.clock {
			return errors.New("a second clock")
		}
		v.clock = true
	case *Process:
		if v.procs[b.Proc] {
			return fmt.Errorf("process %d is introduced again", b.Proc)
		}
		v.procs[b.Proc] = true
	case *Thread:
		// Thread ids are used again.
		delete(v.threads, [2]uint32{b.Proc, b.TID})
	case *Image:
		if v.images[b.ID] {
			return fmt.Errorf("image %d is introduced again", b.ID)
		}
		v.images[b.ID] = true
	case *Range:
		if b.Addr%positionSize != 0 || b.VA%positionSize != 0 {
			return fmt.Errorf("addresses %#x and %#x are not those of instructions", b.Addr, b.VA)
		}
	case *Probe:
		key := [2]uint32{b.Proc, b.Number}
		if v.probes[key] {
			return fmt.Errorf("probe %d is introduced again", b.Number)
		}
		v.probes[key] = true
	case *Chunk:
		return v.chunk(b)
	case *Round:
		if b.Ticks < v.round {
			return fmt.Errorf("the watermark goes back from %d to %d", v.round, b.Ticks)
		}
		v.before, v.round = v.round, b.Ticks
	case *Lost:
		v.totals.Lost += b.Count
	case *Exit:
		if b.TID == 0 {
			v.ended[b.Proc] = true
		} else {
			v.threads[[2]uint32{b.Proc, b.TID}] = true
		}
	case *End:
		t := Totals{b.Events, b.Lost, b.Chunks, v.totals.Backs, v.totals.Late}
		if t != v.totals {
			return fmt.Errorf("the totals are %+v, but there are %+v", t, v.totals)
		}
	}
	return v.rec.Apply(b)
}

// refers checks that what a block names has been introduced.
func (v *validator) refers(b Block) error {
	proc, image := uint32(0), uint32(0)
	hasProc, hasImage := true, false
	switch b := b.(type) {
	case *Thread:
		proc = b.Proc
	case *Range:
		proc, image, hasImage = b.Proc, b.Image, true
	case *Chunk:
		proc = b.Proc
	case *Lost:
		proc = b.Proc
	case *Profile:
		proc = b.Proc
		for i := range b.Funcs {
			if !v.images[b.Funcs[i].Image] {
				return fmt.Errorf("image %d has not been introduced", b.Funcs[i].Image)
			}
		}
	case *Probe:
		proc, image, hasImage = b.Proc, b.Image, b.Image != 0
	case *Mark:
		proc, hasProc = b.Proc, b.Proc != 0
	case *Exit:
		proc = b.Proc
	case *Funcs:
		hasProc, image, hasImage = false, b.Image, true
	default:
		return nil
	}
	switch {
	case hasProc && !v.procs[proc]:
		return fmt.Errorf("process %d has not been introduced", proc)
	case hasProc && v.ended[proc]:
		return fmt.Errorf("process %d has ended before", proc)
	case hasImage && !v.images[image]:
		return fmt.Errorf("image %d has not been introduced", image)
	}
	return nil
}

func (v *validator) chunk(c *Chunk) error {
	if !v.clock {
		return errors.New("there is no CLOCK before it")
	}
	if v.threads[[2]uint32{c.Proc, c.TID}] {
		return fmt.Errorf("thread %d has ended before", c.TID)
	}
	p, err := v.rec.Program(c.Proc)
	if err != nil {
		return err
	}
	v.totals.Chunks++
	v.totals.Lost += c.Lost
	key := [2]uint32{c.Proc, c.Stream}
	cur := Cursor{Machine: v.rec.Machine, attached: &attached{probes: p.probes, strict: true}}
	for cur.Reset(c, v.last[key]); cur.Next(); v.totals.Events++ {
		if cur.Ticks < v.before {
			v.totals.Late++
		}
		v.last[key] = cur.Ticks
		s, err := p.Site(cur.Index)
		if err != nil {
			return err
		}
		if s.ID < 0 {
			return fmt.Errorf("thread %d: code position %d is in no range", c.TID, cur.Index)
		}
		if cur.args != 0 {
			if err := p.probes.fits(&cur); err != nil {
				return fmt.Errorf("thread %d: %w", c.TID, err)
			}
		}
	}
	v.totals.Backs += cur.backs
	if cur.back > maxBack {
		return fmt.Errorf("thread %d: time goes back by %d ticks", c.TID, cur.back)
	}
	return cur.Err()
}
