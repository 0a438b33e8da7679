package trace

// maxDepth bounds the memory of one stream's stack. Frames beyond it are
// counted as being at it.
const maxDepth = 1 << 20

// depthStack derives the depth of a call from the stack pointers of entries
// alone. A frame that stands at or below the stack pointer of a new entry
// (stacks grow down, AAPCS64 section 6.4.6) has returned, or has left by a
// tail call or an exception: all of them look the same, so all are followed.
//
// Stack pointers are known modulo 64 KiB. A thread that unwinds more than half
// of that without a traced call on the way keeps some frames too many, and one
// that switches stacks begins at a depth of chance.
type depthStack struct {
	sp []uint16
}

// enter records an entry and returns its depth, 0 for the outermost.
func (d *depthStack) enter(sp uint32) int {
	n := d.at(sp)
	if n < maxDepth {
		d.sp = append(d.sp[:n], uint16(sp))
	}
	return n
}

// at is the depth that an entry would have.
func (d *depthStack) at(sp uint32) int {
	n := len(d.sp)
	for n > 0 {
		// The difference is that of 12-bit numbers: shifted to the top of
		// 16 bits, its sign is the sign of those.
		if diff := int16((uint16(sp) - d.sp[n-1]) << (16 - SPBits)); diff < 0 {
			break
		}
		n--
	}
	return n
}
