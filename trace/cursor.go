package trace

import (
	"encoding/binary"
	"fmt"
)

// Cursor decodes the words of one chunk. After Next returned true its fields
// hold an event.
type Cursor struct {
	// Machine is that of the recording. Who does not want registers need not set it,
	// unless there are stacks or arguments behind them.
	Machine Machine

	// Index is the code position, SP the stack pointer in units of 16 bytes
	// modulo 4096, and Ticks the time of the event.
	Index uint32
	SP    uint32
	Ticks uint64

	// Injections is the number of injections so far, which are no events.
	Injections uint64

	words  []byte
	off    int // of the next word
	high   uint64
	last   uint64
	regs   int // offset of the registers in words, or 0
	stack  int // offset of the stack in words, or 0
	nstack int
	args   int // offset of what a probe recorded in words, or 0
	nargs  int // its bytes
	probe  uint32
	backs  uint64 // how often time went back, and how far at most
	back   uint64
	err    error

	attached *attached // takes records that are no events; nil: they are skipped
}

// Reset begins a chunk. The ticks of its events are at least last, those of
// the event before it in its stream: a signal handler that ran in the middle
// of a record may have put its own, later events before it.
func (c *Cursor) Reset(ch *Chunk, last uint64) {
	*c = Cursor{Machine: c.Machine, words: ch.Words[:len(ch.Words)&^7], high: ch.Base >> TimeBits << TimeBits, last: last, attached: c.attached}
}

// Next decodes the next event. When it returns false, Err tells whether the
// chunk ended as it should.
func (c *Cursor) Next() bool {
	off := c.off
	for off < len(c.words) {
		w := binary.LittleEndian.Uint64(c.words[off:])
		if w >= MinIndex<<indexShift {
			c.off = off + 8
			c.regs, c.stack, c.args = 0, 0, 0
			c.event(w)
			return true
		}
		off += 8
		if w == 0 {
			continue
		}
		switch w >> indexShift {
		case WordTime:
			c.high = w & payloadMask << TimeBits
		case WordPad:
			off = c.skip(off, w&payloadMask)
		case WordReserved:
			off = c.skip(off, w&lengthMask)
		case WordRecord:
			if c.record(off, w) {
				return true
			}
			off = c.off
		default:
			c.fail(off, "a control word of unknown kind")
		}
		if c.err != nil {
			return false
		}
	}
	c.off = off
	return false
}

// Err returns what is wrong with the chunk.
func (c *Cursor) Err() error { return c.err }

func (c *Cursor) event(w uint64) {
	c.Index = uint32(w >> indexShift)
	c.SP = uint32(w>>TimeBits) & spMask
	t := c.high | w&timeMask
	if t < c.last {
		c.backs++
		c.back = max(c.back, c.last-t)
		t = c.last
	}
	c.last, c.Ticks = t, t
}

// skip returns the offset after n words, of which the one before off is the
// first. What is skipped may have been cut off at the end of the chunk.
func (c *Cursor) skip(off int, n uint64) int {
	if n == 0 {
		c.fail(off, "padding of no words")
		return off
	}
	left := uint64(len(c.words)-off) / 8
	return off + 8*int(min(n-1, left))
}

// record decodes the record whose control word w ends at off. It reports
// whether there is an event in it and leaves c.off behind it.
func (c *Cursor) record(off int, w uint64) bool {
	n := int(w & lengthMask)
	need := 2
	regs, stack, nstack := 0, 0, 0
	if w&RecordRegs != 0 {
		regs = off + 8
		need += len(c.Machine.Registers())
	}
	if w&RecordStack != 0 {
		stack = off + 8*(need-1)
		need++
		if stack+8 <= len(c.words) {
			depth := binary.LittleEndian.Uint64(c.words[stack:])
			if depth > lengthMask {
				depth = lengthMask
			}
			nstack = int(depth)
			need += nstack
			stack += 8
		}
	}
	if n < need || off+8*(n-1) > len(c.words) {
		c.fail(off, "a record that is not as long as it says")
		return false
	}
	c.off = off + 8*(n-1)
	e := binary.LittleEndian.Uint64(c.words[off:])
	if e == 0 {
		return false
	}
	if e < MinIndex<<indexShift {
		c.fail(off, "a record without an event")
		return false
	}
	c.regs, c.stack, c.nstack = regs, stack, nstack
	c.args, c.nargs, c.probe = 0, 8*(n-need), probeOf(w)
	if w&RecordArgs != 0 {
		c.args = off + 8*(need-1)
	}
	if isSide(w) {
		return c.side(c.probe, e)
	}
	c.event(e)
	return true
}

func (c *Cursor) fail(off int, what string) {
	c.err = fmt.Errorf("word %d is %s", off/8-1, what)
}

// extra reports that there is more of the event than its word.
func (c *Cursor) extra() bool { return c.regs|c.stack|c.args != 0 }

// idle reports that Next has not been called with success.
func (c *Cursor) idle() bool { return c.Index == 0 }

// HasRegs reports whether the event came with registers.
func (c *Cursor) HasRegs() bool { return c.regs != 0 }

// AppendRegs appends the registers of the event, in the order of Registers.
func (c *Cursor) AppendRegs(dst []uint64) []uint64 {
	if c.regs != 0 {
		for i := range c.Machine.Registers() {
			dst = append(dst, binary.LittleEndian.Uint64(c.words[c.regs+8*i:]))
		}
	}
	return dst
}

// HasStack reports whether the event came with a stack, even an empty one.
func (c *Cursor) HasStack() bool { return c.stack != 0 }

// AppendStack appends the event's return addresses, the innermost first.
func (c *Cursor) AppendStack(dst []uint64) []uint64 {
	if c.stack != 0 {
		for i := range c.nstack {
			dst = append(dst, binary.LittleEndian.Uint64(c.words[c.stack+8*i:]))
		}
	}
	return dst
}
