package session

import (
	"encoding/binary"

	"nopal/internal/tracee"
)

// sigframe is a saved pc in a signal frame on a stack: the thread goes on there
// when the handler returns.
type sigframe struct {
	at     uint64 // address of the saved pc
	pc, sp uint64
}

// A signal frame is found by the record that the kernel puts first behind the
// general registers, struct fpsimd_context: its magic and size
// (arch/arm64/include/uapi/asm/sigcontext.h). The saved pc stands 24 bytes before
// it: sp, pc, pstate, padding to 16 bytes, __reserved[].
const (
	fpsimdMagic = 0x46508001
	fpsimdSize  = 0x210
	fpsimdWord  = fpsimdSize<<32 | fpsimdMagic
	pcBefore    = 24
	spBefore    = 32
)

// mappingAt returns the mapping that holds addr.
func mappingAt(maps []tracee.Mapping, addr uint64) (tracee.Mapping, bool) {
	for _, m := range maps {
		if m.Start <= addr && addr < m.End {
			return m, true
		}
	}
	return tracee.Mapping{}, false
}

// stackFrames finds the signal frames above sp on the stack that holds it, and on
// the stacks that those interrupted (an alternate signal stack is left that way).
func stackFrames(mem *tracee.Memory, maps []tracee.Mapping, sp uint64) []sigframe {
	var found []sigframe
	seen := map[uint64]uint64{} // by mapping, the lowest address looked at
	todo := []uint64{sp &^ 15}
	for len(todo) > 0 {
		sp := todo[0]
		todo = todo[1:]
		m, ok := mappingAt(maps, sp)
		if !ok {
			continue
		}
		// Several stacks may lie in one mapping. A stack is not larger than this, and
		// threads stand still meanwhile.
		const most = 64 << 20
		end := min(m.End, sp+most)
		if low, ok := seen[m.Start]; ok {
			if sp >= low {
				continue
			}
			end = min(end, low)
		}
		seen[m.Start] = sp
		for _, f := range frameScan(mem, sp, end) {
			found = append(found, f)
			todo = append(todo, f.sp&^15)
		}
	}
	return found
}

// frameScan finds the signal frames in [from, to).
func frameScan(mem *tracee.Memory, from, to uint64) []sigframe {
	const step = 1 << 16
	var found []sigframe
	buf := make([]byte, step+spBefore)
	for at := from; at < to; at += step {
		// Overlapping, so that a frame across a border is seen.
		lo := max(from, at-min(at, spBefore))
		n, err := mem.ReadAt(buf[:min(uint64(len(buf)), to-lo)], int64(lo))
		if err != nil && n == 0 {
			return found
		}
		b := buf[:n]
		for i := int((16 - lo%16) % 16); i+8 <= len(b); i += 16 {
			here := lo + uint64(i)
			if binary.LittleEndian.Uint64(b[i:]) != fpsimdWord || i < spBefore || here < at || here >= at+step {
				continue
			}
			found = append(found, sigframe{
				at: here - pcBefore,
				pc: binary.LittleEndian.Uint64(b[i-pcBefore:]),
				sp: binary.LittleEndian.Uint64(b[i-spBefore:]),
			})
		}
		if uint64(n) < min(uint64(len(buf)), to-lo) {
			return found
		}
	}
	return found
}
