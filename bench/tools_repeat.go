package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"nopal/trace"
)

// repeat writes a recording again and again into one file, one after the other in time, until there are so
// many events. A chunk is encoded by itself, so what repeats itself makes the file no smaller.
func repeat(from, to string, events uint64) error {
	return writeRecording(to, func(w *trace.Writer) error {
		for shift := uint64(0); w.Stats().Events < events; {
			more, err := repeatOnce(w, from, shift)
			if err != nil {
				return fmt.Errorf("read %s: %w", from, err)
			}
			shift += more
		}
		return nil
	})
}

// repeatOnce adds a recording with all times shifted, by a multiple of what the time in an event can hold. It
// returns by how much the next one has to be shifted in addition.
func repeatOnce(w *trace.Writer, from string, shift uint64) (uint64, error) {
	f, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r, err := trace.NewReader(f)
	if err != nil {
		return 0, err
	}
	first, last := ^uint64(0), uint64(0)
	var images []trace.Image
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			if last < first {
				return 0, errors.New("it has no events")
			}
			return (last-first)>>trace.TimeBits<<trace.TimeBits + 2<<trace.TimeBits, nil
		}
		if err != nil {
			return 0, err
		}
		switch b := b.(type) {
		case *trace.Chunk:
			first = min(first, b.Base)
			var c trace.Cursor
			for c.Reset(b, 0); c.Next(); {
				last = max(last, c.Ticks)
			}
			words := slices.Clone(b.Words)
			for i := 0; i+8 <= len(words); i += 8 {
				// Recordings with longer records are not repeated.
				if v := binary.LittleEndian.Uint64(words[i:]); v>>(trace.TimeBits+trace.SPBits) == trace.WordTime {
					binary.LittleEndian.PutUint64(words[i:], v+shift>>trace.TimeBits)
				}
			}
			err = w.WriteChunk(trace.Chunk{Proc: b.Proc, Stream: b.Stream, TID: b.TID, Base: b.Base + shift, Words: words})
		case *trace.Round:
			err = w.WriteRound(b.Ticks + shift)
		case *trace.Image:
			images = append(images, *b)
		default:
			if shift == 0 {
				err = introduce(w, b, images)
			}
		}
		if err != nil {
			return 0, err
		}
	}
}

// introduce writes what a recording says once.
func introduce(w *trace.Writer, b trace.Block, images []trace.Image) error {
	switch b := b.(type) {
	case *trace.Meta:
		return w.WriteMeta(*b)
	case *trace.Clock:
		return w.WriteClock(*b)
	case *trace.Process:
		return w.WriteProcess(*b)
	case *trace.Thread:
		return w.WriteThread(*b)
	case *trace.Range:
		return w.WriteRange(*b)
	case *trace.Funcs:
		for _, im := range images {
			if im.ID == b.Image {
				return w.WriteImage(im, b.Funcs)
			}
		}
	}
	return nil
}
